"""Where bars come from: readers of files, made-up bars, and the sessions that they should keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from backtest_py.data.readers import load_bars
from backtest_py.data.synthetic import synthetic_bars

if TYPE_CHECKING:
    from backtest_py.data.market.calendars import check_sessions, sessions, sessions_of

__all__ = ["check_sessions", "load_bars", "sessions", "sessions_of", "synthetic_bars"]

_LATER: Final = frozenset({"check_sessions", "sessions", "sessions_of"})
"""Names whose module is imported on first use."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from backtest_py.data.market import calendars  # noqa: PLC0415

        return getattr(calendars, name)
