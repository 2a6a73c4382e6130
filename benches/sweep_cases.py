"""What is swept: the standard grid and its parts, and grids of another kind.

Only appended, never changed, so that figures stay comparable.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import cache, wraps
from pathlib import Path

import numpy as np

import backtest_py as bt
from backtest_py.bench.cases import SIZES, Case, standard_case
from backtest_py.data import load_bars
from backtest_py.sweep.space.sample import Sample
from benches.datasets import load_market

__all__ = ["BARS", "OTHERS", "OWN_SECONDS", "SHARED", "common_case", "load_case"]

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")

BARS = ("b3_m5_10k", "b3_m5_100k", "b3_m5_140k", "b3_m1_1500k")
"""Markets on which 100,000 combinations are swept."""

OTHERS = (
    "open end, 24 hours a day",
    "moving_average_cross",
    "opening_range_breakout",
    "own signals",
    "own signals, dense",
    "10,000 random points",
    *(("open end, BTCUSDT_30m",) if SHARED else ()),
)
"""Grids of another kind than the standard one."""

_EXITS = {
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "rules.target_r": [1, 2, 3, 4, 5, 6],
    "rules.trail": [0, 1],
}
_MANY_EXITS = {
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.1},
    "rules.target_r": {"start": 1.0, "stop": 6.5, "step": 0.5},
    "rules.trail": [0, 1],
}
_ELEPHANTS = {
    "strategy.min_range_mult": {"start": 1.0, "stop": 4.0, "step": 0.5},
    "strategy.min_volume_mult": {"start": 0.0, "stop": 3.0, "step": 0.5},
    "strategy.max_shadow_ratio": [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1],
    "strategy.lookback": {"start": 5, "stop": 30, "step": 5},
}
_WHOLE_DAY = bt.BarraElefante(entry_start="00:00", entry_end="23:59")


def timed(function):
    """Add the time that a user's function takes to ``OWN_SECONDS``."""

    @wraps(function)
    def call(bars, **parameters):
        start = time.perf_counter()
        side = function(bars, **parameters)
        OWN_SECONDS[0] += time.perf_counter() - start
        return side

    return call


OWN_SECONDS = [0.0]
"""What users' functions took in this process."""


@timed
def wide_bars(bars, *, lookback: int = 20, least: float = 1.0, last: int = 720):
    """Go with a body of so many times the mean of those before, until a minute of the day."""
    body = bars.close - bars.open
    size = np.abs(body)
    total = np.concatenate(([0.0], np.cumsum(size)))
    mean = np.full(len(size), np.nan)
    mean[lookback:] = (total[lookback:-1] - total[: -1 - lookback]) / lookback
    wide = (size >= least * mean) & (bars.minute <= last)
    return (np.sign(body) * wide).astype(np.int8)


@timed
def runs_up(bars, *, length: int = 3, least: float = 0.0):
    """Go with so many closes in a row in one direction, if the last bar is large enough."""
    steps = np.sign(np.diff(bars.close, prepend=bars.close[:1])).astype(np.int64)
    total = np.cumsum(steps)
    before = np.concatenate((np.zeros(length, np.int64), total[:-length]))
    large = bars.high - bars.low >= least
    side = np.sign(total - before) * (np.abs(total - before) == length) * large
    return side.astype(np.int8)


@cache
def load_case(name: str) -> Case:
    """Return a case: a size of the standard grid, a market of ``BARS``, or one of ``OTHERS``."""
    if name.isdecimal():
        return standard_case(int(name))
    if name == "common":
        return common_case()
    if name in BARS:
        return replace(standard_case(100_000), name=name, bars=load_market(name))
    return _other(name)


def common_case() -> Case:
    """Return the part of the standard grid that vectorbt can express: no trailing, no slippage."""
    case = standard_case(max(SIZES), slippage_ticks=0.0)
    grid = {key: values for key, values in case.grid.items() if key != "rules.trail"}
    contract = replace(case.contract, initial_capital=10_000_000.0, point_value=1.0)
    return replace(case, name="common part", grid=grid, contract=contract)


def _other(name: str) -> Case:
    standard = standard_case(max(SIZES))
    bars, strategy = standard.bars, standard.strategy
    rules, contract = standard.rules, standard.contract
    sample, where = None, ""
    if name.startswith("open end"):
        bars = _coin() if name.endswith("BTCUSDT_30m") else _around_the_clock()
        grid, strategy = {**_ELEPHANTS, **_EXITS}, _WHOLE_DAY
        rules = bt.ExitRules(target=0)
        contract = bt.Contract(tick_size=0.01, fee_rate=0.0004, initial_capital=1_000_000)
    elif name == "moving_average_cross":
        strategy, where = bt.MovingAverageCross(), "strategy.fast < strategy.slow"
        grid = {
            "strategy.fast": {"start": 4, "stop": 42, "step": 2},
            "strategy.slow": {"start": 20, "stop": 115, "step": 5},
            "strategy.entry_start": ["09:00", "09:30", "10:00"],
            "strategy.entry_end": ["11:00", "11:30", "12:00", "12:30", "13:00"],
            **_EXITS,
        }
    elif name == "opening_range_breakout":
        strategy = bt.OpeningRangeBreakout()
        rules = bt.ExitRules(close_time="17:00", target=0, unit="strategy")
        grid = {
            "strategy.range_minutes": {"start": 5, "stop": 200, "step": 5},
            "strategy.entry_end": {"start": "09:30", "stop": "16:50", "step": 20},
            **_MANY_EXITS,
        }
    elif name == "own signals":
        strategy = wide_bars
        grid = {
            "strategy.lookback": {"start": 5, "stop": 30, "step": 5},
            "strategy.least": {"start": 1.0, "stop": 3.4, "step": 0.1},
            "strategy.last": [630, 660, 690, 720],
            **_EXITS,
        }
    elif name == "own signals, dense":
        strategy = runs_up
        grid = {
            "strategy.length": [2, 3, 4, 5],
            "strategy.least": {"start": 0.0, "stop": 290.0, "step": 10.0},
            **_MANY_EXITS,
        }
    elif name == "10,000 random points":
        sample = Sample(n=10_000, seed=11)
        grid = {
            "strategy.min_range_mult": {"min": 1.0, "max": 4.0},
            "strategy.min_volume_mult": {"min": 0.0, "max": 3.0},
            "strategy.max_shadow_ratio": {"min": 0.0, "max": 1.0},
            "strategy.lookback": {"start": 5, "stop": 30, "step": 1},
            "strategy.entry_start": {"start": "09:00", "stop": "09:40", "step": 5},
            "strategy.entry_end": {"start": "10:30", "stop": "12:30", "step": 5},
            "rules.stop": {"min": 0.5, "max": 3.0},
            "rules.target_r": {"min": 1.0, "max": 6.0},
            "rules.trail": {"min": 0.5, "max": 2.0},
        }
    else:
        raise KeyError(name)
    return Case(name, bars, strategy, grid, rules, contract, sample, where)


@cache
def _around_the_clock() -> bt.Bars:
    """Return 43,680 bars of half an hour, without a session's end within the day."""
    return bt.synthetic_bars(
        n_days=910, bars_per_day=48, first_minute=0, interval_minutes=30, tick_size=0.01, seed=2
    )


@cache
def _coin() -> bt.Bars:
    return load_bars(Path(SHARED) / "data" / "BTCUSDT_30m_2021-2023H1.parquet")
