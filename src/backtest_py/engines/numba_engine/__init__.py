"""The reference engine: Numba kernels, one thread, no fastmath."""

from __future__ import annotations

from backtest_py.engines.numba_engine.engine import NumbaEngine

__all__ = ["NumbaEngine"]
