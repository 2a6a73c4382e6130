"""Certificates: what is known of some candles, in a text that always has the same hash.

What is hashed is what the candles are, in the columns that bars take: series, spans, rows, gaps,
findings, the hash of each month's or year's candles, and the sources with the checksums of their
files. When a span was fetched and
the words of a hole's evidence (which hold that time) are shown, and not hashed: two users who have
the same candles from the same files have the same certificate.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.data.market.spans import covered, instant_text, joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backtest_py.data.market.blocks import Block, Hole, Source
    from backtest_py.data.market.candles import Series
    from backtest_py.data.market.findings import Findings
    from backtest_py.data.market.spans import Span

__all__ = ["IMPORT", "Certificate", "Part", "certificate_of", "part_of"]

VERSION: Final = 1
"""Version of the text that is hashed."""
IMPORT: Final = "import"
"""How the names of sources begin that were files of the user: ``import:FILE``."""
SHOWN: Final = 10
"""Gaps that are shown one by one."""


class Part(NamedTuple):
    """What a certificate needs of one block.

    Attributes
    ----------
    starts : int
        When its month or year begins.
    known : tuple of Span
        What of it is certified.
    n_rows : int
        Candles in the known spans.
    findings : Findings
        Of these candles.
    holes, sources : tuple of Hole, tuple of Source
        As of the block, cut to what is certified.
    """

    starts: int
    known: tuple[Span, ...]
    n_rows: int
    findings: Findings
    holes: tuple[Hole, ...]
    sources: tuple[Source, ...]


def part_of(block: Block, wanted: Span | None = None) -> Part:
    """Return what a certificate needs of a block, or of its part in a span."""
    span = block.period if wanted is None else wanted
    candles, known = block.candles, tuple(covered(span, block.known))
    first, last = np.searchsorted(candles.open_time, np.array(span, np.int64)).tolist()
    whole = last - first == len(candles)
    return Part(
        block.period.start,
        known,
        last - first,
        candles.findings if whole else candles.examined(first, last),
        tuple(each._replace(span=s) for each in block.holes for s in covered(span, [each.span])),
        tuple(each._replace(span=s) for each in block.sources for s in covered(span, [each.span])),
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of the candles of some spans of one series.

    Attributes
    ----------
    series : Series
        What it is of.
    parts : tuple of Part
        Its months or years, in order.

    Examples
    --------
    >>> from backtest_py.data.market.blocks import Block
    >>> from backtest_py.data.market.candles import Series
    >>> from backtest_py.data.market.spans import Span
    >>> block = Block.nothing(Series.of("BTCUSDT", "1d"), Span(0, 31_536_000_000))
    >>> certificate_of(block.series, [part_of(block)]).n_rows
    0
    """

    series: Series
    parts: tuple[Part, ...]

    @property
    def spans(self) -> list[Span]:
        """What is certified."""
        return joined(span for part in self.parts for span in part.known)

    @property
    def n_rows(self) -> int:
        """How many candles there are."""
        return sum(part.n_rows for part in self.parts)

    @property
    def n_expected(self) -> int:
        """How many candles open in the spans, by the interval."""
        return sum(self.series.interval.count(*span) for span in self.spans)

    @property
    def holes(self) -> list[Span]:
        """What is missing of the spans because the exchange itself does not have it."""
        return joined(
            span
            for part in self.parts
            for hole in part.holes
            for span in covered(hole.span, part.known)
        )

    @property
    def n_unexplained(self) -> int:
        """How many candles are missing that are in no hole; a block that has any is refused."""
        in_holes = sum(self.series.interval.count(*hole) for hole in self.holes)
        return self.n_expected - self.n_rows - in_holes

    @property
    def broken(self) -> dict[str, int]:
        """Rules that candles break, and how many do."""
        counts: Counter[str] = Counter()
        for part in self.parts:
            counts.update(dict(part.findings.broken))
        return dict(sorted(counts.items()))

    @property
    def sources(self) -> list[tuple[Span, str, str]]:
        """Span, name and checksum of every source; spans that touch are one."""
        spans: dict[tuple[str, str], list[Span]] = {}
        for part in self.parts:
            for source in part.sources:
                spans.setdefault((source.name, source.checksum), []).append(source.span)
        return sorted((span, *key) for key, found in spans.items() for span in joined(found))

    def content(self) -> dict[str, Any]:
        """Return what is hashed."""
        certified = [part for part in self.parts if part.known]
        return {
            "certificate": VERSION,
            "symbol": self.series.symbol,
            "interval": self.series.interval.name,
            "spans": self.spans,
            "rows": self.n_rows,
            "expected_rows": self.n_expected,
            "missing": self.n_expected - self.n_rows,
            "holes": self.holes,
            "unexplained": self.n_unexplained,
            "duplicates": sum(part.findings.duplicates for part in certified),
            "broken_rules": self.broken,
            "zero_volume": sum(part.findings.zero_volume for part in certified),
            "flat": sum(part.findings.flat for part in certified),
            "candles": [[part.starts, part.n_rows, part.findings.sha256] for part in certified],
            "sources": self.sources,
        }

    @property
    def text(self) -> str:
        """The text that is hashed: JSON with sorted keys, in ASCII, without spaces."""
        return json.dumps(self.content(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def hash(self) -> str:
        """SHA-256 of the text."""
        return sha256(self.text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the content, its hash, and what is shown without being hashed, for JSON."""
        fetched = [source.fetched_at for part in self.parts for source in part.sources]
        holes = [hole for part in self.parts for hole in part.holes]
        return {
            **self.content(),
            "sha256": self.hash,
            "first_gaps": [
                {
                    "from": instant_text(hole.span.start),
                    "to": instant_text(hole.span.end),
                    "evidence": hole.evidence,
                }
                for hole in holes[:SHOWN]
            ],
            "evidence": [[*hole.span, hole.evidence] for hole in holes],
            "fetched": [instant_text(each(fetched)) for each in (min, max) if fetched],
        }

    def origin(self, exchange: str) -> str:
        """Return where the candles came from: an exchange, ``import``, or both."""
        kinds = {name.partition(":")[0] == IMPORT for _, name, _ in self.sources}
        return ", ".join(IMPORT if kind else exchange for kind in sorted(kinds)) or exchange


def certificate_of(series: Series, parts: Iterable[Part]) -> Certificate:
    """Return the certificate of the parts of some blocks."""
    return Certificate(series, tuple(sorted(parts, key=lambda part: part.starts)))
