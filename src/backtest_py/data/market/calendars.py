"""Sessions of a market: which days trade, from when to when, and whether bars keep to them.

Which days trade at B3 comes from ``exchange_calendars`` (its calendar BVMF), of the extra ``data``.
The hours are those of the index and dollar futures, see docs/decisions/0012-bars-at-hand.md.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.bars import Bars
from backtest_py.bars.clocks import to_instants, wall_clock
from backtest_py.bars.options import ReadOptions
from backtest_py.bars.resampling import smallest_step
from backtest_py.bars.timestamps import Times, as_times
from backtest_py.data.extras import required
from backtest_py.errors import ConfigError
from backtest_py.parameters import clock_text, unknown_name

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MARKETS",
    "SessionCheck",
    "SessionEdge",
    "Sessions",
    "Strays",
    "check_sessions",
    "sessions",
    "sessions_of",
]

_MINUTE: Final = 60_000_000_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_FIRST: Final = np.datetime64("2000-01-01")
_LAST: Final = np.datetime64("2200-01-01")
_ASH_WEDNESDAY: Final = 13 * 60
_UNKNOWN: Final = np.iinfo(np.int64).min
"""Of a time that is not known: numpy's "not a time"."""


class _Hours(NamedTuple):
    """Hours from a day on, in minutes: the opening, and the close by New York's time of year."""

    since: np.datetime64
    opens: int
    closes_in_summer: int
    closes_in_winter: int


class _Market(NamedTuple):
    """What is traded on one clock; ``calendar`` is that of exchange_calendars, "" is every day."""

    calendar: str
    timezone: str
    hours: tuple[_Hours, ...]


def _b3(close_in_summer: int, close_in_winter: int) -> _Market:
    """Return a future of B3: until March 2024 it closed earlier while New York had summer time."""
    seasons = _Hours(np.datetime64("2019-11-04"), 9 * 60, close_in_summer, close_in_winter)
    all_year = _Hours(np.datetime64("2024-03-11"), 9 * 60, close_in_winter, close_in_winter)
    return _Market("BVMF", "America/Sao_Paulo", (seasons, all_year))


_WIN: Final = _b3(17 * 60 + 55, 18 * 60 + 25)
_WDO: Final = _b3(18 * 60, 18 * 60 + 30)
_ALWAYS: Final = _Market("", "UTC", (_Hours(np.datetime64("0001-01-01"), 0, 1440, 1440),))

MARKETS: Final = {
    "win": _WIN,
    "ind": _WIN,
    "wdo": _WDO,
    "dol": _WDO,
    "crypto": _ALWAYS,
    "24/7": _ALWAYS,
}
"""Markets whose sessions are known: B3's futures of the index and of the dollar, and any that
never closes."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of a market.

    Attributes
    ----------
    market, timezone : str
        Its name, and its clock.
    dates : ndarray of datetime64[D], shape (n,)
        The days that trade, in order.
    opens, closes : ndarray of int64, shape (n,)
        Minutes since 1970 on the market's clock; the smallest integer where hours are not known.
    why : tuple of str
        Why a session has its hours.
    """

    market: str
    timezone: str
    dates: NDArray[np.datetime64]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]
    why: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.dates)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame of ``open`` and ``close`` (UTC, NaT where not known) and ``why``.

        Its index holds the dates.
        """
        import pandas as pd  # noqa: PLC0415 - heavy, and seldom needed

        instants = {
            name: pd.DatetimeIndex(self._instants(minutes).view("M8[ns]"), tz="UTC")
            for name, minutes in (("open", self.opens), ("close", self.closes))
        }
        index = pd.DatetimeIndex(self.dates.astype("M8[s]"), name="date")
        return pd.DataFrame({**instants, "why": list(self.why)}, index=index)

    def _instants(self, minutes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return nanoseconds, UTC."""
        known = minutes != _UNKNOWN
        found = np.full(len(minutes), _UNKNOWN)
        times = Times(minutes[known] * _MINUTE, has_zone=False)
        options = ReadOptions(timezone=self.timezone)
        found[known] = to_instants(options, times, lambda row: f"sessions[{row}]")
        return found


def sessions(market: str, start: str | date, end: str | date) -> Sessions:
    """Return the sessions of a market from one day to before another.

    Parameters
    ----------
    market : {"win", "ind", "wdo", "dol", "crypto", "24/7"}
        B3's futures of the index (``win``, ``ind``) and of the dollar (``wdo``, ``dol``), or a
        market that never closes, whose days are those of UTC.
    start, end : str or date
        Days such as "2023-02-01", from 2000 to a year from now.

    Raises
    ------
    ConfigError
        If the market is unknown, a day is none, or lies outside of what the calendar knows; or
        if exchange_calendars, of the extra ``data``, is not installed (for B3).

    Examples
    --------
    >>> found = sessions("win", "2023-02-17", "2023-02-24")  # carnival, then Ash Wednesday
    >>> [str(day) for day in found.dates], found.why[1]
    (['2023-02-17', '2023-02-22', '2023-02-23'], 'Ash Wednesday; winter time in New York')
    """
    found = MARKETS.get(market.lower()) if isinstance(market, str) else None
    if found is None:
        raise unknown_name("market", market, MARKETS)
    first, last = _day(start, "start"), _day(end, "end")
    if first > last:
        raise ConfigError(f"start = {first} lies after end = {last}; swap or correct them")
    for name, day in (("start", first), ("end", last)):
        if not _FIRST <= day <= _LAST:
            raise ConfigError(f"{name} = {day} lies outside of the calendar, {_FIRST} to {_LAST}")
    dates, late = _trading_days(found, first, last)
    return _with_hours(market.lower(), found, dates, late)


def sessions_of(times: Bars | ArrayLike, market: str) -> Sessions:
    """Return the sessions from the day of the first bar to that of the last.

    Parameters
    ----------
    times : Bars or array-like
        Bars, or when they open, in order: instants, or times on the market's own clock.
    market : str
        As of :func:`sessions`.

    Raises
    ------
    ConfigError
        As :func:`sessions`.
    DataError
        If times are none.

    Examples
    --------
    >>> len(sessions_of(["2023-02-17 09:00", "2023-02-22 13:00"], "win"))
    2
    """
    if not isinstance(market, str) or market.lower() not in MARKETS:
        raise unknown_name("market", market, MARKETS)
    wall = _on_clock_of(MARKETS[market.lower()].timezone, times)
    if not len(wall):
        raise ConfigError("there is no time; give at least one")
    edges = (np.array([wall[0], wall[-1]]) // _DAY).astype("M8[D]")
    return sessions(market, edges[0].item(), (edges[1] + 1).item())


class SessionEdge(NamedTuple):
    """A session whose first bar opens late, or whose last bar closes early.

    ``expected`` and ``found`` are times of day: when the session opens and the first bar does, or
    when the session closes and the last bar does. ``why`` says by what the session has its hours,
    or that the bars begin or end there.
    """

    date: str
    expected: str
    found: str
    why: str


class Strays(NamedTuple):
    """Bars outside of a session's hours: how many, and when the first and the last one open."""

    date: str
    bars: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class SessionCheck:
    """How bars keep to the sessions of their market.

    Attributes
    ----------
    market, timezone : str
        The market and its clock, on which all times are.
    first, last : str
        The days from which and to which sessions were looked at.
    sessions, traded : int
        Sessions in that span, and those with a bar.
    hours_unknown : int
        Sessions whose hours are not known; the last four lists leave them out.
    missing : tuple of str
        Sessions without a bar.
    unexpected : tuple of str
        Days with bars that are no sessions.
    late_starts, early_ends : tuple of SessionEdge
        Sessions that begin late or end early.
    outside : tuple of Strays
        Bars outside of the hours of a session.
    """

    market: str
    timezone: str
    first: str
    last: str
    sessions: int
    traded: int
    hours_unknown: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    late_starts: tuple[SessionEdge, ...]
    early_ends: tuple[SessionEdge, ...]
    outside: tuple[Strays, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        found = (self.missing, self.unexpected, self.late_starts, self.early_ends, self.outside)
        return not any(found)

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, ready for JSON."""
        values = asdict(self)
        for name in ("late_starts", "early_ends", "outside"):
            values[name] = [each._asdict() for each in getattr(self, name)]
        return values | {"clean": self.clean}


def check_sessions(bars: Bars, *, market: str) -> SessionCheck:
    """Compare bars with the sessions of their market, from their first day to their last.

    Bars without a zone are taken for those of the market's clock. A coarse bar that reaches into
    a session, such as one of 08:00 to 12:00, belongs to it.

    Parameters
    ----------
    bars : Bars
        Of any interval; daily bars have no hours that could be checked.
    market : str
        As of :func:`sessions`.

    Raises
    ------
    ConfigError
        As :func:`sessions`.

    Examples
    --------
    >>> from backtest_py import synthetic_bars
    >>> found = check_sessions(synthetic_bars(n_days=3, start="2023-02-16"), market="win")
    >>> found.unexpected, found.early_ends[0].found
    (('2023-02-20',), '18:05')
    """
    expected = sessions_of(bars, market)
    wall = _on_clock_of(expected.timezone, bars)
    step, _ = smallest_step(bars.time, bars.wall, bars.day)
    opens, closes = wall // _MINUTE, (wall + (step or _DAY)) // _MINUTE
    dates = (wall // _DAY).astype("M8[D]")
    starts = np.flatnonzero(np.diff(dates.astype(np.int64), prepend=_UNKNOWN))
    ends = np.append(starts[1:], len(wall)) - 1
    _, session, day = np.intersect1d(expected.dates, dates[starts], return_indices=True)
    first, last = opens[starts[day]], closes[ends[day]]
    known = expected.opens[session] != _UNKNOWN
    late = known & (first > expected.opens[session])
    early = known & (last < expected.closes[session])
    return SessionCheck(
        market=expected.market,
        timezone=expected.timezone,
        first=str(dates[0]),
        last=str(dates[-1]),
        sessions=len(expected),
        traded=len(session),
        hours_unknown=int(np.count_nonzero(expected.opens == _UNKNOWN)),
        missing=_texts(np.setdiff1d(expected.dates, dates)),
        unexpected=_texts(np.setdiff1d(dates, expected.dates)),
        late_starts=_edges(
            expected, session[late], expected.opens, first[late], day[late] == 0, "begin"
        ),
        early_ends=_edges(
            expected,
            session[early],
            expected.closes,
            last[early],
            day[early] == ends.size - 1,
            "end",
        ),
        outside=_outside(expected, dates, opens, closes),
    )


def _edges(
    expected: Sessions,
    session: NDArray[np.intp],
    due: NDArray[np.int64],
    found: NDArray[np.int64],
    at_edge: NDArray[np.bool_],
    verb: str,
) -> tuple[SessionEdge, ...]:
    """Return sessions whose edge was found elsewhere than it was due."""
    return tuple(
        SessionEdge(
            str(expected.dates[row]),
            _clock(due[row], expected.dates[row]),
            _clock(here, expected.dates[row]),
            f"the bars {verb} here" if outermost else expected.why[row],
        )
        for row, here, outermost in zip(session, found, at_edge, strict=True)
    )


def _outside(
    expected: Sessions,
    dates: NDArray[np.datetime64],
    opens: NDArray[np.int64],
    closes: NDArray[np.int64],
) -> tuple[Strays, ...]:
    """Return the bars of sessions, of which no part lies within their hours."""
    if not len(expected):
        return ()
    at = np.minimum(np.searchsorted(expected.dates, dates), len(expected) - 1)
    stray = (closes <= expected.opens[at]) | (opens >= expected.closes[at])
    stray &= (expected.dates[at] == dates) & (expected.opens[at] != _UNKNOWN)
    rows = np.flatnonzero(stray)
    return tuple(
        Strays(str(day), len(found), _clock(opens[found[0]], day), _clock(opens[found[-1]], day))
        for day in np.unique(dates[rows])
        for found in (rows[dates[rows] == day],)
    )


def _day(value: object, name: str) -> np.datetime64:
    """Return a day."""
    day = value.astype("M8[D]").item() if isinstance(value, np.datetime64) else value
    if isinstance(day, str):
        try:
            day = date.fromisoformat(day)
        except ValueError:
            day = None
    if isinstance(day, datetime):
        day = day.date()
    if not isinstance(day, date):
        raise ConfigError(f'{name} = {value!r:.60} is not a day; give a date, such as "2023-02-01"')
    return np.datetime64(day, "D")


def _trading_days(
    market: _Market, start: np.datetime64, end: np.datetime64
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    """Return the days that trade, and those of them that open late."""
    if not market.calendar:
        return np.arange(start, end), np.empty(0, "M8[D]")
    years = [int(each.astype("M8[Y]").astype(np.int64)) + 1970 for each in (start, end)]
    limit = _last_day(market.calendar)
    if end > limit + 1:
        raise ConfigError(
            f"end = {end} lies after {limit}, the last day that the calendar of B3 knows; B3 "
            "announces its holidays year by year"
        )
    days, late = _calendar(market.calendar, *years)
    return days[(days >= start) & (days < end)], late


def _last_day(name: str) -> np.datetime64:
    """Return the last day that a calendar knows: a year from now."""
    return np.datetime64(_exchange(name).last_session, "D")


@lru_cache(maxsize=64)
def _calendar(
    name: str, first: int, last: int
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    """Return the trading days of some years, and those that open late."""
    # by itself it begins twenty years before today, and the same file would be refused one day
    found = _exchange(name, start=f"{first}-01-01", end=f"{last}-12-31")
    return found.sessions.to_numpy().astype("M8[D]"), found.late_opens.to_numpy().astype("M8[D]")


def _exchange(name: str, **span: str) -> Any:
    """Return a calendar of exchange_calendars."""
    calendars = required("exchange_calendars")
    with warnings.catch_warnings():
        # it still uses what pandas 3.1 says will change
        warnings.simplefilter("ignore", DeprecationWarning)
        return calendars.get_calendar(name, **span)


def _with_hours(
    name: str, market: _Market, dates: NDArray[np.datetime64], late: NDArray[np.datetime64]
) -> Sessions:
    noon = dates.astype("M8[ns]").astype(np.int64) + 12 * _HOUR
    summer = wall_clock(noon, "America/New_York") - noon == -4 * _HOUR
    ash = np.isin(dates, late)
    number = np.searchsorted([each.since for each in market.hours], dates, side="right") - 1
    table = np.array([each[1:] for each in market.hours], np.int64)[np.maximum(number, 0)]
    midnight = dates.astype(np.int64) * 1440
    opens = midnight + np.where(ash, _ASH_WEDNESDAY, table[:, 0])
    closes = midnight + np.where(summer, table[:, 1], table[:, 2])
    unknown = number < 0
    opens[unknown] = closes[unknown] = _UNKNOWN
    why = tuple(
        ("Ash Wednesday; " if special else "") + _why(market, at, season)
        for at, season, special in zip(
            number.tolist(),
            np.where(summer, "summer", "winter").tolist(),
            ash.tolist(),
            strict=True,
        )
    )
    return Sessions(name, market.timezone, dates, opens, closes, why)


def _why(market: _Market, number: int, season: str) -> str:
    """Say why a session closes when it does."""
    if not market.calendar:
        return "never closes"
    if number < 0:
        return f"hours before {market.hours[0].since} are not known"
    hours = market.hours[number]
    if hours.closes_in_summer == hours.closes_in_winter:
        return f"the same close all year since {hours.since}"
    return f"{season} time in New York"


def _on_clock_of(zone: str, times: Bars | ArrayLike) -> NDArray[np.int64]:
    """Return times on a market's clock, in nanoseconds; those without a zone are on it already."""
    if isinstance(times, Bars):
        return times.time if times.is_naive else wall_clock(times.time, zone)
    found = as_times(times, lambda row: f"times[{row}]")
    return wall_clock(found.ns, zone) if found.has_zone else found.ns


def _clock(minute: np.int64, day: np.datetime64) -> str:
    """Return the time of day of minutes since 1970; a day ends at 24:00."""
    return clock_text(int(minute) - int(day.astype("M8[D]").astype(np.int64)) * 1440)


def _texts(days: NDArray[np.datetime64]) -> tuple[str, ...]:
    return tuple(np.unique(days).astype(str).tolist())
