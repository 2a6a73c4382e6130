"""The sample that the parity gate looks at: where two engines would disagree first.

Corners of the grid, where parameters are extreme; combinations drawn at random, by splitmix64 from
a seed; and those with the most ambiguous trades among the crossings of all these, whose outcomes
are known then. Only combinations that are valid and admitted by ``where`` count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, gcd
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.data.synthetic import splitmix64
from backtest_py.records import METRICS
from backtest_py.sweep.evaluate import Evaluator
from backtest_py.sweep.sample import SampledGrid
from backtest_py.sweep.shards import Shard, Shards
from backtest_py.sweep.tables import scenario_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.evaluate import SweepJob
    from backtest_py.sweep.grid import Grid

    Digits = NDArray[np.int64]

__all__ = ["STRATA", "Stratified", "stratify"]

STRATA: Final = ("corners", "random", "ambiguous")

BASE_COMBOS: Final = 64
"""Corners and random combinations; all, where the grid has fewer."""
MAX_CORNERS: Final = 20
MAX_AMBIGUOUS: Final = 16
MAX_BOXES: Final = 16
"""Boxes of the grid from which random combinations are drawn."""
PROBED_ROWS: Final = 64
"""Rows of a sampled grid in which the most ambiguous are looked for, beside the others."""

_AMBIGUOUS: Final = METRICS.index("ambiguous_trades")


@dataclass(frozen=True, slots=True)
class Stratified:
    """Some combinations of a sweep, and what the sweep gives for them.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Ascending.
    digits : ndarray of int64, shape (n, n_axes)
        Positions on every axis.
    strata : dict of str to list of int
        The same numbers by the reason why they are there: corners, random, ambiguous.
    metrics : ndarray of float64, shape (n_scenarios, n_metrics, n)
        Rows of the sweep.
    """

    combo_ids: NDArray[np.int64]
    digits: Digits
    strata: dict[str, list[int]]
    metrics: NDArray[np.float64]


def stratify(
    job: SweepJob, engine: Engine, *, seed: int, threads: int, max_memory: int
) -> Stratified:
    """Draw a sample of a sweep and compute its rows.

    Parameters
    ----------
    job : SweepJob
        What is swept.
    engine : Engine
        The engine that sweeps.
    seed : int
        Decides what is drawn at random.
    threads : int
        Threads to use, 0 for one per processor.
    max_memory : int
        Bytes that outcomes may take.
    """
    if isinstance(job.grid, SampledGrid):
        return _of_rows(job, job.grid, engine, seed, threads, max_memory)
    return _of_grid(job, job.grid, engine, seed, threads, max_memory)


def _of_grid(
    job: SweepJob, grid: Grid, engine: Engine, seed: int, threads: int, max_memory: int
) -> Stratified:
    """Cross the signal sets of corners and random combinations with their exits."""
    corners = _corners(grid)
    base = _united(corners, _random(grid, BASE_COMBOS, seed))[:BASE_COMBOS]
    sets = _distinct(base, grid.strategy_axes)
    exits = _distinct(base, (*grid.rules_axes, *grid.contract_axes))
    crossed = np.repeat(sets, len(exits), axis=0)
    for axis in (*grid.rules_axes, *grid.contract_axes):
        crossed[:, axis] = np.tile(exits[:, axis], len(sets))
    evaluator = Evaluator(job, engine, threads=threads, max_memory=max_memory)
    metrics = evaluator.cross(sets, exits)
    metrics = metrics.reshape(*metrics.shape[:2], -1)
    admitted = np.broadcast_to(grid.admits(list(crossed.T)), len(crossed))
    ids = _numbers(grid, crossed)
    return _chosen(
        ids[admitted],
        crossed[admitted],
        metrics[:, :, admitted],
        corners=_numbers(grid, corners),
        base=_numbers(grid, base),
    )


def _of_rows(
    job: SweepJob, grid: SampledGrid, engine: Engine, seed: int, threads: int, max_memory: int
) -> Stratified:
    """Take rows with extreme values, and others at random."""
    ends = [end for column in grid.digits.T for end in (column.argmin(), column.argmax())]
    corners = np.array(list(dict.fromkeys(ends))[:MAX_CORNERS], np.int64)
    drawn = np.argsort(splitmix64(seed, 0, grid.size), kind="stable")[: BASE_COMBOS + PROBED_ROWS]
    pool = _united(corners[:, None], drawn[:, None]).ravel()
    base = pool[:BASE_COMBOS]
    rows = np.sort(pool)
    part = replace(grid, combo_ids=grid.combo_ids[rows], digits=grid.digits[rows])
    evaluator = Evaluator(replace(job, grid=part), engine, threads=threads, max_memory=max_memory)
    table = evaluator.evaluate(Shard(-1, (range(len(rows)),)))
    scenarios = [list(METRICS)]
    if job.scenarios:
        scenarios.append([scenario_column(name, job.other_scenario) for name in METRICS])
    metrics = np.array(
        [
            [table.column(name).to_numpy().astype(np.float64) for name in names]
            for names in scenarios
        ]
    )
    return _chosen(
        part.combo_ids,
        part.digits.astype(np.int64),
        metrics,
        corners=grid.combo_ids[corners],
        base=grid.combo_ids[base],
    )


def _chosen(
    ids: NDArray[np.int64],
    digits: Digits,
    metrics: NDArray[np.float64],
    *,
    corners: NDArray[np.int64],
    base: NDArray[np.int64],
) -> Stratified:
    """Return the base and, of the others, those with the most ambiguous trades."""
    in_base = np.isin(ids, base)
    ambiguous = np.where(in_base, 0.0, metrics[:, _AMBIGUOUS].max(axis=0))
    most = np.lexsort((ids, -ambiguous))[:MAX_AMBIGUOUS]
    most = most[ambiguous[most] > 0]
    in_base[most] = True
    chosen = np.flatnonzero(in_base)
    chosen = chosen[np.argsort(ids[chosen])]
    strata = (corners, np.setdiff1d(base, corners), ids[most])
    return Stratified(
        combo_ids=ids[chosen],
        digits=digits[chosen],
        strata=dict(zip(STRATA, (np.sort(each).tolist() for each in strata), strict=True)),
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
    """Draw admitted combinations from boxes all over the grid; fewer if it has no more.

    Boxes, for in one of them combinations that are admitted can be listed, however rare they are.
    A step that has no divisor in common with the number of boxes visits them all.
    """
    shards = Shards(grid)
    step = next(at for at in range(ceil(0.618 * len(shards)), 2**63) if gcd(at, len(shards)) == 1)
    found = np.empty((0, len(grid.axes)), np.int64)
    for limit in (ceil(n / min(len(shards), MAX_BOXES)), n):
        for visit in range(len(shards)):
            number = (seed + visit * step) % len(shards)
            found = _united(found, _from_box(grid, shards[number], limit, seed))
            if len(found) >= n:
                # mixed, so that a part of them is from all over the grid, too
                return found[np.argsort(splitmix64(seed, 0, len(found)))][:n]
    return found


def _from_box(grid: Grid, shard: Shard, limit: int, seed: int) -> Digits:
    places = np.flatnonzero(grid.box_mask(shard.box))
    if len(places) > limit:
        numbers = splitmix64(seed, shard.number, len(places))
        places = places[np.sort(np.argpartition(numbers, limit)[:limit])]
    inside = np.unravel_index(places, tuple(map(len, shard.box)))
    return np.stack([at.start + row for at, row in zip(shard.box, inside, strict=True)], axis=1)


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
