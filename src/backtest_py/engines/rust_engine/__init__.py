"""The Rust engine: arrays in, columns out, no arithmetic."""

from __future__ import annotations

from backtest_py.engines.rust_engine.engine import RustEngine

__all__ = ["RustEngine"]
