"""Tables for the terminal: what the command line prints, and how numbers are written there.

Rich is imported with this module, which the command line loads only where it prints a table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backtest_py.metrics.catalogue import CATALOGUE, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backtest_py.backtest.many import ManyResults
    from backtest_py.backtest.result import BacktestResult, GroupBy, Metrics
    from backtest_py.metrics.catalogue import Section, Unit

__all__ = [
    "facts_table",
    "group_table",
    "markets_table",
    "metric_table",
    "number",
    "rows_table",
    "show",
]

FIRST: Final = (
    "total_trades",
    "win_rate",
    "total_return",
    "profit_factor",
    "sharpe",
    "max_drawdown",
)
"""Metrics of each market; the files have all."""
_LONG: Final = 1e12
"""Numbers from here on are written with an exponent: they would not fit a column."""


def number(value: float, unit: Unit) -> str:
    """Format a metric for people; undefined is ``n/a``.

    Examples
    --------
    >>> number(0.3928, "share"), number(-1719.826, "money"), number(float("nan"), "ratio")
    ('39.3 %', '-1,719.83', 'n/a')
    """
    if math.isnan(value):
        return "n/a"
    if unit == "flag":
        return "yes" if value else "no"
    if unit == "count":
        return f"{int(value):,}"
    if abs(value) >= _LONG:
        return f"{value:.6g}"
    if unit == "share":
        return f"{100.0 * value:.1f} %"
    if unit == "percent":
        return f"{value:,.2f} %"
    return f"{value:,.3f}" if unit == "ratio" else f"{value:,.2f}"


def metric_table(metrics: Metrics) -> Table:
    """Lay all metrics out in two columns of sections."""
    grid = Table.grid(padding=(0, 4))
    sections = {name: _section(name, metrics) for name in SECTIONS}
    grid.add_row(sections["Return"], sections["Trades"])
    grid.add_row(sections["Risk"], sections["Exits"])
    return grid


def _section(name: Section, metrics: Metrics) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(name, min_width=16)
    table.add_column("", justify="right", min_width=14)
    for key, info in CATALOGUE.items():
        if info.section == name:
            alarming = key == "ruined" and metrics[key]
            text = number(metrics[key], info.unit)
            table.add_row(info.title, Text(text, style="bold red" if alarming else ""))
    table.add_row("", "")
    return table


def facts_table(facts: Mapping[str, object]) -> Table:
    """Lay out names and values without a frame."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(str(value)))
    return table


def rows_table(
    names: Iterable[str], rows: Iterable[Iterable[object]], *, n_texts: int = 1
) -> Table:
    """Lay out rows under a header; ``n_texts`` columns of text come first, then numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < n_texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    return table


def group_table(result: BacktestResult, by: GroupBy) -> Table:
    """Lay out one of the tables of a result."""
    frame = result.table(by)
    units: dict[str, Unit] = {
        "trades": "count",
        "wins": "count",
        "win_rate": "share",
        "pnl": "money",
        "avg_pnl": "money",
        "profit_factor": "ratio",
    }
    columns = [[number(value, unit) for value in frame[name]] for name, unit in units.items()]
    rows = zip(frame.index, *columns, strict=True)
    return rows_table((by, *(name.replace("_", " ") for name in units)), rows)


def markets_table(results: ManyResults) -> Table:
    """Lay out one row for each market; ruin is shown as soon as one account is ruined."""
    ruined = ("ruined",) if any(result.metrics.ruined for result in results.values()) else ()
    shown = (*FIRST, *ruined)
    rows = (
        (
            name,
            f"{len(result.job.bars):,}",
            *(number(result.metrics[metric], CATALOGUE[metric].unit) for metric in shown),
        )
        for name, result in results.items()
    )
    return rows_table(("market", "bars", *(name.replace("_", " ") for name in shown)), rows)


def show(*parts: Table | str) -> None:
    """Print tables and lines of text on standard output."""
    console = Console(highlight=False, soft_wrap=False)
    for part in parts:
        console.print(part, markup=False)
