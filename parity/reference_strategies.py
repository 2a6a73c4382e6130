"""The strategies in slow, obvious Python, from docs/semantics.md section 3 and docs/strategies.md.

Like ``reference.py`` it shares no code with the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.reference import Bars

NAN = float("nan")
INF = float("inf")

PARAMETERS: dict[str, dict[str, Any]] = {
    "barra_elefante": {
        "min_range_mult": 2.0,
        "min_volume_mult": 1.0,
        "max_shadow_ratio": 0.4,
        "lookback": 20,
        "entry_start": "00:00",
        "entry_end": "23:59",
        "confirm_breakout": False,
    },
    "opening_range_breakout": {"range_minutes": 30, "entry_end": "23:59"},
    "moving_average_cross": {
        "fast": 10,
        "slow": 30,
        "entry_start": "00:00",
        "entry_end": "23:59",
    },
}


def signals(bars: Bars, strategy: dict[str, Any]) -> tuple[list[int], list[float] | None]:
    """Return side and risk of every bar for the ``[strategy]`` section of a configuration."""
    name = strategy["name"]
    params = {**PARAMETERS[name], **strategy.get("params", {})}
    if name == "barra_elefante":
        return barra_elefante(bars, params), None
    if name == "moving_average_cross":
        return moving_average_cross(bars, params), None
    return opening_range_breakout(bars, params)


def minute_of(text: str) -> int:
    """Return the minute of the day of HH:MM."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def in_window(bars: Bars, i: int, params: dict[str, Any]) -> bool:
    """Tell whether bar i opens inside the entry window; both ends count."""
    return minute_of(params["entry_start"]) <= bars.minute[i] <= minute_of(params["entry_end"])


def quotient(numerator: float, denominator: float) -> float:
    """Divide as IEEE does, for a numerator and a denominator of at least 0."""
    if denominator == 0:
        return INF if numerator > 0 else NAN
    return numerator / denominator


def prior_sum(values: list[float], i: int, lookback: int) -> float:
    """Add the values of the ``lookback`` bars before bar i, from left to right."""
    total = 0.0
    for t in range(i - lookback, i):
        total = total + values[t]
    return total


def barra_elefante(bars: Bars, params: dict[str, Any]) -> list[int]:
    """Return the side of every bar: elephants, or the bars that confirm them."""
    n = len(bars.time)
    elephants = elephant_sides(bars, params)
    if not params["confirm_breakout"]:
        return elephants
    side = [0] * n
    for i in range(n - 1):
        if bars.day[i + 1] != bars.day[i] or not in_window(bars, i + 1, params):
            continue
        if elephants[i] > 0 and bars.high[i + 1] > bars.high[i]:
            side[i + 1] = 1
        if elephants[i] < 0 and bars.low[i + 1] < bars.low[i]:
            side[i + 1] = -1
    return side


def elephant_sides(bars: Bars, params: dict[str, Any]) -> list[int]:
    """Return the side of every elephant bar, 0 elsewhere."""
    lookback = params["lookback"]
    ranges = [high - low for high, low in zip(bars.high, bars.low, strict=True)]
    side = [0] * len(ranges)
    for i in range(lookback, len(ranges)):
        size = ranges[i]
        body = bars.close[i] - bars.open[i]
        if not in_window(bars, i, params) or size <= 0 or body == 0:
            continue
        if (size - abs(body)) / size > params["max_shadow_ratio"]:
            continue
        if quotient(size * lookback, prior_sum(ranges, i, lookback)) < params["min_range_mult"]:
            continue
        if params["min_volume_mult"] > 0:
            relative = quotient(bars.volume[i] * lookback, prior_sum(bars.volume, i, lookback))
            if not relative >= params["min_volume_mult"]:
                continue
        side[i] = 1 if body > 0 else -1
    return side


def opening_range_breakout(bars: Bars, params: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Return side and risk: the day's first close beyond its opening range."""
    n = len(bars.time)
    side, risk = [0] * n, [NAN] * n
    for day in sorted(set(bars.day)):
        of_day = [i for i in range(n) if bars.day[i] == day]
        opening_end = bars.minute[of_day[0]] + params["range_minutes"]
        opening = [of_day[0]]
        for i in of_day[1:]:
            if bars.minute[i] >= opening_end:
                break
            opening.append(i)
        top = max(bars.high[i] for i in opening)
        bottom = min(bars.low[i] for i in opening)
        for i in of_day[len(opening) :]:
            if bars.close[i] > top or bars.close[i] < bottom:
                if bars.minute[i] <= minute_of(params["entry_end"]):
                    side[i] = 1 if bars.close[i] > top else -1
                    risk[i] = top - bottom
                break
    return side, risk


def moving_average_cross(bars: Bars, params: dict[str, Any]) -> list[int]:
    """Return side: the bar at which the fast mean of the close crosses the slow one."""
    fast, slow = params["fast"], params["slow"]
    side = [0] * len(bars.time)
    for i in range(slow, len(side)):
        if not in_window(bars, i, params):
            continue
        fast_before, fast_now = mean(bars.close, i - 1, fast), mean(bars.close, i, fast)
        slow_before, slow_now = mean(bars.close, i - 1, slow), mean(bars.close, i, slow)
        if fast_before <= slow_before and fast_now > slow_now:
            side[i] = 1
        if fast_before >= slow_before and fast_now < slow_now:
            side[i] = -1
    return side


def mean(values: list[float], i: int, length: int) -> float:
    """Return the mean of the ``length`` values that end at bar i."""
    return prior_sum(values, i + 1, length) / length
