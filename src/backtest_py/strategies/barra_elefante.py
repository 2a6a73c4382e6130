"""Barra Elefante, the elephant bar. Mirrors ``engine_rust/src/strategies/barra_elefante.rs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backtest_py._jit import Kernel, kernel
from backtest_py.indicators import prior_sum, window_sums
from backtest_py.parameters import parameter
from backtest_py.strategies.base import Bound, History, Strategy, Threshold, check_window, register

__all__ = ["BarraElefante"]

BLOCK = 512
"""Bars whose conditions are worked out together."""


@kernel
def elephants(bars, values, start, side):
    """Set ``side[t]`` to the side of bar ``start + t`` if it is an elephant, else to 0.

    The volume is checked last and only where the rest holds: its sum is the costliest condition.
    """
    min_range_mult, min_volume_mult, max_shadow_ratio = values[0], values[1], values[2]
    lookback = int(values[3])
    entry_start, entry_end = int(values[4]), int(values[5])
    undefined = min(max(lookback - start, 0), len(side))
    for t in range(undefined):
        side[t] = 0
    side = side[undefined:]
    n = len(side)
    if n == 0:
        return
    first = start + undefined
    begin = first - lookback
    highs, lows = bars.high[begin : first + n], bars.low[begin : first + n]
    ranges = np.empty(n + lookback)
    for k in range(len(ranges)):
        ranges[k] = highs[k] - lows[k]
    length = float(lookback)
    multiples, shadows = np.empty(BLOCK), np.empty(BLOCK)
    for low in range(0, n, BLOCK):
        block = side[low : low + BLOCK]
        i = first + low
        stop = i + len(block)
        window_sums(ranges, lookback, low, multiples[: len(block)])
        spreads = ranges[low + lookback : low + lookback + len(block)]
        opens, closes, minutes = bars.open[i:stop], bars.close[i:stop], bars.minute[i:stop]
        for t in range(len(block)):
            multiples[t] = spreads[t] * length / multiples[t]
            shadows[t] = (spreads[t] - abs(closes[t] - opens[t])) / spreads[t]
        for t in range(len(block)):
            holds = (
                (spreads[t] > 0.0)
                & (multiples[t] >= min_range_mult)
                & (shadows[t] <= max_shadow_ratio)
                & (minutes[t] >= entry_start)
                & (minutes[t] <= entry_end)
            )
            sign = np.int8(closes[t] > opens[t]) - np.int8(closes[t] < opens[t])
            block[t] = sign if holds else 0
    if min_volume_mult > 0.0:
        drop_thin_volume(bars.volume, lookback, min_volume_mult, first, side)


@kernel
def drop_thin_volume(volume, lookback, min_volume_mult, first, side):
    """Clear the candidates whose volume is below ``min_volume_mult`` times the mean before.

    A block with many candidates sums all its windows as lanes, one with few each on its own.
    """
    length = float(lookback)
    sums = np.empty(BLOCK)
    for low in range(0, len(side), BLOCK):
        block = side[low : low + BLOCK]
        candidates = 0
        for t in range(len(block)):
            candidates += block[t] != 0
        if candidates == 0:
            continue
        together = candidates * 8 > len(block)
        if together:
            window_sums(volume, lookback, first + low - lookback, sums[: len(block)])
        for t in range(len(block)):
            if block[t] != 0:
                i = first + low + t
                total = sums[t] if together else prior_sum(volume, lookback, i)
                if not volume[i] * length / total >= min_volume_mult:
                    block[t] = 0


@kernel
def barra_elefante(bars, values, start, side, risk):
    """Set ``side[t]`` to the signal of bar ``start + t``: semantics section 3."""
    if values[6] == 0.0:
        elephants(bars, values, start, side)
        return
    entry_start, entry_end = int(values[4]), int(values[5])
    before = 1 if start > 0 else 0
    elephant = np.empty(len(side) + before, np.int8)
    elephants(bars, values, start - before, elephant)
    for t in range(len(side)):
        i = start + t
        k = t + before - 1
        sign = elephant[k] if k >= 0 else np.int8(0)
        minute = bars.minute[i]
        confirmed = (
            sign != 0
            and bars.day[i] == bars.day[i - 1]
            and entry_start <= minute <= entry_end
            and (bars.high[i] > bars.high[i - 1] if sign > 0 else bars.low[i] < bars.low[i - 1])
        )
        side[t] = sign if confirmed else 0


@kernel
def barra_elefante_scores(bars, values, side, risk, scores):
    """Set the side of every bar and its quotients of section 3, nan before the lookback is full.

    With a confirmation they move to the bar that confirms, whose minute must lie in the window too.
    """
    n = len(side)
    lookback = int(values[3])
    length = float(lookback)
    multiples, volumes, shadows, earliest, latest = (
        scores[0],
        scores[1],
        scores[2],
        scores[3],
        scores[4],
    )
    for t in range(n):
        earliest[t] = latest[t] = float(bars.minute[t])
    for t in range(min(lookback, n)):
        side[t] = 0
        multiples[t] = volumes[t] = shadows[t] = np.nan
    if n > lookback:
        ranges = bars.high - bars.low
        window_sums(ranges, lookback, 0, multiples[lookback:])
        window_sums(bars.volume, lookback, 0, volumes[lookback:])
        for t in range(lookback, n):
            multiples[t] = ranges[t] * length / multiples[t]
            volumes[t] = bars.volume[t] * length / volumes[t]
            shadows[t] = (ranges[t] - abs(bars.close[t] - bars.open[t])) / ranges[t]
            sign = np.int8(bars.close[t] > bars.open[t]) - np.int8(bars.close[t] < bars.open[t])
            side[t] = sign if ranges[t] > 0.0 else 0
    if values[6] == 0.0:
        return
    for t in range(n - 1, 0, -1):
        sign = side[t - 1]
        beyond = bars.high[t] > bars.high[t - 1] if sign > 0 else bars.low[t] < bars.low[t - 1]
        side[t] = sign if beyond and bars.day[t] == bars.day[t - 1] else 0
        multiples[t], volumes[t], shadows[t] = multiples[t - 1], volumes[t - 1], shadows[t - 1]
        earliest[t] = min(earliest[t - 1], earliest[t])
        latest[t] = max(latest[t - 1], latest[t])
    side[0] = 0


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class BarraElefante(Strategy):
    """A bar far longer than those before it, with body and volume to match.

    Defined in docs/semantics.md, section 3.

    Examples
    --------
    >>> BarraElefante(lookback=20, entry_start="09:15", entry_end="11:00").min_range_mult
    2.0
    """

    name: ClassVar[str] = "barra_elefante"
    kernel: ClassVar[Kernel] = barra_elefante
    thresholds: ClassVar[tuple[Threshold, ...]] = (
        Threshold("min_range_mult", Bound.AtLeast),
        Threshold("min_volume_mult", Bound.AtLeastOrOff),
        Threshold("max_shadow_ratio", Bound.AtMost),
        Threshold("entry_start", Bound.AtLeast),
        Threshold("entry_end", Bound.AtMost),
    )
    score_kernel: ClassVar[Kernel] = barra_elefante_scores
    volume_parameter: ClassVar[str] = "min_volume_mult"

    min_range_mult: float = parameter(
        2.0, "float", "range, at least so many times the mean of the bars before", minimum=0
    )
    min_volume_mult: float = parameter(
        1.0, "float", "volume, at least so many times the mean before; 0 is off", minimum=0
    )
    max_shadow_ratio: float = parameter(
        0.4, "float", "shadows, at most this share of the range", minimum=0, maximum=1
    )
    lookback: int = parameter(20, "int", "bars before, to compare with", minimum=1, maximum=100_000)
    entry_start: str = parameter("00:00", "clock", "first minute of the entry window")
    entry_end: str = parameter("23:59", "clock", "last minute of the entry window")
    confirm_breakout: bool = parameter(
        default=False, kind="bool", doc="wait for the next bar to trade beyond the elephant"
    )

    def validate(self) -> None:
        """Refuse a window that ends before it starts."""
        check_window(self.entry_start, self.entry_end)

    def history(self) -> History:
        """Return the bars that an elephant is compared with, and the elephant that is confirmed."""
        return History(bars=self.lookback + int(self.confirm_breakout))
