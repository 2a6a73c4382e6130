"""The command line: ``backtest-py``."""

from __future__ import annotations

from backtest_py.cli.main import main

__all__ = ["main"]
