"""Rows of a sweep, bit for bit, and a function to sweep, for the tests of sweeps."""

from __future__ import annotations

import numpy as np

from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.store.tables import scenario_column


def falling(bars, *, span: int = 3, gap: float = 0.0):
    """Buy below the close of some bars ago, sell above it; the distance is the risk."""
    back = np.full(len(bars), np.nan)
    back[span:] = bars.close[:-span]
    below = bars.close < back * (1.0 - gap)
    above = bars.close > back * (1.0 + gap)
    risk = np.abs(bars.close - back)
    risk[::7] = np.nan
    return below.astype(np.int8) - above.astype(np.int8), risk


def vectors(result, scenario=""):
    """Return the metrics of every row as engines give them, by combo_id."""
    names = [scenario_column(name, scenario) if scenario else name for name in METRICS]
    table = result.table(["combo_id", *names])
    columns = [table[name].to_numpy().astype(np.float64) for name in names]
    return dict(zip(table["combo_id"].to_pylist(), np.array(columns).T, strict=True))


def same_rows(left, right):
    """Tell whether two sweeps hold the same bits."""
    a, b = vectors(left), vectors(right)
    return list(a) == list(b) and all(a[key].tobytes() == b[key].tobytes() for key in a)
