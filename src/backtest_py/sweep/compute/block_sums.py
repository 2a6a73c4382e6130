"""Sums of blocks of days that a sweep keeps: of which combinations, and from single runs.

CSCV asks for the sums of daily returns and of their squares, and the days, of every block. Of a
large sweep they are kept for a sample of its combinations: which ones depends on the grid alone,
so that threads, shards and interruptions change nothing.

A grid is sampled as a crossing of some signal sets with some exits, because the combinations of a
signal set are computed together. Number ``k`` is taken where the fractional part of ``k`` times
the golden ratio is below the share that is wanted: that is spread evenly, and no length of an axis
can fall into step with it, as one could with every tenth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from backtest_py.sweep.space.boxes import box_positions
from backtest_py.sweep.store.block_table import BlockRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from backtest_py.sweep.space.combinations import BoxRows, Combinations
    from backtest_py.sweep.spec import SweepSpec

    Digits = NDArray[np.integer[Any]]

__all__ = [
    "KEPT_ROWS",
    "BlockSample",
    "BlockSums",
    "block_sums",
    "parts_of",
]

KEPT_ROWS: Final = 10_000
"""Combinations of which sums are kept: all of a smaller sweep, and about so many of a larger."""
_LEAST_SETS: Final = math.isqrt(KEPT_ROWS)
"""Signal sets of a sampled grid, if it has so many: a few would say little of the others."""
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
"""The fractional part of the golden ratio, times 2**64."""


@dataclass(frozen=True, slots=True)
class BlockSample:
    """The combinations of a sweep whose sums of blocks are kept.

    Attributes
    ----------
    grid : Combinations
        What is swept.
    n_blocks : int
        Blocks, 2 or more.
    sets, exits : float
        Shares of the signal sets and of the exits that are taken; of a sample, whose rows share
        neither, ``sets`` is the share of the rows.
    """

    grid: Combinations
    n_blocks: int
    sets: float
    exits: float

    @classmethod
    def of(cls, spec: SweepSpec) -> Self | None:
        """Return the sample of a sweep, None where no sums are kept."""
        grid, n_blocks = spec.grid, spec.kept_blocks
        if n_blocks == 0 or not spec.is_plain:
            return None
        if spec.n_combos <= KEPT_ROWS:
            return cls(grid, n_blocks, 1.0, 1.0)
        if not grid.crosses:
            return cls(grid, n_blocks, KEPT_ROWS / spec.n_combos, 1.0)
        n_sets = math.prod(len(grid.axes[axis]) for axis in grid.strategy_axes)
        n_exits = math.prod(len(grid.axes[axis]) for axis in grid.exit_axes)
        wanted = KEPT_ROWS * grid.size / spec.n_combos  # so that as many are left by ``where``
        some = min(n_sets, max(_LEAST_SETS, wanted / n_exits))
        return cls(grid, n_blocks, some / n_sets, min(1.0, wanted / some / n_exits))

    def takes_sets(self, digits: Digits) -> NDArray[np.bool_]:
        """Tell which signal sets are taken; positions on every axis, shape (n, n_axes)."""
        return self._takes(digits, self.grid.strategy_axes, self.sets)

    def takes(self, rows: BoxRows, box: tuple[range, ...]) -> NDArray[np.bool_]:
        """Tell which combinations of a box are taken, shape (n,)."""
        if self.sets >= 1.0 and self.exits >= 1.0:
            return np.ones(len(rows.combo_ids), np.bool_)
        if not self.grid.crosses:
            return _spread(np.arange(box[0].start, box[0].stop), self.sets)
        taken = np.zeros(math.prod(map(len, box)), np.bool_)
        sets, set_places = box_positions(box, self.grid.strategy_axes)
        exits, exit_places = box_positions(box, self.grid.exit_axes)
        some = self._takes(exits, self.grid.exit_axes, self.exits)
        taken[np.add.outer(set_places[self.takes_sets(sets)], exit_places[some])] = True
        return taken if rows.places is None else taken[rows.places]

    def _takes(self, digits: Digits, axes: Sequence[int], share: float) -> NDArray[np.bool_]:
        ranks = np.zeros(len(digits), np.int64)
        for axis in axes:
            ranks = ranks * len(self.grid.axes[axis]) + digits[:, axis]
        return _spread(ranks, share)


def _spread(ranks: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Tell which numbers are taken, so that about ``share`` of any run of them are."""
    if share >= 1.0:
        return np.ones(len(ranks), np.bool_)
    places = ranks.astype(np.uint64) * _GOLDEN  # modulo 2**64
    taken: NDArray[np.bool_] = places < np.uint64(int(share * 2.0**64))
    return taken


class BlockSums:
    """The sums of blocks of a shard, gathered in pieces as its combinations are computed.

    Parameters
    ----------
    sample : BlockSample
        Which combinations are wanted.
    taken : ndarray of bool, shape (n,)
        Of the combinations of the shard, in their order, which ones are.
    """

    def __init__(self, sample: BlockSample, taken: NDArray[np.bool_]) -> None:
        self.sample, self.taken = sample, taken
        self._ids: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.float64]] = []

    def add(self, ids: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Add sums, shape (3*n_blocks, n), of combinations that may be others than are wanted."""
        self._ids.append(ids)
        self._values.append(values)

    def of(self, combo_ids: NDArray[np.int64]) -> BlockRows | None:
        """Return the sums of what is wanted of a shard's combinations, None of nothing."""
        wanted = combo_ids[self.taken]
        if not len(wanted):
            return None
        ids, values = np.concatenate(self._ids), np.concatenate(self._values, axis=1)
        order = np.argsort(ids)
        places = order[np.searchsorted(ids[order], wanted)]
        sums, squares, days = (values[part::3, places] for part in range(3))
        return BlockRows(wanted, sums, squares, days)


def parts_of(
    taken: NDArray[np.bool_], n_blocks: int, sums: BlockSums | None
) -> Iterator[tuple[slice | NDArray[np.intp], int]]:
    """Yield what is evaluated together, and with how many blocks: what is taken, then the rest."""
    if sums is None or not taken.any():
        yield slice(None), n_blocks
    elif taken.all():
        yield slice(None), sums.sample.n_blocks
    else:
        yield np.flatnonzero(taken), sums.sample.n_blocks
        yield np.flatnonzero(~taken), n_blocks


def block_sums(returns: NDArray[np.float64], range_days: int, n_blocks: int) -> NDArray[np.float64]:
    """Return the sums of blocks as ``SweepPlan.evaluate`` gives them, for one run.

    Parameters
    ----------
    returns : ndarray of float64, shape (days,)
        Daily returns of the days that count.
    range_days : int
        Days of the range, which are cut into blocks.
    n_blocks : int
        How many.

    Returns
    -------
    ndarray of float64, shape (3*n_blocks,)
        Sum of the returns, sum of their squares and number of days, block after block.
    """
    edges = range_days * np.arange(1, n_blocks) // n_blocks
    block = np.searchsorted(edges, np.arange(len(returns)), side="right")
    parts = (returns, returns * returns, np.ones(len(returns)))
    sums = np.empty((n_blocks, 3))
    for at, part in enumerate(parts):
        sums[:, at] = np.bincount(block, weights=part, minlength=n_blocks)
    return sums.ravel()
