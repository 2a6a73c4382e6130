"""The configuration: one TOML file for every command."""

from __future__ import annotations

from backtest_py.config.config import Config
from backtest_py.config.markets import fitted
from backtest_py.config.template import commented_toml

__all__ = ["Config", "commented_toml", "fitted"]
