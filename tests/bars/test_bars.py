"""Bars as they are built: their columns, their clocks, a DataFrame's, and what they report."""

from __future__ import annotations

import copy
import json
import pickle
import time as clock
from datetime import date

import numpy as np
import pandas as pd
import pytest
from tests.bar_columns import PRICES, good, make

from backtest_py.bars import Bars
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.errors import ConfigError, DataError

MINUTE = 60 * 10**9


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
