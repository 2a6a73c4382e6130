"""Bugs of earlier backtesters that could come back here, one test each, on both engines.

Every test is named after its bug and says in one line what went wrong there: S of the first
system, J of the second. The others are tested elsewhere, or cannot happen here:

S21  a live robot that can never trade       - no order is placed and no robot written
S27  ranges that miss their end              test_grid_values.py::test_ranges_are_decimal
S28  a grid in random order                  test_grid.py::test_the_last_axis_is_the_fastest
S29  a resume that is none                   test_store_faults.py::test_kill_at_random_moments
S33  significance of shuffled profits        - nothing is tested for significance
S34  "out of sample" inside the sample       - no walk-forward is offered
S37  an open server, made-up candles         - there is no server, and all bars are the user's
J1   pickled results                         - no result is a pickle: Parquet, CSV, JSON
J2   a cache that is never checked           - bars are not cached, files are read every time
J3   an open candle kept for good            - nothing is downloaded
J4   one series under two names              - as J3, and the reader says which volume it took
J6   a design that was never run             test_docs.py::test_page_runs
J8   gaps in the wrong unit                  test_inspection.py::test_j8_are_measured_in_the_unit
J9   failed windows left out of the mean     - as S34
"""

from __future__ import annotations

import math
import re
import statistics
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.engines import Job, resolve
from backtest_py.engines.numba_engine.types import bar_columns
from backtest_py.parity import compare
from backtest_py.records import METRICS, Reason

pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.errors.BacktestWarning")

NO_EXIT = {"stop": 0, "target": 0}
POINTS = {**NO_EXIT, "unit": "points"}


def make_bars(rows, times=None, atr=None):
    """Build five-minute bars of 2 January 2024 from ``(open, high, low, close[, volume])``.

    ``times`` are texts ``"DD HH:MM"`` of January 2024 where five minutes will not do.
    """
    rows = [(*row, 1.0)[:5] for row in rows]
    if times is None:
        times = [f"02 {9 + 5 * i // 60:02d}:{5 * i % 60:02d}" for i in range(len(rows))]
    stamps = [f"2024-01-{text[:2]}T{text[3:]}" for text in times]
    return bt.Bars(np.array(stamps, "M8[ns]"), *np.array(rows, np.float64).T, atr=atr)


def flat(price, n=1):
    return [(price, price, price, price)] * n


def random_bars(n, seed=7, days=40):
    """Build n bars of whole prices in some days, with volumes."""
    rng = np.random.default_rng(seed)
    close = 1000 + np.cumsum(rng.integers(-5, 6, n)).astype(np.float64)
    open_ = np.append(1000.0, close[:-1])
    high = np.maximum(open_, close) + rng.integers(0, 4, n)
    low = np.minimum(open_, close) - rng.integers(0, 4, n)
    per_day = -(-n // days)
    number = np.arange(n)
    time = (19_000 + number // per_day) * 86_400 + number % per_day * 60
    volume = rng.integers(1, 50, n).astype(np.float64)
    return bt.Bars(time * 1_000_000_000, open_, high, low, close, volume)


def trade_signals(bars, signals, rules, engine, contract=None, **options):
    """Run signals given as ``{bar: side}`` and return the trades as a list of rows."""
    side = np.zeros(len(bars), np.int8)
    for bar, value in signals.items():
        side[bar] = value
    result = bt.run_signals(
        bars, side, bt.ExitRules(**rules), bt.Contract(**(contract or {})), engine=engine, **options
    )
    return result, [SimpleNamespace(**row) for row in result.trades.to_dict("records")]


def sides(bars, strategy, engine):
    return resolve(engine)[0].signals(bars, strategy).side


def elephants(**params):
    """Return a strategy whose every condition is off unless given."""
    off = {"min_range_mult": 0, "min_volume_mult": 0, "max_shadow_ratio": 1, "lookback": 1}
    return bt.BarraElefante(**{**off, **params})


# --- signals and indicators ------------------------------------------------------------------


def test_s1_every_lookback_has_its_own_sums(engine):
    """Sums of the largest lookback were cached and used for every other."""
    shared = random_bars(400)
    rules = [bt.ExitRules(atr_period=period, close_time="23:59") for period in (3, 14, 40)]
    plans = [
        (bt.BarraElefante(lookback=lookback, min_range_mult=1.2), rule)
        for lookback in (40, 3, 20, 7)
        for rule in rules
    ]
    jobs = [
        Job(shared, strategy, None, rule, bt.Contract(), bt.MetricSettings(), 0, len(shared))
        for strategy, rule in plans
    ]
    swept = resolve(engine)[0].optimize(jobs)
    for row, (strategy, rule) in zip(swept, plans, strict=True):
        alone = bt.run(random_bars(400), strategy, rule, engine=engine)
        together = bt.run(shared, strategy, rule, engine=engine)
        assert compare(alone.output, together.output).same
        assert alone.metrics.total_trades > 0
        np.testing.assert_array_equal(row, alone.output.metrics)


@pytest.mark.parametrize("lookback", [1, 3, 30])
def test_s2_the_volume_is_compared_over_the_same_lookback(engine, lookback):
    """One engine compared the volume over 20 bars, whatever the lookback."""
    volumes = [100.0] * 30 + [10.0] * lookback + [11.0]
    bars = make_bars([(100, 101, 100, 101, volume) for volume in volumes])
    strategy = elephants(lookback=lookback, min_volume_mult=1.1)
    assert np.flatnonzero(sides(bars, strategy, engine)).tolist() == [len(bars) - 1]


def test_s3_distances_come_from_the_signal_bar(engine):
    """Stops used the entry bar's range, which is not known at its open."""
    wild = (100, 140, 60, 100)
    bars = make_bars([*flat(100), (100, 101, 99, 100), wild, *flat(100)])
    rules = {"stop": 2, "target": 3, "atr_period": 1}
    _, (trade,) = trade_signals(bars, {1: 1}, rules, engine)
    assert (trade.entry_bar, trade.stop_price, trade.target_price) == (2, 96.0, 106.0)


@pytest.mark.parametrize("confirm", [False, True])
def test_s4_signals_do_not_see_the_next_bar(engine, confirm):
    """A bar was marked by what the bar after it did."""
    bars = random_bars(120, days=3)
    strategies = (
        elephants(lookback=3, min_range_mult=1, confirm_breakout=confirm),
        bt.OpeningRangeBreakout(range_minutes=10),
        bt.MovingAverageCross(fast=2, slow=5),
    )
    for strategy in strategies:
        whole = sides(bars, strategy, engine)
        assert np.any(whole)
        for n in range(1, len(bars)):
            np.testing.assert_array_equal(sides(bars[:n], strategy, engine), whole[:n])


def test_s4_the_entry_is_the_bar_after_the_signal(engine):
    """An order decided at a close was filled before it."""
    bars = make_bars([(p, p + 1, p - 1, p) for p in (100, 110, 120, 130)])
    _, (trade,) = trade_signals(bars, {1: 1}, NO_EXIT, engine)
    assert (trade.signal_bar, trade.entry_bar, trade.entry_price) == (1, 2, 120.0)


def test_s5_a_bar_is_compared_with_full_windows_before_it(engine):
    """Three means existed: with the bar itself, without it, and over half-filled windows."""
    rows = [(0, 4, 0, 4), (0, 1, 0, 1), (0, 1, 0, 1), (0, 4, 0, 4), (0, 8, 0, 8)]
    bars = make_bars(rows)
    # bar 3: 4 over the mean of 4, 1, 1 is 2; bar 4: 8 over the mean of 1, 1, 4 is 4
    assert sides(bars, elephants(lookback=3, min_range_mult=2), engine).tolist() == [0, 0, 0, 1, 1]
    assert sides(bars, elephants(lookback=3, min_range_mult=4), engine).tolist() == [0, 0, 0, 0, 1]
    assert not sides(bars, elephants(lookback=3, min_range_mult=4.01), engine).any()


@pytest.mark.parametrize("lookback", [5, 6, 7, 100_000])
def test_s6_a_window_longer_than_the_data_is_no_signal(engine, lookback):
    """An unrolled mean read and wrote outside its arrays."""
    bars = make_bars([(100, 101 + i, 100, 101 + i) for i in range(6)])
    expected = [0] * 6 if lookback >= 6 else [0, 0, 0, 0, 0, 1]
    assert sides(bars, elephants(lookback=lookback), engine).tolist() == expected
    cross = bt.MovingAverageCross(fast=1, slow=max(lookback, 2))
    assert not sides(bars, cross, engine).any()
    result = bt.run(
        bars, elephants(lookback=lookback), bt.ExitRules(atr_period=100_000), engine=engine
    )
    assert result.metrics.total_trades == 0


@pytest.mark.parametrize("spike", [1e12, 1e18, 1e300])
def test_s7_a_spike_is_forgotten_when_it_leaves_the_window(engine, spike):
    """A running sum kept the rounding of one huge volume for ever."""
    volumes = [spike] + [3.0] * 60
    bars = make_bars([(100, 101, 100, 101, volume) for volume in volumes])
    strategy = elephants(lookback=3, min_volume_mult=1)
    assert sides(bars, strategy, engine).tolist() == [0] * 4 + [1] * 57


def test_s8_nan_is_seen(engine):
    """Fast-math compiled the tests for nan away."""
    atr = [math.nan, 2.0, math.nan, 2.0, 2.0, 2.0]
    bars = make_bars(flat(100, 6), atr=atr)
    rules = {"stop": 1, "target": 1, "atr_method": "column", "max_bars": 1}
    _, trades = trade_signals(bars, {0: 1, 1: 1, 2: 1, 3: 1}, rules, engine)
    assert [(trade.signal_bar, trade.stop_price) for trade in trades] == [(1, 98.0), (3, 98.0)]


@pytest.mark.parametrize("share", ["0.25", "0.3", "0.35", "0.4"])
def test_s9_a_ratio_on_its_threshold_counts(engine, share):
    """float32 against float64 decided bars exactly on a threshold, differently in each engine."""
    limit = Fraction(share)
    pairs = [
        (body, size)
        for size in range(5, 2001, 5)
        for body in range(5, size + 1, 5)
        if Fraction(size - body, size) == limit
    ]
    assert len(pairs) >= 20
    rows = [row for body, size in pairs for row in ((100, 100 + size, 100, 100 + body),) * 2]
    outside = [row for body, size in pairs for row in ((100, 100 + size, 100, 95 + body),) * 2]
    bars, tighter = (make_day_bars(x) for x in (rows, outside))
    strategy = elephants(max_shadow_ratio=float(share))
    assert sides(bars, strategy, engine)[1:].all()
    assert not sides(tighter, strategy, engine).any()


def make_day_bars(rows):
    """Build one-minute bars, as many as there are rows."""
    time = (np.arange(len(rows)) + 28_402_560) * 60_000_000_000
    return bt.Bars(time, *np.array(rows, np.float64).T, np.ones(len(rows)))


def test_s9_a_multiple_on_its_threshold_counts(engine):
    """Means were rounded before they were compared, so that exact multiples failed."""
    rows = []
    for total in range(3, 200):  # three ranges with this sum, then half a mean more
        rows += [(0, total - 2, 0, 1), (0, 1, 0, 1), (0, 1, 0, 1), (0, total / 2, 0, 1)]
    strategy = elephants(lookback=3, min_range_mult=1.5)
    assert (sides(make_day_bars(rows), strategy, engine)[3::4] == 1).all()


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**-10, 2.0**20])
def test_s10_no_rule_is_in_price_units(engine, scale):
    """Bodies below one price unit were taken for dojis, so that cheap markets never traded."""
    bars = random_bars(200)
    columns = (x * scale for x in (bars.open, bars.high, bars.low, bars.close))
    small = bt.Bars(bars.time, *columns, bars.volume)
    strategy = elephants(lookback=5, min_range_mult=1, max_shadow_ratio=0.6)
    np.testing.assert_array_equal(sides(small, strategy, engine), sides(bars, strategy, engine))
    assert sides(small, strategy, engine).any()


def test_s11_a_window_cuts_signals_and_no_indicator(engine):
    """One engine took its means before the session was cut, the other after."""
    bars = random_bars(400)
    params = {"lookback": 6, "min_range_mult": 1.3}
    inside = (bars.minute >= 2) & (bars.minute <= 5)
    whole = sides(bars, elephants(**params), engine)
    cut = sides(bars, elephants(**params, entry_start="00:02", entry_end="00:05"), engine)
    assert np.any(cut)
    np.testing.assert_array_equal(cut, np.where(inside, whole, 0))


@pytest.mark.parametrize("lookback", [2, 5, 9])
def test_s12_the_last_bar_needs_its_window_alone(engine, lookback):
    """Live, a negative index stretched the mean over the whole history."""
    bars = random_bars(120, days=3)
    strategy = elephants(lookback=lookback, min_range_mult=1, min_volume_mult=1)
    whole = sides(bars, strategy, engine)
    assert np.any(whole)
    for end in range(lookback + 1, len(bars) + 1):
        alone = sides(bars[end - lookback - 1 : end], strategy, engine)
        assert alone[-1] == whole[end - 1]


# --- execution -------------------------------------------------------------------------------


def test_s13_a_trailed_stop_holds_from_the_next_bar(engine):
    """The stop moved by a bar's close was tested against the same bar's earlier low."""
    rows = [*flat(100), (100, 110, 99, 109), (108, 112, 106, 111), *flat(111)]
    _, (trade,) = trade_signals(make_bars(rows), {0: 1}, {**POINTS, "trail": 2}, engine)
    assert (trade.exit_bar, trade.exit_price, trade.reason) == (2, 107.0, "trailing_stop")


def test_s14_trailing_works_for_both_sides(engine):
    """One engine never read the trailing parameters."""
    up = [*flat(100), (100, 105, 100, 105), (105, 110, 104, 110), (110, 110, 100, 101)]
    down = [tuple(200 - x for x in (o, low, high, c)) for o, high, low, c in up]
    for rows, side, price in ((up, 1, 107.0), (down, -1, 93.0)):
        _, (plain,) = trade_signals(make_bars(rows), {0: side}, POINTS, engine)
        _, (trailed,) = trade_signals(make_bars(rows), {0: side}, {**POINTS, "trail": 3}, engine)
        assert plain.reason == "end_of_data"
        assert (trailed.reason, trailed.exit_price) == ("trailing_stop", price)


def test_s15_a_gap_through_the_stop_fills_at_the_open(engine):
    """A stop jumped over was filled at its price, which never traded."""
    rows = [*flat(100, 2), (90, 91, 89, 90), *flat(90)]
    for side, sign in ((1, 1), (-1, -1)):
        turned = [tuple(100 + sign * (x - 100) for x in row) for row in rows]
        turned = [(o, max(h, low), min(h, low), c) for o, h, low, c in turned]
        _, (trade,) = trade_signals(
            make_bars(turned), {0: side}, {**POINTS, "stop": 5}, engine, {"slippage_ticks": 1}
        )
        assert (trade.exit_bar, trade.reason) == (2, "stop_loss")
        assert trade.points == -12.0  # ten points of gap, a tick of slippage on either side


def test_s15_a_gap_over_the_target_fills_at_the_open(engine):
    """A limit order got its price where the market offered a better one."""
    rows = [*flat(100, 2), (110, 111, 109, 110), *flat(110)]
    _, (trade,) = trade_signals(make_bars(rows), {0: 1}, {**POINTS, "target": 5}, engine)
    assert (trade.reason, trade.exit_price) == ("take_profit", 110.0)


def test_s16_the_closing_bar_exits_at_its_open(engine):
    """Positions closed at the close of the bar that starts at the closing time."""
    times = ["02 12:00", "02 12:05", "02 12:10", "02 12:15", "02 12:20"]
    rows = [*flat(100, 3), (101, 120, 80, 90), *flat(90)]
    rules = {**POINTS, "stop": 5, "close_time": "12:15"}
    _, (trade,) = trade_signals(make_bars(rows, times), {0: 1}, rules, engine)
    assert (trade.exit_bar, trade.exit_price, trade.reason) == (3, 101.0, "session_close")


def test_s16_a_stop_before_the_closing_bar_counts(engine):
    """Stops were not tested on the way to the closing time."""
    times = ["02 12:00", "02 12:05", "02 12:10", "02 12:15"]
    rows = [*flat(100, 2), (100, 100, 94, 100), *flat(100)]
    rules = {**POINTS, "stop": 5, "close_time": "12:15"}
    _, (trade,) = trade_signals(make_bars(rows, times), {0: 1}, rules, engine)
    assert (trade.exit_bar, trade.exit_price, trade.reason) == (2, 95.0, "stop_loss")


def test_s17_a_short_session_closes_at_its_end(engine):
    """A day whose bars end before the closing time carried its position over night."""
    times = ["02 12:00", "02 12:05", "02 12:10", "03 09:00", "03 09:05"]
    rows = [*flat(100, 2), (100, 103, 99, 102), *flat(150, 2)]
    _, (trade,) = trade_signals(
        make_bars(rows, times), {0: 1}, {**NO_EXIT, "close_time": "15:00"}, engine
    )
    assert (trade.exit_bar, trade.exit_price, trade.reason) == (2, 102.0, "session_end")


def test_s18_an_order_dies_with_its_session(engine):
    """A signal of the last bar was filled the next morning, or after the closing time."""
    times = ["02 12:05", "02 12:10", "02 12:15", "02 17:00", "03 09:00", "03 09:05", "03 09:10"]
    bars = make_bars(flat(100, 7), times)
    rules = {**NO_EXIT, "close_time": "12:15"}
    for signal in (1, 2, 3):
        assert trade_signals(bars, {signal: 1}, rules, engine)[1] == []
    assert len(trade_signals(bars, {0: 1}, rules, engine)[1]) == 1


def test_s19_a_position_open_at_the_end_is_a_trade(engine):
    """A position that was open on the last bar vanished."""
    result, (trade,) = trade_signals(
        make_bars([*flat(100, 2), (100, 108, 99, 107)]), {0: 1}, NO_EXIT, engine
    )
    assert (trade.exit_bar, trade.exit_price, trade.reason) == (2, 107.0, "end_of_data")
    assert result.metrics.total_return == 7.0


def test_s20_target_and_target_r_are_different_things(engine):
    """The target was a multiple of the stop in one place and of the range in another."""
    bars = make_bars(flat(100, 3), atr=[2.0, 2.0, 2.0])
    rules = {"stop": 2, "atr_method": "column"}
    _, (by_unit,) = trade_signals(bars, {0: 1}, {**rules, "target": 3}, engine)
    _, (by_risk,) = trade_signals(bars, {0: 1}, {**rules, "target_r": 3}, engine)
    assert (by_unit.stop_price, by_unit.target_price) == (96.0, 106.0)
    assert (by_risk.stop_price, by_risk.target_price) == (96.0, 112.0)


def test_s22_points_become_money_and_costs_are_paid(engine):
    """Points were added to money, and nothing cost anything."""
    contract = {
        "tick_size": 5,
        "point_value": 0.2,
        "quantity": 3,
        "fee_per_side": 0.25,
        "fee_rate": 0.001,
        "slippage_ticks": 1,
        "initial_capital": 500,
    }
    bars = make_bars([*flat(1000, 2), *flat(1050)])
    result, (trade,) = trade_signals(bars, {0: 1}, NO_EXIT, engine, contract)
    assert (trade.entry_price, trade.exit_price, trade.points) == (1005.0, 1045.0, 40.0)
    assert trade.fees == pytest.approx(2 * 0.25 * 3 + 0.001 * (1005 + 1045) * 0.2 * 3)
    assert trade.pnl == pytest.approx(40 * 0.2 * 3 - trade.fees)
    assert result.metrics.total_return_pct == pytest.approx(100 * trade.pnl / 500)


# --- metrics ---------------------------------------------------------------------------------


def backtest_of_results(results, engine, capital=1000.0, **settings):
    """Run one long trade a day with a given result in points; None is a day without a trade."""
    rows, times, signals = [], [], {}
    for day, result in enumerate(results):
        start = 100_000.0
        if result is not None:
            signals[len(rows)] = 1
        end = start + (result or 0)
        rows += [*flat(start, 2), (end, end, end, end)]
        times += [f"{day + 2:02d} 09:0{minute}" for minute in (0, 1, 2)]
    result, _ = trade_signals(
        make_bars(rows, times),
        signals,
        {**NO_EXIT, "max_bars": 1},
        engine,
        {"initial_capital": capital},
        metrics=bt.MetricSettings(**settings),
    )
    return result.metrics


RESULTS = [10, -20, None, 30, -5, None, None, 15, -10, 20]


def daily_returns(results, capital=1000.0):
    returns = []
    for result in results:
        returns.append((result or 0) / capital)
        capital += result or 0
    return returns


def test_s23_sharpe_is_of_daily_returns_with_idle_days(engine):
    """It was taken per trade, on points, and annualised as if trades were days."""
    returns = daily_returns(RESULTS)
    expected = statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(252)
    metrics = backtest_of_results(RESULTS, engine)
    assert metrics.days == 10
    assert metrics.sharpe == pytest.approx(expected, rel=1e-12)


def test_s24_sortino_is_over_all_days(engine):
    """Two wrong ones existed: over negative days alone, and about their own mean."""
    returns = daily_returns(RESULTS)
    for rate in (0.0, 0.05):
        daily = rate / 252
        downside = math.sqrt(statistics.mean(min(r - daily, 0) ** 2 for r in returns))
        expected = (statistics.mean(returns) - daily) / downside * math.sqrt(252)
        metrics = backtest_of_results(RESULTS, engine, risk_free_rate=rate)
        assert metrics.sortino == pytest.approx(expected, rel=1e-12)


def test_s25_drawdown_is_from_the_running_peak_of_the_account(engine):
    """It was measured from the last peak of profits alone, and missed a loss at the start."""
    assert backtest_of_results([-100, 50], engine).max_drawdown_pct == 10.0
    metrics = backtest_of_results([-100, 9100, -500], engine)  # 10 % first, 5 % of more money later
    assert metrics.max_drawdown == 500.0
    assert metrics.max_drawdown_pct == 10.0


def test_s26_profit_factor_without_losses_is_the_best(engine):
    """It was 0, so that the best strategies came last."""
    assert backtest_of_results([10, 20], engine).profit_factor == math.inf
    assert backtest_of_results([-10, -20], engine).profit_factor == 0.0
    assert math.isnan(backtest_of_results([0, 0], engine).profit_factor)
    assert math.isnan(backtest_of_results([None, None], engine).profit_factor)


def test_s26_a_zero_trade_ends_both_streaks(engine):
    """One engine counted it as a loss, the other not."""
    metrics = backtest_of_results([5, 5, 0, 5, -5, 0, -5, -5], engine)
    assert (metrics.max_consecutive_wins, metrics.max_consecutive_losses) == (2, 2)
    assert (metrics.winning_trades, metrics.losing_trades, metrics.total_trades) == (3, 3, 8)


def test_j7_metrics_count_days_and_fractions(engine):
    """Bars were annualised as days, percent mixed with fractions, Sortino was 0.75 Sharpe."""
    daily = np.array(daily_returns(RESULTS))
    metrics = backtest_of_results(RESULTS, engine, risk_free_rate=0.1, periods_per_year=365)
    excess = daily - 0.1 / 365
    sharpe = excess.mean() / daily.std(ddof=1) * math.sqrt(365)
    sortino = excess.mean() / math.sqrt(np.mean(np.minimum(excess, 0) ** 2)) * math.sqrt(365)
    assert metrics.sharpe == pytest.approx(sharpe, rel=1e-9)
    assert metrics.sortino == pytest.approx(sortino, rel=1e-9)
    assert metrics.annual_return_pct == pytest.approx(
        100 * sum(filter(None, RESULTS)) / 1000 * 36.5
    )
    assert backtest_of_results([10, 20], engine).profit_factor == math.inf


# --- robustness ------------------------------------------------------------------------------


def test_s30_an_error_is_not_a_backtest_without_trades(engine):
    """Any exception was swallowed and reported as no trades."""

    def broken(bars):
        return np.full(len(bars), 1 // (len(bars) - 3), np.int8)

    with pytest.raises(ZeroDivisionError):
        bt.run(make_bars(flat(100, 3)), broken, engine=engine)
    with pytest.raises(bt.ConfigError, match="risk"):
        trade_signals(make_bars(flat(100, 3)), {0: 1}, {"unit": "strategy"}, engine)


def test_s31_whole_columns_go_in_and_out():
    """A dictionary per trade and a copy of the bars per call cost more than the backtest."""
    bars = random_bars(300)
    names = ("open", "high", "low", "close", "volume", "minute", "day")
    assert _engine_rust.column_addresses(bars) == [getattr(bars, n).ctypes.data for n in names]
    result = bt.run(bars, elephants(lookback=4), engine="rust")
    assert len(result) > 3
    for column in result.columns.values():
        assert isinstance(column, np.ndarray)
        assert not column.flags.owndata  # the engine's own memory


def test_s32_the_comparison_sees_what_a_tolerance_hides(engine):
    """The comparing tool did not even parse, and another let trades differ by a point."""
    bars = random_bars(300)
    one, other = (
        bt.run(bars, elephants(min_range_mult=1.5, lookback=4), engine=engine) for _ in range(2)
    )
    assert len(one) > 3
    assert compare(one.output, other.output).same
    trades = {name: column.copy() for name, column in other.columns.items()}
    trades["exit_price"][2] = math.nextafter(trades["exit_price"][2], 0)
    changed = SimpleNamespace(trades=trades, metrics=other.output.metrics)
    found = compare(one.output, changed).trades
    assert (found.trade, found.field, found.ulps) == (2, "exit_price", 1)


STRATEGIES = (
    elephants(lookback=6, min_range_mult=1.3, min_volume_mult=0.8, confirm_breakout=True),
    bt.OpeningRangeBreakout(range_minutes=20),
    bt.MovingAverageCross(fast=3, slow=11),
)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_j5_chunks_of_bars_do_not_show(strategy):
    """Indicators and positions were lost where data was cut into chunks for workers."""
    bars = random_bars(500, days=6)
    columns, values = bar_columns(bars), np.array(strategy.values())
    expected = resolve("numba")[0].signals(bars, strategy)
    for seed in range(20):
        cuts = np.random.default_rng(seed).integers(0, 501, 6)
        edges = np.unique([0, *cuts, 500])
        side, risk = np.full(500, 9, np.int8), np.zeros(500 if strategy.gives_risk else 0)
        for start, end in pairwise(edges.tolist()):
            strategy.kernel(columns, values, start, side[start:end], risk[start:end])
        np.testing.assert_array_equal(side, expected.side)
        if strategy.gives_risk:
            np.testing.assert_array_equal(risk, expected.risk)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_j5_threads_do_not_show(strategy):
    """The answer depended on how the work was shared out."""
    bars = random_bars(70_000, days=300)  # enough for the Rust engine to share the work
    one, other = (resolve(name)[0].signals(bars, strategy) for name in ("numba", "rust"))
    assert np.count_nonzero(one.side) > 100
    np.testing.assert_array_equal(one.side, other.side)
    if strategy.gives_risk:
        np.testing.assert_array_equal(one.risk, other.risk)


def test_every_reason_has_a_count():
    """A reason without a metric would hide trades from the report."""
    assert {f"exits_{reason.name}" for reason in Reason} <= set(METRICS)


def test_s36_every_bar_of_the_file_is_in_some_range(tmp_path):
    """UTF-8 of even length was read as UTF-16, and `<= end_date` lost the end's day."""
    file = tmp_path / "bars.csv"
    for tail in ("", " "):  # of even and of odd length
        rows = [f"2024-01-0{day} 0{hour}:00,1,2,0.5,1" for day in (2, 3, 4) for hour in (0, 9)]
        file.write_text("\n".join(["time,open,high,low,close", *rows]) + tail, encoding="utf-8")
        bars = bt.load_bars(file)
        assert bars.time_text(5) == "2024-01-04 09:00"
        assert bars.bounds(None, "2024-01-03") == (0, 2)
        assert bars.bounds("2024-01-03", None) == (2, 6)
        assert bars.bounds("2024-01-02", "2024-01-05") == (0, 6)


def test_s35_a_truncated_export_is_warned_of(tmp_path):
    """Files that end where the platform stopped exporting were taken for the whole history."""
    times = np.datetime_as_string(np.arange(65_000).astype("M8[m]"))
    rows = "\n".join(f"{time},1,2,0.5,1" for time in times)
    (tmp_path / "bars.csv").write_text(f"time,open,high,low,close\n{rows}\n", encoding="utf-8")
    with pytest.warns(bt.BacktestWarning, match="exactly 65,000 rows"):
        bt.load_bars(tmp_path / "bars.csv")


def test_every_known_bug_has_a_test_or_a_reason():
    here = Path(__file__)
    table = dict(re.findall(r"^([SJ]\d+) .+?  +((?:test_|- ).+)$", __doc__, re.MULTILINE))
    for entry in table.values():
        if not entry.startswith("- "):
            file, name = entry.split("::")
            found = next(here.parent.rglob(file)).read_text(encoding="utf-8")
            assert f"def {name}" in found, entry
    tested = {name.split("_")[1].upper() for name in globals() if re.match(r"test_[sj]\d+_", name)}
    assert not tested & set(table)
    assert tested | set(table) == {f"S{n}" for n in range(1, 38)} | {f"J{n}" for n in range(1, 10)}
