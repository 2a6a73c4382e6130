"""Tables of a sweep for the terminal: its best combinations, and how it went."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from backtest_py.report.metric_info import METRIC_INFO
from backtest_py.report.tables import facts_table, number, rows_table, show

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from backtest_py.sweep.result import SweepResult

__all__ = ["duration_text", "show_best", "show_sweep", "size_text"]

SHOWN: Final = ("total_trades", "total_return", "profit_factor", "sharpe", "max_drawdown")
"""Metrics beside the one that decides; all are in the files."""
WIDEST: Final = 8
"""Combinations beside each other, where their rows are too wide for the terminal."""


def show_sweep(result: SweepResult, place: object, gate: str) -> None:
    """Print what a sweep did, without its rows."""
    manifest = result.manifest
    seconds = float(manifest["seconds"])
    rate = f", {len(result) / seconds:,.0f} a second" if seconds > 0 else ""
    facts = {
        "Combinations": f"{len(result):,} of {', '.join(result.grid.keys)}",
        "Bars": f"{manifest['n_bars']:,}",
        "Engine": f"{manifest['identity']['engine']}: {manifest['engine_reason']}",
        "Parity": gate.removeprefix("parity gate: "),
        "Time": f"{duration_text(seconds)} in the last run{rate}",
        "Results": str(place),
    }
    show(facts_table(facts), "")


def show_best(frame: pd.DataFrame, by: str) -> None:
    """Print combinations as rows, or as columns where rows are too wide.

    Parameters
    ----------
    frame : DataFrame
        What :meth:`SweepResult.top` gives.
    by : str
        The column that decided, which is shown with some others.
    """
    metrics = [name for name in frame.columns if name in (*SHOWN, by)]
    parameters = [name for name in frame.columns if name.partition(".")[1]]
    names = list(dict.fromkeys(["combo_id", *parameters, *metrics]))
    cells = {name: [_cell(name, value) for value in frame[name].tolist()] for name in names}
    short = {name: _short(name, names) for name in names}
    rows = zip(*cells.values(), strict=True)
    table = rows_table([short[name].replace("_", " ") for name in names], rows, n_texts=0)
    width = Console().width
    if _width(table) <= width:
        show(table)
        return
    for start in range(0, len(frame), WIDEST):
        show(_turned(cells, short, start, min(len(frame), start + WIDEST), width))


def _turned(
    cells: dict[str, list[str]], short: dict[str, str], start: int, stop: int, width: int
) -> Table:
    """Return a table with one combination in each column, as many as fit."""
    for end in range(stop, start, -1):
        rows = ([short[name], *values[start:end]] for name, values in cells.items())
        table = rows_table(["", *(str(rank + 1) for rank in range(start, end))], rows)
        if _width(table) <= width or end == start + 1:
            return table
    raise AssertionError("there is no combination to show")


def _width(table: Table) -> int:
    return Console(width=10_000).measure(table).maximum


def _cell(name: str, value: Any) -> str:
    if name == "combo_id":
        return str(value)
    metric = name
    info = METRIC_INFO.get(metric)
    if info is not None:
        return number(value, info.unit)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(name: str, names: list[str]) -> str:
    """Return a key without its section, where no other key ends like it."""
    last = name.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in names) == 1 else name


def duration_text(seconds: float) -> str:
    """Write a time as people say it.

    Examples
    --------
    >>> duration_text(0.35), duration_text(192), duration_text(20_000), duration_text(864_000)
    ('0.3 s', '3.2 min', '5.6 h', '10.0 days')
    """
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return "n/a" if math.isnan(seconds) else f"{seconds / 86_400:,.1f} days"


def size_text(n_bytes: int) -> str:
    """Write a number of bytes as people say it.

    Examples
    --------
    >>> size_text(350_000_000)
    '350 MB'
    """
    return f"{n_bytes / 1e6:,.0f} MB"
