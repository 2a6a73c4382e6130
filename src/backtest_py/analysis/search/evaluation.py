"""The numbers of some combinations, computed by the engine of the sweep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import cpu_count
from typing import TYPE_CHECKING

import numpy as np

from backtest_py.backtest.job import prepare
from backtest_py.backtest.result import BacktestResult
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.executors.thread import run_in_thread
from backtest_py.sweep.space.sample import part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.metrics.custom import TradeMetric
    from backtest_py.sweep.space.sample import SampledGrid
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["evaluated", "replayed"]


def evaluated(
    spec: SweepSpec,
    engine: Engine,
    combo_ids: NDArray[np.int64],
    own: Sequence[TradeMetric] = (),
    *,
    threads: int = 0,
) -> NDArray[np.float64]:
    """Return the metrics of some combinations of a grid that need not be listed.

    One plan serves them all: conditions are computed once for each distinct set of parameters,
    whatever the size of the grid. The bits are those of a sweep and of single runs.

    Parameters
    ----------
    spec : SweepSpec
        The whole question.
    engine : Engine
        What computes.
    combo_ids : ndarray of int64, shape (n,)
        Ascending, valid and admitted.
    own : sequence of TradeMetric
        What needs the trades of each combination.
    threads : int
        Threads to use, 0 for one per processor.

    Returns
    -------
    ndarray of float64, shape (n_metrics + len(own), n)
    """
    part = _narrowed(part_of(spec.grid, combo_ids))
    evaluator = Evaluator(replace(spec, grid=part), engine, threads=threads)

    def work() -> NDArray[np.float64]:
        rows = np.empty((len(METRICS) + len(own), len(combo_ids)))
        rows[: len(METRICS)] = evaluator.values_by(evaluator.paths[0], part.digits)[0, 0]
        if own:
            _replay_all(spec, engine, combo_ids, own, rows[len(METRICS) :], threads)
        return rows

    try:
        return run_in_thread(work)
    except BaseException:
        evaluator.cancel()
        raise


def replayed(spec: SweepSpec, engine: Engine, combo_id: int, reason: str) -> BacktestResult:
    """Run one combination, with its trades and equity."""
    strategy, rules, contract = spec.grid.settings(combo_id)
    signals = strategy.compute(spec.bars)
    job = prepare(spec.bars, strategy, signals, rules, contract, spec.metrics, None)
    first, last = spec.ranges[0]
    job = replace(job, first=first, last=last)
    return BacktestResult(job, engine.run(job), engine, reason)


def _replay_all(
    spec: SweepSpec,
    engine: Engine,
    combo_ids: NDArray[np.int64],
    own: Sequence[TradeMetric],
    out: NDArray[np.float64],
    threads: int,
) -> None:
    """Set the metrics that need the trades; several combinations at a time."""

    def values(combo_id: int) -> list[float]:
        result = replayed(spec, engine, combo_id, "a search judges its trades")
        return [each.value(result, f"combination {combo_id}") for each in own]

    # a user's strategy may not be safe to call from two threads
    workers = 1 if spec.grid.strategy.computes_signals else threads or cpu_count() or 1
    with ThreadPoolExecutor(workers, "backtest-py-search") as pool:
        for at, found in enumerate(pool.map(values, combo_ids.tolist())):
            out[:, at] = found


def _narrowed(part: SampledGrid) -> SampledGrid:
    """Return the same combinations on axes of those values alone that some of them have.

    What an evaluator keeps for each value of an axis then goes with the batch, not with the grid.
    """
    axes, digits = list(part.axes), np.empty_like(part.digits)
    for at, axis in enumerate(part.axes):
        used, digits[:, at] = np.unique(part.digits[:, at], return_inverse=True)
        axes[at] = replace(axis, values=tuple(axis.values[digit] for digit in used.tolist()))
    return replace(part, axes=tuple(axes), digits=digits)
