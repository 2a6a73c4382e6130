"""How a sweep is cut into shards: by the grid and the strategy alone.

Neither threads nor memory change a cut, so that any process can compute any shard, and a shard's
file has the same bytes wherever it was computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from backtest_py.sweep.space.sample import SampledGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backtest_py.sweep.space.grid import Grid

__all__ = ["LAYOUT", "MAX_ROWS", "Shard", "Shards"]

MAX_ROWS: Final = 131_072
"""Combinations of a shard: some 50 MB of metrics, and a fraction of a second of work."""
MAX_EXITS: Final = 128
"""Exits of a shard: their outcomes are computed together and fit into memory on long data too."""
MAX_SAMPLES: Final = 2_048
"""Combinations of a shard of a sample, each of which is worked out on its own."""
LAYOUT: Final = {"rows": MAX_ROWS, "exits": MAX_EXITS, "samples": MAX_SAMPLES}
"""What decides how sweeps are cut: a sweep that was cut otherwise cannot be continued."""


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

    Examples
    --------
    >>> from backtest_py import BarraElefante, Contract, ExitRules
    >>> from backtest_py.sweep.space.grid import Grid
    >>> axes = {"strategy.lookback": range(1, 101), "rules.max_bars": range(1, 301)}
    >>> shards = Shards(Grid.build(BarraElefante(), ExitRules(), Contract(), axes))
    >>> len(shards), shards[1].box
    (3, (range(0, 100), range(128, 256)))
    """

    grid: Grid | SampledGrid

    @cached_property
    def cuts(self) -> tuple[tuple[range, ...], ...]:
        """The ranges into which every axis is cut."""
        if isinstance(self.grid, SampledGrid):
            return (_runs(self.grid.size, MAX_SAMPLES),)
        exits = (*self.grid.rules_axes, *self.grid.contract_axes)
        shape = self.grid.shape
        cuts: dict[int, tuple[range, ...]] = _cut(shape, exits, MAX_EXITS)
        n_exits = math.prod(len(cuts[axis][0]) for axis in exits)
        cuts |= _cut(shape, self.grid.strategy_axes, max(1, MAX_ROWS // n_exits))
        return tuple(cuts[axis] for axis in range(len(shape)))

    def __len__(self) -> int:
        return math.prod(map(len, self.cuts))

    def __getitem__(self, number: int) -> Shard:
        box = []
        rest = number
        for axis in reversed(self.cuts):
            rest, place = divmod(rest, len(axis))
            box.append(axis[place])
        if rest or number < 0:
            raise IndexError(number)
        return Shard(number, tuple(reversed(box)))

    def in_working_order(self, *, by_exits: bool = True) -> Iterator[Shard]:
        """Yield all shards, so that those which share most come one after another.

        Parameters
        ----------
        by_exits : bool
            Whether shards with the same exits do, which share outcomes, or those with the same
            signal sets, which share scores.
        """
        if isinstance(self.grid, SampledGrid):
            yield from (self[number] for number in range(len(self)))
            return
        sets = self.grid.strategy_axes
        exits = tuple(sorted((*self.grid.rules_axes, *self.grid.contract_axes)))
        order = (*exits, *sets) if by_exits else (*sets, *exits)
        strides = [math.prod(map(len, self.cuts[axis + 1 :])) for axis in range(len(self.cuts))]
        counts = [len(self.cuts[axis]) for axis in order]
        for place in range(len(self)):
            rest, number = place, 0
            for axis, count in zip(reversed(order), reversed(counts), strict=True):
                rest, digit = divmod(rest, count)
                number += digit * strides[axis]
            yield self[number]


def _cut(shape: Sequence[int], axes: Sequence[int], limit: int) -> dict[int, tuple[range, ...]]:
    """Cut axes so that a box has at most ``limit`` positions; the fastest axes stay whole."""
    cuts = {}
    room = limit
    for axis in reversed(axes):
        length = max(1, min(shape[axis], room))
        cuts[axis] = _runs(shape[axis], length)
        room //= length
    return cuts


def _runs(n: int, length: int) -> tuple[range, ...]:
    return tuple(range(start, min(start + length, n)) for start in range(0, n, length))
