"""Many backtests on the same bars. Mirrors ``engine_rust/src/optimizer.rs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest_py.metrics.catalogue import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine, Job

__all__ = ["optimize"]


def optimize(engine: Engine, jobs: Sequence[Job]) -> NDArray[np.float64]:
    """Return the metrics of every job, shape (n_jobs, n_metrics): a straight loop."""
    out = np.empty((len(jobs), len(METRICS)))
    for row, job in enumerate(jobs):
        out[row] = engine.run(job).metrics
    return out
