"""Blocks: all that is known of one series in one month or year, the unit that tiers keep.

A block says for every instant of its period whether it is known. Where it is known, the candles
of the block are all that the exchange has; a candle that is missing there is a hole, and stands in
``holes`` with its evidence. What is not known is not cached, whatever the exchange may have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.intervals import DAY, INTERVALS
from backtest_py.data.market.spans import Span, covered, joined, missing
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["Block", "Hole", "Source", "absent", "in_order", "is_long", "period_of", "periods"]

_HOUR: Final = DAY // 24


class Hole(NamedTuple):
    """Candles that the exchange itself does not have, and how that is known.

    ``evidence`` names the answer that showed it, such as a page of the exchange or an archive's
    file with its checksum.
    """

    span: Span
    evidence: str


class Source(NamedTuple):
    """Where a span came from: its name, the checksum of its file or "", and when, in ms UTC."""

    span: Span
    name: str
    checksum: str
    fetched_at: int


def period_of(series: Series, instant: int) -> Span:
    """Return the period that holds an instant: a year from hourly candles on, a month below.

    Examples
    --------
    >>> series = Series.of("BTCUSDT", "1d")
    >>> period_of(series, 0)
    Span(start=0, end=31536000000)
    """
    unit = "M8[Y]" if is_long(series) else "M8[M]"
    opens = np.int64(instant).astype("M8[ms]").astype(unit)
    edges = np.array([opens, opens + 1]).astype("M8[ms]").astype(np.int64)
    return Span(int(edges[0]), int(edges[1]))


def is_long(series: Series) -> bool:
    """Return whether the periods of a series are years."""
    return series.interval.ms == 0 or series.interval.ms >= _HOUR


def periods(series: Series, span: Span) -> Iterator[Span]:
    """Yield the periods that a span touches, in order."""
    at = span.start
    while at < span.end:
        period = period_of(series, at)
        yield period
        at = period.end


def in_order(kept: Iterable[tuple[Series, Span]]) -> list[tuple[Series, Span]]:
    """Return series and periods in order of symbol, length of interval and time."""
    intervals = list(INTERVALS)
    return sorted(
        kept, key=lambda each: (each[0].symbol, intervals.index(each[0].interval.name), each[1])
    )


def absent(series: Series, candles: Candles, known: Span) -> NDArray[np.int64]:
    """Return when candles should open in a span that is known, and none does."""
    opens = series.interval.opens(known.start, known.end)
    return np.setdiff1d(opens, candles.open_time, assume_unique=True)


@dataclass(frozen=True, slots=True)
class Block:
    """All that is known of one series in one period.

    Attributes
    ----------
    series : Series
        What it is of.
    period : Span
        Its month or year.
    known : tuple of Span
        Disjoint and in order, within the period.
    candles : Candles
        All closed candles of the known spans.
    holes : tuple of Hole
        Within the known spans, in order.
    sources : tuple of Source
        Where the known spans came from, in order.
    """

    series: Series
    period: Span
    known: tuple[Span, ...]
    candles: Candles
    holes: tuple[Hole, ...] = ()
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a block that contradicts itself.

        Raises
        ------
        DataError
            If times do not increase, a candle lies off the interval or in no known span, or a
            missing candle is in no hole.
        """
        self._check_known()
        times, interval = self.candles.open_time, self.series.interval
        where = f"{self.series}, block from {self.period.start}"
        steps = np.diff(times)
        if np.any(steps <= 0):
            row = int(np.argmax(steps <= 0)) + 1
            raise DataError(f"{where}: open_time[{row}] = {times[row]} is not after the one before")
        strange = interval.off(times)
        if len(strange):
            raise DataError(f"{where}: the candle at {strange[0]} lies off the interval")
        inside = sum(_count(times, span) for span in self.known)
        if inside < len(times):
            raise DataError(f"{where}: {len(times) - inside} candles lie outside of what is known")
        lacking = sum(interval.count(*span) for span in self.known) - len(times)
        excused = 0
        for hole in self.holes:
            if _count(times, hole.span):
                raise DataError(f"{where}: there is a candle where a hole begins {hole.span.start}")
            excused += sum(interval.count(*part) for part in covered(hole.span, self.known))
        if lacking != excused:
            raise DataError(f"{where}: {lacking} candles are missing, and holes excuse {excused}")

    def _check_known(self) -> None:
        at = self.period.start
        for span in self.known:
            if not at <= span.start < span.end <= self.period.end:
                raise DataError(
                    f"{self.series}, block from {self.period.start}: the known span from "
                    f"{span.start} to {span.end} overlaps another, or leaves the period"
                )
            at = span.end

    @classmethod
    def nothing(cls, series: Series, period: Span) -> Block:
        """Return a block that knows nothing."""
        return cls(series, period, (), Candles.empty())

    def missing(self, wanted: Span) -> list[Span]:
        """Return what of a span, cut to the period, is not known."""
        cut = Span(max(wanted.start, self.period.start), min(wanted.end, self.period.end))
        return missing(cut, self.known) if cut.start < cut.end else []

    def restricted(self, span: Span) -> Block:
        """Return the block with nothing known outside of a span."""
        return self.without(Span(self.period.start, span.start)).without(
            Span(span.end, self.period.end)
        )

    def without(self, span: Span) -> Block:
        """Return the block with a span unknown again."""
        known = tuple(missing_in(self.known, span))
        if known == self.known:
            return self
        return replace(
            self,
            known=known,
            candles=Candles.joined(self.candles.within(each) for each in known),
            holes=tuple(
                Hole(part, hole.evidence)
                for hole in self.holes
                for part in missing_in((hole.span,), span)
            ),
            sources=tuple(
                source._replace(span=part)
                for source in self.sources
                for part in missing_in((source.span,), span)
            ),
        )

    def replaced_by(self, newer: Block) -> Block:
        """Return the block with all that ``newer`` knows in the place of what stood there."""
        if not self.known:
            return replace(newer, series=self.series)
        rest = self
        for span in newer.known:
            rest = rest.without(span)
        parts = sorted(
            (part for part in _runs(rest) + _runs(newer)), key=lambda part: int(part.open_time[0])
        )
        return replace(
            self,
            known=tuple(joined((*rest.known, *newer.known))),
            candles=Candles.joined(parts),
            holes=tuple(sorted((*rest.holes, *newer.holes))),
            sources=tuple(sorted((*rest.sources, *newer.sources))),
        )

    def differs_from(self, other: Block) -> list[Span]:
        """Return spans that both know, and know differently."""
        common = [part for known in self.known for part in covered(known, other.known)]
        return [part for part in common if self.candles.within(part) != other.candles.within(part)]


def _count(times: NDArray[np.int64], span: Span) -> int:
    """Return how many candles open within a span."""
    first, last = np.searchsorted(times, np.array(span, np.int64))
    return int(last - first)


def missing_in(spans: tuple[Span, ...], taken: Span) -> list[Span]:
    """Return what remains of spans when one is taken away."""
    return [part for span in spans for part in missing(span, (taken,))]


def _runs(block: Block) -> list[Candles]:
    """Return the candles of each known span that has any."""
    parts = (block.candles.within(span) for span in block.known)
    return [part for part in parts if len(part)]
