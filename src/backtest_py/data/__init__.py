"""Where bars come from: readers of files, and made-up bars."""

from __future__ import annotations

from backtest_py.data.readers import load_bars
from backtest_py.data.synthetic import synthetic_bars

__all__ = ["load_bars", "synthetic_bars"]
