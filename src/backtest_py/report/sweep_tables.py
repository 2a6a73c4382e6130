"""Tables of a sweep for the terminal: what it did, and its best combinations."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from backtest_py.data.source import market_of_manifest
from backtest_py.metrics.catalogue import CATALOGUE
from backtest_py.report.tables import facts_table, number, rows_table, show
from backtest_py.rules import Intrabar
from backtest_py.sweep.progress import duration_text
from backtest_py.sweep.result.columns import metric_behind
from backtest_py.sweep.result.plateaus import MEDIAN, WORST
from backtest_py.sweep.store.tables import scenario_column

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from rich.table import Table

    from backtest_py.sweep.result.plateaus import PlateauReport
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["short_key", "show_best", "show_cells", "show_plateaus", "show_sweep"]

SHOWN: Final = ("total_trades", "total_return", "profit_factor", "sharpe", "max_drawdown")
"""Metrics beside the one that decides; the files have all."""

RUIN: Final = ("ruined", *(scenario_column("ruined", name) for name in Intrabar.__members__))
"""Columns that tell whether an account is ruined, in either scenario."""


def show_sweep(result: SweepResult, gate: str, place: object) -> None:
    """Print what a sweep did, without its rows."""
    manifest = result.manifest
    market = market_of_manifest(manifest)
    ruined = result.table(["ruined"], where="ruined").num_rows
    facts = {
        "Combinations": f"{len(result):,} of {', '.join(result.grid.keys)}",
        **({"Ruined": f"{ruined:,} of them, which rank last"} if ruined else {}),
        **({"Market": market} if market else {}),
        "Bars": f"{manifest['n_bars']:,}",
        "Engine": f"{manifest['identity']['engine']}: {manifest['engine_reason']}",
        "Parity gate": gate.removeprefix("parity gate: "),
        "Time": f"{duration_text(manifest['seconds'])} from the first shard to the last",
        "Results": place,
    }
    show(facts_table(facts), "")


def show_best(best: pa.Table, by: str) -> None:
    """Print combinations as rows, or as columns where rows do not fit the terminal.

    Whether an account is ruined is shown as soon as one of them is.

    Parameters
    ----------
    best : pyarrow.Table
        What :meth:`SweepResult.top_table` gives; at least one row.
    by : str
        The column that decided, which is shown with some others.
    """
    keys = [name for name in best.column_names if "." in name and name != by]
    beside = [name for name in (WORST, MEDIAN) if name in best.column_names]
    ruined = [name for name in RUIN if name in best.column_names and any(best[name].to_pylist())]
    names = list(dict.fromkeys(["combo_id", *keys, by, *beside, *ruined, *SHOWN]))
    cells = {
        short_key(name, names): [
            _cell(by if name in beside else name, value) for value in best[name].to_pylist()
        ]
        for name in names
    }
    show_cells(cells)


def show_cells(cells: Mapping[str, list[str]]) -> None:
    """Print cells by name of their column, as columns where rows do not fit the terminal."""
    width = Console().width
    table = rows_table(
        (name.replace("_", " ") for name in cells), zip(*cells.values(), strict=True), n_texts=0
    )
    if _width(table) <= width:
        show(table)
        return
    start, stop = 0, len(next(iter(cells.values())))
    while start < stop:
        table, start = _turned(cells, start, stop, width)
        show(table)


def show_plateaus(report: PlateauReport) -> None:
    """Print the best row beside the best plateau, in words."""
    show("", report.text)


def _turned(cells: Mapping[str, list[str]], start: int, end: int, width: int) -> tuple[Table, int]:
    """Return a table with one combination per column, as many as fit, and where they end."""

    def turned(stop: int) -> Table:
        rows = ([name, *values[start:stop]] for name, values in cells.items())
        return rows_table(["", *(f"#{rank + 1}" for rank in range(start, stop))], rows)

    table, stop = turned(start + 1), start + 1
    while stop < end:
        wider = turned(stop + 1)
        if _width(wider) > width:
            break
        table, stop = wider, stop + 1
    return table, stop


def _width(table: Table) -> int:
    """Return how wide a table would be in a terminal of any width."""
    return Console(width=100_000).measure(table).maximum


def _cell(name: str, value: Any) -> str:
    info = CATALOGUE.get(metric_behind(name))
    if info is not None:
        return number(value, info.unit)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    return "n/a" if math.isnan(value) else f"{value:g}"


def short_key(name: str, names: list[str]) -> str:
    """Return a key without its section, if no other key ends with the same name."""
    if not re.fullmatch(r"\w+\.\w+", name):
        return name
    last = name.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in names].count(last) == 1 else name
