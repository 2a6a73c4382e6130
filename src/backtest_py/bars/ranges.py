"""Ranges on the session's wall clock: where they start and end, and which rows they hold."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py.bars.timestamps import as_times, parse_times
from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars.timestamps import Times

__all__ = ["edges", "first_at"]


def edges(start: object, end: object) -> tuple[int | None, int | None]:
    """Return start and end of a range on the wall clock in nanoseconds, None where it is open.

    Raises
    ------
    ConfigError
        If one is not a time or carries a zone, or start lies after end.
    """
    low, high = _edge(start, "start"), _edge(end, "end")
    if low is not None and high is not None and low > high:
        raise ConfigError(
            f"range.start = {start!s} lies after range.end = {end!s}; swap or correct them"
        )
    return low, high


def _edge(value: Any, name: str) -> int | None:
    """Return the wall clock time that starts or ends a range, in nanoseconds."""
    if value is None or (isinstance(value, str) and value == ""):
        return None
    if not isinstance(value, (str, date, np.datetime64)):
        raise ConfigError(
            f"range.{name} = {value!r} is not a time; give a date, a datetime or a text such as "
            '"2023-03-01"'
        )
    try:
        if isinstance(value, str):
            texts = np.array([value.encode("ascii", "replace")])
            times: Times = parse_times(texts, lambda _: f"range.{name}")
        else:
            times = as_times([value], lambda _: f"range.{name}")
    except DataError as error:
        raise ConfigError(str(error)) from None
    if times.has_zone:
        raise ConfigError(
            f"range.{name} = {value!s} carries a zone; give the session's wall clock, such as "
            "2023-03-01 or 2023-03-01 09:00"
        )
    return int(times.ns[0])


def first_at(wall: NDArray[np.int64], edge: int) -> int:
    """Return the first row that reaches an edge, the number of rows where none does."""
    reached = wall >= edge
    row = int(reached.argmax())
    return row if reached[row] else len(wall)
