"""Tables for the terminal: what the command line prints, and how numbers are written there.

Rich is imported with this module, which the command line loads only where it prints a table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from backtest_py.results import BacktestResult, Metrics

__all__ = [
    "METRIC_TITLES",
    "facts_table",
    "group_table",
    "metric_table",
    "number",
    "rows_table",
    "show",
]

Style: TypeAlias = Literal["count", "money", "percent", "share", "ratio", "flag"]

METRIC_TITLES: Final[dict[str, dict[str, tuple[str, Style]]]] = {
    "Return": {
        "total_return": ("Total return", "money"),
        "total_return_pct": ("Total return", "percent"),
        "annual_return_pct": ("Annual return", "percent"),
        "gross_profit": ("Gross profit", "money"),
        "gross_loss": ("Gross loss", "money"),
        "profit_factor": ("Profit factor", "ratio"),
        "expectancy": ("Expectancy", "money"),
    },
    "Risk": {
        "max_drawdown": ("Max drawdown", "money"),
        "max_drawdown_pct": ("Max drawdown", "percent"),
        "sharpe": ("Sharpe", "ratio"),
        "sortino": ("Sortino", "ratio"),
        "calmar": ("Calmar", "ratio"),
        "recovery_factor": ("Recovery factor", "ratio"),
        "sqn": ("SQN", "ratio"),
        "exposure": ("Exposure", "share"),
        "days": ("Trading days", "count"),
        "ruined": ("Ruined", "flag"),
    },
    "Trades": {
        "total_trades": ("Trades", "count"),
        "winning_trades": ("Winning", "count"),
        "losing_trades": ("Losing", "count"),
        "long_trades": ("Long", "count"),
        "short_trades": ("Short", "count"),
        "win_rate": ("Win rate", "share"),
        "avg_win": ("Average win", "money"),
        "avg_loss": ("Average loss", "money"),
        "payoff_ratio": ("Payoff ratio", "ratio"),
        "best_trade": ("Best trade", "money"),
        "worst_trade": ("Worst trade", "money"),
        "max_consecutive_wins": ("Wins in a row", "count"),
        "max_consecutive_losses": ("Losses in a row", "count"),
        "avg_bars_held": ("Bars held", "ratio"),
    },
    "Exits": {
        "exits_stop_loss": ("Stop loss", "count"),
        "exits_trailing_stop": ("Trailing stop", "count"),
        "exits_take_profit": ("Take profit", "count"),
        "exits_session_close": ("Session close", "count"),
        "exits_session_end": ("Session end", "count"),
        "exits_max_bars": ("Max bars", "count"),
        "exits_end_of_data": ("End of data", "count"),
        "ambiguous_trades": ("Ambiguous", "count"),
    },
}
"""Title and way of writing of every metric, by section."""


def number(value: float, style: Style) -> str:
    """Write a metric as people read it; undefined is ``n/a``.

    Examples
    --------
    >>> number(0.3928, "share"), number(-1719.826, "money"), number(float("nan"), "ratio")
    ('39.3 %', '-1,719.83', 'n/a')
    """
    if math.isnan(value):
        return "n/a"
    if style == "flag":
        return "yes" if value else "no"
    if style == "count":
        return f"{int(value):,}"
    if style == "share":
        return f"{100.0 * value:.1f} %"
    if style == "percent":
        return f"{value:,.2f} %"
    return f"{value:,.2f}" if style == "money" else f"{value:,.3f}"


def metric_table(metrics: Metrics) -> Table:
    """Lay all metrics out in two columns of sections."""
    grid = Table.grid(padding=(0, 4))
    sections = {name: _section(name, metrics) for name in METRIC_TITLES}
    grid.add_row(sections["Return"], sections["Trades"])
    grid.add_row(sections["Risk"], sections["Exits"])
    return grid


def _section(name: str, metrics: Metrics) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(name, min_width=16)
    table.add_column("", justify="right", min_width=14)
    for key, (title, style) in METRIC_TITLES[name].items():
        alarming = key == "ruined" and metrics[key]
        text = number(metrics[key], style)
        table.add_row(title, Text(text, style="bold red" if alarming else ""))
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


def group_table(result: BacktestResult, by: str) -> Table:
    """Lay out one of the tables of a result."""
    frame: pd.DataFrame = result.table(by)  # type: ignore[arg-type]
    rows = (
        (
            label,
            number(row.trades, "count"),
            number(row.wins, "count"),
            number(row.win_rate, "share"),
            number(row.pnl, "money"),
            number(row.avg_pnl, "money"),
            number(row.profit_factor, "ratio"),
        )
        for label, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    )
    names = (by, "trades", "wins", "win rate", "pnl", "average", "profit factor")
    return rows_table(names, rows)


def show(*parts: Table | str) -> None:
    """Print tables and lines of text on standard output."""
    console = Console(highlight=False, soft_wrap=False)
    for part in parts:
        console.print(part, markup=False)
