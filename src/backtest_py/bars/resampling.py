"""Coarser bars of finer ones: which belong together, and what they give.

A coarse bar takes the bars that open in ``[start, end)`` on the session's clock, all of one
trading day. Nothing is invented: where no bar opens, there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.bars.clocks import minutes_and_days, wall_clock
from backtest_py.bars.timestamps import time_text
from backtest_py.bars.zones import transitions
from backtest_py.errors import ConfigError, DataError
from backtest_py.parameters import counted, parse_clock, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.bars.validation import BarsReport

__all__ = ["Resampling", "resampled", "smallest_step"]

_SECOND: Final = 1_000_000_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_UNITS: Final = {"s": _SECOND, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY, "M": 28 * _DAY}
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,5})([smhdwM])", re.ASCII)
_ORIGINS: Final = ("midnight", "session")
_INCOMPLETE: Final = ("drop", "keep")
_NO_DST: Final = frozenset({"", "UTC"})


@dataclass(frozen=True, slots=True)
class Resampling:
    """What :meth:`backtest_py.Bars.resample` was asked for.

    Raises
    ------
    ConfigError
        If a choice is unknown, or bars could not be of that kind.
    """

    interval: str
    source: str = ""
    origin: str = "midnight"
    incomplete: str = "drop"
    label: str = "open"
    closed: str = "left"

    def __post_init__(self) -> None:
        """Refuse what no bars could be."""
        length = _length(self.interval, "interval")
        if self.source:
            _length(self.source, "source")
        if self.incomplete not in _INCOMPLETE:
            raise unknown_name("choice of incomplete", self.incomplete, _INCOMPLETE)
        self._check_sides()
        if length > _DAY:
            raise ConfigError(
                f"interval = {self.interval!r} is longer than a day, and a bar never crosses a "
                'trading day; give at most "1d"'
            )
        if self.offset == 0 and _DAY % length:
            raise ConfigError(
                f"interval = {self.interval!r} does not divide the day, so no bars of it can "
                'start at midnight; choose origin="session" to start at the first bar of each '
                'day, or a time of day such as origin="09:00"'
            )

    def _check_sides(self) -> None:
        if self.label in ("close", "right"):
            raise ConfigError(
                f"label = {self.label!r} is not allowed: the time of a bar is when it opens, for "
                'engines and sessions alike; choose "open"'
            )
        if self.closed == "right":
            raise ConfigError(
                'closed = "right" is not allowed: times say when bars open, so the bar that opens '
                'at the end of an interval belongs to the next one; choose "left"'
            )
        if self.label not in ("open", "left"):
            raise unknown_name("label", self.label, ("open", "left"))
        if self.closed != "left":
            raise unknown_name("closing side", self.closed, ("left",))

    @property
    def length(self) -> int:
        """Nanoseconds of a coarse bar."""
        return _length(self.interval, "interval")

    @property
    def offset(self) -> int | None:
        """Nanoseconds from midnight to the origin; None is each day's first bar.

        Raises
        ------
        ConfigError
            If it is neither a known name nor a time of day.
        """
        if self.origin == "session":
            return None
        if self.origin == "midnight":
            return 0
        if isinstance(self.origin, str) and ":" in self.origin:
            return parse_clock(self.origin) * _MINUTE
        raise unknown_name("origin", self.origin, (*_ORIGINS, "HH:MM"))


class _Groups(NamedTuple):
    """The bars that each coarse bar takes; its bounds on the session's clock, and as instants."""

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]


def resampled(
    values: Mapping[str, Any], wall: NDArray[np.int64], rule: Resampling
) -> dict[str, Any]:
    """Return the attributes of coarser bars.

    Parameters
    ----------
    values : mapping of str to object
        The attributes of valid bars.
    wall : ndarray of int64, shape (n_bars,)
        Their times on the session's clock, nanoseconds.
    rule : Resampling
        What was asked for.

    Raises
    ------
    ConfigError
        If the interval does not fit that of the bars.
    DataError
        If no coarse bar is complete, or volumes add up to more than a double can hold.
    """
    time, zone, report = values["time"], values["session_timezone"], values["report"]
    source = _source_length(rule, report, time, wall, values["day"])
    if rule.length % source:
        finer = "is finer than" if rule.length < source else "is not a multiple of"
        raise ConfigError(
            f"interval = {rule.interval!r} {finer} that of the bars, {_name(source)}; give a "
            "multiple of it"
        )
    groups = _groups(time, wall, values["day"], zone, rule)
    _check_edges(groups, time, wall, source, rule)
    notes = [f"made of {counted(len(time), 'bar')} of {_name(source)}, origin {rule.origin}"]
    name = _name(rule.length)
    if time[0] > groups.opens[0]:
        notes.append(
            f"the first bar of {name}, from {time_text(int(groups.start[0]))}, has only bars from "
            f"{time_text(int(wall[0]))} on"
        )
    if int(time[-1]) + source < groups.closes[-1]:
        dropped = rule.incomplete == "drop"
        notes.append(_last_note(groups, name, int(wall[-1]) + source, dropped=dropped))
        if dropped and len(groups.first) == 1:
            raise DataError(f'{notes[-1]}; no bar is left; give more, or choose incomplete="keep"')
        if dropped:
            groups = _Groups(*(each[:-1] for each in groups))
    if values["atr_column"] is not None:
        notes.append("the column atr is left out: it holds the ranges of the finer bars")
    return _columns(values, groups, zone) | {
        "timezone": values["timezone"],
        "session_timezone": zone,
        # arguments would read the finer bars again
        "report": replace(
            report,
            interval=name,
            notes=(*report.notes, *notes),
            arguments=None,
        ),
    }


def _last_note(groups: _Groups, name: str, until: int, *, dropped: bool) -> str:
    return (
        f"the last bar of {name}, from {time_text(int(groups.start[-1]))}, "
        f"{'was dropped' if dropped else 'may still be open'}: the bars that make it end at "
        f"{time_text(until)}, it ends at {time_text(int(groups.end[-1]))}"
    )


def _length(text: object, name: str) -> int:
    """Return the nanoseconds of an interval."""
    match = _INTERVAL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(
            f"{name} = {text!r:.60} is no interval; write a number with m, h or d, such as "
            '"15m", "4h" or "1d"'
        )
    return int(match[1]) * _UNITS[match[2]]


def _name(length: int) -> str:
    """Return the shortest name of a length: 3,600 seconds are 1h."""
    for unit in ("d", "h", "m", "s"):
        if length % _UNITS[unit] == 0:
            return f"{length // _UNITS[unit]}{unit}"
    return f"{length / _SECOND:g}s"


def smallest_step(
    time: NDArray[np.int64], wall: NDArray[np.int64], day: NDArray[np.int32]
) -> tuple[int, int]:
    """Return the smallest step between two bars of a day, in nanoseconds, and its first row.

    The step is 0 where no day has two bars. Bars that were made on a clock are as far apart on it
    where it is set forward.
    """
    steps = np.maximum(np.diff(time), np.diff(wall))
    steps = np.where(day[1:] == day[:-1], steps, np.iinfo(np.int64).max)
    row = int(steps.argmin()) if steps.size else 0
    if steps.size == 0 or day[row] != day[row + 1]:
        return 0, 0
    return int(steps[row]), row


def _source_length(
    rule: Resampling,
    report: BarsReport,
    time: NDArray[np.int64],
    wall: NDArray[np.int64],
    day: NDArray[np.int32],
) -> int:
    """Return how long the bars are: as is said, or their smallest step within a day."""
    named = rule.source or report.interval
    step, row = smallest_step(time, wall, day)
    if not named and not step:
        raise ConfigError(
            "no day has two bars, so their interval is not known; name it, as in "
            'resample("1d", source="1h")'
        )
    if not named:
        return step
    length = _length(named, "source" if rule.source else "bars.report.interval")
    if 0 < step < length:
        raise ConfigError(
            f"the bars are said to be of {named}, but bars[{row + 1}] opens {_name(step)} after "
            "the one before; correct source, or the bars"
        )
    return length


def _groups(
    time: NDArray[np.int64],
    wall: NDArray[np.int64],
    day: NDArray[np.int32],
    zone: str,
    rule: Resampling,
) -> _Groups:
    _check_bounds(int(wall.min()), int(wall.max()))
    opening = np.flatnonzero(np.diff(day, prepend=-1))
    midnight = wall[opening] // _DAY * _DAY
    anchor = wall[opening] if rule.offset is None else midnight + rule.offset
    place = (wall - anchor[day]) // rule.length

    def bounds(rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        of = day[rows]
        start = anchor[of] + place[rows] * rule.length
        end = np.minimum(start + rule.length, midnight[of] + _DAY)
        return np.maximum(start, midnight[of]), end

    begins = np.empty(len(wall), np.bool_)
    np.not_equal(place[1:], place[:-1], out=begins[1:])
    begins[opening] = True
    clock = None if zone in _NO_DST else _Clock(time, zone)
    if clock is not None:
        back = clock.set_back(time, wall)
        begins[back] |= ~clock.runs_on(clock.number(time[back]) - 1, *bounds(back))
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(wall)) - 1
    start, end = bounds(first)
    if clock is None:
        return _Groups(first, last, start, end, start, end)
    opens, closes = clock.opens(start, end, time[first]), clock.closes(start, end, time[last])
    return _Groups(first, last, start, end, opens, closes)


class _Clock:
    """A clock that is changed now and then, and the coarse bars that run on while it is.

    Where it is set forward, a coarse bar around that time is shorter than its name says; where it
    is set back, longer. Only one that is over just when its own time comes again, as of an hour
    at the usual change, is followed by another.
    """

    def __init__(self, time: NDArray[np.int64], zone: str) -> None:
        self.change, self.offset = transitions(zone, time)

    def number(self, time: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return how many changes came before some instants, or at them."""
        return np.searchsorted(self.change, time, side="right")

    @staticmethod
    def set_back(time: NDArray[np.int64], wall: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the rows before which it was set back."""
        offset = wall - time
        return np.flatnonzero(offset[1:] < offset[:-1]) + 1

    def runs_on(
        self, number: NDArray[np.intp], start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell which coarse bars run on through changes of the given numbers."""
        edges = self.change[number] + np.stack([self.offset[number], self.offset[number + 1]])
        low, high = edges.min(axis=0), edges.max(axis=0)
        runs: NDArray[np.bool_] = (start <= low) & (high <= end) & (end - start > high - low)
        return runs

    def opens(
        self, start: NDArray[np.int64], end: NDArray[np.int64], first: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the instants at which coarse bars open, of their bounds and first bars."""
        number = self.number(first)
        opens = start - self.offset[number]
        some = np.flatnonzero(number)
        before = number[some] - 1
        through = self.runs_on(before, start[some], end[some])
        latest = np.maximum(opens[some], self.change[before])
        opens[some] = np.where(through, start[some] - self.offset[before], latest)
        return opens

    def closes(
        self, start: NDArray[np.int64], end: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the instants at which coarse bars close, of their bounds and last bars."""
        number = self.number(last)
        closes = end - self.offset[number]
        some = np.flatnonzero(number < len(self.change))
        after = number[some]
        through = self.runs_on(after, start[some], end[some])
        earliest = np.minimum(closes[some], self.change[after])
        closes[some] = np.where(through, end[some] - self.offset[after + 1], earliest)
        return closes


def _check_bounds(first: int, last: int) -> None:
    """Refuse days that nanoseconds cannot count from midnight to midnight."""
    limits = np.iinfo(np.int64)
    for edge, outside in (
        (first, first // _DAY * _DAY <= limits.min),
        (last, (last // _DAY + 2) * _DAY > limits.max),
    ):
        if outside:
            raise DataError(
                f"the day of the bar at {time_text(edge)} is not wholly within what nanoseconds "
                "can count (1677-09-21 to 2262-04-11); leave it out"
            )


def _check_edges(
    groups: _Groups,
    time: NDArray[np.int64],
    wall: NDArray[np.int64],
    source: int,
    rule: Resampling,
) -> None:
    """Refuse bars that no coarse bar holds whole: it would know what comes after it."""
    across = time[groups.last] + source > groups.closes
    # bars that were made on a clock are shorter themselves where it was set forward
    shorter = groups.closes - groups.opens < groups.end - groups.start
    across &= ~shorter | (wall[groups.last] + source > groups.end)
    if not across.any():
        return
    at = int(across.argmax())
    row, edge = int(groups.last[at]), int(groups.end[at])
    here = time_text(int(wall[row]))
    what = "its trading day" if edge % _DAY == 0 else f"a bar of {rule.interval}"
    raise ConfigError(
        f"bars[{row}], {_name(source)} from {here} on, lies across the end of {what} at "
        f"{time_text(edge)} ({np.count_nonzero(across):,} such bars); choose another origin, or a "
        "session_timezone by whose midnight the bars are aligned"
    )


def _columns(values: Mapping[str, Any], groups: _Groups, zone: str) -> dict[str, Any]:
    first, last = groups.first, groups.last
    stop = int(last[-1]) + 1
    group = np.repeat(np.arange(len(first)), last - first + 1)
    # bincount adds one by one in order; np.add.reduceat does not
    volume = np.bincount(group, weights=values["volume"][:stop], minlength=len(first))
    if not np.isfinite(volume).all():
        row = int((~np.isfinite(volume)).argmax())
        raise DataError(
            f"the volumes of bars[{int(first[row])}] to bars[{int(last[row])}] add up to more than "
            "a double can hold; correct the source"
        )
    minute, day = minutes_and_days(wall_clock(groups.opens, zone))
    return {
        "time": groups.opens,
        "open": values["open"][first],
        "high": np.maximum.reduceat(values["high"][:stop], first),
        "low": np.minimum.reduceat(values["low"][:stop], first),
        "close": values["close"][last],
        "volume": volume,
        "minute": minute,
        "day": day,
        "atr_column": None,
        "has_volume": bool(volume.any()),
    }
