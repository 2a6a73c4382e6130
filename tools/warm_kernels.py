"""Compile every kernel of the Numba engine that a run needs, and say what that took.

Machine code is kept per user; when it is there already, this only loads it.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import backtest_py as bt
from backtest_py import metrics
from backtest_py._kernel_cache import prepared_directory


def backtests() -> None:
    """Run every strategy, and signals with and without risks."""
    bars = bt.synthetic_bars(n_days=5)
    rules = bt.ExitRules(close_time="17:00")
    for name in bt.strategy_names():
        bt.run(bars, name, rules, engine="numba")
    for method in ("wilder", "sma"):
        bt.run(bars, "barra_elefante", bt.ExitRules(atr_method=method), engine="numba")
    side = np.ones(len(bars), np.int8)
    for risk in (None, np.ones(len(bars))):
        bt.run_signals(bars, side, rules, risk=risk, engine="numba")
    for method in ("wilder", "sma"):
        averaged = bt.ExitRules(atr_method=method, close_time="17:00")
        for name in ("barra_elefante", "opening_range_breakout"):  # without risks, and with
            bt.run_chunked([bars[:99], bars[99:]], name, averaged, engine="numba")


def metric_functions() -> None:
    """Call every public metric function."""
    values = np.array([100.0, 101.0, 99.0, 102.0])
    for name in metrics.__all__:
        getattr(metrics, name)(values, engine="numba")


def random_paths() -> None:
    """Make paths of every kind."""
    result = bt.run(bt.synthetic_bars(n_days=5), "barra_elefante", engine="numba")
    for kind in ("bootstrap", "delay"):
        bt.monte_carlo(result, kind, n_paths=2, engine="numba")
    for null in ("entries", "directions", "blocks"):
        bt.monte_carlo(result, "null", null=null, n_paths=2, engine="numba")


def sizes() -> list[int]:
    """Return the bytes of every piece of machine code on disk, none where the disk is no use."""
    folder = prepared_directory()
    return [path.stat().st_size for path in folder.glob("*.kernel")] if folder else []


def main() -> None:
    """Warm the cache and report."""
    before = len(sizes())
    start = time.perf_counter()
    backtests()
    metric_functions()
    random_paths()
    seconds = time.perf_counter() - start
    after = sizes()
    compiled = len(after) - before
    did = f"compiled {compiled} kernels for this machine" if compiled else "loaded the kernels"
    sys.stdout.write(f"{did} in {seconds:.1f} s; {sum(after) / 1e6:.1f} MB on disk\n")


if __name__ == "__main__":
    main()
