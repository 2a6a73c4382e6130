"""Where bars come from: readers of files, made-up bars, and what a file holds."""

from __future__ import annotations

from backtest_py.data.inspection import Inspection, inspect_bars
from backtest_py.data.readers import load_bars
from backtest_py.data.synthetic import synthetic_bars

__all__ = ["Inspection", "inspect_bars", "load_bars", "synthetic_bars"]
