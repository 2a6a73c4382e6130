"""The sample of the parity gate: combinations on which engines would disagree first.

Corners of the grid, where parameters are extreme; combinations drawn at random, by splitmix64 from
a seed; and those with the most ambiguous trades, of all whose numbers come at hardly any cost with
the former. Only what is valid and admitted by ``where`` counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.compute.evaluator import Evaluator, Path, possible_paths
from backtest_py.sweep.compute.shards import Shards
from backtest_py.sweep.space.boxes import united
from backtest_py.sweep.space.sample import part_of
from backtest_py.sweep.store.tables import COMBO_ID, scenario_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.space.combinations import SmallCopy
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["STRATA", "Drawn", "Sampled", "SweptRows", "draw", "sweep_sample"]

STRATA: Final = ("corners", "random", "ambiguous")

SAMPLE: Final = 64
"""Combinations of a sample; all, where there are fewer."""
MAX_AMBIGUOUS: Final = 16
MAX_CORNERS: Final = 20
SMALL: Final = 32
"""Combinations of the small shards whose tables are compared, too."""
PROBED_ROWS: Final = 32
"""Extra rows to search for ambiguous ones, where combinations share nothing."""

_AMBIGUOUS: Final = METRICS.index("ambiguous_trades")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Combinations that were chosen without looking at any trade.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Distinct: corners first, then others at random.
    n_corners : int
        How many of them are corners.
    """

    combo_ids: NDArray[np.int64]
    n_corners: int

    @property
    def n_certain(self) -> int:
        """How many of them, from the first on, stay in the sample in any case."""
        return min(SAMPLE - MAX_AMBIGUOUS, len(self.combo_ids))


@dataclass(frozen=True, slots=True)
class SweptRows:
    """Rows of the sweep, computed in one way.

    Attributes
    ----------
    how : str
        The way, in words.
    combo_ids : ndarray of int64, shape (n,)
        Which combinations.
    metrics : ndarray of float64, shape (n_scenarios, n_ranges, n_metrics, n)
        Their metrics.
    """

    how: str
    combo_ids: NDArray[np.int64]
    metrics: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The sample, and what the sweep gives for it.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Ascending.
    strata : dict of str to list of int
        The same numbers by the reason why they are there.
    rows : list of SweptRows
        Rows of the sweep, in every way in which it may compute them: those of the sample, and those
        of small shards, whose tables are made as the sweep makes them.
    paths : tuple of Path
        The ways.
    """

    combo_ids: NDArray[np.int64]
    strata: dict[str, list[int]]
    rows: list[SweptRows]
    paths: tuple[Path, ...]


def draw(spec: SweepSpec, seed: int) -> Drawn:
    """Choose corners and random combinations.

    Parameters
    ----------
    spec : SweepSpec
        What is swept.
    seed : int
        Decides what is drawn at random.
    """
    grid, boxes = spec.grid, Shards(spec.grid).boxes
    corners = grid.corners(MAX_CORNERS)
    if Path.TABLES in possible_paths(spec):
        ids = united(corners, grid.draw(SAMPLE, seed, boxes))[:SAMPLE]
    else:
        ids = united(corners, grid.draw(SAMPLE + PROBED_ROWS, seed, boxes))
    return Drawn(ids, len(corners))


def sweep_sample(
    spec: SweepSpec, engine: Engine, drawn: Drawn, *, threads: int, max_memory: int
) -> Sampled:
    """Compute what the sweep gives for combinations that were drawn and for the most ambiguous.

    Every path that a shard of this sweep may take is taken, by the same code.

    Parameters
    ----------
    spec : SweepSpec
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
    grid = spec.grid
    first, *others = possible_paths(spec)
    # a sample of what was drawn alone, which needs the signals of no other combination
    part = replace(spec, grid=part_of(grid, np.sort(drawn.combo_ids)))
    evaluator = Evaluator(part, engine, threads=threads, max_memory=max_memory)
    ids = drawn.combo_ids
    if first is Path.TABLES:
        ids = grid.crossings(ids)
    ids = np.sort(ids)
    digits = grid.digit_rows(ids)
    metrics = _metrics(evaluator.values_by(first, digits))
    strata = _strata(drawn, ids, metrics)
    chosen = np.flatnonzero(np.isin(ids, np.concatenate(list(strata.values()))))
    found = [SweptRows(f"sweep by {first.value}", ids[chosen], metrics[..., chosen])]
    for path in others:
        values = _metrics(evaluator.values_by(path, digits[chosen]))
        found.append(SweptRows(f"sweep by {path.value}", ids[chosen], values))
    for copy in grid.small_copies(drawn.combo_ids, SMALL):
        small = replace(spec, grid=copy.grid)
        for path in (first, *others):
            found += _shards_of(small, copy, path, engine, threads, max_memory)
    return Sampled(
        combo_ids=ids[chosen],
        strata={name: numbers.tolist() for name, numbers in strata.items()},
        rows=found,
        paths=(first, *others),
    )


def _shards_of(
    spec: SweepSpec, copy: SmallCopy, path: Path, engine: Engine, threads: int, max_memory: int
) -> Iterator[SweptRows]:
    """Yield the rows of a small copy from the tables of its shards, as the sweep makes them."""
    evaluator = Evaluator(spec, engine, threads=threads, max_memory=max_memory)
    evaluator.paths = (path,)
    columns = [list(METRICS)]
    if spec.scenarios:
        columns.append([scenario_column(metric, spec.other_scenario) for metric in METRICS])
    for shard in Shards(spec.grid).in_working_order():
        table = evaluator.evaluate(shard)
        values = [[table[name].to_numpy() for name in names] for names in columns]
        metrics = np.array(values, np.float64)[:, None]
        ids = copy.in_whole(table[COMBO_ID].to_numpy())
        yield SweptRows(f"shard by {path.value}", ids, metrics)


def _metrics(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the metrics of all numbers; sums of blocks are left out."""
    return values[:, :, : len(METRICS)]


def _strata(
    drawn: Drawn, ids: NDArray[np.int64], metrics: NDArray[np.float64]
) -> dict[str, NDArray[np.int64]]:
    """Replace the last ones drawn by the most ambiguous of all whose metrics are known."""
    certain = drawn.combo_ids[: drawn.n_certain]
    ambiguous = metrics[:, :, _AMBIGUOUS].max(axis=(0, 1))
    ambiguous[np.isin(ids, certain)] = 0.0
    most = np.lexsort((ids, -ambiguous))[:MAX_AMBIGUOUS]
    most = ids[most[ambiguous[most] > 0]]
    others = drawn.combo_ids[~np.isin(drawn.combo_ids, most)]
    kept = others[: SAMPLE - len(most)]
    corners = drawn.combo_ids[: drawn.n_corners]
    strata = (np.intersect1d(kept, corners), np.setdiff1d(kept, corners), np.sort(most))
    return dict(zip(STRATA, strata, strict=True))
