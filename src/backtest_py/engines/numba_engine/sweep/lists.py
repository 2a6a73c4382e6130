"""Which candidates signal in a signal set, and in which ranges.

Mirrors ``engine_rust/src/lists.rs``. Scores are cut by thresholds; neighbouring sets of one source
share what passes the loosest of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.strategies.base import Bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sources", "cut", "parts_of", "signal_lists"]

AT_LEAST_OR_OFF, AT_MOST = int(Bound.AtLeastOrOff), int(Bound.AtMost)


class Sources(NamedTuple):
    """Candidates of every source of signals that pass the loosest thresholds of the sweep.

    Those of source ``k`` are places ``start[k]`` to ``start[k + 1]``: ``rows`` in the table of
    candidates, and ``scores`` of shape (n_thresholds, n_places). ``bounds`` are those of the
    thresholds.
    """

    start: NDArray[np.int64]
    rows: NDArray[np.uint32]
    scores: NDArray[np.float64]
    bounds: NDArray[np.int64]


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
def signal_lists(candidates, sources, asked, begin, end):
    """Return the rows that signal in the sets from ``begin`` to ``end``, and where each begins."""
    source = asked.sets[begin]
    low, high = sources.start[source], sources.start[source + 1]
    low = place_of(candidates, sources.rows, low, high, asked.first)
    high = place_of(candidates, sources.rows, low, high, asked.last)
    loosest = np.empty(len(sources.bounds))
    loosen(sources.bounds, asked.thresholds, begin, end, loosest)
    holds = np.empty(high - low, np.uint8)
    cut(sources.scores, sources.bounds, low, loosest, holds)
    rows = np.empty(high - low, np.uint32)
    count = pick(sources.rows[low:high], holds, rows)
    scores = np.empty((len(sources.bounds), count + 1))
    for k in range(len(sources.bounds)):
        pick(sources.scores[k, low:high], holds, scores[k])
    places = np.empty(end - begin + 1, np.int64)
    lists = np.empty((end - begin) * count, np.uint32)
    places[0] = 0
    for each in range(end - begin):
        cut(scores, sources.bounds, 0, asked.thresholds[begin + each], holds[:count])
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
