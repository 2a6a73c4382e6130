"""Paths that are backtests: late entries, and the three null models."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from tests.monte_carlo_oracle import below, walk, word

import backtest_py as bt
from backtest_py.analysis.monte_carlo import reruns
from backtest_py.analysis.monte_carlo.settings import MonteCarloSettings
from backtest_py.analysis.monte_carlo.trades import trades_of
from backtest_py.engines.registry import resolve
from backtest_py.signals import Signals

RULES = bt.ExitRules(stop=1.0, target=1.5, close_time="17:00")
CONTRACT = bt.Contract(tick_size=5, point_value=0.2, fee_per_side=0.25, slippage_ticks=1)
STRATEGY = bt.BarraElefante(min_range_mult=1.4, entry_start="09:30", entry_end="15:00")
CASES = {
    "delay": {"kind": "delay", "max_delay": 2},
    "entries": {"kind": "null"},
    "directions": {"kind": "null", "null": "directions"},
    "blocks": {"kind": "null", "null": "blocks", "block_length": 9},
}


@pytest.fixture(scope="module")
def result():
    found = bt.run(bt.synthetic_bars(n_days=40), STRATEGY, RULES, CONTRACT)
    assert len(found) > 60
    return found


def jobs(result, engine="rust", n=4, **how):
    """Return the jobs of the first paths."""
    trades, settings = trades_of(result, None), MonteCarloSettings(**how)
    runner = resolve(engine)[0]
    make = reruns._maker(runner, trades, reruns.rerun_job(trades), settings)
    return [make(path) for path in range(n)]


@pytest.mark.parametrize("case", CASES)
def test_engines_and_threads_change_nothing(result, case):
    found = [
        bt.monte_carlo(result, n_paths=12, seed=5, engine=name, threads=threads, **CASES[case])
        for name in ("numba", "rust")
        for threads in (1, 3)
    ]
    for other in found[1:]:
        pd.testing.assert_frame_equal(other.table, found[0].table, check_exact=True)
        pd.testing.assert_frame_equal(other.fan, found[0].fan, check_exact=True)
    fewer = bt.monte_carlo(result, n_paths=5, seed=5, **CASES[case])
    pd.testing.assert_frame_equal(fewer.table, found[0].table.head(5), check_exact=True)
    assert found[0].table["total_return"].nunique() > 6


@pytest.mark.parametrize("case", CASES)
def test_a_path_is_the_run_of_its_job(result, case):
    found = bt.monte_carlo(result, n_paths=3, **CASES[case])
    for path, job in enumerate(jobs(result, n=3, **CASES[case])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bt.BacktestWarning)  # new prices are off the tick grid
            if job.signals is None:
                run = bt.run(job.bars, job.strategy, job.rules, job.contract)
            else:
                run = bt.run_signals(job.bars, job.signals.side, job.rules, job.contract)
        row = found.table.loc[path]
        for name in ("total_return", "max_drawdown", "sharpe", "profit_factor", "total_trades"):
            np.testing.assert_equal(row[name], run.metrics[name])
        equity, _ = walk(run.trades["pnl"].tolist(), 10_000.0)
        assert row["final_equity"] == equity[-1]
    for name in ("total_return", "sharpe", "max_drawdown_pct"):
        assert found.observed[name] == result.metrics[name]


def test_compounding_grows_the_lots_of_a_rerun(result):
    grown = bt.monte_carlo(result, "null", n_paths=3, sizing="compound")
    for path, job in enumerate(jobs(result, n=3, kind="null")):
        run = bt.run_signals(job.bars, job.signals.side, job.rules, job.contract)
        expected = walk(run.trades["pnl"].tolist(), 10_000.0, compound=True)[1]
        assert grown.table.loc[path, "final_equity"] == expected["final_equity"]


def test_late_signals(result, engine):
    bars = result.job.bars
    side = resolve(engine)[0].signals(bars, STRATEGY).side
    rows = np.flatnonzero(side)
    for path, job in enumerate(jobs(result, engine, kind="delay", max_delay=5, seed=8)):
        expected = np.zeros(len(bars), np.int8)
        for draw, row in enumerate(rows):
            late = row + below(6, 8, path, draw)
            if late < len(bars) and bars.day[late] == bars.day[row]:
                expected[late] = side[row]
        np.testing.assert_array_equal(job.signals.side, expected)


def test_entries_at_random_keep_sides_hours_and_number(result, engine):
    bars, observed = result.job.bars, result.columns["signal_bar"]
    minutes = bars.minute[observed]
    placed = jobs(result, engine, kind="null", n=8)
    sides = np.array([[np.sum(job.signals.side == s) for s in (1, -1)] for job in placed])
    assert (sides == sides[0]).all()
    longs = np.mean(result.columns["side"] == 1)
    assert sides[0, 0] / sides[0].sum() == pytest.approx(longs, abs=0.03)
    for job in placed:
        at = np.flatnonzero(job.signals.side)
        assert bars.minute[at].min() >= minutes.min()
        assert bars.minute[at].max() <= minutes.max()
        assert len(np.intersect1d(at, observed)) < len(observed) / 2
    table = bt.monte_carlo(result, "null", n_paths=200, engine=engine).table
    assert table["total_trades"].mean() == pytest.approx(len(result), rel=0.03)


def test_entries_at_random_keep_to_the_range_and_carry_their_risk():
    bars = bt.synthetic_bars(n_days=30)
    side = np.zeros(len(bars), np.int8)
    side[40::97] = 1
    risk = np.where(side == 0, np.nan, 10.0 + np.arange(len(bars)) % 50)
    first, last = "2019-01-10", "2019-01-25"
    rules = bt.ExitRules(unit="strategy", stop=2.0, target=3.0)
    result = bt.run_signals(bars, side, rules, risk=risk, range=(first, last))
    assert len(result) > 5
    given = set(risk[result.columns["signal_bar"]])
    for job in jobs(result, kind="null"):
        at = np.flatnonzero(job.signals.side)
        assert at.min() >= job.first
        assert at.max() < job.last
        assert set(job.signals.risk[at]) <= given
        assert np.isnan(np.delete(job.signals.risk, at)).all()


def test_tossed_bars_keep_their_sizes(result, engine):
    bars = result.job.bars
    for path, job in enumerate(jobs(result, engine, n=2, **CASES["directions"])):
        new = job.bars
        assert np.shares_memory(new.time, bars.time)
        bt.Bars(new.time, new.open, new.high, new.low, new.close, new.volume)  # they are valid
        down = np.array([word(0, path, i) >= 2**31 for i in range(len(bars))])
        sign = np.where(down, -1, 1)
        move, old = np.log(new.close / new.open), np.log(bars.close / bars.open)
        np.testing.assert_allclose(move, sign * old, atol=1e-12)
        gap, old = np.log(new.open[1:] / new.close[:-1]), np.log(bars.open[1:] / bars.close[:-1])
        np.testing.assert_allclose(gap, sign[1:] * old, atol=1e-12)
        span, old = np.log(new.high / new.low), np.log(bars.high / bars.low)
        np.testing.assert_allclose(span, old, atol=1e-12)


def test_blocks_of_bars_begin_at_their_time_of_day(result, engine):
    bars, length = result.job.bars, CASES["blocks"]["block_length"]
    at_minute = {minute: np.flatnonzero(bars.minute == minute) for minute in set(bars.minute)}
    for path, job in enumerate(jobs(result, engine, n=2, **CASES["blocks"])):
        new, source = job.bars, []
        for draw, start in enumerate(range(0, len(bars), length)):
            choice = at_minute[bars.minute[start]]
            taken = choice[below(len(choice), 0, path, draw)]
            source += [(taken + k) % len(bars) for k in range(length)]
        source = np.array(source[: len(bars)])
        np.testing.assert_array_equal(new.volume, bars.volume[source])
        before = bars.open[0]
        for t, s in enumerate(source[:200]):
            opened = before * (bars.open[s] / (bars.close[s - 1] if s else bars.open[s]))
            assert new.open[t] == opened
            assert new.high[t] == opened * (bars.high[s] / bars.open[s])
            assert new.close[t] == opened * (bars.close[s] / bars.open[s])
            before = new.close[t]


def planted(n_days):
    """Return bars that rise after each bar with a high volume, and the strategy that knows."""
    bars = bt.synthetic_bars(n_days=n_days, seed=4)
    random = np.random.default_rng(0)
    marked = np.zeros(len(bars), bool)
    marked[random.choice(np.arange(20, len(bars) - 10), len(bars) // 60, replace=False)] = True
    lift = np.convolve(marked, [0, 1, 1, 1])[: len(bars)] > 0
    move = bars.close - bars.open
    close = np.where(lift, bars.open + np.abs(move) + 5, bars.close)
    shift = np.cumsum(close - bars.close)
    prices = {
        "open": bars.open + np.append(0.0, shift[:-1]),
        "close": bars.close + shift,
    }
    prices["high"] = np.maximum(bars.high + np.append(0.0, shift[:-1]), prices["close"])
    prices["low"] = np.minimum(bars.low + np.append(0.0, shift[:-1]), prices["open"])
    made = bt.Bars(bars.time, volume=bars.volume, **prices)
    return made, marked.astype(np.int8)


def test_a_planted_edge_is_found_and_luck_is_not():
    bars, side = planted(60)
    rules = bt.ExitRules(stop=0, target=0, max_bars=3)
    good = bt.run_signals(bars, side, rules)
    assert bt.monte_carlo(good, "null", n_paths=199).p_value("total_return") == 1 / 200
    # entries without any knowledge: p-values that are small only as often as they should be
    random = np.random.default_rng(7)
    found = []
    for _ in range(40):
        luck = np.zeros(len(bars), np.int8)
        luck[random.choice(len(bars) - 5, 80, replace=False)] = 1
        by_luck = bt.run_signals(bars, luck, rules)
        found.append(bt.monte_carlo(by_luck, "null", n_paths=99).p_value("total_return"))
    assert 0.35 < np.mean(found) < 0.65
    assert np.mean(np.array(found) <= 0.1) < 0.25


def test_a_strategy_of_the_users_own_runs_on_other_bars(engine):
    def fades(bars, *, n: int = 3):
        change = bars.close - np.roll(bars.close, n)
        change[:n] = 0
        return -np.sign(change).astype(np.int8)

    result = bt.run(bt.synthetic_bars(n_days=8), fades, bt.ExitRules(stop=1.0), engine=engine)
    for null in ("directions", "blocks", "entries"):
        found = bt.monte_carlo(result, "null", null=null, n_paths=6, engine=engine)
        assert found.table["total_return"].nunique() > 3


def test_metrics_that_are_undefined_do_not_count(result):
    bars = result.job.bars
    side = np.zeros(len(bars), np.int8)
    side[30] = 1
    once = bt.run_signals(bars, side, bt.ExitRules(max_bars=3))
    found = bt.monte_carlo(once, "null", n_paths=50)
    assert found.table["sqn"].isna().all()
    assert np.isnan(found.quantiles([0.5], "sqn").loc[0.5, "sqn"])
    with pytest.raises(bt.ConfigError, match="sqn is undefined for what was observed"):
        found.p_value("sqn")
    assert 0 < found.p_value("total_return") <= 1


def test_a_delay_has_no_p_value(result):
    with pytest.raises(bt.ConfigError, match="keeps the edge"):
        bt.monte_carlo(result, "delay", n_paths=5).p_value("total_return")


def test_a_ruined_run_keeps_its_entries_before_the_ruin():
    bars = bt.synthetic_bars(n_days=30)
    poor = bt.Contract(tick_size=5, point_value=2.0, fee_per_side=20.0, initial_capital=600.0)
    result = bt.run(bars, STRATEGY, RULES, poor)
    assert result.metrics.ruined
    found = bt.monte_carlo(result, "null", n_paths=40)
    assert 0 < found.probability_of_ruin <= 1
    last = result.columns["signal_bar"].max()
    for job in jobs(result, kind="null"):
        assert np.flatnonzero(job.signals.side).max() <= last
    assert isinstance(jobs(result, kind="null", n=1)[0].signals, Signals)
