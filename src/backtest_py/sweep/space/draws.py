"""A few combinations of a grid for a check: its corners, and others at random.

Random numbers are those of splitmix64 from a seed. Only what is valid and admitted counts.
"""

from __future__ import annotations

from math import ceil, gcd
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.sweep.space.boxes import distinct_rows, united

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.sweep.space.axis import Axis

    Digits = NDArray[np.int64]

__all__ = ["corners", "distinct_by", "draw"]

MAX_PARTS: Final = 8
"""Parts of the grid from which random combinations are drawn."""
ENOUGH: Final = 4_096
"""Combinations of a box that are looked at more closely."""
MIN_EXITS: Final = 8
"""Exits of random combinations: following every candidate under one is what costs most."""


class CrossedGrid(Protocol):
    """What a draw asks of a grid, which crosses signal sets with exits."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What varies."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every axis."""

    @property
    def strategy_axes(self) -> tuple[int, ...]:
        """Axes of the signal sets."""

    @property
    def structural_axes(self) -> tuple[int, ...]:
        """Those of them that cost a pass over the bars."""

    @property
    def exit_axes(self) -> tuple[int, ...]:
        """Axes of the exits."""

    def admits(self, index: Sequence[NDArray[np.integer[Any]]]) -> NDArray[np.bool_]:
        """Return where combinations are valid and admitted."""

    def box_mask(self, slices: Sequence[range]) -> NDArray[np.bool_]:
        """Return which combinations of a box are."""

    def crossed(self, sets: Digits, exits: Digits) -> Digits:
        """Return every signal set with every exit that is admitted."""


def corners(grid: CrossedGrid) -> Digits:
    """Return the first and the last combination, and both with one axis at its other end."""
    first = np.zeros(len(grid.axes), np.int64)
    last = np.array(grid.shape, np.int64) - 1
    rows = [first, last]
    for axis in range(len(grid.axes)):
        for start, end in ((first, last), (last, first)):
            rows.append(start.copy())
            rows[-1][axis] = end[axis]
    distinct = united(np.array(rows))
    return distinct[np.broadcast_to(grid.admits(list(distinct.T)), len(distinct))]


def draw(grid: CrossedGrid, n: int, seed: int, boxes: Sequence[Sequence[range]]) -> Digits:
    """Draw combinations all over the grid: signal sets crossed with a few exits, then others."""
    drawn = _spread(grid, n, seed, boxes)
    sets = distinct_by(drawn, grid.strategy_axes)
    exits = distinct_by(drawn, grid.exit_axes)[: max(MIN_EXITS, ceil(n / len(sets)))]
    crossed = grid.crossed(sets, exits)
    order = np.argsort(splitmix64(seed, 0, len(crossed)))
    return united(crossed[order], drawn)


def _spread(grid: CrossedGrid, n: int, seed: int, boxes: Sequence[Sequence[range]]) -> Digits:
    """Draw admitted combinations all over the grid; fewer if it has no more.

    They come from boxes, because in a box combinations that are admitted can be listed, however
    rare they are; a step that has no divisor in common with the number of boxes visits them all.
    And they come in parts that share the parameters which cost a pass over the bars.
    """
    step = next(at for at in range(ceil(0.618 * len(boxes)), 2**63) if gcd(at, len(boxes)) == 1)
    found = np.empty((0, len(grid.axes)), np.int64)
    for n_parts, limit in ((ceil(MAX_PARTS / len(boxes)), ceil(n / MAX_PARTS)), (n, n)):
        for visit in range(len(boxes)):
            number = (seed + visit * step) % len(boxes)
            part = _from_box(grid, boxes[number], (seed, number), n_parts, limit)
            found = united(found, part)
            if len(found) >= n:
                # mixed, so that a part of them is from all over the grid, too
                return found[np.argsort(splitmix64(seed, 0, len(found)))][:n]
    return found


def _from_box(
    grid: CrossedGrid, box: Sequence[range], stream: tuple[int, int], n_parts: int, limit: int
) -> Digits:
    """Draw admitted combinations of a box, so many for each of some structural parameter sets."""
    places = np.flatnonzero(grid.box_mask(box))
    if len(places) == 0:
        return np.empty((0, len(grid.axes)), np.int64)
    numbers = splitmix64(*stream, len(places))
    if len(places) > ENOUGH:
        some = np.argpartition(numbers, ENOUGH)[:ENOUGH]
        places, numbers = places[some], numbers[some]
    places = places[np.argsort(numbers)]
    inside = np.stack(np.unravel_index(places, tuple(map(len, box))), axis=1)
    _, kinds = distinct_rows(inside[:, list(grid.structural_axes)])
    _, firsts = np.unique(kinds, return_index=True)
    parts = [inside[kinds == kinds[first]][:limit] for first in np.sort(firsts)[:n_parts]]
    return np.concatenate(parts) + [each.start for each in box]


def distinct_by(digits: Digits, axes: tuple[int, ...]) -> Digits:
    """Return the first of all rows that agree on some axes."""
    _, first = np.unique(digits[:, list(axes)], axis=0, return_index=True)
    return digits[np.sort(first)]
