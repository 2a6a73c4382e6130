"""Time zones by name: which one a column carries, and how far its clocks are from UTC."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_SECONDS", "named_zone", "transitions", "zone_exists", "zone_name"]

MAX_SECONDS: Final = 9_223_200_000
"""Whole days that nanoseconds can count on either side of 1970: 1677-09-22 to 2262-04-10."""

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET: Final = re.compile(r"(?:UTC|GMT)?[+-](\d\d?)(?::?(\d\d))?")
_UTC: Final = frozenset(
    prefix + name
    for prefix in ("", "Etc/")
    for name in (
        "UTC", "UCT", "Universal", "Zulu", "GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich",
    )
) | {"Z"}  # fmt: skip
"""Names of UTC in the time zone database, and the letter of ISO 8601."""


def named_zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name.

    Raises
    ------
    ConfigError
        If no zone has that name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        error = unknown_name("time zone", name, available_timezones())
        text = str(error).split(" (known:", maxsplit=1)[0]
        raise ConfigError(f"{text}; write an IANA name such as 'America/Sao_Paulo'") from None


def zone_exists(name: str) -> bool:
    """Return whether there is a zone of that name."""
    with suppress(ConfigError):
        named_zone(name)
        return True
    return False


def zone_name(zone: str | tzinfo) -> str:
    """Return the name of a zone that a column carries: "UTC", or "" for a mere offset.

    Parameters
    ----------
    zone : str or tzinfo
        As Arrow writes it, or an object of datetime, zoneinfo, pytz or dateutil.

    Examples
    --------
    >>> from datetime import timezone
    >>> from zoneinfo import ZoneInfo
    >>> zone_name(ZoneInfo("America/Sao_Paulo")), zone_name("-03:00"), zone_name(timezone.utc)
    ('America/Sao_Paulo', '', 'UTC')
    """
    if isinstance(zone, str):
        offset = _OFFSET.fullmatch(zone)
        if offset is not None:
            return "" if any(map(int, offset.groups(default="0"))) else "UTC"
        return "UTC" if zone in _UTC else zone
    name = getattr(zone, "key", None) or getattr(zone, "zone", None) or _dateutil_name(zone)
    if name:
        return zone_name(str(name))
    return "UTC" if zone.utcoffset(None) == timedelta(0) else ""


def _dateutil_name(zone: Any) -> str:
    """Return the name of a dateutil zone, which knows only the file that it was read from."""
    parts = str(getattr(zone, "_filename", "")).replace("\\", "/").split("/")
    names = ("/".join(parts[-count:]) for count in range(min(3, len(parts)), 0, -1))
    known = available_timezones() if any(parts) else set()
    return next((name for name in names if name in known), "")


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
    zone = named_zone(name)
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


def transitions(name: str, ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when a zone's offset changes around the given times, and the offsets between.

    Parameters
    ----------
    name : str
        IANA name.
    ns : ndarray of int64, shape (n,)
        Nanoseconds since 1970; at least one.

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
    offsets = [_offset_at(named_zone(name), start), *(offset for _, offset in changes)]
    at = np.array([second for second, _ in changes], np.int64)
    # The outermost years only serve as a margin: a change there may lie outside int64.
    keep = np.abs(at) <= MAX_SECONDS
    return at[keep] * _SECOND, np.array(offsets, np.int64)[np.append(True, keep)] * _SECOND
