"""Clocks: from what a file says to instants, and from instants to minutes and days.

An instant is an int64 count of nanoseconds since 1970-01-01 UTC. A wall clock is the same count
without a zone. Two clocks matter: ``timezone`` is the one the file was written by,
``session_timezone`` the one by which the market keeps its hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from backtest_py.bars.timestamps import MAX_SECONDS, time_text
from backtest_py.errors import ConfigError, DataError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars.timestamps import At, Times

__all__ = ["Clocks", "minutes_and_days", "wall_clock"]

AMBIGUOUS: Final = ("infer", "earlier", "later", "refuse")
NONEXISTENT: Final = ("refuse", "shift_forward")

_SECOND: Final = 1_000_000_000
_MINUTE: Final = 60 * _SECOND
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        error = unknown_name("time zone", name, available_timezones())
        text = str(error).split(" (known:", maxsplit=1)[0]
        raise ConfigError(f"{text}; write an IANA name such as 'America/Sao_Paulo'") from None


def _offset_at(zone: ZoneInfo, second: int) -> int:
    # Not datetime.fromtimestamp: it refuses times before 1970 on some platforms.
    offset = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=4096)
def _changes_in_year(name: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return ``(second, offset from there on)`` of every change of the offset in a UTC year.

    The rules behind a ZoneInfo are not public, so it is asked every two days and each change is
    then bisected to the second. In the whole tz database two changes are never closer than 3.9
    days, so none can hide between two questions.
    """
    zone = _zone(name)
    first = int(np.datetime64(f"{year:04d}", "s").astype(np.int64))
    end = int(np.datetime64(f"{year + 1:04d}", "s").astype(np.int64))
    changes = []
    before, offset = first - 1, _offset_at(zone, first - 1)
    for second in [*range(first, end - 1, 2 * 86_400), end - 1]:
        after = _offset_at(zone, second)
        if after != offset:
            low, high = before, second
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset_at(zone, middle) == offset else (low, middle)
            changes.append((high, after))
        before, offset = second, after
    return tuple(changes)


def _transitions(name: str, ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when the offset changes around the given times, and the offsets between.

    Returns
    -------
    at : ndarray of int64, shape (n_changes,)
        Instants in nanoseconds.
    offset : ndarray of int64, shape (n_changes + 1,)
        Nanoseconds to add to UTC before the first change, between them and after the last.
    """
    years = np.array([ns.min(), ns.max()]).astype("M8[ns]").astype("M8[Y]").astype(np.int64) + 1970
    changes: list[tuple[int, int]] = []
    for year in range(int(years[0]) - 1, int(years[1]) + 2):
        changes.extend(_changes_in_year(name, year))
    start = int(np.datetime64(f"{int(years[0]) - 1:04d}", "s").astype(np.int64)) - 1
    offsets = [_offset_at(_zone(name), start), *(offset for _, offset in changes)]
    at = np.array([second for second, _ in changes], np.int64)
    # The outermost years only serve as a margin: a change there may lie outside int64.
    keep = np.abs(at) <= MAX_SECONDS
    return at[keep] * _SECOND, np.array(offsets, np.int64)[np.append(True, keep)] * _SECOND


def wall_clock(instants: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return what the clocks of a zone show at the given instants; "" shows them as they are.

    Parameters
    ----------
    instants : ndarray of int64, shape (n,)
        Nanoseconds since 1970, UTC.
    zone : str
        IANA name, or "".

    Returns
    -------
    ndarray of int64, shape (n,)
        Nanoseconds; the input itself where nothing changes.

    Examples
    --------
    >>> import numpy as np
    >>> from backtest_py.bars.timestamps import time_text
    >>> noon = np.array([1_704_110_400_000_000_000])
    >>> time_text(wall_clock(noon, "America/Sao_Paulo")[0])
    '2024-01-01 09:00'
    """
    if zone in {"", "UTC"} or len(instants) == 0:
        return instants
    at, offset = _transitions(zone, instants)
    return instants + offset[np.searchsorted(at, instants, side="right")]


def minutes_and_days(wall: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the minute of the day, floored, and the number of the trading day.

    Parameters
    ----------
    wall : ndarray of int64, shape (n,)
        Wall clock of the session in nanoseconds.

    Returns
    -------
    minute : ndarray of int32, shape (n,)
        0 to 1439.
    day : ndarray of int32, shape (n,)
        From 0, one higher whenever the calendar date changes.

    Examples
    --------
    >>> import numpy as np
    >>> minute, day = minutes_and_days(np.array([0, 90_500_000_000, 86_400_000_000_000]))
    >>> minute.tolist(), day.tolist()
    ([0, 1, 0], [0, 0, 1])
    """
    minutes = wall // _MINUTE
    dates = minutes // 1440
    minute = (minutes - dates * 1440).astype(np.int32)
    day = np.zeros(len(wall), np.int32)
    np.cumsum(dates[1:] != dates[:-1], out=day[1:])
    return minute, day


@dataclass(frozen=True, slots=True)
class Clocks:
    """The two clocks of a file and what to do when the first repeats or skips an hour.

    Parameters
    ----------
    timezone : str
        IANA name of the zone whose wall clock the file shows, or "".
    session_timezone : str
        IANA name of the zone that gives minutes and days, or "" for ``timezone``.
    ambiguous : {"infer", "earlier", "later", "refuse"}
        What a wall clock time that occurs twice means. ``infer``: the earlier instant, unless
        that is not after the bar before it, then the later.
    nonexistent : {"refuse", "shift_forward"}
        What becomes of a wall clock time that never occurs; ``shift_forward`` takes the first
        instant after the gap.

    Raises
    ------
    ConfigError
        If a zone or a choice is unknown.
    """

    timezone: str = ""
    session_timezone: str = ""
    ambiguous: str = "infer"
    nonexistent: str = "refuse"

    def __post_init__(self) -> None:
        """Refuse unknown names, even of a clock that will not be used."""
        for value, known, what in (
            (self.ambiguous, AMBIGUOUS, "choice for ambiguous"),
            (self.nonexistent, NONEXISTENT, "choice for nonexistent"),
        ):
            if value not in known:
                raise unknown_name(what, value, known)
        for key in ("timezone", "session_timezone"):
            name = getattr(self, key)
            if not isinstance(name, str):
                raise ConfigError(f"{key} = {name!r} is not text; write an IANA name or ''")
            if name not in {"", "UTC"}:
                _zone(name)

    def resolve(self, times: Times) -> tuple[str, str]:
        """Return the zones that hold for these times: of the file and of the session.

        Both are "" only for times without a zone when neither clock is named.
        """
        if times.has_zone:
            return "UTC", self.session_timezone or "UTC"
        if not self.timezone and self.session_timezone:
            return "UTC", self.session_timezone
        return self.timezone, self.session_timezone or self.timezone

    def instants(self, times: Times, at: At) -> NDArray[np.int64]:
        """Return the instants of the given times, which are in ascending order of time.

        Raises
        ------
        DataError
            If a wall clock time never occurs, or occurs twice and that is refused; the message
            names the rows.
        """
        zone, _ = self.resolve(times)
        if times.has_zone or zone in {"", "UTC"} or len(times.ns) == 0:
            return times.ns
        wall = times.ns
        change, offset = _transitions(zone, wall)
        old, new = _offsets_of(wall, change, offset)
        earlier, later = wall - offset[old], wall - offset[new]
        skipped, twice = np.flatnonzero(old > new), np.flatnonzero(old < new)
        if skipped.size:
            if self.nonexistent == "refuse":
                raise DataError(
                    f"{_rows_text(skipped, wall, at)}: the clocks of {zone} skipped this; name "
                    "the clock that wrote the times in timezone, or choose "
                    'nonexistent = "shift_forward"'
                )
            earlier[skipped] = change[old[skipped] - 1]
        if twice.size and self.ambiguous == "refuse":
            raise DataError(
                f"{_rows_text(twice, wall, at)}: the clocks of {zone} showed this twice; choose "
                'ambiguous = "infer", "earlier" or "later"'
            )
        if self.ambiguous == "later":
            earlier[twice] = later[twice]
        elif self.ambiguous == "infer":
            # One by one, as each depends on the one before it: an hour a year is short.
            for row in twice.tolist():
                if row > 0 and earlier[row] <= earlier[row - 1]:
                    earlier[row] = later[row]
        return earlier

    def check_repeats(self, times: Times, repeats: NDArray[np.bool_], at: At) -> None:
        """Refuse rows like the one before them where ``infer`` cannot tell what they are.

        In an hour that occurs twice they may be its two bars, or one bar written twice.

        Parameters
        ----------
        times : Times
            Times of n rows.
        repeats : ndarray of bool, shape (n,)
            Whether a row equals the one before it, its time included.
        at : callable
            Names a row in errors.

        Raises
        ------
        DataError
            If there is such a row; the message names the first few.
        """
        zone, _ = self.resolve(times)
        if self.ambiguous != "infer" or times.has_zone or zone in {"", "UTC"}:
            return
        old, new = _offsets_of(times.ns, *_transitions(zone, times.ns))
        doubtful = np.flatnonzero(repeats & (old < new))
        if doubtful.size:
            raise DataError(
                f"{_rows_text(doubtful, times.ns, at)}: the clocks of {zone} showed this twice, "
                "and the row equals the one above it: two bars, or one written twice? Remove the "
                'doubled rows, or choose ambiguous = "earlier" or "later", which drop them'
            )


def _offsets_of(
    wall: NDArray[np.int64], change: NDArray[np.int64], offset: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which offset holds at wall clock times, read by the last and by the first that may.

    The old offset holds up to one wall clock reading, the new one from another. So a time that
    occurs twice is both, old < new, and one that never occurs is neither, old > new.
    """
    old = np.searchsorted(change + offset[:-1], wall, side="right")
    new = np.searchsorted(change + offset[1:], wall, side="right")
    return old, new


def _rows_text(rows: NDArray[np.intp], wall: NDArray[np.int64], at: At) -> str:
    """Name the first few rows with their times, and say how many there are."""
    shown = [f"{at(row)} = {time_text(int(wall[row]))}" for row in rows[:5].tolist()]
    more = f" and {rows.size - len(shown):,} more" if rows.size > len(shown) else ""
    return ", ".join(shown) + more
