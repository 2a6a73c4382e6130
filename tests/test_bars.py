"""Bars: what is valid, what is refused and in which words, and what they remember."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import time as clock
from datetime import UTC, date, datetime

import joblib
import numpy as np
import pandas as pd
import pytest

from backtest_py.bars import Bars
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.errors import ConfigError, DataError

MINUTE = 60 * 10**9
PRICES = ("open", "high", "low", "close")


def good(n=6, **changes):
    """Return arguments of n valid bars, with some of them replaced."""
    close = 100.0 + np.arange(n) % 3
    columns = {
        "time": np.datetime64("2024-01-02T09:00", "ns") + np.arange(n) * np.timedelta64(5, "m"),
        "open": close - 0.5,
        "high": close + 1.0,
        "low": close - 1.0,
        "close": close,
        "volume": 10.0 + np.arange(n),
    }
    return columns | changes


def spoilt(column, row, value, n=6):
    columns = good(n)
    columns[column] = columns[column].copy()
    columns[column][row] = value
    return columns


def make(**changes):
    return Bars(**good(**changes))


class TestColumns:
    def test_are_contiguous_float64_and_read_only(self):
        bars = make()
        for name in (*PRICES, "volume"):
            column = getattr(bars, name)
            assert column.dtype == np.float64
            assert column.flags.c_contiguous
            assert not column.flags.writeable
            np.testing.assert_array_equal(column, good()[name])
        assert bars.time.dtype == np.int64
        assert bars.minute.dtype == bars.day.dtype == np.int32
        for name in ("time", "minute", "day"):
            assert not getattr(bars, name).flags.writeable

    def test_do_not_follow_the_arrays_they_came_from(self):
        columns = good()
        columns["time"] = columns["time"].view(np.int64)
        columns["atr"] = np.ones(6)
        bars = Bars(**columns)
        for name in ("time", *PRICES, "volume", "atr"):
            kept = getattr(bars, "atr_column" if name == "atr" else name)
            before = kept.copy()
            columns[name][:] = 7
            np.testing.assert_array_equal(kept, before)

    def test_float32_is_widened_and_not_computed_with(self):
        # S7, S9: a float32 on the way shifts ratios that lie on a threshold.
        close = np.array([0.1, 0.2, 0.3], np.float32)
        bars = make(n=3, open=close, high=close, low=close, close=close)
        assert bars.close.dtype == np.float64
        np.testing.assert_array_equal(bars.close, [float(value) for value in close])

    @pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, object])
    def test_other_numbers_are_taken(self, dtype):
        volume = np.array([1, 2, 3], dtype)
        assert make(n=3, volume=volume).volume.tolist() == [1.0, 2.0, 3.0]

    def test_integers_beyond_2_53_become_the_nearest_double(self):
        assert make(n=1, volume=np.array([2**53 + 1])).volume[0] == 2.0**53

    def test_lists_and_strided_views_are_taken(self):
        backwards = good(6)
        stretched = {name: np.repeat(values, 2)[::2] for name, values in backwards.items()}
        assert Bars(**stretched).content_hash == make().content_hash
        listed = {name: list(values) for name, values in good().items() if name != "time"}
        assert Bars(good()["time"], **listed).content_hash == make().content_hash

    def test_a_stored_zero_is_positive(self):
        zeros = np.array([-0.0, 0.0])
        bars = Bars(good(2)["time"], zeros, zeros, zeros, zeros, zeros, atr=zeros)
        for name in (*PRICES, "volume", "atr_column"):
            assert not np.signbit(getattr(bars, name)).any()

    def test_masked_values_are_missing(self):
        close = np.ma.masked_array(good()["close"], mask=[0, 1, 0, 0, 0, 0])
        with pytest.raises(DataError, match=r"bars\.close\[1\] = nan"):
            make(close=close)

    def test_nobody_can_make_them_writeable(self):
        bars = make(atr=np.ones(6))
        for made in (bars, bars[1:4], pickle.loads(pickle.dumps(bars))):
            for name in ("time", *PRICES, "volume", "minute", "day", "atr_column", "wall"):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    getattr(made, name).flags.writeable = True

    def test_counts_that_cannot_be_nanoseconds_are_refused(self):
        seconds = good()["time"].astype("M8[s]").astype(np.int64)
        for factor in (1, 1_000, 1_000_000):
            with pytest.raises(DataError, match=r"time\[0\] = 1704.*from_frame"):
                make(time=seconds * factor)
        assert make(time=seconds * 10**9).time[0] == seconds[0] * 10**9
        across = np.arange(-3, 3) * 10**17
        assert make(time=across).time.tolist() == across.tolist()
        assert len(make(time=np.arange(6).astype("M8[s]"))) == 6

    @pytest.mark.parametrize(
        "item", ["1_000", "\uff11\uff12", True, np.True_, b"1", "", "0x10", "1,5"]
    )
    def test_what_only_python_takes_for_a_number_is_refused(self, item):
        close = np.array([*good()["close"][:5], item], object)
        with pytest.raises(DataError, match="not a column of numbers: row 5 holds"):
            make(close=close)
        with pytest.raises(DataError, match=r"close.*not a column of numbers: row 5 holds"):
            Bars.from_frame(pd.DataFrame(good(close=close)))

    def test_texts_of_numbers_are_taken(self):
        texts = np.array([f"{value:+.3e}" for value in good()["close"]], object)
        assert make(close=texts).content_hash == make().content_hash
        with pytest.raises(DataError, match=r"close\[2\] = nan"):
            make(close=np.array([*texts[:2], None, *texts[3:]], object))

    def test_nothing_can_be_set_or_deleted(self):
        bars = make()
        with pytest.raises(AttributeError, match="immutable"):
            bars.close = np.zeros(6)
        with pytest.raises(AttributeError, match="immutable"):
            del bars.close
        with pytest.raises(ValueError, match="read-only"):
            bars.close[0] = 1.0


class TestValid:
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_few_bars(self, n):
        bars = make(n=n)
        assert len(bars) == n
        assert bars.session_dates.tolist() == [date(2024, 1, 2)]
        assert bars.bounds() == (0, n)

    def test_equal_prices(self):
        flat = np.full(6, 5.0)
        assert make(open=flat, high=flat, low=flat, close=flat).high[0] == 5.0

    @pytest.mark.parametrize("scale", [1e-300, 1e-8, 1e12, 1e300, 5e-324])
    def test_tiny_and_huge_prices(self, scale):
        columns = {name: values * scale for name, values in good().items() if name in PRICES}
        np.testing.assert_array_equal(make(**columns).close, columns["close"])

    def test_negative_and_zero_prices(self):
        columns = {name: values - 101.0 for name, values in good().items() if name in PRICES}
        assert make(**columns).close.min() == -1.0

    def test_a_spike_in_volume_changes_no_other_bar(self):
        # S7: a running float32 sum never forgot a spike of 1e12.
        columns = spoilt("volume", 2, 1e18)
        assert Bars(**columns).volume.tolist() == columns["volume"].tolist()


class TestVolume:
    def test_absent(self):
        columns = good()
        del columns["volume"]
        bars = Bars(**columns)
        assert bars.volume.tolist() == [0.0] * 6
        assert not bars.has_volume
        assert bars.report.volume_kind == "none"

    def test_zero_throughout(self):
        assert not make(volume=np.zeros(6)).has_volume

    def test_present(self):
        assert Bars(**spoilt("volume", 0, 0.0)).has_volume


RULES = [
    ("open", np.nan, r"bars\.open\[3\] = nan is no price", "all prices are finite"),
    ("close", np.nan, r"bars\.close\[3\] = nan is no price", "all prices are finite"),
    ("open", np.inf, r"bars\.open\[3\] = inf is no price", "all prices are finite"),
    ("high", np.inf, r"bars\.high\[3\] = inf is no price", "all prices are finite"),
    ("low", -np.inf, r"bars\.low\[3\] = -inf is no price", "all prices are finite"),
    ("high", 98.0, r"bars\.high\[3\] = 98\.0 is below low = 99\.0", "high >= low"),
    ("low", 99.75, r"bars\.low\[3\] = 99\.75 is above open = 99\.5", r"low <= min\(open, close\)"),
    ("high", 99.75, r"bars\.high\[3\] = 99\.75 is below close = 100\.0", r"high >= max\(open"),
    ("open", 98.5, r"bars\.low\[3\] = 99\.0 is above open = 98\.5", r"low <= min\(open, close\)"),
    ("close", 101.5, r"bars\.high\[3\] = 101\.0 is below close = 101\.5", r"high >= max\(open"),
    ("close", 98.5, r"bars\.low\[3\] = 99\.0 is above close = 98\.5", r"low <= min\(open, close\)"),
    ("open", 101.5, r"bars\.high\[3\] = 101\.0 is below open = 101\.5", r"high >= max\(open"),
    ("volume", -1.0, r"bars\.volume\[3\] = -1\.0", "volume is finite and >= 0"),
    ("volume", np.nan, r"bars\.volume\[3\] = nan", "volume is finite and >= 0"),
    ("volume", np.inf, r"bars\.volume\[3\] = inf", "volume is finite and >= 0"),
]


class TestRules:
    @pytest.mark.parametrize(("column", "value", "says", "rule"), RULES)
    def test_each_names_the_rule_the_row_and_the_count(self, column, value, says, rule):
        with pytest.raises(DataError, match=says) as error:
            Bars(**spoilt(column, 3, value))
        assert error.match(rule)
        assert error.match("1 of 6 bars")
        assert error.match("2024-01-02 09:15")
        assert error.match("correct the source")

    @pytest.mark.parametrize(("column", "value", "says", "rule"), RULES)
    def test_count_is_of_all_bars_that_break_it(self, column, value, says, rule):
        columns = spoilt(column, 3, value, n=12)
        for row in (6, 9):
            columns[column][row] = value
        with pytest.raises(DataError, match=says) as error:
            Bars(**columns)
        assert error.match("3 of 12 bars")

    def test_the_same_rules_hold_for_frames(self):
        frame = pd.DataFrame(spoilt("high", 3, 98.0))
        with pytest.raises(DataError, match=r"frame\['high'\]\.iloc\[3\] = 98\.0 is below low"):
            Bars.from_frame(frame)

    def test_a_frame_indexed_by_time_is_named_by_its_index(self):
        frame = pd.DataFrame(good()).set_index("time")
        with pytest.raises(DataError, match=r"frame\.index\[3\] = 2024-01-02 09:00 lies before"):
            Bars.from_frame(frame.iloc[[1, 2, 3, 0]])

    def test_no_bars(self):
        with pytest.raises(DataError, match="there is no bar"):
            Bars([], [], [], [], [])

    @pytest.mark.parametrize("column", [*PRICES, "volume", "atr"])
    def test_lengths_that_differ(self, column):
        with pytest.raises(DataError, match=f"bars.{column} has 5 values but bars.time has 6"):
            make(**{column: np.ones(5)})

    @pytest.mark.parametrize(
        "values", [["a"] * 6, [None] * 5 + ["x"], np.ones((6, 1)), np.ones(6, complex), [True] * 6]
    )
    def test_no_numbers(self, values):
        with pytest.raises(DataError, match=r"bars\.close"):
            make(close=values)


class TestOrder:
    def test_one_time_with_two_rows(self):
        columns = good()
        columns["time"][3] = columns["time"][2]
        with pytest.raises(
            DataError, match=r"bars\.time\[3\] = 2024-01-02 09:10 .* two rows"
        ) as error:
            Bars(**columns)
        assert error.match("1 of 6 bars break the rule 'time strictly increases'")

    def test_identical_rows_are_refused_too(self):
        columns = {name: np.repeat(values, 2) for name, values in good(3).items()}
        with pytest.raises(DataError, match="two rows"):
            Bars(**columns)

    @pytest.mark.parametrize("order", [[0, 2, 1, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
    def test_disorder(self, order):
        columns = {name: values[order] for name, values in good().items()}
        for build in (lambda: Bars(**columns), lambda: Bars.from_frame(pd.DataFrame(columns))):
            with pytest.raises(DataError, match="lies before the bar above it"):
                build()


class TestEmptyBars:
    def columns(self):
        columns = good()
        for name in PRICES:
            columns[name] = columns[name].copy()
            columns[name][[1, 4]] = np.nan
        columns["volume"][[1, 4]] = 0.0
        return columns

    def test_refused_with_the_remedy(self):
        with pytest.raises(DataError, match=r"bars\.open\[1\] = nan: nothing traded") as error:
            Bars(**self.columns())
        assert error.match("2 of 6 bars")
        assert error.match('empty = "drop"')

    def test_dropped_and_counted(self):
        bars = Bars(**self.columns(), empty="drop")
        assert len(bars) == 4
        assert bars.report.empty_dropped == 2
        assert bars.minute.tolist() == [540, 550, 555, 565]

    def test_without_volume_they_are_gaps_as_well(self):
        columns = self.columns()
        del columns["volume"]
        assert len(Bars(**columns, empty="drop")) == 4

    @pytest.mark.parametrize(
        ("column", "value"), [("volume", 5.0), ("volume", np.nan), ("close", 1.0)]
    )
    def test_what_is_only_partly_empty_is_refused_all_the_same(self, column, value):
        columns = self.columns()
        columns[column][1] = value
        with pytest.raises(DataError, match=r"\[1\] = nan is no price"):
            Bars(**columns, empty="drop")

    def test_errors_after_dropping_name_the_row_of_the_source(self):
        columns = self.columns()
        columns["high"][5] = 1.0
        with pytest.raises(DataError, match=r"bars\.high\[5\] = 1\.0"):
            Bars(**columns, empty="drop")

    def test_all_empty(self):
        nothing = np.full(6, np.nan)
        prices = dict.fromkeys(PRICES, nothing)
        with pytest.raises(DataError, match="no bar is left"):
            make(**prices, volume=np.zeros(6), empty="drop")

    def test_an_empty_bar_still_tells_the_two_hours_of_a_night_apart(self):
        walls = [f"2023-11-05 01:{minute}" for minute in ("00", "30")] * 2
        columns = good(4, time=walls)
        for name in PRICES:
            columns[name][:2] = np.nan
        columns["volume"][:2] = 0.0
        bars = Bars(**columns, empty="drop", timezone="America/New_York")
        assert [str(t) for t in bars.time.view("M8[ns]").astype("M8[m]")] == [
            "2023-11-05T06:00",
            "2023-11-05T06:30",
        ]

    def test_unknown_choice(self):
        with pytest.raises(ConfigError, match="choice for empty 'fill'"):
            make(empty="fill")


class TestAtrColumn:
    def test_is_kept_with_its_undefined_values(self):
        atr = np.array([np.nan, 0.0, 1.5, 2.0, np.nan, 3.0])
        np.testing.assert_array_equal(make(atr=atr).atr_column, atr)

    def test_is_none_without(self):
        assert make().atr_column is None

    @pytest.mark.parametrize("value", [-1.0, np.inf, -np.inf])
    def test_negative_or_infinite_is_refused(self, value):
        atr = np.ones(6)
        atr[2] = value
        with pytest.raises(DataError, match=r"bars\.atr\[2\].*'atr is nan, or finite and >= 0'"):
            make(atr=atr)


class TestClocks:
    def test_without_any_clock_times_are_taken_as_they_are(self):
        bars = make()
        assert bars.is_naive
        assert (bars.timezone, bars.session_timezone) == ("", "")
        assert bars.minute[:2].tolist() == [540, 545]
        assert bars.time[0] == good()["time"][0].astype(np.int64)

    def test_the_file_clock(self):
        bars = make(timezone="America/Sao_Paulo")
        assert not bars.is_naive
        assert bars.minute[0] == 540
        assert str(bars.time.view("M8[ns]")[0])[:16] == "2024-01-02T12:00"

    def test_the_session_clock_alone_means_utc(self):
        bars = make(session_timezone="America/Sao_Paulo")
        assert (bars.timezone, bars.session_timezone) == ("UTC", "America/Sao_Paulo")
        assert bars.minute[0] == 360

    def test_both_clocks(self):
        bars = make(timezone="Europe/Lisbon", session_timezone="America/New_York")
        assert bars.minute[0] == 240

    def test_instants_ignore_the_file_clock(self):
        times = pd.DatetimeIndex(good()["time"]).tz_localize("UTC")
        plain = make(time=times)
        assert (plain.timezone, plain.session_timezone) == ("UTC", "UTC")
        assert make(time=times, timezone="Asia/Tokyo").content_hash == plain.content_hash
        assert make(time=times, session_timezone="Asia/Tokyo").minute[0] == 18 * 60

    def test_integers_are_instants(self):
        bars = make(time=good()["time"].astype(np.int64), timezone="Asia/Tokyo")
        assert bars.session_timezone == "UTC"
        assert bars.minute[0] == 540

    def test_the_session_clock_makes_the_days(self):
        # An evening session: 22:00 to 02:00 UTC is one day in Chicago.
        times = np.datetime64("2024-01-02T22:00", "ns") + np.arange(6) * np.timedelta64(1, "h")
        assert make(time=times).day.tolist() == [0, 0, 1, 1, 1, 1]
        bars = make(time=times, session_timezone="America/Chicago")
        assert bars.day.tolist() == [0] * 6
        assert bars.session_dates.tolist() == [date(2024, 1, 2)]

    def test_repeated_hour(self):
        walls = ["2023-11-05 01:00", "2023-11-05 01:30", "2023-11-05 01:00", "2023-11-05 01:30"]
        bars = Bars(**good(4, time=walls), timezone="America/New_York")
        assert np.diff(bars.time).tolist() == [30 * MINUTE] * 3
        assert bars.minute.tolist() == [60, 90, 60, 90]
        with pytest.raises(DataError, match=r"bars\.time\[0\] = .*twice"):
            Bars(**good(4, time=walls), timezone="America/New_York", ambiguous="refuse")
        with pytest.raises(DataError, match="lies before"):
            Bars(**good(4, time=walls), timezone="America/New_York", ambiguous="earlier")

    def test_skipped_hour(self):
        walls = ["2023-03-12 01:30", "2023-03-12 02:30"]
        with pytest.raises(DataError, match=r"bars\.time\[1\] = 2023-03-12 02:30.*skipped"):
            Bars(**good(2, time=walls), timezone="America/New_York")
        choice = {"timezone": "America/New_York", "nonexistent": "shift_forward"}
        assert Bars(**good(2, time=walls), **choice).minute.tolist() == [90, 180]

    def test_two_bars_shifted_to_one_instant_are_refused(self):
        walls = ["2023-03-12 02:15", "2023-03-12 02:30"]
        choice = {"timezone": "America/New_York", "nonexistent": "shift_forward"}
        with pytest.raises(DataError, match=r"\[1\] = .*02:30 is the same instant as .*02:15"):
            Bars(**good(2, time=walls), **choice)


class TestFromFrame:
    def test_columns_and_index(self):
        frame = pd.DataFrame(good())
        expected = make()
        assert Bars.from_frame(frame).content_hash == expected.content_hash
        assert Bars.from_frame(frame.set_index("time")).content_hash == expected.content_hash
        assert (
            Bars.from_frame(frame.set_index("time").rename_axis(None)).content_hash
            == expected.content_hash
        )

    def test_names_of_other_hands(self):
        names = dict(
            zip(good(), ["Data", "Abertura", "Máximo", "MÍNIMO", "<CLOSE>", "Vol"], strict=True)
        )
        frame = pd.DataFrame(good()).rename(columns=names).assign(Spread=1)
        bars = Bars.from_frame(frame)
        assert bars.content_hash == make().content_hash
        assert bars.report.ignored == ("Spread",)
        assert bars.report.columns["high"] == "Máximo"

    def test_round_trip(self):
        for bars in (make(), make(timezone="America/Sao_Paulo"), make(atr=np.ones(6))):
            again = Bars.from_frame(bars.to_frame(), session_timezone=bars.session_timezone)
            np.testing.assert_array_equal(again.time, bars.time)
            np.testing.assert_array_equal(again.minute, bars.minute)
            assert again.is_naive == bars.is_naive
            assert (again.atr_column is None) == (bars.atr_column is None)

    def test_zone_aware_index(self):
        frame = pd.DataFrame(good()).set_index("time").tz_localize("America/Sao_Paulo")
        bars = Bars.from_frame(frame, session_timezone="America/Sao_Paulo")
        assert bars.minute[0] == 540

    def test_the_session_of_instants_without_a_clock_is_noted(self):
        frame = pd.DataFrame(good()).set_index("time").tz_localize("America/Sao_Paulo")
        (note,) = Bars.from_frame(frame).report.notes
        assert "session_timezone is empty" in note
        assert Bars.from_frame(frame, session_timezone="UTC").report.notes == ()
        assert make().report.notes == ()

    def test_something_that_is_no_frame(self):
        class Polars:
            def to_pandas(self):
                """Stand for the frame of another library."""

        for frame, remedy in (
            (good(), r"pandas\.DataFrame\(frame\)"),
            ([1, 2], "give a pandas DataFrame"),
            (Polars(), r"frame\.to_pandas\(\)"),
            (None, "NoneType"),
        ):
            with pytest.raises(ConfigError, match=remedy):
                Bars.from_frame(frame)

    def test_epoch_column(self):
        for unit in ("s", "ms", "us", "ns"):
            counts = good()["time"].astype(f"M8[{unit}]").astype(np.int64)
            bars = Bars.from_frame(pd.DataFrame(good(time=counts)))
            assert bars.time[0] == good()["time"][0].astype(np.int64)
            assert not bars.is_naive

    def test_contracts_unless_they_are_all_zero(self):
        frame = pd.DataFrame(good()).rename(columns={"volume": "tick_volume"})
        assert Bars.from_frame(frame.assign(real_volume=5)).volume[0] == 5.0
        bars = Bars.from_frame(frame.assign(real_volume=0))
        assert bars.volume[0] == 10.0
        assert bars.report.volume_kind == "ticks"

    def test_nullable_and_text_columns(self):
        frame = pd.DataFrame(good()).convert_dtypes()
        assert Bars.from_frame(frame).content_hash == make().content_hash
        texts = frame.assign(time=frame["time"].astype(str))
        assert Bars.from_frame(texts).content_hash == make().content_hash
        frame.loc[2, "close"] = pd.NA
        with pytest.raises(DataError, match=r"frame\['close'\]\.iloc\[2\] = nan"):
            Bars.from_frame(frame)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda frame: frame.drop(columns="close"), "no column for close"),
            (lambda frame: frame.drop(columns="time"), "no column for time"),
            (lambda frame: frame.assign(Close=1.0), "'close' and 'Close' could both be the close"),
            (lambda frame: frame.assign(symbol=["A", "B"] * 3), "several instruments"),
            (lambda frame: frame.iloc[:0], "there is no bar"),
            (
                lambda frame: frame.set_axis(pd.MultiIndex.from_product([["a"], frame]), axis=1),
                "levels",
            ),
            (lambda frame: frame.assign(close="1,5"), "not a column of numbers"),
        ],
    )
    def test_refused(self, change, says):
        with pytest.raises(DataError, match=says):
            Bars.from_frame(change(pd.DataFrame(good())))


class TestSlices:
    def test_keep_clocks_and_number_days_from_zero(self):
        bars = synthetic_bars(n_days=3, timezone="America/Sao_Paulo")
        part = bars[150:250]
        assert len(part) == 100
        np.testing.assert_array_equal(part.close, bars.close[150:250])
        np.testing.assert_array_equal(part.minute, bars.minute[150:250])
        assert (part.day[0], part.day[-1]) == (0, 1)
        assert part.session_timezone == bars.session_timezone
        assert part.content_hash != bars.content_hash
        assert not part.day.flags.writeable
        assert part.session_dates.tolist() == bars.session_dates[1:].tolist()

    def test_open_ends_and_negative_numbers(self):
        bars = make()
        assert len(bars[:]) == 6
        assert len(bars[:-1]) == 5
        assert bars[-2:].time.tolist() == bars.time[-2:].tolist()

    def test_volume_is_looked_at_again(self):
        volume = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
        assert not make(volume=volume)[:3].has_volume

    def test_atr_column_comes_along(self):
        assert make(atr=np.arange(6.0))[2:4].atr_column.tolist() == [2.0, 3.0]

    @pytest.mark.parametrize("part", [slice(3, 3), slice(9, 12), slice(4, 2)])
    def test_no_bar(self, part):
        with pytest.raises(DataError, match="holds no bar"):
            make()[part]

    @pytest.mark.parametrize("part", [0, slice(None, None, 2), slice(None, None, -1), "close"])
    def test_only_slices_without_step(self, part):
        with pytest.raises(TypeError, match="slice"):
            make()[part]


class TestContentHash:
    def test_is_the_same_for_the_same_bars(self):
        assert make().content_hash == make().content_hash
        assert len(make().content_hash) == 64

    @pytest.mark.parametrize("name", [*PRICES, "volume"])
    def test_every_column_counts(self, name):
        # S11: two engines were fed different arrays, and nothing said so.
        columns = good()
        columns[name] = columns[name].copy()
        columns[name][3] = np.nextafter(columns[name][3], 1000)
        assert Bars(**columns).content_hash != make().content_hash

    def test_time_clocks_and_atr_count(self):
        hashes = {
            make().content_hash,
            make(time=good()["time"] + np.timedelta64(1, "ns")).content_hash,
            make(timezone="UTC").content_hash,
            make(timezone="America/Sao_Paulo").content_hash,
            make(timezone="UTC", session_timezone="America/Sao_Paulo").content_hash,
            make(atr=np.ones(6)).content_hash,
            make(atr=np.zeros(6)).content_hash,
        }
        assert len(hashes) == 7

    def test_columns_cannot_trade_places(self):
        swapped = make(open=good()["close"], close=good()["open"])
        assert swapped.content_hash != make().content_hash

    def test_the_way_in_does_not_count(self):
        assert Bars.from_frame(pd.DataFrame(good())).content_hash == make().content_hash


class TestRemember:
    def test_computes_once_and_hands_out_read_only_arrays(self):
        bars, calls = make(), []

        def compute():
            calls.append(1)
            return np.zeros(3)

        first = bars.remember("key", compute)
        assert bars.remember("key", compute) is first
        assert len(calls) == 1
        assert not first.flags.writeable

    def test_none_is_a_value(self):
        bars, calls = make(), []
        for _ in range(2):
            assert bars.remember("key", lambda: calls.append(1)) is None
        assert len(calls) == 1

    def test_a_failure_is_not_remembered(self):
        bars = make()
        with pytest.raises(ZeroDivisionError):
            bars.remember("key", lambda: 1 // 0)
        assert bars.remember("key", lambda: 5) == 5

    def test_one_value_may_need_another(self):
        bars = make()
        assert bars.remember("a", lambda: bars.remember("b", lambda: 1) + 1) == 2

    def test_threads_wait_for_one_computation(self):
        bars, calls, results = make(), [], []
        start = threading.Barrier(8)

        def compute():
            calls.append(1)
            clock.sleep(0.02)
            return object()

        def work():
            start.wait()
            results.append(bars.remember("key", compute))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1
        assert len(set(map(id, results))) == 1

    def test_other_keys_do_not_wait(self):
        bars = make()
        inside, leave = threading.Event(), threading.Event()

        def slow():
            inside.set()
            assert leave.wait(10)
            return 1

        thread = threading.Thread(target=lambda: bars.remember("slow", slow))
        thread.start()
        assert inside.wait(10)
        assert bars.remember("quick", lambda: 2) == 2
        leave.set()
        thread.join()


class TestWorkers:
    def test_travel_without_what_was_remembered(self):
        bars = make(timezone="America/Sao_Paulo", atr=np.ones(6))
        bars.remember("key", lambda: lambda: None)  # cannot be pickled
        again = pickle.loads(pickle.dumps(bars))
        assert again.content_hash == bars.content_hash
        assert again.report == bars.report
        assert again.session_timezone == bars.session_timezone
        np.testing.assert_array_equal(again.day, bars.day)
        assert not again.close.flags.writeable
        assert again.remember("key", lambda: 3) == 3

    def test_joblib_hands_them_to_processes(self):
        bars = synthetic_bars(n_days=30)
        work = joblib.delayed(Bars.off_grid_share)
        assert joblib.Parallel(n_jobs=2)(work(bars, 5.0) for _ in range(2)) == [0.0, 0.0]


class TestBounds:
    """Semantics, section 4: the first bars at or after start and end, on the session's clock."""

    def bars(self, **clocks):
        times = [f"2024-01-0{day} {hour}:00" for day in (2, 3, 4) for hour in ("09", "10", "11")]
        return Bars(**good(9, time=times), **clocks)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (None, None, (0, 9)),
            ("", "", (0, 9)),
            ("2024-01-03", None, (3, 9)),
            (None, "2024-01-03", (0, 3)),
            ("2024-01-03", "2024-01-04", (3, 6)),
            ("2024-01-03 10:00", "2024-01-03 10:30", (4, 5)),
            ("2024-01-03T09:30", "2024-01-04 09:00:01", (4, 7)),
            ("1999-01-01", "2050-01-01", (0, 9)),
            (date(2024, 1, 3), datetime(2024, 1, 4, 10), (3, 7)),  # noqa: DTZ001
            (np.datetime64("2024-01-03"), pd.Timestamp("2024-01-04 10:00"), (3, 7)),
        ],
    )
    def test_positions(self, start, end, expected):
        assert self.bars().bounds(start, end) == expected

    def test_are_half_open_and_keep_the_last_day(self):
        # S36: the loader dropped everything after midnight of the end date.
        first, last = self.bars().bounds("2024-01-02", "2024-01-04")
        assert (first, last) == (0, 6)

    def test_on_the_session_clock(self):
        bars = self.bars(timezone="UTC", session_timezone="Asia/Tokyo")
        assert bars.bounds("2024-01-02 19:00", None) == (1, 9)

    def test_first_bar_on_a_clock_that_goes_back(self):
        walls = ["2023-11-05 00:30", "2023-11-05 01:30", "2023-11-05 01:00", "2023-11-05 02:00"]
        bars = Bars(**good(4, time=walls), timezone="America/New_York")
        assert bars.bounds("2023-11-05 01:15", None) == (1, 4)

    @pytest.mark.parametrize(
        ("start", "end", "says"),
        [
            ("2024-01-04", "2024-01-03", r"range.start = 2024-01-04 lies after range.end"),
            ("2024-01-03", "2024-01-03", "holds no bar"),
            ("2024-01-05", None, "holds no bar; the bars run from 2024-01-02 09:00"),
            (None, "2024-01-01", "holds no bar"),
            ("2024-01-03 12:00", "2024-01-03 13:00", "holds no bar"),
            ("yesterday", None, r"range.start = 'yesterday' is not a time"),
            (None, "2024-02-30", "range.end"),
            ("2024-01-03T00:00Z", None, "carries a zone"),
            (datetime(2024, 1, 3, tzinfo=UTC), None, "carries a zone"),
            (20240103, None, "range.start"),
            ("ação", None, "range.start"),
        ],
    )
    def test_refused(self, start, end, says):
        with pytest.raises(ConfigError, match=says):
            self.bars().bounds(start, end)


class TestOffGridShare:
    def test_on_the_grid(self):
        assert synthetic_bars(n_days=3).off_grid_share(5.0) == 0.0
        assert synthetic_bars(n_days=3, tick_size=0.01).off_grid_share(0.01) == 0.0

    def test_rounding_is_no_fault(self):
        # 0.1 + 0.2 and 0.01 * 7 are one bit off the decimal price.
        close = np.array([0.1 + 0.2, 0.01 * 7, 0.01 * 1_000_003])
        assert make(n=3, open=close, high=close, low=close, close=close).off_grid_share(0.01) == 0.0

    def test_share_is_of_prices(self):
        bars = make(n=4, open=[100.0] * 4, high=[110.0] * 4, low=[90.0] * 4, close=[101.0] * 4)
        assert bars.off_grid_share(10.0) == 0.25

    def test_ratio_adjusted_series(self):
        bars = synthetic_bars(n_days=5)
        ratio = {name: np.round(getattr(bars, name) * 1.0171, 2) for name in PRICES}
        adjusted = Bars(bars.time, **ratio)
        assert adjusted.off_grid_share(5.0) > 0.9

    def test_more_ticks_than_a_double_counts_are_off_the_grid(self):
        assert make().off_grid_share(5e-324) == 1.0

    def test_is_remembered_by_tick(self):
        bars = make()
        assert bars.off_grid_share(1.0) != bars.off_grid_share(0.5)


class TestWeekends:
    def dates(self, *texts):
        return make(n=len(texts), time=list(texts)).trades_weekends

    def test_seven_days(self):
        assert self.dates(*(f"2024-01-{day:02d}" for day in range(1, 20)))

    def test_weekdays(self):
        assert not synthetic_bars(n_days=30).trades_weekends

    def test_a_sunday_evening_is_no_weekend_market(self):
        assert not self.dates("2024-01-05", "2024-01-07", "2024-01-08", "2024-01-12", "2024-01-14")

    def test_without_a_weekend_in_the_span(self):
        assert not self.dates("2024-01-02", "2024-01-04")
        assert not self.dates("2024-01-02")

    def test_a_saturday_alone(self):
        assert self.dates("2024-01-06")

    def test_on_the_session_clock(self):
        times = pd.date_range("2024-01-05 22:00", "2024-01-06 20:00", freq="h")
        assert make(n=len(times), time=times).trades_weekends
        assert not make(
            n=3, time=times[:3], timezone="UTC", session_timezone="America/Chicago"
        ).trades_weekends


def test_repr_names_span_and_clock():
    assert repr(make()) == "Bars(6 bars, 2024-01-02 09:00 to 2024-01-02 09:25, 1 day, no zone)"


def test_report_cannot_be_changed():
    report = Bars.from_frame(pd.DataFrame(good())).report
    with pytest.raises(TypeError):
        report.columns["open"] = "close"
    assert pickle.loads(pickle.dumps(report)) == copy.deepcopy(report) == report


def test_report_is_ready_for_json():
    mapping = json.loads(json.dumps(make().report.to_mapping()))
    assert (mapping["format"], mapping["rows_read"], mapping["volume_kind"]) == (
        "arrays",
        6,
        "volume",
    )


def test_building_140_000_bars_is_quick():
    bars = synthetic_bars(n_days=1285)
    columns = [getattr(bars, name) for name in (*PRICES, "volume")]
    time = bars.time.view("M8[ns]")
    best = min(_seconds(lambda: Bars(time, *columns)) for _ in range(5))
    assert best < 0.1  # a few ms; the bound only catches a loop over bars


def _seconds(work):
    start = clock.perf_counter()
    work()
    return clock.perf_counter() - start
