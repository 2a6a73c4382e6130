"""Intervals of candles: how long one is, and at which instants they open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INTERVALS", "Interval", "interval_of"]

MINUTE: Final = 60_000
DAY: Final = 86_400_000
_FIRST_MONDAY: Final = 4 * DAY
"""1970-01-05: weeks open on Mondays."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of candles; instants are int64 milliseconds since 1970, UTC.

    Attributes
    ----------
    name : str
        As the exchange writes it, such as ``"4h"``; ``"1M"`` is a calendar month.
    ms : int
        Length of a candle; 0 where months differ.
    """

    name: str
    ms: int

    @property
    def archive_name(self) -> str:
        """How the exchange's public archive writes it: file systems may not tell M from m."""
        return "1mo" if self.name == "1M" else self.name

    def floor(self, instant: int) -> int:
        """Return when the candle opens that holds an instant."""
        if not self.ms:
            return _month_start(_month(instant))
        offset = _FIRST_MONDAY if self.name == "1w" else 0
        return (instant - offset) // self.ms * self.ms + offset

    def ceil(self, instant: int) -> int:
        """Return when the first candle opens at or after an instant."""
        opens = self.floor(instant)
        return opens if opens == instant else self.after(opens)

    def after(self, opens: int) -> int:
        """Return when the candle closes, and the next opens, that opens at an instant."""
        return opens + self.ms if self.ms else _month_start(_month(opens) + 1)

    def closes(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when each of some candles closes, and the next one opens."""
        if self.ms:
            return times + self.ms
        return np.array([self.after(int(opens)) for opens in times], np.int64)

    def opens(self, start: int, end: int) -> NDArray[np.int64]:
        """Return when candles open in ``[start, end)``.

        Examples
        --------
        >>> interval_of("1h").opens(0, 7_200_001).tolist()
        [0, 3600000, 7200000]
        """
        first = self.ceil(start)
        if first >= end:
            return np.empty(0, np.int64)
        if self.ms:
            return np.arange(first, end, self.ms, dtype=np.int64)
        months = np.arange(_month(first), _month(end - 1) + 1).astype("M8[M]")
        return months.astype("M8[ms]").astype(np.int64)

    def count(self, start: int, end: int) -> int:
        """Return how many candles open in ``[start, end)``."""
        if not self.ms:
            return len(self.opens(start, end))
        return max(0, (self.ceil(end) - self.ceil(start)) // self.ms)

    def off(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some times at which no candle opens."""
        if self.ms:
            first = self.floor(int(times[0])) if len(times) else 0
            if len(times) and times[0] == first and (np.diff(times) == self.ms).all():
                return times[:0]  # division would take ten times as long
            strange: NDArray[np.bool_] = (times - first) % self.ms != 0
        else:
            strange = times != times.astype("M8[ms]").astype("M8[M]").astype("M8[ms]").astype("i8")
        found: NDArray[np.int64] = times[strange]
        return found


def _month(instant: int) -> int:
    return int(np.int64(instant).astype("M8[ms]").astype("M8[M]").astype(np.int64))


def _month_start(month: int) -> int:
    return int(np.int64(month).astype("M8[M]").astype("M8[ms]").astype(np.int64))


INTERVALS: Final = {
    name: Interval(name, ms)
    for name, ms in (
        *((f"{n}m", n * MINUTE) for n in (1, 3, 5, 15, 30)),
        *((f"{n}h", n * 60 * MINUTE) for n in (1, 2, 4, 6, 8, 12)),
        ("1d", DAY),
        ("3d", 3 * DAY),
        ("1w", 7 * DAY),
        ("1M", 0),
    )
}
"""Every interval by its name, shortest first."""


def interval_of(name: str) -> Interval:
    """Return the interval of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    found = INTERVALS.get(name) if isinstance(name, str) else None
    if found is None:
        raise unknown_name("interval", name, INTERVALS)
    return found
