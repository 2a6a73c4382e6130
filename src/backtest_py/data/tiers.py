"""The tiers on disk, as one: the database is asked first, the archive for what lacks there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from backtest_py.data.cache.encoding import BarsOnlyError
from backtest_py.data.market.blocks import Block
from backtest_py.errors import BacktestWarning, CacheError
from backtest_py.monitoring.catalogue import DEGRADATIONS

if TYPE_CHECKING:
    from backtest_py.data.cache.archive import Archive
    from backtest_py.data.cache.database import Database
    from backtest_py.data.market.candles import Series
    from backtest_py.data.market.spans import Span
    from backtest_py.data.recording import Looks
    from backtest_py.data.rewrites import Journal

__all__ = ["Tiers"]


class Tiers:
    """Database and archive together; one that fails degrades to the other with a warning.

    Parameters
    ----------
    database : Database or None
        Asked first.
    archive : Archive or None
        Asked for what the database lacks, which is then kept there, too.
    journal : Journal
        What the exchange has rewritten: nothing from before that is believed.
    """

    def __init__(
        self, database: Database | None, archive: Archive | None, journal: Journal
    ) -> None:
        self.database = database
        self.archive = archive
        self._journal = journal

    def kept(
        self,
        series: Series,
        period: Span,
        inside: Span | None = None,
        *,
        details: bool = True,
        looks: Looks | None = None,
    ) -> Block:
        """Return what the tiers know of a month or year, asking no more of them than needed.

        Parameters
        ----------
        series, period : Series, Span
            Which block.
        inside : Span, optional
            The part that is wanted, by default all of it.
        details : bool
            Without them a block may hold only the columns of bars, where the nearest tier knows
            all that is wanted: what has to be merged or stored is whole.
        looks : Looks, optional
            Where it is noted what each tier answered.
        """
        inside = period if inside is None else inside
        block = Block.nothing(series, period)
        tiers = [tier for tier in (self.database, self.archive) if tier is not None]
        for tier in tiers:
            nearest = not details and tier is tiers[0]
            found = self._asked(tier, series, period, inside, details=not nearest)
            if looks is not None:
                looks.note(tier.name, series, period, inside, found)
            if nearest and found is not None:
                if not found.missing(inside):
                    return found
                found = self._asked(tier, series, period, inside)
            if found is None:
                continue
            for gap in block.missing(period) if block.known else ():
                extra = found.restricted(gap)
                if extra.known:
                    block = block.replaced_by(extra)
            if not block.known:
                block = found
            if not block.missing(inside):
                if tier is not self.database and self.database is not None:
                    self._told(self.database, block)
                break
        return block

    def store(self, block: Block) -> bool:
        """Keep a block in every tier that can be written; return whether one did."""
        tiers = [tier for tier in (self.archive, self.database) if tier is not None]
        told = [self._told(tier, block) for tier in tiers if not tier.read_only]
        return any(told)

    def _asked(
        self,
        tier: Database | Archive,
        series: Series,
        period: Span,
        inside: Span,
        *,
        details: bool = True,
    ) -> Block | None:
        try:
            found = tier.get(series, period, inside, details=details)
            return None if found is None else self._journal.fresh(found)
        except BarsOnlyError:  # what was rewritten is cut out of a whole block
            return self._asked(tier, series, period, inside)
        except CacheError as error:
            DEGRADATIONS.add(tier.name, error.reason)
            warnings.warn(f"{error}; the next tier is asked", BacktestWarning, stacklevel=2)
            return None

    def _told(self, tier: Database | Archive, block: Block) -> bool:
        try:
            tier.put(block)
        except CacheError as error:
            DEGRADATIONS.add(tier.name, "unwritable")
            warnings.warn(f"{error}; it is not kept there", BacktestWarning, stacklevel=2)
            return False
        return True
