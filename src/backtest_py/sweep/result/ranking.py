"""The best rows of many, found batch by batch, in memory for those alone that are kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Front", "Ranking"]

_PIVOTS: Final = 64
"""Rows of the front that new rows are compared with first; most fall there."""

_PAIRS: Final = 2**20
"""Pairs of rows that are compared at once."""


class Ranking:
    """The ``n`` best rows so far: the smallest keys, ``nan`` last, ties by number.

    Parameters
    ----------
    n : int
        How many rows to keep.

    Attributes
    ----------
    ids : ndarray of int64
        Numbers of the rows, best first.
    sources : ndarray of int64
        Where each came from.

    Examples
    --------
    >>> ranking = Ranking(2)
    >>> ranking.add(np.array([3.0, np.nan, 1.0]), np.array([7, 8, 9]), source=0)
    >>> ranking.add(np.array([1.0]), np.array([4]), source=1)
    >>> ranking.ids.tolist(), ranking.sources.tolist()
    ([4, 9], [1, 0])
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.keys = np.empty(0)
        self.ids = np.empty(0, np.int64)
        self.sources = np.empty(0, np.int64)

    def add(self, keys: NDArray[np.float64], ids: NDArray[np.int64], source: int) -> None:
        """Offer rows of one source: their keys and numbers, shape (n_rows,)."""
        if len(self.ids) == self.n:
            chosen = self._before_last(keys, ids)
            keys, ids = keys[chosen], ids[chosen]
        if len(ids) == 0:
            return
        keys = np.concatenate((self.keys, keys))
        numbers = np.concatenate((self.ids, ids))
        sources = np.concatenate((self.sources, np.full(len(ids), source)))
        # nan sorts behind infinity, which is a value like others
        order = np.lexsort((numbers, keys, np.isnan(keys)))[: self.n]
        self.keys, self.ids, self.sources = keys[order], numbers[order], sources[order]

    def _before_last(self, keys: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        key, number = float(self.keys[-1]), int(self.ids[-1])
        if math.isnan(key):
            return np.logical_or(~np.isnan(keys), ids < number)
        before: NDArray[np.bool_] = (keys < key) | ((keys == key) & (ids < number))
        return before


class Front:
    """The rows so far that no other beats: none is as small in every key and smaller in one.

    Rows with a ``nan`` are left out. Rows with the same keys stand on the front together.

    Parameters
    ----------
    n_keys : int
        Number of keys of a row.

    Attributes
    ----------
    keys : ndarray of float64, shape (n_keys, n_rows)
        The front, ascending by the first key, then the second and so on.
    ids, sources : ndarray of int64, shape (n_rows,)
        Numbers of its rows, and where they came from.

    Examples
    --------
    >>> front = Front(2)
    >>> front.add(np.array([[1.0, 2.0, 2.0], [5.0, 2.0, 6.0]]), np.array([0, 1, 2]), source=0)
    >>> front.ids.tolist()
    [0, 1]
    """

    def __init__(self, n_keys: int) -> None:
        self.keys = np.empty((n_keys, 0))
        self.ids = np.empty(0, np.int64)
        self.sources = np.empty(0, np.int64)

    def add(self, keys: NDArray[np.float64], ids: NDArray[np.int64], source: int) -> None:
        """Offer rows of one source: keys of shape (n_keys, n_rows) and numbers (n_rows,)."""
        new = np.flatnonzero(~np.isnan(keys).any(axis=0))
        for at in range(0, len(self.ids), -(-len(self.ids) // _PIVOTS) or 1):
            new = new[~_beaten(keys[:, new], self.keys[:, at])]
        new = new[_unbeaten(keys[:, new])]
        new = new[~_beaten_by_any(keys[:, new], self.keys)]
        old = np.flatnonzero(~_beaten_by_any(self.keys, keys[:, new]))
        keys = np.concatenate((self.keys[:, old], keys[:, new]), axis=1)
        numbers = np.concatenate((self.ids[old], ids[new]))
        sources = np.concatenate((self.sources[old], np.full(len(new), source)))
        order = np.lexsort((numbers, *keys[::-1]))
        self.keys, self.ids, self.sources = keys[:, order], numbers[order], sources[order]


def _beaten(keys: NDArray[np.float64], rival: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows a rival beats; both may have more dimensions that broadcast."""
    as_small = np.less_equal(rival[0], keys[0])
    smaller = np.less(rival[0], keys[0])
    for own, other in zip(keys[1:], rival[1:], strict=True):
        as_small &= other <= own
        smaller |= other < own
    beaten: NDArray[np.bool_] = as_small & smaller
    return beaten


def _beaten_by_any(keys: NDArray[np.float64], rivals: NDArray[np.float64]) -> NDArray[np.bool_]:
    beaten = np.zeros(keys.shape[1], np.bool_)
    step = max(1, _PAIRS // max(1, rivals.shape[1]))
    for start in range(0, len(beaten), step):
        block = keys[:, start : start + step, np.newaxis]
        beaten[start : start + step] = _beaten(block, rivals[:, np.newaxis]).any(axis=1)
    return beaten


def _unbeaten(keys: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows that no other beats.

    In lexicographic order only earlier rows can beat one, so the first that is left always stands
    on the front, and takes those that it beats with it. Of two keys, a row stands there if it
    lowers the second, or repeats one that does.
    """
    left: NDArray[np.intp] = np.lexsort(keys[::-1])
    if len(keys) == 2:
        pairs = keys[:, left]
        lowers = np.ones(len(left), np.bool_)
        lowers[1:] = pairs[1, 1:] < np.minimum.accumulate(pairs[1])[:-1]
        leader = np.maximum.accumulate(np.where(lowers, np.arange(len(left)), 0))
        repeats: NDArray[np.bool_] = (pairs == pairs[:, leader]).all(axis=0)
        return np.compress(repeats, left)
    front: list[int] = []
    while len(left):
        front.append(int(left[0]))
        left = left[1:][~_beaten(keys[:, left[1:]], keys[:, left[0]])]
    return np.array(front, np.intp)
