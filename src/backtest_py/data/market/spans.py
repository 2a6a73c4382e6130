"""Half-open spans of time, and what remains of some when others are taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Span", "covered", "instant_text", "joined", "missing"]


class Span(NamedTuple):
    """Instants ``start <= t < end``, in milliseconds since 1970, UTC."""

    start: int
    end: int


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return the same instants as few spans, in order; empty ones are left out.

    Examples
    --------
    >>> joined([Span(5, 8), Span(0, 2), Span(2, 4), Span(6, 9)])
    [Span(start=0, end=4), Span(start=5, end=9)]
    """
    found: list[Span] = []
    for span in sorted(span for span in spans if span.start < span.end):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def covered(wanted: Span, spans: Iterable[Span]) -> list[Span]:
    """Return the parts of ``wanted`` that lie in some span."""
    cut = (Span(max(wanted.start, each.start), min(wanted.end, each.end)) for each in spans)
    return joined(cut)


def missing(wanted: Span, spans: Iterable[Span]) -> list[Span]:
    """Return the parts of ``wanted`` that lie in no span.

    Examples
    --------
    >>> missing(Span(0, 10), [Span(2, 4), Span(8, 20)])
    [Span(start=0, end=2), Span(start=4, end=8)]
    """
    found, at = [], wanted.start
    for span in covered(wanted, spans):
        if at < span.start:
            found.append(Span(at, span.start))
        at = span.end
    if at < wanted.end:
        found.append(Span(at, wanted.end))
    return found


def instant_text(instant: int) -> str:
    """Return an instant as text, UTC.

    Examples
    --------
    >>> instant_text(1_740_182_400_000)
    '2025-02-22 00:00:00'
    """
    return str(np.int64(instant).astype("M8[ms]").astype("M8[s]")).replace("T", " ")
