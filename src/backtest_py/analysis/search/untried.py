"""Combinations that no sampler proposed: all of a small grid, or random ones of a large one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.sweep.space.search import Unsettled

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

    from backtest_py.sweep.space.grid import Grid

__all__ = ["LISTED", "Untried"]

LISTED: Final = 2**20
"""Combinations of a grid that is looked through; of a larger one some are drawn."""
DRAWN: Final = 2**16
"""Combinations that are drawn at a time."""
DESCENTS: Final = 64
"""Searches in a row that find nothing new, after which there is nothing left worth looking for."""
BOXES: Final = 2**12
"""Boxes of the grid that each of them looks at."""


class Untried:
    """Draws admitted combinations that were not evaluated yet.

    Parameters
    ----------
    grid : Grid
        The grid.
    seed : int
        The same seed gives the same combinations.
    """

    def __init__(self, grid: Grid, seed: int) -> None:
        self._grid, self._seed, self._stream = grid, seed, 0
        self._place = 0
        self._listed: NDArray[np.int64] | None = None
        if grid.size <= LISTED:
            admitted = grid.box_mask([range(length) for length in grid.shape])
            ids = np.flatnonzero(admitted).astype(np.int64)
            self._listed = ids[np.argsort(self._numbers(len(ids)), kind="stable")]

    @property
    def n_admitted(self) -> int | None:
        """How many combinations are valid and admitted; None where the grid is too large to ask."""
        return None if self._listed is None else len(self._listed)

    def all(self) -> NDArray[np.int64]:
        """Return every combination of a small grid that is valid and admitted, ascending."""
        assert self._listed is not None, "only small grids are listed"
        return np.sort(self._listed)

    def draw(self, count: int, tried: Container[int]) -> list[int]:
        """Return so many combinations that were not tried; fewer where no more are found."""
        if self._listed is not None:
            return self._next(self._listed, count, tried)
        drawn = (self._numbers(DRAWN) % np.uint64(self._grid.size)).astype(np.int64)
        rows = self._grid.digit_rows(drawn)
        held = np.broadcast_to(self._grid.admits(list(rows.T)), len(rows))
        found = dict.fromkeys(each for each in drawn[held].tolist() if each not in tried)
        chosen = list(found)[:count]
        if len(chosen) < count:
            self._descend(count, tried, chosen)
        return chosen

    def _next(self, listed: NDArray[np.int64], count: int, tried: Container[int]) -> list[int]:
        """Return the next combinations of a list, whose first ones are all tried."""
        chosen: list[int] = []
        while len(chosen) < count and self._place < len(listed):
            combo_id = int(listed[self._place])
            self._place += 1
            if combo_id not in tried:
                chosen.append(combo_id)
        return chosen

    def _descend(self, count: int, tried: Container[int], chosen: list[int]) -> None:
        """Add combinations where they are rare: one value after another is drawn and held."""
        misses = 0
        try:
            while len(chosen) < count and misses < DESCENTS:
                combo_id = self._one()
                if combo_id is None:
                    return
                if combo_id in tried or combo_id in chosen:
                    misses += 1
                else:
                    chosen.append(combo_id)
                    misses = 0
        except Unsettled:  # a condition that no box can settle: what was drawn has to do
            return

    def _one(self) -> int | None:
        """Return an admitted combination at random, None where there is none."""
        grid = self._grid
        found = grid.first_with({}, BOXES)
        if found is None:
            return None
        fixed: dict[int, int] = {}
        numbers = self._numbers(2 * len(grid.axes))
        order = np.argsort(numbers[: len(grid.axes)], kind="stable").tolist()
        for axis, number in zip(order, numbers[len(grid.axes) :].tolist(), strict=True):
            digit = number % grid.shape[axis]
            there = grid.first_with({**fixed, axis: digit}, BOXES)
            if there is not None:
                found, fixed[axis] = there, digit
            else:
                fixed[axis] = grid.digits(found)[axis]
        return found

    def _numbers(self, count: int) -> NDArray[np.uint64]:
        self._stream += 1
        return splitmix64(self._seed, self._stream, count)
