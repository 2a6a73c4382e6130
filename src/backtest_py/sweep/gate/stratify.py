"""The sample that the parity gate looks at: where two engines would disagree first.

Corners of the grid, where parameters are extreme; combinations drawn at random, by splitmix64 from
a seed; and those with the most ambiguous trades by the outcome tables, of all crossings of the
signal sets of the former with their exits. Only what is valid and admitted by ``where`` counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, gcd
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.data.synthetic import splitmix64
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.compute.shards import Shard, Shards
from backtest_py.sweep.compute.sources import distinct_rows
from backtest_py.sweep.space.sample import Sample, SampledGrid
from backtest_py.sweep.store.tables import scenario_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.compute.evaluator import SweepJob
    from backtest_py.sweep.space.grid import Grid

    Digits = NDArray[np.int64]

__all__ = ["STRATA", "Drawn", "Stratified", "draw", "stratify"]

STRATA: Final = ("corners", "random", "ambiguous")

SAMPLE: Final = 64
"""Combinations of a sample; all, where there are fewer."""
MAX_AMBIGUOUS: Final = 16
MAX_CORNERS: Final = 20
MAX_PARTS: Final = 8
"""Parts of the grid from which random combinations are drawn."""
ENOUGH: Final = 4_096
"""Combinations of a box that are looked at more closely."""
MIN_EXITS: Final = 8
"""Exits of random combinations: following every candidate under one is what costs most."""
PROBED_ROWS: Final = 32
"""Rows of a sampled grid, beside the others, among which the most ambiguous are looked for."""

_AMBIGUOUS: Final = METRICS.index("ambiguous_trades")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Combinations that were chosen without looking at any trade.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Distinct: corners first, then others at random.
    digits : ndarray of int64, shape (n, n_axes)
        Positions on every axis.
    n_corners : int
        How many of them are corners.
    """

    combo_ids: NDArray[np.int64]
    digits: Digits
    n_corners: int

    @property
    def n_certain(self) -> int:
        """How many, the first ones, are in the sample whatever is ambiguous."""
        return min(SAMPLE - MAX_AMBIGUOUS, len(self.combo_ids))


@dataclass(frozen=True, slots=True)
class Stratified:
    """The sample, and what the sweep gives for it.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Ascending.
    digits : ndarray of int64, shape (n, n_axes)
        Positions on every axis.
    strata : dict of str to list of int
        The same numbers by the reason why they are there.
    metrics : ndarray of float64, shape (n_scenarios, n_metrics, n)
        Rows of the sweep.
    """

    combo_ids: NDArray[np.int64]
    digits: Digits
    strata: dict[str, list[int]]
    metrics: NDArray[np.float64]


def draw(grid: Grid | SampledGrid, seed: int) -> Drawn:
    """Choose corners and random combinations.

    Parameters
    ----------
    grid : Grid or SampledGrid
        What is swept.
    seed : int
        Decides what is drawn at random.
    """
    if isinstance(grid, SampledGrid):
        ends = [end for column in grid.digits.T for end in (column.argmin(), column.argmax())]
        corners = np.array(list(dict.fromkeys(ends))[:MAX_CORNERS], np.int64)
        order = np.argsort(splitmix64(seed, 0, grid.size), kind="stable")
        rows = _united(corners[:, None], order[: SAMPLE + PROBED_ROWS, None])[:, 0]
        return Drawn(grid.combo_ids[rows], grid.digits[rows].astype(np.int64), len(corners))
    corners, drawn = _corners(grid), _random(grid, SAMPLE, seed)
    sets = _distinct(drawn, grid.strategy_axes)
    exits = _distinct(drawn, _exit_axes(grid))[: max(MIN_EXITS, ceil(SAMPLE / len(sets)))]
    crossed, admitted = _crossed(grid, sets, exits)
    crossed = crossed[admitted]
    order = np.argsort(splitmix64(seed, 0, len(crossed)))
    digits = _united(corners, crossed[order], drawn)[:SAMPLE]
    return Drawn(_numbers(grid, digits), digits, len(corners))


def stratify(
    job: SweepJob, engine: Engine, drawn: Drawn, *, threads: int, max_memory: int
) -> Stratified:
    """Compute what the sweep gives for combinations that were drawn, and add the most ambiguous.

    Parameters
    ----------
    job : SweepJob
        What is swept.
    engine : Engine
        The engine that sweeps.
    drawn : Drawn
        What :func:`draw` chose.
    threads : int
        Threads to use, 0 for one per processor.
    max_memory : int
        Bytes that this may take.
    """
    grid = job.grid
    order = np.argsort(drawn.combo_ids)
    # a grid of what was drawn alone: nobody waits for the signals of other combinations
    part = SampledGrid(
        grid.strategy,
        grid.rules,
        grid.contract,
        grid.axes,
        where=grid.where,
        invalid=grid.invalid,
        target_given=grid.target_given,
        sample=Sample(n=len(order)),
        combo_ids=drawn.combo_ids[order],
        digits=drawn.digits[order].astype(np.int32),
    )
    job = replace(job, grid=part)
    evaluator = Evaluator(job, engine, threads=threads, max_memory=max_memory)
    if isinstance(grid, SampledGrid):
        return _chosen(drawn, part.combo_ids, drawn.digits[order], _rows(job, evaluator))
    sets, exits = (_distinct(drawn.digits, axes) for axes in (grid.strategy_axes, _exit_axes(grid)))
    metrics = evaluator.cross(sets, exits)
    digits, admitted = _crossed(grid, sets, exits)
    digits, metrics = digits[admitted], metrics.reshape(*metrics.shape[:2], -1)[:, :, admitted]
    return _chosen(drawn, _numbers(grid, digits), digits, metrics)


def _crossed(grid: Grid, sets: Digits, exits: Digits) -> tuple[Digits, NDArray[np.bool_]]:
    """Return every set of signals with every exit, exits side by side, and what is admitted."""
    crossed = np.repeat(sets, len(exits), axis=0)
    for axis in _exit_axes(grid):
        crossed[:, axis] = np.tile(exits[:, axis], len(sets))
    return crossed, np.broadcast_to(grid.admits(list(crossed.T)), len(crossed))


def _exit_axes(grid: Grid) -> tuple[int, ...]:
    return (*grid.rules_axes, *grid.contract_axes)


def _rows(job: SweepJob, evaluator: Evaluator) -> NDArray[np.float64]:
    """Return the metrics of all rows of a sampled grid."""
    table = evaluator.evaluate(Shard(-1, (range(job.grid.size),)))
    scenarios = [list(METRICS)]
    if job.scenarios:
        scenarios.append([scenario_column(name, job.other_scenario) for name in METRICS])
    return np.array([[table.column(name).to_numpy() for name in names] for names in scenarios])


def _chosen(
    drawn: Drawn, ids: NDArray[np.int64], digits: Digits, metrics: NDArray[np.float64]
) -> Stratified:
    """Replace the last that were drawn by the most ambiguous of all whose metrics are known."""
    certain = drawn.combo_ids[: drawn.n_certain]
    ambiguous = metrics[:, _AMBIGUOUS].max(axis=0)
    ambiguous[np.isin(ids, certain)] = 0.0
    most = np.lexsort((ids, -ambiguous))[:MAX_AMBIGUOUS]
    most = ids[most[ambiguous[most] > 0]]
    others = np.setdiff1d(drawn.combo_ids, most, assume_unique=True)
    kept = drawn.combo_ids[np.isin(drawn.combo_ids, others)][: SAMPLE - len(most)]
    chosen = np.flatnonzero(np.isin(ids, np.concatenate((kept, most))))
    chosen = chosen[np.argsort(ids[chosen])]
    corners = drawn.combo_ids[: drawn.n_corners]
    strata = (np.intersect1d(kept, corners), np.setdiff1d(kept, corners), np.sort(most))
    return Stratified(
        combo_ids=ids[chosen],
        digits=digits[chosen],
        strata=dict(zip(STRATA, (each.tolist() for each in strata), strict=True)),
        metrics=metrics[:, :, chosen],
    )


def _corners(grid: Grid) -> Digits:
    """Return the first and the last combination, and both with one axis at its other end."""
    first = np.zeros(len(grid.axes), np.int64)
    last = np.array(grid.shape, np.int64) - 1
    rows = [first, last]
    for axis in range(len(grid.axes)):
        for start, end in ((first, last), (last, first)):
            rows.append(start.copy())
            rows[-1][axis] = end[axis]
    distinct = _united(np.array(rows))
    admitted = np.broadcast_to(grid.admits(list(distinct.T)), len(distinct))
    return distinct[admitted][:MAX_CORNERS]


def _random(grid: Grid, n: int, seed: int) -> Digits:
    """Draw admitted combinations all over the grid; fewer if it has no more.

    They come from boxes, because in a box combinations that are admitted can be listed, however
    rare they are; a step that has no divisor in common with the number of boxes visits them all.
    And they come in parts that share the parameters which cost a pass over the bars.
    """
    shards = Shards(grid)
    cutting, _ = grid.strategy.split_parameters()
    shaping = [axis for axis in grid.strategy_axes if grid.axes[axis].name not in cutting]
    step = next(at for at in range(ceil(0.618 * len(shards)), 2**63) if gcd(at, len(shards)) == 1)
    found = np.empty((0, len(grid.axes)), np.int64)
    for n_parts, limit in ((ceil(MAX_PARTS / len(shards)), ceil(n / MAX_PARTS)), (n, n)):
        for visit in range(len(shards)):
            shard = shards[(seed + visit * step) % len(shards)]
            found = _united(found, _from_box(grid, shard, shaping, n_parts, limit, seed))
            if len(found) >= n:
                # mixed, so that a part of them is from all over the grid, too
                return found[np.argsort(splitmix64(seed, 0, len(found)))][:n]
    return found


def _from_box(
    grid: Grid, shard: Shard, shaping: list[int], n_parts: int, limit: int, seed: int
) -> Digits:
    """Draw admitted combinations of a box, so many for each of some values on some axes."""
    places = np.flatnonzero(grid.box_mask(shard.box))
    if len(places) == 0:
        return np.empty((0, len(grid.axes)), np.int64)
    numbers = splitmix64(seed, shard.number, len(places))
    if len(places) > ENOUGH:
        some = np.argpartition(numbers, ENOUGH)[:ENOUGH]
        places, numbers = places[some], numbers[some]
    places = places[np.argsort(numbers)]
    inside = np.stack(np.unravel_index(places, tuple(map(len, shard.box))), axis=1)
    _, kinds = distinct_rows(inside[:, shaping])
    _, firsts = np.unique(kinds, return_index=True)
    parts = [inside[kinds == kinds[first]][:limit] for first in np.sort(firsts)[:n_parts]]
    return np.concatenate(parts) + [each.start for each in shard.box]


def _numbers(grid: Grid, digits: Digits) -> NDArray[np.int64]:
    return digits @ np.array(grid.strides, np.int64)


def _distinct(digits: Digits, axes: tuple[int, ...]) -> Digits:
    """Return the first of all rows that agree on some axes."""
    _, first = np.unique(digits[:, list(axes)], axis=0, return_index=True)
    return digits[np.sort(first)]


def _united(*parts: Digits) -> Digits:
    """Return the distinct rows of all parts, in their order."""
    rows = np.concatenate(parts)
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]
