"""Bars: validated, immutable columns of a market."""

from __future__ import annotations

from backtest_py.bars.bars import Bars, BarsReport, ReadOptions, build_bars, read_only, warn_of

__all__ = ["Bars", "BarsReport", "ReadOptions", "build_bars", "read_only", "warn_of"]
