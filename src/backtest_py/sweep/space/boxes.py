"""Boxes of a grid, which are ranges of positions on every axis, and rows of digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Digits = NDArray[np.integer[Any]]

__all__ = [
    "Boxes",
    "box_positions",
    "cut",
    "distinct_rows",
    "runs",
    "united",
]


class Boxes(Sequence[tuple[range, ...]]):
    """All boxes of a space whose dimensions are cut, numbered and never listed.

    Parameters
    ----------
    cuts : sequence of sequence of range
        The ranges of every dimension; the last dimension varies fastest.

    Examples
    --------
    >>> boxes = Boxes([[range(2)], [range(3), range(3, 5)]])
    >>> len(boxes), boxes[1]
    (2, (range(0, 2), range(3, 5)))
    """

    def __init__(self, cuts: Sequence[Sequence[range]]) -> None:
        self._cuts = cuts

    def __len__(self) -> int:
        return math.prod(map(len, self._cuts))

    def __getitem__(self, number: int) -> tuple[range, ...]:  # type: ignore[override]  # no slices
        box = []
        rest = number
        for ranges in reversed(self._cuts):
            rest, place = divmod(rest, len(ranges))
            box.append(ranges[place])
        if rest or number < 0:
            raise IndexError(number)
        return tuple(reversed(box))


def cut(shape: Sequence[int], axes: Sequence[int], limit: int) -> dict[int, tuple[range, ...]]:
    """Cut axes so that a box has at most ``limit`` positions; the fastest axes stay whole."""
    cuts = {}
    room = limit
    for axis in reversed(axes):
        length = max(1, min(shape[axis], room))
        cuts[axis] = runs(shape[axis], length)
        room //= length
    return cuts


def runs(n: int, length: int) -> tuple[range, ...]:
    """Cut ``range(n)`` into ranges of at most some length."""
    return tuple(range(start, min(start + length, n)) for start in range(0, n, length))


def box_positions(
    box: Sequence[range], axes: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return all positions of a box on some axes, and their places in the box.

    Returns
    -------
    digits : ndarray of int32, shape (n, n_axes)
        The axis that varies fastest is the last of ``axes``; on the others a box is at its start.
    places : ndarray of int64, shape (n,)
    """
    lengths = [len(positions) for positions in box]
    n = math.prod(lengths[axis] for axis in axes)
    digits = np.empty((n, len(box)), np.int32)
    digits[:] = [positions.start for positions in box]
    places = np.zeros(n, np.int64)
    after = n
    for axis in axes:
        after //= lengths[axis]
        local = np.arange(n) // after % lengths[axis]
        digits[:, axis] += local
        places += local * math.prod(lengths[axis + 1 :])
    return digits, places


def distinct_rows(rows: Digits) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row of each kind, kinds in the order of their digits, and every row's kind.

    Examples
    --------
    >>> distinct_rows(np.array([[2, 1], [0, 5], [2, 1]]))
    (array([1, 0]), array([1, 0, 1]))
    """
    kinds = firsts = np.zeros(len(rows), np.intp)
    for column in rows.T:
        # ranks of ranks stay below the number of rows, so that no product overflows
        kinds = kinds * (int(column.max()) + 1) + column
        _, firsts, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return firsts if rows.shape[1] else firsts[:1], kinds


def united(*parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct numbers, or rows, of all parts, in their order.

    Examples
    --------
    >>> united(np.array([3, 1]), np.array([1, 2]))
    array([3, 1, 2])
    """
    rows = np.concatenate(parts)
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]
