"""Named inputs of the benchmarks: only appended, never changed, so that figures stay comparable.

Every input is pinned by its SHA-256. A generator that changes shows as an error here, and not as
a speed-up in the report.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

import backtest_py as bt
from backtest_py._io.random_numbers import splitmix64

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CURVES",
    "MARKETS",
    "WORKLOADS",
    "Market",
    "Workload",
    "dense_signals",
    "load_curve",
    "load_market",
]


@dataclass(frozen=True, slots=True)
class Market:
    """Synthetic bars by the arguments that make them."""

    n_days: int
    bars_per_day: int
    interval_minutes: int
    sha256: str


MARKETS: Final = {
    "b3_m5_10k": Market(
        92, 109, 5, "8f85bcccdcc91a6b77b0f4e7c15c8a1446472bb752507a140a62706a444ec419"
    ),
    "b3_m5_100k": Market(
        918, 109, 5, "3b419d2e76c383db257b4a873e95e4c366a9f2ad5dce5c7976fa38bd5d15cea8"
    ),
    "b3_m5_140k": Market(
        1_285, 109, 5, "5dade9e52621b6dbf9e9c6f66c0f87e91379e79101a9fe3280e9c83c5dff85c8"
    ),
    "b3_m1_1500k": Market(
        2_778, 540, 1, "b3f179a69dde9bf2459c36af221a053c1c748fc2df775d6b6cb44d705dde015f"
    ),
}
"""Days of an index future from 09:00, by a name that says the interval and the number of bars."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One strategy with its rules and contract."""

    strategy: bt.Strategy
    rules: bt.ExitRules
    contract: bt.Contract


_WIN: Final = bt.Contract(
    tick_size=5,
    point_value=0.20,
    fee_per_side=0.25,
    slippage_ticks=1,
    initial_capital=100_000,
)

WORKLOADS: Final = {
    # 2,207 trades on b3_m5_140k, each held for 25 bars.
    "elephant_2k": Workload(
        bt.BarraElefante(min_range_mult=1.5, entry_start="09:15", entry_end="16:00"),
        bt.ExitRules(stop=2.0, target=3.0, atr_method="sma", close_time="17:00"),
        _WIN,
    ),
    # 478 trades: the mornings of docs and examples.
    "elephant_morning": Workload(
        bt.BarraElefante(entry_start="09:15", entry_end="11:00"),
        bt.ExitRules(stop=2.0, target=3.0, atr_method="sma", close_time="13:30"),
        _WIN,
    ),
    "opening_range": Workload(
        bt.OpeningRangeBreakout(range_minutes=30),
        bt.ExitRules(stop=1.0, target_r=1.5, unit="strategy", close_time="17:00"),
        _WIN,
    ),
    "average_cross": Workload(
        bt.MovingAverageCross(fast=10, slow=30),
        bt.ExitRules(stop=2.0, target=3.0, close_time="17:00"),
        _WIN,
    ),
}
"""What is asked of a market."""

CURVES: Final = {
    "equity_252k": (
        252_000,
        "1b89140f0b1a5f8e25c5541ba7bfc5c3b2c4a5e6e75be54a3ae13200e997150d",
    ),
}
"""Equity curves: number of points, SHA-256."""


@cache
def load_market(name: str) -> bt.Bars:
    """Return the bars of a name, the same object each time, after checking what they hold."""
    market = MARKETS[name]
    bars = bt.synthetic_bars(
        n_days=market.n_days,
        bars_per_day=market.bars_per_day,
        interval_minutes=market.interval_minutes,
    )
    _check(name, bars.content_hash, market.sha256)
    return bars


@cache
def load_curve(name: str) -> NDArray[np.float64]:
    """Return an equity curve: 10,000 and then steps of half units, exact in binary."""
    n_points, sha256 = CURVES[name]
    steps = np.bitwise_count(splitmix64(7, 0, n_points - 1)).astype(np.int64) - 32
    curve = np.concatenate(([10_000.0], 10_000.0 + 0.5 * np.cumsum(steps)))
    curve.flags.writeable = False
    _check(name, hashlib.sha256(curve.tobytes()).hexdigest(), sha256)
    return curve


@cache
def dense_signals(name: str) -> NDArray[np.int8]:
    """Return a signal at every bar of a market that moved, in its direction."""
    bars = load_market(name)
    side = np.sign(bars.close - bars.open).astype(np.int8)
    side.flags.writeable = False
    return side


def _check(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise RuntimeError(
            f"data set {name} holds {found} instead of {expected}; data sets never change: undo "
            "the change of the generator, or append a data set under a new name"
        )
