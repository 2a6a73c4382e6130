"""Random questions to the plan of a sweep, and the single runs that answer them."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.data import load_bars
from backtest_py.engines.base import Job, atr_for
from backtest_py.engines.numba_engine.strategy import scored
from backtest_py.parameters import clock_text
from backtest_py.records import METRICS
from backtest_py.signals import Signals
from backtest_py.strategies.base import Bound, Strategy

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
REAL = {
    "index": ("WIN_M5_2023H1.csv", 2_500),
    "coin": ("BTCUSDT_30m_2021-2023H1.parquet", 2_500),
    "ties": ("TIES_M5.csv", 4_000),
}
KINDS = ("barra_elefante", "moving_average_cross", "opening_range_breakout", "own")
MARKETS = ("session", "round the clock", *(REAL if SHARED else ()))
N_SETS = 40  # of the first source: more than share a list
N_EXITS = 19  # neither a whole number of vectors nor a single one


def make_market(name):
    if name == "session":
        return bt.synthetic_bars(n_days=30)
    if name == "round the clock":
        return bt.synthetic_bars(
            n_days=60, bars_per_day=48, first_minute=0, interval_minutes=30, tick_size=0.01, seed=2
        )
    file, n_bars = REAL[name]
    return load_bars(Path(SHARED) / "data" / file)[:n_bars]


@dataclass
class Sweep:
    """A question to the plan of an engine, and the single runs that answer it."""

    bars: bt.Bars
    strategies: list | None
    signals: list | None
    loosest: list
    sets: np.ndarray
    thresholds: np.ndarray  # one row per set
    variants: list  # what each set is: a strategy, or signals
    exits: list  # pairs of rules and contract
    metrics: bt.MetricSettings
    first: int
    last: int

    def plan(self, engine, threads=2):
        return engine.sweep_plan(
            self.bars,
            strategies=self.strategies,
            signals=self.signals,
            loosest=self.loosest,
            threads=threads,
        )

    def with_atr(self, engine):
        return [
            (rules, contract, atr_for(engine, self.bars, rules)) for rules, contract in self.exits
        ]

    def evaluate(self, engine, threads=2, order=slice(None)):
        """Return the metrics of the sets in another order, shape (n_metrics, n_sets, n_exits)."""
        span = [(self.first, self.last)]
        return self.evaluate_ranges(engine, span, threads=threads, order=order)[0]

    def evaluate_ranges(self, engine, ranges, n_blocks=0, *, threads=2, order=slice(None)):
        """Return the numbers of the sets, shape (n_ranges, n_numbers, n_sets, n_exits)."""
        plan = self.plan(engine, threads)
        plan.load(self.with_atr(engine))
        sets = np.ascontiguousarray(self.sets[order])
        thresholds = self.thresholds[order].ravel()
        found = plan.evaluate(sets, thresholds, self.metrics, ranges, n_blocks)
        assert plan.done == found.shape[2]
        return found.reshape(*found.shape[:2], len(sets), len(self.exits))

    def evaluate_each(self, engine, threads=2):
        """Return the metrics of set ``k`` under exit ``k % n_exits``, and of those alone."""
        return self.evaluate_each_range(engine, [(self.first, self.last)], threads=threads)[0]

    def evaluate_each_range(self, engine, ranges, n_blocks=0, *, threads=2):
        """Return the numbers of set ``k`` under exit ``k % n_exits``, and of those alone."""
        plan = self.plan(engine, threads)
        exits = self.with_atr(engine)
        exits = [exits[k % len(exits)] for k in range(len(self.sets))]
        found = plan.evaluate_each(
            exits, self.sets, self.thresholds.ravel(), self.metrics, ranges, n_blocks
        )
        assert plan.done == found.shape[2]
        return found

    def single_runs(self, engine):
        """Return what the plan must give, run by run."""
        found = np.empty((len(METRICS), len(self.sets), len(self.exits)))
        for row, column, output in self.outputs(engine, self.first, self.last):
            found[:, row, column] = output.metrics
        return found

    def outputs(self, engine, first, last):
        """Yield the places of set and exit, and what the single run in one range gives."""
        for row, variant in enumerate(self.variants):
            signals = variant
            if isinstance(variant, Strategy):
                signals = engine.signals(self.bars, variant)
            for column, (rules, contract) in enumerate(self.exits):
                job = Job(self.bars, None, signals, rules, contract, self.metrics, first, last)
                yield row, column, engine.run(job)


def make_sweep(kind, bars, seed, *, same_day=False):
    rng = np.random.default_rng(seed)
    strategies, signals = None, None
    if kind == "own":
        signals = [make_signals(rng, bars) for _ in range(3)]
        sources, bounds = signals, ()
    else:
        sources = strategies = make_strategies(kind)
        bounds = [threshold.bound for threshold in strategies[0].thresholds]
    sets = np.repeat(np.arange(len(sources)), [N_SETS, *([7] * (len(sources) - 1))])
    drawn = [make_thresholds(rng, bars, sources[place]) for place in sets]
    thresholds = np.array([cuts for cuts, _ in drawn]).reshape(len(sets), len(bounds))
    loosest = [
        (max if bound == Bound.AtMost else min)(thresholds[:, k]) for k, bound in enumerate(bounds)
    ]
    first, last = 0, len(bars)
    if rng.random() < 0.7:
        first, last = rng.integers(0, len(bars) // 3), rng.integers(len(bars) // 2, len(bars) + 1)
    gives_risk = (
        all(source.risk is not None for source in sources)
        if signals
        else (strategies[0].gives_risk)
    )
    return Sweep(
        bars,
        strategies,
        signals,
        loosest,
        sets.astype(np.uint32),
        thresholds,
        [variant for _, variant in drawn],
        [make_exit(rng, bars, gives_risk=gives_risk, same_day=same_day) for _ in range(N_EXITS)],
        bt.MetricSettings(
            risk_free_rate=rng.choice([0.0, 0.05, -0.02]), periods_per_year=rng.choice([252, 365])
        ),
        int(first),
        int(max(last, first + 1)),
    )


def make_strategies(kind):
    if kind == "barra_elefante":
        return [
            bt.BarraElefante(lookback=lookback, confirm_breakout=confirm)
            for lookback, confirm in ((20, False), (3, False), (11, True))
        ]
    if kind == "moving_average_cross":
        return [bt.MovingAverageCross(fast=fast, slow=slow) for fast, slow in ((1, 3), (4, 16))]
    return [bt.OpeningRangeBreakout(range_minutes=minutes) for minutes in (20, 60)]


def make_signals(rng, bars):
    side = rng.choice(np.array([-1, 0, 1], np.int8), len(bars), p=[0.2, 0.6, 0.2])
    risk = rng.choice([0.0, 0.5, 3.0, 40.0, np.nan], len(bars)) * bars.close[0] / 1000
    return Signals(side, risk)


def make_thresholds(rng, bars, source):
    """Return the thresholds of a set and the strategy that has them."""
    if isinstance(source, Signals):
        return [], source
    columns = scored(bars, source).columns
    cuts = {}
    for threshold, column in zip(source.thresholds, columns, strict=True):
        name = threshold.parameter
        share = rng.uniform(0.0, 0.6)
        if threshold.bound == Bound.AtMost:
            share = rng.uniform(0.6, 1.0)
        cuts[name] = float(np.nanquantile(column, share, method="nearest"))
        if threshold.bound == Bound.AtLeastOrOff and rng.random() < 0.3:
            cuts[name] = 0.0
    kinds = {spec.name: spec.kind for spec in source.parameters()}
    values = {
        name: clock_text(int(cut)) if kinds[name] == "clock" else min(cut, 1e6)
        for name, cut in cuts.items()
    }
    variant = replace(source, **values)
    encoded = dict(zip(kinds, variant.values(), strict=True))
    return [encoded[threshold.parameter] for threshold in source.thresholds], variant


def make_exit(rng, bars, *, gives_risk, same_day):
    tick = rng.choice([5.0, 0.01, 0.25])
    units = ("atr", "points", "percent", *(["strategy"] if gives_risk else []))
    unit = rng.choice(units)
    scale = {"points": float(np.mean(bars.high - bars.low)), "percent": 0.3}.get(unit, 1.0)
    stop = rng.choice([0.0, 0.4, 1.0, 2.5]) * scale
    target, target_r = rng.choice([0.0, 0.5, 3.0]) * scale, 0.0
    if stop > 0 and rng.random() < 0.5:
        target, target_r = 0.0, rng.choice([0.7, 2.0])
    rules = bt.ExitRules(
        stop=stop,
        target=target,
        target_r=target_r,
        trail=rng.choice([0.0, 0.8]) * scale,
        unit=str(unit),
        atr_period=int(rng.choice([2, 14])),
        atr_method=str(rng.choice(["wilder", "sma"])),
        round_to_tick=bool(rng.random() < 0.3),
        target_through_ticks=rng.choice([0.0, 1.0]),
        close_time=str(rng.choice(["13:30", "10:05"])) if same_day or rng.random() < 0.3 else "",
        max_bars=int(rng.choice([0, 0, 1, 12])),
        intrabar=str(rng.choice(["stop_first", "target_first"])),
    )
    contract = bt.Contract(
        tick_size=tick,
        point_value=rng.choice([1.0, 0.2]),
        quantity=rng.choice([1.0, 3.0]),
        fee_per_side=rng.choice([0.0, 0.25]),
        fee_rate=rng.choice([0.0, 1e-4]),
        slippage_ticks=rng.choice([0.0, 1.0]),
        # little money: a ruin sooner or later
        initial_capital=bars.close[0] * rng.choice([1.0, 0.05, 0.002]),
    )
    return rules, contract


def blocks_by_hand(bars, output, capital, first, last, n_blocks):
    """Return ``S1``, ``S2`` and days of every block, from the trades alone."""
    day = bars.day.tolist()
    first_day, last_day = day[first], day[last - 1]
    n_days = last_day - first_day + 1
    begins = [first_day + n_days * block // n_blocks for block in range(n_blocks)]
    closed = {}  # by exit day: the equity before and the pnl
    equity = capital
    exits = [day[bar] for bar in output.trades["exit_bar"].tolist()]
    for exit_day, pnl in zip(exits, output.trades["pnl"].tolist(), strict=True):
        before, gained = closed.get(exit_day, (equity, 0.0))
        closed[exit_day] = before, gained + pnl
        equity += pnl
    counted = set(range(first_day, last_day + 1)) | set(exits)
    if equity <= 0.0:
        counted = {each for each in counted if each <= max(exits)} | set(exits)
        if max(exits) > last_day:
            counted |= set(range(first_day, last_day + 1))
    sums = [[0.0, 0.0, 0] for _ in begins]
    for exit_day, (before, gained) in closed.items():
        found = sums[bisect_right(begins, exit_day) - 1]
        r = gained / before
        found[0] += r
        found[1] += r * r
    for each in counted:
        sums[bisect_right(begins, each) - 1][2] += 1
    flat = np.array([float(value) for block in sums for value in block])
    return np.where(np.isnan(flat), np.nan, flat)


def assert_same_bits(found, expected):
    """Compare what ``==`` cannot tell apart: the sign of a zero, and nan."""
    found, expected = np.ascontiguousarray(found), np.ascontiguousarray(expected)
    assert found.shape == expected.shape
    different = np.argwhere(found.view(np.int64) != expected.view(np.int64))
    if len(different):
        where = tuple(different[0])
        pytest.fail(
            f"{len(different)} of {found.size} numbers differ, first that at {where}: "
            f"{found[where]!r}, not {expected[where]!r}"
        )
