"""Monte Carlo: 10,000 paths of 1,000 trades with all their numbers, against vectorised NumPy.

NumPy draws with a generator of its own, so its paths are others; its numbers are checked on the
same trades by the distributions that they have. Every contender computes, for each path, the final
equity, the total, the largest drawdown in money and in percent, the longest losing streak and
whether it was ruined.
"""

from __future__ import annotations

import numpy as np
import pytest

import backtest_py as bt
from benches.report import PATHS
from benches.timing import clock

N_PATHS, N_TRADES, CAPITAL = 10_000, 1_000, 1e6
PNL = np.round(np.random.default_rng(0).normal(10, 200, N_TRADES), 2)
MOST_SECONDS = 0.060

pytestmark = pytest.mark.timeout(600)


def ours(engine, kind="bootstrap", **how):
    return bt.monte_carlo(PNL, kind, n_paths=N_PATHS, initial_capital=CAPITAL, engine=engine, **how)


def numpy_paths():
    """Return the numbers of bootstrapped paths, whole arrays at a time."""
    drawn = np.random.default_rng(1).integers(0, N_TRADES, (N_PATHS, N_TRADES))
    pnl = PNL[drawn]
    equity = CAPITAL + np.cumsum(pnl, axis=1)
    peaks = np.maximum(np.maximum.accumulate(equity, axis=1), CAPITAL)
    falls = peaks - equity
    place = np.arange(1, N_TRADES + 1, dtype=np.int32)
    last_other = np.maximum.accumulate(np.where(pnl < 0, 0, place), axis=1)
    return {
        "final_equity": equity[:, -1],
        "total_return": equity[:, -1] - CAPITAL,
        "max_drawdown": falls.max(axis=1),
        "max_drawdown_pct": 100 * (falls / peaks).max(axis=1),
        "max_consecutive_losses": (place - last_other).max(axis=1),
        "ruined": (equity <= 0).any(axis=1),
    }


def test_the_contenders_agree():
    """Means of every number within five standard errors, and the engines bit for bit."""
    rust, numba, peer = ours("rust").table, ours("numba").table, numpy_paths()
    assert rust.equals(numba)
    for name, values in peer.items():
        error = np.hypot(rust[name].std(), values.std()) / np.sqrt(N_PATHS)
        assert abs(rust[name].mean() - values.mean()) <= 5 * error, name


def test_monte_carlo(findings):
    """In turns; Rust has to be fast enough. The report says how far NumPy is behind."""
    contenders = {
        "rust": clock(lambda: ours("rust")),
        "rust, one thread": clock(lambda: ours("rust", threads=1)),
        "numba": clock(lambda: ours("numba")),
        "numpy": clock(numpy_paths, repeats=1),
    }
    findings.compare(PATHS, contenders, rounds=9)
    if not findings.quick:
        assert min(findings.comparisons[PATHS]["rust"]) < 1e9 * MOST_SECONDS


@pytest.mark.parametrize("kind", ["bootstrap", "block", "shuffle", "skip"])
@pytest.mark.parametrize("sizing", ["fixed", "compound"])
@pytest.mark.parametrize("contender", ["rust", "numba"])
def test_kinds(benchmark, kind, sizing, contender):
    """Every kind of path of trades."""
    benchmark.group = f"Monte Carlo: {kind}, {sizing} lots"
    benchmark.extra_info["contender"] = contender
    found = benchmark(ours, contender, kind, sizing=sizing)
    assert len(found.observed) >= 5
