"""A result for other programs: CSV in a country's dialect, Excel, and libraries of returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py._io.spreadsheets import safe_text, write_workbook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from backtest_py._io.spreadsheets import Dialect
    from backtest_py.bars import Bars

__all__ = ["frame_csv", "on_session_clock", "write_result_workbook"]

_LEVELS = ("stop_price", "target_price")
"""Columns of a trade that are infinite where there is none."""


def frame_csv(frame: pd.DataFrame, dialect: Dialect) -> bytes:
    """Return a frame as the content of a CSV file; its index is left out."""
    if not dialect.plain:
        columns = {str(name): _texts(frame[name], dialect) for name in frame.columns}
        frame = type(frame)(columns, index=frame.index)
    text: str = frame.to_csv(index=False, sep=dialect.sep, lineterminator=dialect.newline)
    return dialect.mark + text.encode()


def _texts(column: pd.Series[Any], dialect: Dialect) -> Any:
    """Return a column as its cells are written; whole numbers and truth values stay."""
    if column.dtype == np.float64:
        return [dialect.number(value) for value in column.tolist()]
    if column.dtype.kind in "biuM":
        return column.to_numpy()
    return [safe_text(str(value)) for value in column.tolist()]


def on_session_clock(frame: pd.DataFrame, bars: Bars) -> pd.DataFrame:
    """Return trades as a spreadsheet shows them: times of the session, no infinite levels."""
    shown = frame.copy(deep=False)
    for name in ("signal", "entry", "exit"):
        wall = bars.wall_at(frame[f"{name}_bar"].to_numpy())
        shown[f"{name}_time"] = wall.view("datetime64[ns]")
    for name in _LEVELS:
        shown[name] = frame[name].where(np.isfinite(frame[name]))
    return shown


def write_result_workbook(
    path: Path,
    trades: pd.DataFrame,
    metrics: Mapping[str, Any],
    settings: Iterable[tuple[str, Any]],
) -> None:
    """Write trades, metrics and settings as the sheets of an Excel file."""
    write_workbook(
        path,
        {
            "trades": (list(trades.columns), _rows(trades)),
            "metrics": (["metric", "value"], metrics.items()),
            "settings": (["setting", "value"], settings),
        },
    )


def _rows(frame: pd.DataFrame) -> Iterable[tuple[Any, ...]]:
    """Return the rows of a frame as plain values of Python, times to the microsecond."""
    columns = [
        column.astype("datetime64[us]").to_numpy().tolist()
        if column.dtype.kind == "M"
        else column.tolist()
        for column in (frame[name] for name in frame.columns)
    ]
    return zip(*columns, strict=True)
