"""What ``inspect`` tells of a file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from backtest_py.bars import Bars
from backtest_py.data import load_bars, synthetic_bars
from backtest_py.data.inspection import inspect_bars

PRICES = ("open", "high", "low", "close")


def flat(times, **changes):
    ones = np.ones(len(times))
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), ones) | changes
    return Bars(times, **columns)


def without(bars, rows):
    keep = np.ones(len(bars), bool)
    keep[rows] = False
    columns = {name: getattr(bars, name)[keep] for name in (*PRICES, "volume")}
    return Bars(bars.time.view("M8[ns]")[keep], **columns)


def test_facts_of_a_clean_file():
    bars = synthetic_bars(n_days=45)
    facts = inspect_bars(bars)
    assert (facts.rows, facts.days) == (45 * 109, 45)
    assert (facts.first, facts.last) == ("2019-01-02 09:00", "2019-03-05 18:00")
    assert (facts.interval_minutes, facts.interval_share) == (5.0, 1.0)
    assert (facts.n_gaps, facts.missing_bars, facts.largest_gaps) == (0, 0, ())
    assert (facts.tick_size, facts.smallest_move) == (5.0, 5.0)
    assert facts.has_volume
    assert facts.zero_volume_bars == np.count_nonzero(bars.volume == 0)
    assert facts.flat_bars == np.count_nonzero(bars.high == bars.low) > 0
    assert not facts.trades_weekends
    assert facts.weekend_days == 18
    assert facts.content_hash == bars.content_hash
    assert facts.warnings == ()
    assert [(month.month, month.days) for month in facts.sessions] == [
        ("2019-01", 22),
        ("2019-02", 20),
        ("2019-03", 3),
    ]
    assert {(month.first, month.last) for month in facts.sessions} == {("09:00", "18:00")}


def test_is_ready_for_json():
    mapping = inspect_bars(synthetic_bars(n_days=3)).to_mapping()
    assert json.loads(json.dumps(mapping))["sessions"][0]["first"] == "09:00"


def test_one_bar():
    facts = inspect_bars(flat(["2024-01-02 09:00"]))
    assert facts.interval_minutes is None
    assert (facts.n_gaps, facts.missing_bars) == (0, 0)
    assert facts.tick_size == 1.0
    assert facts.smallest_move is None


class TestGaps:
    def test_within_a_day_are_counted_and_the_longest_named(self):
        bars = without(synthetic_bars(n_days=5), [3, 10, 11, 12, 200])
        facts = inspect_bars(bars)
        assert (facts.n_gaps, facts.missing_bars) == (3, 5)
        longest = facts.largest_gaps[0]
        assert (longest.after, longest.before) == ("2019-01-02 09:45", "2019-01-02 10:05")
        assert longest.missing == 3

    def test_the_night_is_none(self):
        bars = without(synthetic_bars(n_days=5), [108, 109])  # a short day and a late start
        assert inspect_bars(bars).n_gaps == 0

    def test_the_night_counts_where_the_market_does_not_close(self):
        times = np.datetime64("2024-01-01", "ns") + np.arange(24 * 14) * np.timedelta64(1, "h")
        keep = np.ones(len(times), bool)
        keep[22:27] = False
        facts = inspect_bars(flat(times[keep]))
        assert (facts.n_gaps, facts.missing_bars) == (1, 5)
        assert facts.largest_gaps[0].after == "2024-01-01 21:00"

    def test_j8_are_measured_in_the_unit_of_the_times(self):
        # The predecessor compared seconds with milliseconds: every row was a gap.
        for unit in ("s", "ms", "us", "ns"):
            times = np.datetime64("2024-01-01", unit) + np.arange(50) * np.timedelta64(5, "m")
            assert inspect_bars(flat(times)).n_gaps == 0

    def test_daily_bars_miss_no_weekend(self):
        days = np.busday_offset(np.datetime64("2024-01-02"), np.arange(30))
        assert inspect_bars(flat(days)).n_gaps == 0
        facts = inspect_bars(flat(np.delete(days, [7, 8])))
        assert (facts.n_gaps, facts.missing_bars) == (1, 2)

    def test_daily_bars_of_seven_days_miss_theirs(self):
        days = np.datetime64("2024-01-01") + np.arange(60)
        assert inspect_bars(flat(np.delete(days, 20))).missing_bars == 1

    def test_weekly_bars(self):
        weeks = np.datetime64("2024-01-01") + 7 * np.arange(20)
        facts = inspect_bars(flat(np.delete(weeks, 5)))
        assert facts.interval_minutes == 7 * 1440
        assert facts.missing_bars == 1

    def test_at_most_ten_are_named(self):
        bars = without(synthetic_bars(n_days=5), np.arange(1, 60, 3))
        facts = inspect_bars(bars)
        assert facts.n_gaps == 20
        assert len(facts.largest_gaps) == 10


def test_sessions_tell_usual_hours_from_odd_days():
    bars = without(synthetic_bars(n_days=20), [0, 1, 217, 330])
    january = inspect_bars(bars).sessions[0]
    assert (january.first, january.last) == ("09:00", "18:00")
    assert (january.late_starts, january.early_ends) == (1, 1)
    assert january.bars == len(bars)


class TestTicks:
    @pytest.mark.parametrize("tick_size", [5.0, 0.5, 0.25, 0.01, 0.00001, 3.0])
    def test_grid_is_found(self, tick_size):
        facts = inspect_bars(synthetic_bars(n_days=20, tick_size=tick_size))
        assert facts.tick_size == tick_size
        assert facts.warnings == ()

    def test_s35_ratio_adjusted_series_is_warned_of(self):
        # The real one: ticks of 5 points became 5.09 to 5.27 by contract, rounded to cents.
        bars = synthetic_bars(n_days=20)
        ratio = np.where(bars.day < 10, 1.0178, 1.0512)
        adjusted = {name: np.round(getattr(bars, name) * ratio, 2) for name in PRICES}
        facts = inspect_bars(Bars(bars.time.view("M8[ns]"), **adjusted, volume=bars.volume))
        assert facts.tick_size == 0.01
        assert facts.smallest_move == pytest.approx(5.08, abs=0.02)
        assert any("ratio-adjusted" in warning for warning in facts.warnings)

    def test_computed_prices_are_warned_of(self):
        bars = synthetic_bars(n_days=20)
        computed = {name: getattr(bars, name) / 7 for name in PRICES}
        facts = inspect_bars(Bars(bars.time.view("M8[ns]"), **computed, volume=bars.volume))
        assert facts.tick_size is None
        assert any("more than 10 decimals" in warning for warning in facts.warnings)

    def test_rounding_noise_is_told_from_that(self):
        close = np.array([0.1 + 0.2, 0.5])
        bars = flat(["2024-01-01", "2024-01-02"], **dict.fromkeys(PRICES, close))
        facts = inspect_bars(bars)
        assert facts.tick_size == 0.1
        assert "0.30000000000000004" in facts.warnings[0]

    def test_prices_beyond_counting_have_no_grid(self):
        huge = np.full(2, 1e300)
        bars = flat(["2024-01-01", "2024-01-02"], **dict.fromkeys(PRICES, huge))
        assert inspect_bars(bars).tick_size is None

    def test_zero_prices(self):
        zero = np.zeros(2)
        bars = flat(["2024-01-01", "2024-01-02"], **dict.fromkeys(PRICES, zero))
        assert inspect_bars(bars).tick_size is None


def test_seven_day_market_is_told_of_its_365_periods():
    times = np.datetime64("2024-01-01", "ns") + np.arange(24 * 20) * np.timedelta64(1, "h")
    facts = inspect_bars(flat(times))
    assert facts.trades_weekends
    assert any("365" in warning for warning in facts.warnings)


def test_five_days_of_one_week_leave_weekends_open():
    facts = inspect_bars(flat(np.datetime64("2024-01-01") + np.arange(5)))
    assert (facts.weekend_days, facts.trades_weekends) == (0, False)


def test_no_volume_and_long_silence_are_told():
    bars = flat(["2024-01-01", "2024-01-02", "2024-03-01"], volume=np.zeros(3))
    told = " ".join(inspect_bars(bars).warnings)
    assert "no volume" in told
    assert "from 2024-01-02 00:00 to 2024-03-01 00:00" in told


def test_what_the_reader_did_is_part_of_it(tmp_path):
    file = tmp_path / "bars.csv"
    synthetic_bars(n_days=2).to_frame().iloc[::-1].to_csv(file)
    facts = inspect_bars(load_bars(file))
    assert facts.source.newest_first
    assert facts.source.source == "bars.csv"
    assert facts.volume_kind == "volume"
