"""Which executor computes a sweep."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from backtest_py.errors import BacktestWarning
from backtest_py.sweep.compute.evaluator import DIRECT_COMBOS
from backtest_py.sweep.executors.base import ShardTask
from backtest_py.sweep.executors.inline import InlineExecutor
from backtest_py.sweep.executors.thread import ThreadExecutor

if TYPE_CHECKING:
    from backtest_py.sweep.compute.evaluator import Evaluator
    from backtest_py.sweep.executors.base import Executor

__all__ = ["executor_for"]


def executor_for(evaluator: Evaluator, *, processes: int, n_shards: int, packed: bool) -> Executor:
    """Return the executor for a sweep.

    Parameters
    ----------
    evaluator : Evaluator
        Computes shards in this process.
    processes : int
        How many the user asked for; one process is this one.
    n_shards : int
        Shards to compute: more processes than that would have nothing to do.
    packed : bool
        Whether other processes give the bytes of files instead of tables.
    """
    if evaluator.spec.grid.size <= DIRECT_COMBOS:
        return InlineExecutor(evaluator)
    if processes <= 1:
        return ThreadExecutor(evaluator)
    import multiprocessing  # noqa: PLC0415 - not for the sweeps that need none

    if multiprocessing.current_process().daemon:
        warnings.warn(
            f"processes = {processes} is not possible in a daemon process of multiprocessing, "
            "which may not have children; this process computes the sweep with one thread",
            BacktestWarning,
            stacklevel=2,
        )
        return ThreadExecutor(evaluator)
    from backtest_py.sweep.executors.processes import ProcessExecutor  # noqa: PLC0415 - with joblib

    task = ShardTask(
        evaluator.spec, evaluator.engine.name, evaluator.max_memory, packed, evaluator.tabulate
    )
    return ProcessExecutor(task, max(1, min(processes, n_shards)))
