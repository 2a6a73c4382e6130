"""The loop that a user would write: one run after another, in joblib processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.backtest.job import prepare
from backtest_py.engines import resolve
from backtest_py.engines.base import Job
from backtest_py.records import METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.bench.cases import Settings

__all__ = ["N_LOOPED", "straightforward_loop"]

N_LOOPED: Final = 2_048
"""Combinations that the loop computes; the time of more is extrapolated."""

CHUNK: Final = 64
"""Combinations that a process takes at a time."""


def _looped(bars: Bars, settings: Settings) -> NDArray[np.float64]:
    """Return the metrics of a chunk of combinations: detection, simulation and metrics of each."""
    engine, _ = resolve("numba")
    first = prepare(bars, settings[0][0], None, *settings[0][1:], None, None)
    found = np.empty((len(settings), len(METRICS)))
    for row, (strategy, rules, contract) in enumerate(settings):
        signals = strategy.compute(bars)
        job = Job(bars, strategy, signals, rules, contract, first.metrics, 0, len(bars))
        found[row] = engine.run(job).metrics
    return found


def straightforward_loop(bars: Bars, settings: Settings, processes: int) -> NDArray[np.float64]:
    """Run combinations one by one in joblib processes, as a user with Numba would.

    Parameters
    ----------
    bars : Bars
        The market, which joblib hands to its processes as memory maps.
    settings : sequence of (Strategy, ExitRules, Contract)
        Those of each combination.
    processes : int
        Number of processes.

    Returns
    -------
    ndarray of float64, shape (n_combos, n_metrics)
    """
    from joblib import Parallel, delayed  # noqa: PLC0415 - only where it is used

    step = max(1, min(CHUNK, -(-len(settings) // processes)))
    parts = [settings[start : start + step] for start in range(0, len(settings), step)]
    done = Parallel(processes)(delayed(_looped)(bars, part) for part in parts)
    return np.concatenate(done)
