"""The best rows and the Pareto front, found batch by batch; only rows that are kept stay in memory.

Keys are numbers of which the smallest is the best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BestRows", "ParetoFront"]

_PIVOTS: Final = 64
"""Rows of the front that new rows are compared with first; they rule most of them out."""

_PAIRS: Final = 2**20
"""Pairs of rows that are compared at once."""


class BestRows:
    """The ``n`` best rows so far.

    Smallest keys come first, then undefined ones (``nan``), and ruined accounts last, whatever
    their keys. Within each of these, equal keys are ordered by ``combo_id``, so the order is the
    same however the rows are batched.

    Parameters
    ----------
    n : int
        How many rows to keep.

    Attributes
    ----------
    ids : ndarray of int64
        ``combo_id`` of the rows, best first.
    sources : ndarray of int64
        The source that each row came from.

    Examples
    --------
    >>> best = BestRows(3)
    >>> sound = np.zeros(3, np.bool_)
    >>> best.add(np.array([3.0, np.nan, 1.0]), np.array([7, 8, 9]), ruined=sound, source=0)
    >>> best.add(np.array([0.0, 1.0]), np.array([3, 4]), ruined=np.array([True, False]), source=1)
    >>> best.ids.tolist(), best.sources.tolist()
    ([4, 9, 7], [1, 0, 0])
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.keys = np.empty(0)
        self.tiers = np.empty(0, np.int8)
        self.ids = np.empty(0, np.int64)
        self.sources = np.empty(0, np.int64)

    def add(
        self,
        keys: NDArray[np.float64],
        ids: NDArray[np.int64],
        *,
        ruined: NDArray[np.bool_],
        source: int,
    ) -> None:
        """Offer rows of one source: keys, ids and whether each is ruined, shape (n_rows,)."""
        # 0 a number, 1 undefined, 2 and 3 the same of a ruined account
        tiers = np.isnan(keys).astype(np.int8) + 2 * ruined.astype(np.int8)
        if len(self.ids) == self.n:
            chosen = self._before_last(keys, tiers, ids)
            keys, tiers, ids = keys[chosen], tiers[chosen], ids[chosen]
        if len(ids) == 0:
            return
        keys = np.concatenate((self.keys, keys))
        tiers = np.concatenate((self.tiers, tiers))
        ids = np.concatenate((self.ids, ids))
        sources = np.concatenate((self.sources, np.full(len(ids) - len(self.ids), source)))
        order = np.lexsort((ids, keys, tiers))[: self.n]
        self.keys, self.tiers = keys[order], tiers[order]
        self.ids, self.sources = ids[order], sources[order]

    def _before_last(
        self, keys: NDArray[np.float64], tiers: NDArray[np.int8], ids: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which rows are better than the last that is kept."""
        key, tier, combo_id = self.keys[-1], self.tiers[-1], self.ids[-1]
        tie = np.isnan(keys) | (keys == key)  # within a tier, all keys are nan or none is
        better: NDArray[np.bool_] = tiers < tier
        better |= (tiers == tier) & ((keys < key) | (tie & (ids < combo_id)))
        return better


class ParetoFront:
    """The rows so far that no other row beats: none is as good in every key and better in one.

    Rows with a ``nan`` are left out. Rows with the same keys are on the front together.

    Parameters
    ----------
    n_keys : int
        Number of keys of a row.

    Attributes
    ----------
    keys : ndarray of float64, shape (n_keys, n_rows)
        The front, ascending by the first key, then the second and so on, then ``combo_id``.
    ids, sources : ndarray of int64, shape (n_rows,)
        ``combo_id`` of its rows, and the source that each came from.

    Examples
    --------
    >>> front = ParetoFront(2)
    >>> front.add(np.array([[1.0, 2.0, 2.0], [5.0, 2.0, 6.0]]), np.array([0, 1, 2]), source=0)
    >>> front.ids.tolist()
    [0, 1]
    """

    def __init__(self, n_keys: int) -> None:
        self.keys = np.empty((n_keys, 0))
        self.ids = np.empty(0, np.int64)
        self.sources = np.empty(0, np.int64)

    def add(self, keys: NDArray[np.float64], ids: NDArray[np.int64], *, source: int) -> None:
        """Offer rows of one source: keys of shape (n_keys, n_rows) and ids (n_rows,)."""
        new = np.flatnonzero(~np.isnan(keys).any(axis=0))
        for at in range(0, len(self.ids), -(-len(self.ids) // _PIVOTS) or 1):
            new = new[~_beaten(keys[:, new], self.keys[:, at])]
        new = new[_unbeaten(keys[:, new])]
        new = new[~_beaten_by_any(keys[:, new], self.keys)]
        old = np.flatnonzero(~_beaten_by_any(self.keys, keys[:, new]))
        keys = np.concatenate((self.keys[:, old], keys[:, new]), axis=1)
        ids = np.concatenate((self.ids[old], ids[new]))
        sources = np.concatenate((self.sources[old], np.full(len(new), source)))
        order = np.lexsort((ids, *keys[::-1]))
        self.keys, self.ids, self.sources = keys[:, order], ids[order], sources[order]


def _beaten(keys: NDArray[np.float64], rival: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows a rival beats; both may have more dimensions that broadcast."""
    as_good = np.less_equal(rival[0], keys[0])
    better = np.less(rival[0], keys[0])
    for own, other in zip(keys[1:], rival[1:], strict=True):
        as_good &= other <= own
        better |= other < own
    beaten: NDArray[np.bool_] = as_good & better
    return beaten


def _beaten_by_any(keys: NDArray[np.float64], rivals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows at least one rival beats."""
    beaten = np.zeros(keys.shape[1], np.bool_)
    step = max(1, _PAIRS // max(1, rivals.shape[1]))
    for start in range(0, len(beaten), step):
        block = keys[:, start : start + step, np.newaxis]
        beaten[start : start + step] = _beaten(block, rivals[:, np.newaxis]).any(axis=1)
    return beaten


def _unbeaten(keys: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows that no other row beats.

    In lexicographic order only an earlier row can beat a later one. So the first row that is left
    is always on the front; it goes there, and the rows that it beats are dropped. With two keys
    one pass is enough: a row is on the front if its second key is below that of every earlier
    row, or if it equals such a row.
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
