"""CSCV of few combinations with arrays alone, bit for bit as the kernels.

Kernels have to be loaded, which takes a second in a process that has not used Numba: longer than a
small sweep on the other engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.engines.numba_engine.metrics import NEGLIGIBLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEW", "choose_and_rank"]

FEW: Final = 256
"""Combinations up to which arrays are used: 16 blocks take some 60 ms, and 50 MB."""

_AT_ONCE: Final = 1 << 14
"""Sharpe ratios that are worked out together, so that intermediate results stay in the cache."""


def choose_and_rank(
    sums: NDArray[np.float64], halves: NDArray[np.int64], rf: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return what ``choose``, ``judge`` and ``rank`` of ``cscv_kernels`` find.

    Parameters
    ----------
    sums : ndarray of float64, shape (3, n_blocks, n_combos)
        ``S1``, ``S2`` and days.
    halves : ndarray of int64, shape (n_splits,)
        Every way to take half of the blocks, as bits, ordered so that the last is what the first
        leaves, and so on.
    rf : float
        Of one period.

    Returns
    -------
    best : ndarray of float64, shape (n_splits,)
        The best Sharpe ratio of every half, -inf without one.
    chosen : ndarray of int64, shape (n_splits,)
        Whose it is, -1 without one.
    judged : ndarray of float64, shape (n_splits,)
        Sharpe ratio of the chosen one in the other half, -inf where undefined.
    counts : ndarray of int64, shape (n_splits, 3)
        How many are below that, equal to it, and defined.
    """
    ratios = _ratios(sums, halves, rf)
    others = ratios[::-1]
    chosen = ratios.argmax(axis=1)
    each = np.arange(len(halves))
    best = ratios[each, chosen]
    chosen = np.where(np.isneginf(best), -1, chosen)
    judged = np.where(chosen < 0, -np.inf, others[each, chosen])
    counts = np.empty((len(halves), 3), np.int64)
    for some in _slices(ratios):
        known = others[some] > -np.inf
        limit = judged[some, None]
        counts[some, 0] = np.count_nonzero(known & (others[some] < limit), axis=1)
        counts[some, 1] = np.count_nonzero(others[some] == limit, axis=1)
        counts[some, 2] = np.count_nonzero(known, axis=1)
    return best, chosen, judged, counts


def _ratios(sums: NDArray[np.float64], halves: NDArray[np.int64], rf: float) -> NDArray[np.float64]:
    """Return the Sharpe ratio of every combination in every half, shape (n_splits, n_combos)."""
    n_low = sums.shape[1] // 2
    low, high = _table(sums[:, :n_low]), _table(sums[:, n_low:])
    out = np.empty((len(halves), sums.shape[2]))
    for some in _slices(out):
        lower, upper = halves[some] & ((1 << n_low) - 1), halves[some] >> n_low
        total, squares, days = (low[part, lower] + high[part, upper] for part in range(3))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / days
            variance = (squares - total * total / days) / (days - 1.0)
            defined = (days > 1.0) & (variance > NEGLIGIBLE * (squares / days))
            found = (mean - rf) / np.sqrt(variance)
        out[some] = np.where(defined, found, -np.inf)
    return out


def _slices(ratios: NDArray[np.float64]) -> list[slice]:
    step = max(1, _AT_ONCE // ratios.shape[1])
    return [slice(start, start + step) for start in range(0, len(ratios), step)]


def _table(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of every set of some blocks, added from the first block to the last."""
    table = np.zeros((3, 1 << sums.shape[1], sums.shape[2]))
    for block in range(sums.shape[1]):
        size = 1 << block
        table[:, size : 2 * size] = table[:, :size] + sums[:, None, block]
    return table
