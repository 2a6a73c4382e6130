"""Packages that only market data needs: loaded when they are used, asked for where they lack."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from backtest_py.errors import ConfigError

__all__ = ["http_client", "required"]


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


def http_client(**options: Any) -> Any:
    """Return a client of httpx2, which goes through the proxy that the environment names.

    Raises
    ------
    ConfigError
        If httpx2 is not installed, or the proxy's address is none; it may hold a password, and is
        not shown.
    """
    httpx2 = required("httpx2")
    try:
        return httpx2.Client(**options)
    except (ValueError, ImportError, httpx2.InvalidURL):
        raise ConfigError(
            "the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) cannot be "
            "used; give http://HOST:PORT, and write @ and / of a password as %40 and %2F"
        ) from None
