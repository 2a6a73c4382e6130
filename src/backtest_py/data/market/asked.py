"""What a user asks for: moments as people write them, and the candles that open between two."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.data.market.spans import Span
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from datetime import date

    from backtest_py.data.market.candles import Series

    Moment = str | date | int

__all__ = ["aligned_to", "inside_of", "span_of"]

_DATES: Final = Span(631_152_000_000, 4_102_444_800_000)
"""From 1990 to 2100: what lies outside is no time in milliseconds, or a mistake."""

_OFFSET: Final = re.compile(r"T.*[+-][0-9]{2}:?[0-9]{2}$")
"""The end of a time that says how far its clock is from UTC."""


def span_of(start: Moment, end: Moment) -> Span:
    """Return the span from one moment to another.

    Raises
    ------
    ConfigError
        If one of them is no time, or the first is not before the second.
    """
    span = Span(_instant(start, "start"), _instant(end, "end"))
    if span.start >= span.end:
        raise ConfigError(f"start = {start!s} is not before end = {end!s}; swap or correct them")
    return span


def inside_of(period: Span, span: Span) -> Span:
    """Return the part of a period that lies in a span which it touches."""
    return Span(max(period.start, span.start), min(period.end, span.end))


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


def _instant(moment: Moment, name: str) -> int:
    try:
        found = moment if isinstance(moment, int) else _parsed(str(moment).replace(" ", "T"))
    except ValueError:
        found = 0
    if isinstance(moment, bool) or not _DATES.start <= found <= _DATES.end:
        raise ConfigError(
            f"{name} = {str(moment)[:40]!r} is no time from 1990 to 2100; give one in UTC, such as "
            '"2025-02-22" or "2025-02-22 12:00", or milliseconds since 1970'
        )
    return found


def _parsed(text: str) -> int:
    if _OFFSET.search(text):
        return int(datetime.fromisoformat(text).timestamp() * 1_000)
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
