"""The rules that bars obey: what is valid, and what is refused, where and in which words."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from tests.bar_columns import PRICES, good, make

from backtest_py.bars import Bars
from backtest_py.errors import ConfigError, DataError


def spoilt(column, row, value, n=6):
    columns = good(n)
    columns[column] = columns[column].copy()
    columns[column][row] = value
    return columns


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
        with pytest.raises(ConfigError, match=r"data\.empty = 'fill' is not allowed"):
            make(empty="fill")
