"""Bars: validated, immutable columns of a market."""

from __future__ import annotations

from backtest_py.bars.bars import Bars, BarsReport, build_bars, read_only

__all__ = ["Bars", "BarsReport", "build_bars", "read_only"]
