"""What a sweep must know of an engine: how large an outcome is, and what outcomes cannot hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backtest_py.bars import Bars

__all__ = ["SweepLimits"]


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """The table of outcomes of an engine, and its limits.

    Attributes
    ----------
    lanes : int
        Exits that share a cell; a table has room for whole cells.
    cell_bytes : int
        Bytes of the outcome of one candidate under one exit.
    max_bars, max_days : int
        The most bars, and days from the first bar to the last, that outcomes can tell apart.
    """

    lanes: int
    cell_bytes: int
    max_bars: int
    max_days: int

    def table_bytes(self, n_candidates: int, n_exits: int) -> int:
        """Return how many bytes a table of outcomes takes.

        Examples
        --------
        >>> SweepLimits(8, 16, 1 << 24, 65_535).table_bytes(1_000, 9)
        256000
        """
        return n_candidates * -(-n_exits // self.lanes) * self.lanes * self.cell_bytes

    def obstacle(self, bars: Bars) -> str:
        """Return which limit the bars exceed, ``""`` for none.

        Examples
        --------
        >>> import backtest_py as bt
        >>> SweepLimits(8, 16, 1 << 24, 5).obstacle(bt.synthetic_bars(n_days=6))
        'it takes at most 5 days in a sweep, and here are 6'
        """
        n_days = int(bars.day[-1]) - int(bars.day[0]) + 1
        for name, found, limit in (
            ("bars", len(bars), self.max_bars),
            ("days", n_days, self.max_days),
        ):
            if found > limit:
                return f"it takes at most {limit:,} {name} in a sweep, and here are {found:,}"
        return ""
