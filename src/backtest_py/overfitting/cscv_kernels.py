"""Kernels of CSCV: Sharpe ratios of many combinations in every half of the blocks.

A half is a number whose bit ``b`` says that block ``b`` belongs to it. Its sums are those of its
lower blocks, added from the first to the last, plus those of its upper blocks: both are read from
tables that each have only ``2**(n_blocks/2)`` entries.

Combinations are worked through in lanes of neighbours, which LLVM turns into vectors. Where a
Sharpe ratio is undefined it is -inf here, below every other.
"""

from __future__ import annotations

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.metrics import NEGLIGIBLE

__all__ = ["LANES", "choose", "judge", "rank"]

LANES = 16
"""Combinations worked on at a time; both tables fit the L2 cache then."""


@kernel
def half_sharpe(total, squares, days, rf):
    """Return the Sharpe ratio of one period, -inf where docs/semantics.md says undefined."""
    mean = total / days
    var = (squares - total * total / days) / (days - 1.0)
    defined = (days > 1.0) & (var > NEGLIGIBLE * (squares / days))
    ratio = (mean - rf) / np.sqrt(var)
    return ratio if defined else -np.inf


@kernel
def fill_tables(sums, first, start, tables):
    """Set ``tables`` to the sums of every set of the blocks from ``first`` on, for some lanes.

    Parameters
    ----------
    sums : ndarray of float64, shape (3, n_blocks, n_combos)
        ``S1``, ``S2`` and days.
    first, start : int
        First block and first combination; lanes after the last combination stay without days.
    tables : ndarray of float64, shape (2**n_some, 3, LANES)
    """
    n_combos = sums.shape[2]
    n_lanes = min(LANES, n_combos - start)
    tables[0] = 0.0
    for mask in range(1, len(tables)):
        block = 0
        while mask >> (block + 1):
            block += 1
        before = mask ^ (1 << block)
        for lane in range(n_lanes):
            for part in range(3):
                tables[mask, part, lane] = (
                    tables[before, part, lane] + sums[part, first + block, start + lane]
                )
        for lane in range(n_lanes, LANES):
            for part in range(3):
                tables[mask, part, lane] = 0.0


@kernel
def lane_sharpes(low, high, half, n_low, rf, out):
    """Set ``out`` to the Sharpe ratio of every lane in one half."""
    lower = low[half & ((1 << n_low) - 1)]
    upper = high[half >> n_low]
    for lane in range(LANES):
        out[lane] = half_sharpe(
            lower[0, lane] + upper[0, lane],
            lower[1, lane] + upper[1, lane],
            lower[2, lane] + upper[2, lane],
            rf,
        )


@kernel
def choose(sums, start, stop, halves, rf, best, chosen):
    """Find the best combination from ``start`` to ``stop`` in every half.

    ``best`` and ``chosen`` hold what was found before, and are replaced where a combination is
    better; of equals the first stays.
    """
    n_low = sums.shape[1] // 2
    low = np.empty((1 << n_low, 3, LANES))
    high = np.empty((1 << n_low, 3, LANES))
    ratios = np.empty(LANES)
    for first in range(start, stop, LANES):
        fill_tables(sums, 0, first, low)
        fill_tables(sums, n_low, first, high)
        for k in range(len(halves)):
            lane_sharpes(low, high, halves[k], n_low, rf, ratios)
            highest = best[k]
            for lane in range(LANES):
                if ratios[lane] > highest:
                    highest = ratios[lane]
                    chosen[k] = first + lane
            best[k] = highest


@kernel
def judge(sums, halves, chosen, rf, out):
    """Set ``out`` to the Sharpe ratio, in the other half, of what was chosen in every half."""
    n_blocks = sums.shape[1]
    n_low = n_blocks // 2
    totals = np.empty((2, 3))
    for k in range(len(halves)):
        totals[:] = 0.0
        for block in range(n_blocks):
            if not halves[k] >> block & 1 and chosen[k] >= 0:
                for part in range(3):
                    totals[block // n_low, part] += sums[part, block, chosen[k]]
        out[k] = half_sharpe(
            totals[0, 0] + totals[1, 0],
            totals[0, 1] + totals[1, 1],
            totals[0, 2] + totals[1, 2],
            rf,
        )


@kernel
def rank(sums, start, stop, halves, rf, judged, counts):
    """Count the combinations from ``start`` to ``stop`` below and equal to the judged one.

    ``halves`` are the halves in which the chosen ones are judged; ``counts``, of shape
    (n_halves, 3), gets those below and those equal, and those defined at all.
    """
    n_low = sums.shape[1] // 2
    low = np.empty((1 << n_low, 3, LANES))
    high = np.empty((1 << n_low, 3, LANES))
    ratios = np.empty(LANES)
    for first in range(start, stop, LANES):
        fill_tables(sums, 0, first, low)
        fill_tables(sums, n_low, first, high)
        n_lanes = min(LANES, stop - first)
        for k in range(len(halves)):
            lane_sharpes(low, high, halves[k], n_low, rf, ratios)
            limit = judged[k]
            below = 0
            equal = 0
            defined = 0
            for lane in range(n_lanes):
                known = ratios[lane] > -np.inf
                below += known & (ratios[lane] < limit)
                equal += ratios[lane] == limit
                defined += known
            counts[k, 0] += below
            counts[k, 1] += equal
            counts[k, 2] += defined
