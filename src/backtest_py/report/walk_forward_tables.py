"""Tables of a walk-forward for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.metrics.catalogue import CATALOGUE, METRICS
from backtest_py.parameters import counted
from backtest_py.report.sweep_tables import short_key, show_cells
from backtest_py.report.tables import facts_table, metric_table, number, rows_table, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.analysis.walk_forward.many import WalkForwards
    from backtest_py.analysis.walk_forward.result import WalkForward

__all__ = ["show_markets", "show_walk_forward"]

OF_MARKETS: Final = ("total_trades", "total_return", "profit_factor", "sharpe", "max_drawdown")
"""Metrics of each market; the files have all."""


def show_walk_forward(result: WalkForward) -> None:
    """Print the windows, how parameters move, and what all tests came to."""
    rows = result.rows
    by = result.provenance["identity"]["choice"]["choose"]
    shown = by if by in METRICS else "sharpe"
    facts: dict[str, object] = {
        "Windows": len(result),
        "Chosen by": _choice(result.provenance["identity"]["choice"]),
        "Engine": f"{result.engine}: {result.provenance['engine_reason']}",
        "Efficiency": f"{number(result.efficiency, 'ratio')} (profit a day of the tests, as a "
        "share of that of the trainings)",
    }
    names = list(result.parameters)
    unit = CATALOGUE[shown].unit
    times = {"trains from": "train_start", "tests from": "test_start", "until": "test_end"}
    cells = {title: [_day(each) for each in rows[name]] for title, name in times.items()}
    cells["combo"] = ["none" if each < 0 else f"{each:,}" for each in rows["combo_id"]]
    cells |= {short_key(name, names): [_value(each) for each in rows[name]] for name in names}
    cells |= {
        f"{shown} trained": [_number(each, unit) for each in rows[f"train_{shown}"]],
        f"{shown} tested": [_number(each, unit) for each in rows[f"test_{shown}"]],
        "trades": [_number(each, "count") for each in rows["test_total_trades"]],
        "pnl": [_number(each, "money") for each in rows["test_total_return"]],
    }
    drift = result.drift.reset_index()
    moves = [
        (
            short_key(row["parameter"], names),
            row["changes"],
            _number(row["steps"], "count"),
            _value(row["most_frequent"]),
            _number(row["share"], "share"),
        )
        for row in drift.to_dict("records")
    ]
    show(facts_table(facts), "")
    if result.notes:
        show(*(f"{note[0].upper()}{note[1:]}." for note in result.notes), "")
    show_cells(cells)
    if moves:
        show(rows_table(("parameter", "changes", "steps", "most often", "in"), moves))
    show("Out of sample, all tests as one account:", "", metric_table(result.metrics), "")
    show(*result.verdict().significance.split("\n"))


def show_markets(results: WalkForwards) -> None:
    """Print one row for each market."""
    lines = [
        (
            name,
            len(each),
            _flat(each.rows),
            _number(each.efficiency, "ratio"),
            *(number(each.metrics[metric], CATALOGUE[metric].unit) for metric in OF_MARKETS),
        )
        for name, each in results.items()
    ]
    titles = (metric.replace("_", " ") for metric in OF_MARKETS)
    show(
        f"Out of sample, {counted(len(results), 'market')}:",
        "",
        rows_table(("market", "windows", "flat", "efficiency", *titles), lines),
    )


def _flat(rows: Mapping[str, list[Any]]) -> int:
    return rows["combo_id"].count(-1)


def _choice(asked: Mapping[str, Any]) -> str:
    plateau = ", each with its neighbours in the grid" if asked["plateau"] else ""
    own = " (own metric)" if "own" in asked else ""
    return f"{asked['choose']}{own}{plateau}, from {counted(asked['min_trades'], 'trade')} on"


def _day(moment: Any) -> str:
    """Return a time to the minute, or the day alone where it is midnight."""
    text = str(np.datetime64(moment, "m"))
    return text.removesuffix("T00:00").replace("T", " ")


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any, unit: Any) -> str:
    return "" if value is None else number(value, unit)
