"""What a user asks for: moments as people write them, and the candles that open between two."""

from __future__ import annotations

from functools import lru_cache
from operator import index
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.bars.timestamps import parse_times
from backtest_py.data.market.spans import Span
from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datetime import date

    from backtest_py.data.market.candles import Series

    Moment = str | date | int

__all__ = ["aligned_to", "inside_of", "instant_of", "span_of"]

_DATES: Final = Span(631_152_000_000, 4_102_444_800_000)
"""From 1990 to 2100: what lies outside is no time in milliseconds, or a mistake."""
_NANOSECONDS: Final = 1_000_000
"""Of a millisecond."""


def span_of(start: Moment, end: Moment) -> Span:
    """Return the span from one moment to another.

    Raises
    ------
    ConfigError
        If one of them is no time, or the first is not before the second.
    """
    span = Span(instant_of(start, "start"), instant_of(end, "end"))
    if span.start >= span.end:
        raise ConfigError(f"start = {start!s} is not before end = {end!s}; swap or correct them")
    return span


def inside_of(series: Series, period: Span, span: Span) -> Span:
    """Return what a span wants of a month or year, from the first candle that opens there on.

    A week may begin in one year and end in the next: what lies before the first candle belongs to
    the period before. Where no candle opens, the part has no length.
    """
    end = min(period.end, span.end)
    return Span(min(series.interval.ceil(max(period.start, span.start)), end), end)


def aligned_to(series: Series, wanted: Span) -> Span:
    """Return a span from the first candle that opens in it to the first that opens after it.

    Raises
    ------
    ConfigError
        If none opens in it.
    """
    aligned = Span(series.interval.ceil(wanted.start), series.interval.ceil(wanted.end))
    if aligned.start >= aligned.end:
        raise ConfigError(f"no candle of {series} opens in the span; give a longer one")
    return aligned


def instant_of(moment: Moment, name: str) -> int:
    """Return a moment as people write it, in milliseconds since 1970, UTC.

    Parameters
    ----------
    moment : str, date or int
        A text without a zone is UTC; a whole number is milliseconds since 1970.
    name : str
        What it is, for the error.

    Raises
    ------
    ConfigError
        If it is no time from 1990 to 2100.

    Examples
    --------
    >>> instant_of("2025-02-22", "start"), instant_of("2025-02-22 09:00-03:00", "start")
    (1740182400000, 1740225600000)
    """
    try:
        found = index(moment)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(moment, np.datetime64):
            moment = np.datetime64(moment, "ms")
        found = 0 if isinstance(moment, float) else _parsed(str(moment))
    if isinstance(moment, bool) or not _DATES.start <= found <= _DATES.end:
        raise ConfigError(
            f"{name} = {str(moment)[:40]!r} is no time from 1990 to 2100; give a date or time, "
            'UTC, such as "2025-02-22" or "2025-02-22 12:00", or milliseconds since 1970'
        )
    return found


@lru_cache(maxsize=1_024)  # a request that memory answers takes a tenth of this
def _parsed(text: str) -> int:
    """Return the first whole millisecond at or after a time, 0 where the text is none."""
    if "\0" in text:  # NumPy would cut it off
        return 0
    try:
        times = parse_times(np.array([text.encode("ascii", "replace")]), "time {}".format)
    except DataError:
        return 0
    return -(-int(times.ns[0]) // _NANOSECONDS)
