"""Packages that only market data needs: loaded when they are used, asked for where they lack."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from backtest_py.errors import ConfigError

__all__ = ["required"]


def required(module: str, extra: str = "data") -> Any:
    """Return a module of an extra.

    Raises
    ------
    ConfigError
        If it is not installed.

    Examples
    --------
    >>> required("no_such_module")
    Traceback (most recent call last):
    backtest_py.errors.ConfigError: no_such_module is not installed: pip install "backtest-py[data]"
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ConfigError(
            f'{package} is not installed: pip install "backtest-py[{extra}]"'
        ) from None
