"""Which candidates signal in a signal set, and in which ranges.

Mirrors ``engine_rust/src/sweep/lists.rs``. Scores are cut by thresholds; neighbouring sets of one
source share what passes the loosest of theirs. What differs: the sources lie behind each other in
one array, and ``cut`` marks what passes, and ``pick`` then gathers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.metrics import block_ends
from backtest_py.engines.numba_engine.types import N_METRICS
from backtest_py.errors import EngineError
from backtest_py.strategies.base import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.engines.layouts import BarColumns

__all__ = ["Evaluation", "SourceScores", "cut", "evaluation_of", "parts_of", "signal_lists"]

AT_LEAST_OR_OFF, AT_MOST = int(Bound.AtLeastOrOff), int(Bound.AtMost)


class SourceScores(NamedTuple):
    """The candidates of every source of signals with their scores.

    Those of source ``k`` are places ``start[k]`` to ``start[k + 1]``: ``rows`` in the table of
    candidates, and ``scores`` of shape (n_thresholds, n_places). ``bounds`` are those of the
    thresholds. Those that fail the loosest thresholds of the sweep are left out.
    """

    start: NDArray[np.int64]
    rows: NDArray[np.uint32]
    scores: NDArray[np.float64]
    bounds: NDArray[np.int64]


class Evaluation(NamedTuple):
    """What all signal sets of one call share.

    ``ranges`` has shape (n_ranges, 2) and ``ends``, those of their blocks of days,
    (n_ranges, n_blocks). All ranges lie between the bars ``first`` and ``last``. ``stop`` turns
    true when the sweep shall end.
    """

    sets: NDArray[np.uint32]
    thresholds: NDArray[np.float64]
    ranges: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: int
    last: int
    stop: NDArray[np.bool_]

    @property
    def visits(self) -> int:
        """How often each bar is visited, on average and rounded up."""
        lengths = self.ranges[:, 1] - self.ranges[:, 0]
        return max(1, -(-int(lengths.sum()) // max(1, self.last - self.first)))

    def room(self, n_rows: int) -> NDArray[np.float64]:
        """Return an empty array for the numbers of combinations."""
        n_ranges, n_blocks = self.ends.shape
        return np.empty((n_ranges, N_METRICS + 3 * n_blocks, n_rows))


def evaluation_of(
    bars: BarColumns,
    scores: SourceScores,
    sets: NDArray[np.uint32],
    thresholds: NDArray[np.float64],
    ranges: Sequence[tuple[int, int]],
    n_blocks: int,
    stop: NDArray[np.bool_],
) -> Evaluation:
    """Check what an evaluation is asked; a wrong call must not read out of bounds."""
    n_bars, n_sources = len(bars.open), len(scores.start) - 1
    for first, last in ranges:
        if not 0 <= first < last <= n_bars:
            raise EngineError(
                f"the range [{first}, {last}) is empty or not within the {n_bars} bars"
            )
    sets = np.ascontiguousarray(sets, np.uint32)
    if len(sets) and sets.max() >= n_sources:
        raise EngineError(f"set {sets.max()} does not exist; there are {n_sources} sources")
    shape = (len(sets), len(scores.bounds))
    if np.size(thresholds) != shape[0] * shape[1]:
        raise EngineError(f"thresholds has {np.size(thresholds)} elements, not {shape}")
    cuts = np.ascontiguousarray(thresholds, np.float64).reshape(shape)
    edges = np.array(ranges, np.int64).reshape(-1, 2)
    ends = block_ends(bars.day, edges, n_blocks)
    first, last = int(edges.min(initial=n_bars)), int(edges.max(initial=0))
    return Evaluation(sets, cuts, edges, ends, first, last, stop)


@kernel(allocates=False)
def place_of(candidates, rows, begin, end, bar):
    """Return the first place of ``[begin, end)`` in a list whose bar is not before ``bar``."""
    while begin < end:
        middle = (begin + end) // 2
        if candidates.bar[rows[middle]] < bar:
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel(allocates=False)
def cut(scores, bounds, begin, thresholds, holds):
    """Set ``holds`` where the scores from place ``begin`` on pass all thresholds."""
    n = len(holds)
    for t in range(n):
        holds[t] = 1
    for k in range(len(bounds)):
        threshold = thresholds[k]
        column = scores[k, begin : begin + n]
        if bounds[k] == AT_MOST:
            for t in range(n):
                holds[t] &= column[t] <= threshold
        elif bounds[k] != AT_LEAST_OR_OFF or threshold != 0.0:
            for t in range(n):
                holds[t] &= column[t] >= threshold


@kernel(allocates=False)
def loosen(bounds, thresholds, begin, end, loosest):
    """Set the loosest of the thresholds of the sets from ``begin`` to ``end``."""
    for k in range(len(bounds)):
        loosest[k] = thresholds[begin, k]
        for each in range(begin + 1, end):
            other = thresholds[each, k]
            looser = other > loosest[k] if bounds[k] == AT_MOST else other < loosest[k]
            loosest[k] = other if looser else loosest[k]


@kernel(allocates=False)
def pick(values, holds, out):
    """Move the values that hold to the front of ``out``, which needs room for one more."""
    count = 0
    for t in range(len(holds)):
        out[count] = values[t]
        count += holds[t]
    return count


@kernel
def signal_lists(candidates, scores, asked, begin, end):
    """Return the rows that signal in the sets from ``begin`` to ``end``, and where each begins."""
    source = asked.sets[begin]
    low, high = scores.start[source], scores.start[source + 1]
    low = place_of(candidates, scores.rows, low, high, asked.first)
    high = place_of(candidates, scores.rows, low, high, asked.last)
    loosest = np.empty(len(scores.bounds))
    loosen(scores.bounds, asked.thresholds, begin, end, loosest)
    holds = np.empty(high - low, np.uint8)
    cut(scores.scores, scores.bounds, low, loosest, holds)
    rows = np.empty(high - low, np.uint32)
    count = pick(scores.rows[low:high], holds, rows)
    columns = np.empty((len(scores.bounds), count + 1))
    for k in range(len(scores.bounds)):
        pick(scores.scores[k, low:high], holds, columns[k])
    places = np.empty(end - begin + 1, np.int64)
    lists = np.empty((end - begin) * count, np.uint32)
    places[0] = 0
    for each in range(end - begin):
        cut(columns, scores.bounds, 0, asked.thresholds[begin + each], holds[:count])
        place = places[each]
        places[each + 1] = place + pick(rows[:count], holds[:count], lists[place:])
    return places, lists


@kernel
def parts_of(candidates, places, lists, ranges):
    """Return where each range begins and ends in each list, shape (n_lists, n_ranges, 2)."""
    parts = np.empty((len(places) - 1, len(ranges), 2), np.int64)
    for each in range(len(places) - 1):
        for k in range(len(ranges)):
            for edge in range(2):
                parts[each, k, edge] = place_of(
                    candidates, lists, places[each], places[each + 1], ranges[k, edge]
                )
    return parts
