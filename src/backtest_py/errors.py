"""The one exception tree, and the one warning.

    BacktestError
    ├── ConfigError (ValueError)        a value, a key or a file name that the user wrote
    │   └── ArgumentError (TypeError)   an argument of a settings class that does not exist
    ├── DataError (ValueError)          the bars themselves
    │   └── MissingDataError            market data that nobody has, or not yet
    ├── EngineError (RuntimeError)
    │   ├── EngineUnavailableError      the engine cannot be loaded here
    │   ├── UnsupportedError            the engine is there, but cannot do this
    │   └── WorkerError                 processes of a sweep died; it can be resumed
    ├── ParityError (AssertionError)    two engines disagree
    ├── SweepCancelled                  a sweep was asked to stop; it can be continued
    ├── StorageError (OSError)          results cannot be written: a full disk, for one
    ├── CacheError (OSError)            a tier of the market data cache cannot be used
    └── ExchangeError (ConnectionError) an exchange gave no usable answer

Every message says what is wrong, where, with which value, and what to do.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BacktestError",
    "BacktestWarning",
    "CacheError",
    "ConfigError",
    "DataError",
    "EngineError",
    "EngineUnavailableError",
    "ExchangeError",
    "MissingDataError",
    "ParityError",
    "StorageError",
    "SweepCancelled",
    "UnsupportedError",
    "WorkerError",
]


class BacktestError(Exception):
    """Base of everything that backtest_py raises on purpose."""


class ConfigError(BacktestError, ValueError):
    """A value, a key or a file name given by the user is not allowed."""


class ArgumentError(ConfigError, TypeError):
    """A settings class has no such argument; a TypeError as well, as Python's own calls raise."""


class DataError(BacktestError, ValueError):
    """Bars, or the file that holds them, break a rule."""


class MissingDataError(DataError):
    """Market data was asked for that nobody has, or that is not complete yet."""


class EngineError(BacktestError, RuntimeError):
    """An engine could not do its work."""


class EngineUnavailableError(EngineError):
    """The engine cannot be loaded on this machine; the message names the remedy."""


class UnsupportedError(EngineError):
    """The engine is available but cannot do what was asked."""


class WorkerError(EngineError):
    """Processes of a sweep were killed or crashed, again and again; it can be resumed."""


class ParityError(BacktestError, AssertionError):
    """Two engines gave different answers to the same question."""


class StorageError(BacktestError, OSError):
    """Results cannot be written; what was written before is whole and can be continued."""


class CacheError(BacktestError, OSError):
    """A tier of the market data cache cannot be used; the next one is asked instead."""

    reason = "unreadable"
    """Why, in a word for metrics."""


class ExchangeError(BacktestError, ConnectionError):
    """An exchange gave no answer that can be used."""


class SweepCancelled(BacktestError):  # noqa: N818 - like KeyboardInterrupt, a request and not a fault
    """A sweep was asked to stop before it was done."""


class BacktestWarning(UserWarning):
    """Something legal that often means a mistake."""
