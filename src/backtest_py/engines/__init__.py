"""Two engines that give the same answer: Numba as the reference, Rust for speed."""

from __future__ import annotations

from backtest_py.engines.base import Engine, EngineOutput, Job
from backtest_py.engines.limits import SweepLimits
from backtest_py.engines.registry import (
    ENGINE_NAMES,
    EngineStatus,
    engine_status,
    reference,
    resolve,
)

__all__ = [
    "ENGINE_NAMES",
    "Engine",
    "EngineOutput",
    "EngineStatus",
    "Job",
    "SweepLimits",
    "engine_status",
    "reference",
    "resolve",
]
