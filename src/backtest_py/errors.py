"""The one exception tree, and the one warning.

    BacktestError
    ├── ConfigError (ValueError)        a value, a key or a file name that the user wrote
    ├── DataError (ValueError)          the bars themselves
    ├── EngineError (RuntimeError)
    │   ├── EngineUnavailableError      the engine cannot be loaded here
    │   └── UnsupportedError            the engine is there, but cannot do this
    └── ParityError (AssertionError)    two engines disagree

Every message says what is wrong, where, with which value, and what to do.
"""

from __future__ import annotations

__all__ = [
    "BacktestError",
    "BacktestWarning",
    "ConfigError",
    "DataError",
    "EngineError",
    "EngineUnavailableError",
    "ParityError",
    "UnsupportedError",
]


class BacktestError(Exception):
    """Base of everything that backtest_py raises on purpose."""


class ConfigError(BacktestError, ValueError):
    """A value, a key or a file name given by the user is not allowed."""


class DataError(BacktestError, ValueError):
    """Bars, or the file that holds them, break a rule."""


class EngineError(BacktestError, RuntimeError):
    """An engine could not do its work."""


class EngineUnavailableError(EngineError):
    """The engine cannot be loaded on this machine; the message names the remedy."""


class UnsupportedError(EngineError):
    """The engine is available but cannot do what was asked."""


class ParityError(BacktestError, AssertionError):
    """Two engines gave different answers to the same question."""


class BacktestWarning(UserWarning):
    """Something legal that often means a mistake."""
