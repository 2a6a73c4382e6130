"""How a sweep is cut into shards: by the grid and the strategy alone.

Neither threads nor memory change a cut, so that any process can compute any shard, and a shard's
file has the same bytes wherever it was computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from backtest_py.sweep.space.boxes import Boxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backtest_py.sweep.space.combinations import Combinations

__all__ = ["LAYOUT", "Shard", "Shards", "most_rows"]

MAX_ROWS: Final = 131_072
"""Combinations of a shard of one range: some 50 MB of metrics, a fraction of a second of work."""
MAX_EXITS: Final = 128
"""Exits of a shard: their outcomes are computed together and fit into memory on long data too."""
MAX_SAMPLES: Final = 2_048
"""Combinations of a shard of a sample, each of which is worked out on its own."""
LAYOUT: Final = {"rows": MAX_ROWS, "exits": MAX_EXITS, "samples": MAX_SAMPLES}
"""What decides how sweeps are cut: a sweep that was cut otherwise cannot be continued."""


def most_rows(n_ranges: int) -> int:
    """Return how many combinations a shard has at most, so that its numbers take as much room.

    Examples
    --------
    >>> most_rows(1), most_rows(13)
    (131072, 10082)
    """
    return max(1, MAX_ROWS // n_ranges)


@dataclass(frozen=True, slots=True)
class Shard:
    """One box of a grid, or one run of rows of a sample.

    Attributes
    ----------
    number : int
        The name of its file.
    box : tuple of range
        Positions on every axis; of a sample, one range of rows.
    """

    number: int
    box: tuple[range, ...]


@dataclass(frozen=True)
class Shards:
    """All shards of a grid or a sample, numbered in the order of their first combination.

    Attributes
    ----------
    grid : Combinations
        The combinations.
    n_ranges : int
        Ranges in which each of them is evaluated.

    Examples
    --------
    >>> from backtest_py import BarraElefante, Contract, ExitRules
    >>> from backtest_py.sweep.space.grid import Grid
    >>> axes = {"strategy.lookback": range(1, 101), "rules.max_bars": range(1, 301)}
    >>> shards = Shards(Grid.build(BarraElefante(), ExitRules(), Contract(), axes))
    >>> len(shards), shards[1].box
    (3, (range(0, 100), range(128, 256)))
    """

    grid: Combinations
    n_ranges: int = 1

    @cached_property
    def cuts(self) -> tuple[tuple[range, ...], ...]:
        """The ranges into which every dimension of the boxes is cut."""
        rows = most_rows(self.n_ranges)
        return self.grid.cuts(rows, MAX_EXITS, min(rows, MAX_SAMPLES))

    @cached_property
    def boxes(self) -> Boxes:
        """The boxes of all shards."""
        return Boxes(self.cuts)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, number: int) -> Shard:
        return Shard(number, self.boxes[number])

    def in_working_order(self, *, by_exits: bool = True) -> Iterator[Shard]:
        """Yield all shards, so that those which share most come one after another.

        Parameters
        ----------
        by_exits : bool
            Whether shards with the same exits do, which share outcomes, or those with the same
            signal sets, which share scores.
        """
        order = self.grid.cut_order(by_exits=by_exits)
        strides = [math.prod(map(len, self.cuts[axis + 1 :])) for axis in range(len(self.cuts))]
        counts = [len(self.cuts[axis]) for axis in order]
        for place in range(len(self)):
            rest, number = place, 0
            for axis, count in zip(reversed(order), reversed(counts), strict=True):
                rest, digit = divmod(rest, count)
                number += digit * strides[axis]
            yield self[number]
