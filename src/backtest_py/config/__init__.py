"""The configuration: one TOML file for every command."""

from __future__ import annotations

from backtest_py.config.config import Config, commented_toml, toml_value

__all__ = ["Config", "commented_toml", "toml_value"]
