"""Clocks: from what a file says to instants, and from instants to minutes and days.

An instant is an int64 count of nanoseconds since 1970-01-01 UTC. A wall clock is the same count
without a zone. Two clocks matter: ``timezone`` is the one on which the file's times are written,
``session_timezone`` the one by which the market keeps its hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.bars.timestamps import time_text
from backtest_py.bars.zones import transitions, zone_exists
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars.options import ReadOptions
    from backtest_py.bars.timestamps import At, Times

__all__ = ["check_repeats", "minutes_and_days", "resolve_clocks", "to_instants", "wall_clock"]

_MINUTE: Final = 60_000_000_000
_ROWS: Final = 16_384


def wall_clock(
    instants: NDArray[np.int64], zone: str, at: At = "row {}".format
) -> NDArray[np.int64]:
    """Return what the clocks of a zone show at the given instants; "" shows them as they are.

    Parameters
    ----------
    instants : ndarray of int64, shape (n,)
        Nanoseconds since 1970, UTC.
    zone : str
        IANA name, or "".
    at : callable, optional
        Names a row in errors.

    Returns
    -------
    ndarray of int64, shape (n,)
        Nanoseconds; the input itself where nothing changes.

    Raises
    ------
    DataError
        If int64 nanoseconds cannot count what the clocks show, as in the last hours of 2262.

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
    change, offset = transitions(zone, instants)
    shift = offset[np.searchsorted(change, instants, side="right")]
    return _shifted(instants, shift, zone, at)


def _shifted(
    ns: NDArray[np.int64], shift: NDArray[np.int64], zone: str, at: At
) -> NDArray[np.int64]:
    """Return ``ns + shift``; numpy itself wraps round at the ends of int64 without a word."""
    shifted = ns + shift
    wrapped = np.where(shift < 0, shifted >= ns, shifted < ns)
    wrapped |= shifted == np.iinfo(np.int64).min  # which is "not a time"
    if wrapped.any():
        row = int(wrapped.argmax())
        raise DataError(
            f"{at(row)} = {time_text(int(ns[row]))} cannot be moved between UTC and the clock of "
            f"{zone}: it lies within hours of the last time that nanoseconds can count "
            "(1677-09-21 to 2262-04-11); correct the time, or leave the bar out"
        )
    return shifted


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
    minute, day = np.empty(len(wall), np.int32), np.empty(len(wall), np.int32)
    for at in range(0, len(wall), _ROWS):  # so many at a time stay close to the processor
        part = slice(at, at + _ROWS)
        minutes = wall[part] // _MINUTE
        dates = minutes // 1440
        minute[part] = minutes - dates * 1440
        day[part] = dates
    changes = day[1:] != day[:-1]
    day[:1] = 0
    np.cumsum(changes, out=day[1:])
    return minute, day


def resolve_clocks(options: ReadOptions, times: Times, at: At) -> tuple[str, str]:
    """Return the zones that hold for these times: of the file and of the session.

    Both are "" only for times without a zone where neither clock is named. Times that carry a
    zone are instants, and its clock is the session's unless another is named.

    Raises
    ------
    DataError
        If times carry a zone that does not exist, or one that ``timezone`` contradicts.
    """
    if not times.has_zone:
        if not options.timezone and options.session_timezone:
            return "UTC", options.session_timezone
        return options.timezone, options.session_timezone or options.timezone
    if times.zone not in {"", "UTC"}:
        _check_zone(options, times, at)
    return "UTC", options.session_timezone or times.zone or "UTC"


def _check_zone(options: ReadOptions, times: Times, at: At) -> None:
    """Refuse a column's zone that is unknown where it is needed, or not that of ``timezone``."""
    known = zone_exists(times.zone)
    if not known and not options.session_timezone:
        raise DataError(
            f"{at(0)} carries the time zone {times.zone!r}, which is unknown; name the market's "
            "clock in session_timezone"
        )
    if options.timezone in {"", times.zone} or len(times.ns) == 0:
        return
    if known and _same_clock(options.timezone, times.zone, times.ns):
        return
    raise DataError(
        f"{at(0)} carries the time zone {times.zone}, but timezone = {options.timezone!r} names "
        "another clock; leave timezone out, and name the market's clock in session_timezone if "
        f"it is not that of {times.zone}"
    )


def _same_clock(name: str, other: str, instants: NDArray[np.int64]) -> bool:
    """Return whether two zones show the same at all instants, as two names of one zone do."""
    span = np.array([instants.min(), instants.max()])
    offsets = []
    for zone in (name, other):
        change, offset = transitions(zone, span)
        offsets.append(offset[np.searchsorted(change, instants, side="right")])
    return bool((offsets[0] == offsets[1]).all())


def to_instants(
    options: ReadOptions, times: Times, at: At, known: int | None = None
) -> NDArray[np.int64]:
    """Return the instants of the given times, which are in ascending order of time.

    ``known`` is the instant of the first of them, where the rows before it have settled that.

    Raises
    ------
    DataError
        If a wall clock time never occurs, or occurs twice and that is refused, or its instant
        lies beyond what nanoseconds can count; the message names the rows.
    """
    zone, _ = resolve_clocks(options, times, at)
    if times.has_zone or zone in {"", "UTC"} or len(times.ns) == 0:
        return times.ns
    wall = times.ns
    change, offset = transitions(zone, wall)
    old, new = _offsets_of(wall, change, offset)
    earlier = _shifted(wall, -offset[old], zone, at)
    later = _shifted(wall, -offset[new], zone, at)
    skipped, twice = np.flatnonzero(old > new), np.flatnonzero(old < new)
    if skipped.size:
        if options.nonexistent == "refuse":
            raise DataError(
                f"{_rows_text(skipped, wall, at)}: the clocks of {zone} skipped this; name "
                "the clock that wrote the times in timezone, or choose "
                'nonexistent = "shift_forward"'
            )
        earlier[skipped] = change[old[skipped] - 1]
    if twice.size and options.ambiguous == "refuse":
        raise DataError(
            f"{_rows_text(twice, wall, at)}: the clocks of {zone} showed this twice; choose "
            'ambiguous = "infer", "earlier" or "later"'
        )
    if options.ambiguous == "later":
        earlier[twice] = later[twice]
    elif options.ambiguous == "infer":
        if known is not None:
            earlier[0] = known
        # One by one, as each depends on the one before it: an hour a year is short.
        for row in twice.tolist():
            if row > 0 and earlier[row] <= earlier[row - 1]:
                earlier[row] = later[row]
    return earlier


def check_repeats(options: ReadOptions, times: Times, repeats: NDArray[np.bool_], at: At) -> None:
    """Refuse rows like the one before them where ``infer`` cannot tell what they are.

    In an hour that occurs twice they may be its two bars, or one bar written twice.

    Parameters
    ----------
    options : ReadOptions
        The clocks.
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
    zone, _ = resolve_clocks(options, times, at)
    if options.ambiguous != "infer" or times.has_zone or zone in {"", "UTC"}:
        return
    old, new = _offsets_of(times.ns, *transitions(zone, times.ns))
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
