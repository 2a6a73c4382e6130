"""Moving average cross. Mirrors ``engine_rust/src/strategies/moving_average_cross.rs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backtest_py._jit import Kernel, kernel
from backtest_py.errors import ConfigError
from backtest_py.indicators import window_sums
from backtest_py.parameters import parameter
from backtest_py.strategies.base import Bound, History, Strategy, Threshold, check_window, register

__all__ = ["MovingAverageCross"]


@kernel
def moving_average_cross(bars, values, start, side, risk):
    """Set ``side[t]`` where the fast mean of the close crosses the slow one at ``start + t``."""
    fast, slow = int(values[0]), int(values[1])
    entry_start, entry_end = int(values[2]), int(values[3])
    n = len(side)
    undefined = min(max(slow - start, 0), n)
    for t in range(undefined):
        side[t] = 0
    if undefined == n:
        return
    before = start + undefined - 1
    fast_means = np.empty(n - undefined + 1)
    slow_means = np.empty(n - undefined + 1)
    window_sums(bars.close, fast, before - fast + 1, fast_means)
    window_sums(bars.close, slow, before - slow + 1, slow_means)
    for k in range(len(fast_means)):
        fast_means[k] = fast_means[k] / float(fast)
        slow_means[k] = slow_means[k] / float(slow)
    for t in range(undefined, n):
        k = t - undefined
        minute = bars.minute[start + t]
        inside = (minute >= entry_start) & (minute <= entry_end)
        up = (fast_means[k] <= slow_means[k]) & (fast_means[k + 1] > slow_means[k + 1])
        down = (fast_means[k] >= slow_means[k]) & (fast_means[k + 1] < slow_means[k + 1])
        side[t] = np.int8(inside & up) - np.int8(inside & down)


@kernel
def moving_average_cross_scores(bars, values, side, risk, scores):
    """Set the side of every bar whatever its minute, and its minute for both ends of the window."""
    anytime = values.copy()
    anytime[2], anytime[3] = 0.0, 1440.0
    moving_average_cross(bars, anytime, 0, side, risk)
    for t in range(len(side)):
        scores[0, t] = scores[1, t] = float(bars.minute[t])


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class MovingAverageCross(Strategy):
    """A fast simple mean of the close crosses a slow one.

    Defined in docs/strategies.md.

    Examples
    --------
    >>> MovingAverageCross(fast=5, slow=20).slow
    20
    """

    name: ClassVar[str] = "moving_average_cross"
    kernel: ClassVar[Kernel] = moving_average_cross
    thresholds: ClassVar[tuple[Threshold, ...]] = (
        Threshold("entry_start", Bound.AtLeast),
        Threshold("entry_end", Bound.AtMost),
    )
    score_kernel: ClassVar[Kernel] = moving_average_cross_scores

    fast: int = parameter(10, "int", "bars in the fast mean", minimum=1, maximum=100_000)
    slow: int = parameter(30, "int", "bars in the slow mean", minimum=1, maximum=100_000)
    entry_start: str = parameter("00:00", "clock", "first minute of the entry window")
    entry_end: str = parameter("23:59", "clock", "last minute of the entry window")

    def validate(self) -> None:
        """Refuse a fast mean that is not faster, and a window that ends before it starts."""
        if self.fast >= self.slow:
            raise ConfigError(
                f"strategy.fast = {self.fast} is not below strategy.slow = {self.slow}; "
                "the fast mean takes fewer bars"
            )
        check_window(self.entry_start, self.entry_end)

    def history(self) -> History:
        """Return the bars of the slow mean that ends one bar before."""
        return History(bars=self.slow)
