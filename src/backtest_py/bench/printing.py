"""Prints a benchmark as a table and a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest_py.parameters import counted
from backtest_py.report import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["print_bench"]

_HEAD = (
    "contender",
    "seconds",
    "combinations/s",
    "distinct/s",
    "ns per trade",
    "peak memory",
)


def print_bench(report: Mapping[str, Any]) -> None:
    """Print what :func:`backtest_py.bench.bench.bench` returns."""
    rows = report["rows"]
    first, agreement = rows[0], report["agreement"]
    lines = []
    for row in rows:
        extrapolated = row["timed_combos"] < row["combos"]
        peak = row["peak_bytes"]
        lines.append(
            (
                row["contender"],
                f"{row['extrapolated_seconds']:#.3g}" + (" *" if extrapolated else ""),
                f"{row['combos_per_second']:,.0f}",
                f"{row['distinct_per_second']:,.0f}",
                f"{row['ns_per_trade']:,.1f}",
                f"{peak / 1e6:,.0f} MB" if peak else "-",
            )
        )
    notes = [
        f"* extrapolated from {counted(row['timed_combos'], 'combination')}"
        for row in rows
        if row["timed_combos"] < row["combos"]
    ]
    agreed = f"rows that equal single runs, bit for bit: {agreement['single_runs']:,}"
    if agreement["rows_compared"]:
        agreed = f"{' and '.join(agreement['engines'])} agree on every row; {agreed}"
    tables.show(
        f"{first['case']}: {counted(first['bars'], 'bar')}, "
        f"{counted(first['threads'], 'thread')}, {counted(first['trades'], 'trade')}",
        tables.rows_table(_HEAD, lines),
        *notes,
        agreed,
        *(
            f"{engine}: {ratio:,.1f} times as fast as {rows[-1]['contender']} in processes"
            for engine, ratio in report["ratios"].items()
        ),
    )
