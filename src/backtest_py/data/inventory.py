"""What the tiers keep, series by series."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backtest_py.data.market.blocks import Block, in_order
from backtest_py.data.market.certificates import IMPORT
from backtest_py.data.market.spans import Span, instant_text, joined
from backtest_py.errors import BacktestWarning, CacheError

if TYPE_CHECKING:
    from backtest_py.data.cache.archive import Archive
    from backtest_py.data.cache.database import Database
    from backtest_py.data.feed import Feed
    from backtest_py.data.market.candles import Series
    from backtest_py.data.rewrites import Rewrite

    Place = tuple[Series, Span]

__all__ = ["KeptSeries", "inventory"]


@dataclass(slots=True)
class KeptSeries:
    """What is kept of one series.

    Attributes
    ----------
    series : Series
        Of what.
    known : list of Span
        All that some tier knows.
    n_candles, n_holes : int
        Candles there, and candles that the exchange itself does not have.
    sources : set of str
        Where they came from, files of the exchange's archive by its name alone.
    database_bytes, archive_bytes : int
        As they are stored.
    last_access : int or None
        When the database was last asked for any of it, s since 1970; None if it has none.
    rewrites : list of Rewrite
        What the exchange has rewritten of it.
    """

    series: Series
    known: list[Span] = field(default_factory=list)
    n_candles: int = 0
    n_holes: int = 0
    sources: set[str] = field(default_factory=set)
    database_bytes: int = 0
    archive_bytes: int = 0
    last_access: int | None = None
    rewrites: list[Rewrite] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        accessed = None if self.last_access is None else instant_text(1_000 * self.last_access)
        return {
            "symbol": self.series.symbol,
            "interval": self.series.interval.name,
            "known": [[instant_text(each) for each in span] for span in self.known],
            "candles": self.n_candles,
            "holes": self.n_holes,
            "sources": sorted(self.sources),
            "database_bytes": self.database_bytes,
            "archive_bytes": self.archive_bytes,
            "last_access": accessed,
            "rewrites": [each.to_dict() for each in self.rewrites],
        }

    def add(self, block: Block) -> None:
        """Count a block."""
        self.known = joined([*self.known, *block.known])
        self.n_candles += len(block.candles)
        self.n_holes += sum(
            self.series.interval.count(*hole) for hole in joined(each.span for each in block.holes)
        )
        for source in block.sources:
            kind = source.name.partition(":")[0]
            self.sources.add(source.name if kind == IMPORT else kind)


def inventory(feed: Feed) -> list[KeptSeries]:
    """Return what database and archive keep, in order of symbol and interval.

    Nothing is changed by looking. A tier that cannot be listed, or a block that cannot be read,
    gives a warning and is left out.
    """
    found: dict[Series, KeptSeries] = {}
    in_database = {} if feed.database is None else _entries(feed.database)
    in_archive = {}
    if feed.archive is not None and not feed.archive.read_only:  # an address cannot be listed
        in_archive = _entries(feed.archive)
    for at in in_order({*in_database, *in_archive}):
        kept = found.setdefault(at[0], KeptSeries(at[0]))
        block = Block.nothing(*at)
        for tier, places in ((feed.database, in_database), (feed.archive, in_archive)):
            extra = _looked(tier, at) if tier is not None and at in places else None
            if extra is not None:
                for gap in block.missing(at[1]):
                    block = block.replaced_by(extra.restricted(gap))
        kept.add(block)
        if at in in_database:
            entry = in_database[at]
            kept.database_bytes += entry.n_bytes
            kept.last_access = max(entry.last_access, kept.last_access or 0)
        kept.archive_bytes += in_archive.get(at, 0)
    for rewrite in feed.journal.entries():
        found.setdefault(rewrite.series, KeptSeries(rewrite.series)).rewrites.append(rewrite)
    return list(found.values())


def _entries(tier: Any) -> dict[Place, Any]:
    try:
        entries: dict[Place, Any] = tier.entries()
    except CacheError as error:
        warnings.warn(f"{error}; it is left out", BacktestWarning, stacklevel=3)
        return {}
    return entries


def _looked(tier: Database | Archive, at: Place) -> Block | None:
    try:
        return tier.look(*at)
    except CacheError as error:
        warnings.warn(f"{error}; it is left out", BacktestWarning, stacklevel=3)
        return None
