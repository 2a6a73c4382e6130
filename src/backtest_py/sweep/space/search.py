"""Count and find the combinations that meet constraints, without checking each.

A box of positions is taken as a whole where every constraint is decided there; where one is not,
the box is halved. What lies along the border of a condition, and only that, is looked at one by
one: of 10^10 combinations of two axes under ``target > stop``, about 10^7.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from backtest_py.sweep.space.space import meet_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from backtest_py.sweep.space.space import Constraint

__all__ = ["Unsettled", "box_index", "count", "first"]

Box: TypeAlias = "tuple[range, ...]"

LEAF: Final = 2**14
"""Combinations that are checked one by one in one batch."""


class Unsettled(Exception):  # noqa: N818  # an answer, never shown
    """The search has reached its limit of boxes."""


def count(shape: Sequence[int], constraints: Sequence[Constraint]) -> int:
    """Return how many combinations meet all constraints."""
    total = math.prod(shape)
    for axes, members in _components(constraints):
        whole = _whole(shape, axes)
        total //= math.prod(map(len, whole))
        total *= _count_within(whole, members)
    return total


def first(
    shape: Sequence[int], constraints: Sequence[Constraint], boxes: int | None = None
) -> tuple[int, ...] | None:
    """Return the positions of the first combination that meets all constraints.

    Constraints that share no axis are searched apart: the first of each make the first of all.

    Parameters
    ----------
    shape : sequence of int
        Number of values of every axis; the last varies fastest.
    constraints : sequence of Constraint
        What the combination must meet.
    boxes : int, optional
        How many boxes to look at; no limit by default.

    Raises
    ------
    Unsettled
        If they were not enough.
    """
    positions = [0] * len(shape)
    allowed = itertools.count(1) if boxes is None else range(boxes)
    left = iter(allowed)
    for axes, members in _components(constraints):
        found = _first_within(_whole(shape, axes), members, left)
        if found is None:
            return None
        for axis in axes:
            positions[axis] = found[axis]
    return tuple(positions)


def _count_within(whole: Box, constraints: Sequence[Constraint]) -> int:
    total = 0
    stack = [(whole, constraints)]
    while stack:
        box, members = stack.pop()
        undecided = _undecided(box, members)
        if undecided is None:
            continue
        size = math.prod(map(len, box))
        if not undecided:
            total += size
        elif size <= LEAF:
            total += int(np.sum(_leaf(box, undecided)))
        else:
            stack += [(half, undecided) for half in _halves(box)]
    return total


def _first_within(
    whole: Box, constraints: Sequence[Constraint], left: Iterator[int]
) -> tuple[int, ...] | None:
    """Return the first combination of a box: the box whose corner comes first is next."""
    ticks = itertools.count()  # of boxes with the same corner, the one that was cut first
    queue = [(_corner(whole), next(ticks), whole, constraints)]
    while queue:
        corner, _, box, members = heapq.heappop(queue)
        if next(left, None) is None:
            raise Unsettled
        undecided = _undecided(box, members)
        if undecided is None:
            continue
        if not undecided:
            return corner
        if math.prod(map(len, box)) <= LEAF:
            holds = _leaf(box, undecided)
            if holds.any():
                hit = np.unravel_index(int(np.argmax(holds)), holds.shape)
                at = tuple(each[int(place)] for each, place in zip(box, hit, strict=True))
                heapq.heappush(queue, (at, next(ticks), box, ()))
        else:
            for half in _halves(box):
                heapq.heappush(queue, (_corner(half), next(ticks), half, undecided))
    return None


def _undecided(box: Box, constraints: Sequence[Constraint]) -> list[Constraint] | None:
    """Return the constraints that part of a box may fail; None if all of it fails one."""
    undecided = []
    for constraint in constraints:
        everywhere, somewhere = constraint.bounds(box)
        if not somewhere:
            return None
        if not everywhere:
            undecided.append(constraint)
    return undecided


def _leaf(box: Box, constraints: Sequence[Constraint]) -> NDArray[np.bool_]:
    return np.broadcast_to(meet_all(constraints, box_index(box)), tuple(map(len, box)))


def _corner(box: Box) -> tuple[int, ...]:
    return tuple(each.start for each in box)


def _halves(box: Box) -> tuple[Box, Box]:
    longest = max(range(len(box)), key=lambda at: len(box[at]))
    middle = len(box[longest]) // 2
    low, high = box[longest][:middle], box[longest][middle:]
    before, after = box[:longest], box[longest + 1 :]
    return (*before, low, *after), (*before, high, *after)


def _whole(shape: Sequence[int], axes: frozenset[int]) -> Box:
    """Return all positions on some axes, and the first on the others."""
    return tuple(range(length if at in axes else 1) for at, length in enumerate(shape))


def _components(
    constraints: Sequence[Constraint],
) -> list[tuple[frozenset[int], list[Constraint]]]:
    """Return groups of constraints, so that no two groups share an axis."""
    groups: list[tuple[frozenset[int], list[Constraint]]] = []
    for constraint in constraints:
        axes, members = constraint.axes, [constraint]
        apart = []
        for group in groups:
            if group[0] & axes:
                axes, members = axes | group[0], group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (axes, members)]
    return groups


def box_index(box: Sequence[range]) -> list[NDArray[np.int64]]:
    """Return the positions of a box on every axis, each along its own dimension."""
    index = []
    for axis, each in enumerate(box):
        shape = [1] * len(box)
        shape[axis] = len(each)
        index.append(np.arange(each.start, each.stop, each.step, dtype=np.int64).reshape(shape))
    return index
