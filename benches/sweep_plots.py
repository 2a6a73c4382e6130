"""Plots of docs/benchmarks-sweep.md: SVG without dates, equal files for equal figures."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["draw"]

COLOURS: Final = {"rust": "#b7410e", "numba": "#1f6fb2", "numba loop": "#777777"}
STYLE: Final = {
    "svg.hashsalt": "backtest-py",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Write the plots into a folder."""
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        lines(
            report, "size", lambda row: row["combos"], "combinations in the grid",
            folder / "sweep-size.svg",
        )  # fmt: skip
        lines(report, "bars", lambda row: row["bars"], "bars", folder / "sweep-bars.svg")
        bars(report, folder / "sweep-others.svg")


def lines(
    report: Mapping[str, Any],
    group: str,
    place: Callable[[Mapping[str, Any]], float],
    label: str,
    path: Path,
) -> None:
    """Draw combinations per second of each contender over something, both logarithmic."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for who, colour in COLOURS.items():
        rows = [row for row in report["rows"] if (row["group"], row["contender"]) == (group, who)]
        rates = [row["timed_combos"] / median(row["seconds"]) for row in rows]
        axes.plot([place(row) for row in rows], rates, "o-", color=colour, label=who)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="combinations per second")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def bars(report: Mapping[str, Any], path: Path) -> None:
    """Draw nanoseconds per trade and thread of each kind of grid."""
    standard = max((row["combos"] for row in report["rows"] if row["group"] == "size"), default=0)
    rows = [
        row
        for row in report["rows"]
        if row["group"] == "others" or (row["group"] == "size" and row["combos"] == standard)
    ]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    names = [f"standard, {int(case):,}" if case.isdecimal() else case for case in cases]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for shift, (who, colour) in enumerate(COLOURS.items()):
        own = {row["case"]: row for row in rows if row["contender"] == who}
        cost = [
            1e9 * median(own[case]["seconds"]) * own[case]["threads"] / own[case]["trades"]
            for case in cases
        ]
        places = [at + 0.27 * (shift - 1) for at in range(len(cases))]
        axes.barh(places, cost, 0.25, color=colour, label=who)
    axes.set(xscale="log", xlabel="nanoseconds per trade and thread", yticks=range(len(cases)))
    axes.set_yticklabels(names)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
