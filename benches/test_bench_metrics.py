"""The public metric functions on an equity curve of 252,000 points, from curve to number.

NumPy stands beside both engines: it may add in any order and uses vectors, which the fixed order
of docs/semantics.md forbids, so its last digits differ.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from backtest_py import metrics
from benches.datasets import load_curve

pytestmark = pytest.mark.benchmark(
    disable_gc=True, warmup=True, warmup_iterations=3, min_rounds=50, max_time=0.5
)


def numpy_returns(equity):
    return equity[1:] / equity[:-1] - 1.0


def numpy_sharpe(equity):
    returns = numpy_returns(equity)
    return returns.mean() / returns.std(ddof=1) * math.sqrt(252)


def numpy_sortino(equity):
    returns = numpy_returns(equity)
    downside = np.minimum(returns, 0.0)
    return returns.mean() / math.sqrt(np.mean(downside * downside)) * math.sqrt(252)


def numpy_drawdown(equity):
    return (np.maximum.accumulate(equity) - equity).max()


def numpy_drawdown_pct(equity):
    peaks = np.maximum.accumulate(equity)
    return 100 * ((peaks - equity) / peaks).max()


def numpy_drawdown_series(equity):
    return np.maximum.accumulate(equity) - equity


def sharpe(equity, engine):
    return metrics.sharpe_ratio(metrics.returns_from_equity(equity, engine=engine), engine=engine)


def sortino(equity, engine):
    return metrics.sortino_ratio(metrics.returns_from_equity(equity, engine=engine), engine=engine)


CASES = {
    "sharpe": (sharpe, numpy_sharpe),
    "sortino": (sortino, numpy_sortino),
    "max_drawdown": (metrics.max_drawdown, numpy_drawdown),
    "max_drawdown_pct": (metrics.max_drawdown_pct, numpy_drawdown_pct),
    "drawdown_series": (metrics.drawdown_series, numpy_drawdown_series),
    "returns_from_equity": (metrics.returns_from_equity, numpy_returns),
}


@pytest.mark.parametrize("contender", ["rust", "numba", "numpy"])
@pytest.mark.parametrize("case", CASES)
def test_metric_functions(benchmark, case, contender):
    """One function, from the curve to its result, the checks of the input included."""
    ours, peer = CASES[case]
    curve = load_curve("equity_252k")
    benchmark.group = f"Metric functions: {case} of equity_252k"
    benchmark.extra_info["contender"] = contender
    if contender == "numpy":
        found = benchmark(peer, curve)
    else:
        found = benchmark(ours, curve, engine=contender)
    np.testing.assert_allclose(found, peer(curve), rtol=1e-9, atol=1e-12)
