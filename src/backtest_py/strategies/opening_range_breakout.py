"""Opening range breakout. Mirrors ``engine_rust/src/strategies/opening_range_breakout.rs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backtest_py._jit import Kernel, kernel
from backtest_py.parameters import parameter
from backtest_py.strategies.base import Bound, History, Strategy, Threshold, register

__all__ = ["OpeningRangeBreakout"]


@kernel(allocates=False)
def opening_range_breakout(bars, values, start, side, risk):
    """Set side and risk of bar ``start + t``: the first close of a day beyond its first range."""
    range_minutes, entry_end = int(values[0]), int(values[1])
    stop = start + len(side)
    i = start
    while i > 0 and i < len(bars.day) and bars.day[i] == bars.day[i - 1]:
        i -= 1
    highest = lowest = 0.0
    range_end = 0
    forming = True
    broken = False
    while i < stop:
        first_of_day = i == 0 or bars.day[i] != bars.day[i - 1]
        if first_of_day:
            range_end = bars.minute[i] + range_minutes
            highest, lowest = bars.high[i], bars.low[i]
            forming = True
            broken = False
        sign = np.int8(0)
        forming = forming and bars.minute[i] < range_end
        if forming:
            highest = bars.high[i] if bars.high[i] > highest else highest
            lowest = bars.low[i] if bars.low[i] < lowest else lowest
        elif not broken and (bars.close[i] > highest or bars.close[i] < lowest):
            broken = True
            if bars.minute[i] <= entry_end:
                sign = np.int8(1) if bars.close[i] > highest else np.int8(-1)
        if i >= start:
            side[i - start] = sign
            risk[i - start] = highest - lowest if sign != 0 else np.nan
        i += 1


@kernel
def opening_range_breakout_scores(bars, values, side, risk, scores):
    """Set side and risk of every bar whatever its minute, and its minute as the score."""
    anytime = values.copy()
    anytime[1] = 1440.0
    opening_range_breakout(bars, anytime, 0, side, risk)
    for t in range(len(side)):
        scores[0, t] = float(bars.minute[t])


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRangeBreakout(Strategy):
    """The first close outside the range of the session's first minutes.

    Defined in docs/strategies.md. Its risk, for ``unit = "strategy"``, is the range's height.

    Examples
    --------
    >>> OpeningRangeBreakout(range_minutes=15).entry_end
    '23:59'
    """

    name: ClassVar[str] = "opening_range_breakout"
    kernel: ClassVar[Kernel] = opening_range_breakout
    gives_risk: ClassVar[bool] = True
    thresholds: ClassVar[tuple[Threshold, ...]] = (Threshold("entry_end", Bound.AtMost),)
    score_kernel: ClassVar[Kernel] = opening_range_breakout_scores

    range_minutes: int = parameter(
        30, "int", "minutes from the day's first bar that make the range", minimum=1, maximum=1440
    )
    entry_end: str = parameter("23:59", "clock", "last minute at which a breakout counts")

    def history(self) -> History:
        """Return that the range, and whether it was broken, is known of the whole day."""
        return History(day=True)
