"""From JSON to docs/benchmarks-sweep.md and its plots: `python -m benches.sweep_report`.

Ratios that must hold are checked by the median over rounds and by the quotient of the minima;
both must hold. One that is missed fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from backtest_py.bench.cases import SIZES
from benches.sweep_plots import draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Verdict", "main", "render", "verdicts_of"]

PAGE: Final = Path(__file__).with_name("sweep_page.md")
WIDTH: Final = 118
STANDARD: Final = str(max(SIZES))

Rows = dict[tuple[str, str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Something that must hold, and whether it does; only ratios are asserted."""

    what: str
    bound: str
    measured: str
    holds: bool
    asserted: bool = True

    @property
    def word(self) -> str:
        """Return how it went."""
        if self.holds:
            return "holds"
        return "**missed**" if self.asserted else "**missed**, not asserted"


def rows_of(report: Mapping[str, Any]) -> Rows:
    """Return the rows by group, case and contender."""
    return {(row["group"], row["case"], row["contender"]): row for row in report["rows"]}


def each(row: Mapping[str, Any]) -> float:
    """Return seconds per combination."""
    return median(row["seconds"]) / row["timed_combos"]


def per_trade(row: Mapping[str, Any]) -> float:
    """Return nanoseconds per trade and thread, without what a user's own function takes."""
    seconds = median(row["seconds"]) - row.get("own", 0.0)
    return 1e9 * seconds * row["threads"] / max(1, row["trades"])


def times_faster(
    fast: Mapping[str, Any], slow: Mapping[str, Any], *, processes: int = 1
) -> tuple[float, float]:
    """Return the ratio of throughputs, by rounds and by minima, the slow on more processes."""
    scale = fast["timed_combos"] / slow["timed_combos"] / processes
    pairs = zip(slow["seconds"], fast["seconds"], strict=True)
    rounds = median(theirs / ours for theirs, ours in pairs)
    return scale * rounds, scale * min(slow["seconds"]) / min(fast["seconds"])


def verdicts_of(report: Mapping[str, Any]) -> list[Verdict]:
    """Return what must hold."""
    rows = rows_of(report)
    found = []

    def at_least(what: str, bound: float, ratios: tuple[float, float]) -> None:
        text = f"{ratios[0]:,.2f}, of the minima {ratios[1]:,.2f}"
        found.append(Verdict(what, f"at least {bound:,g}", text, min(ratios) >= bound))

    def at_most(
        what: str, bound: float, value: float, unit: str = "", *, asserted: bool = True
    ) -> None:
        text = f"{value:,.2f}{unit}"
        asserted &= not unit
        found.append(Verdict(what, f"at most {bound:g}{unit}", text, value <= bound, asserted))

    standard = {who: rows["size", STANDARD, who] for who in ("rust", "numba", "numba loop")}
    at_least(
        "Rust on the standard grid, times the loop", 200,
        times_faster(standard["rust"], standard["numba loop"]),
    )  # fmt: skip
    at_least(
        "Numba planner, share of Rust's throughput on the standard grid", 1 / 3,
        times_faster(standard["numba"], standard["rust"]),
    )  # fmt: skip
    peers = [row for (group, _, who), row in rows.items() if group == "peers" and "vectorbt" in who]
    whole = min((row for row in peers if "alone" not in row["contender"]), key=each)
    at_least(
        f"Rust on the common part, times vectorbt's best ({whole['contender']})", 2_000,
        times_faster(rows["peers", "common", "rust"], whole,
                     processes=report["facts"]["processors"]),
    )  # fmt: skip
    loops = [key for key in rows if key[2] == "numba loop" and key[0] != "peers" and key[1] != "1"]
    slowest = min(
        ((min(times_faster(rows[group, case, who], rows[group, case, "numba loop"])), who, case)
         for group, case, _ in loops for who in ("rust", "numba")),
    )  # fmt: skip
    at_least(
        f"any sweep of 1,000 combinations or more, times the loop; least: {slowest[1]}, "
        f"{slowest[2]}", 1, (slowest[0], slowest[0]),
    )  # fmt: skip
    points = "10,000 random points"
    for who in ("rust", "numba"):
        at_least(
            f"10,000 random points, {who}, times the loop", 3,
            times_faster(rows["others", points, who], rows["others", points, "numba loop"]),
        )  # fmt: skip
    base = per_trade(standard["rust"])
    for (group, case, who), row in rows.items():
        if group == "others" and who == "rust" and case != points:
            what = f"ns per trade, Rust, {case}: times that of the standard grid"
            at_most(what, 3, per_trade(row) / base, asserted="dense" not in case)
    for who in ("rust", "numba"):
        one = times_faster(rows["size", "1", f"one run, {who}"], rows["size", "1", who])[0]
        at_most(f"a sweep of one combination, {who}, times one run", 2, one)
    for run in report["shell"]:
        if run["size"] == max(SIZES) and run["engine"] == "rust" and run["gate"]:
            at_most(f"standard grid from a shell, gate included, {run['level']}", 12,
                    run["seconds"], " s")  # fmt: skip
            at_most(f"its peak memory, {run['level']}", 1_500, run["peak"] / 1e6, " MB")
        if run["size"] == 1_000:
            at_most("1,000 combinations from a cold process, Rust", 1, run["seconds"], " s")
    return found


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _seconds(value: float) -> str:
    for unit, size in (("h", 3_600.0), ("s", 1.0), ("ms", 1e-3)):
        if value >= 0.1 * size and (unit != "h" or value >= size):
            return f"{value / size:#.3g}".removesuffix(".") + f" {unit}"
    return f"{value * 1e6:#.3g}".removesuffix(".") + " µs"


def _group(report: Mapping[str, Any], group: str) -> str:
    """Return the rows of one group."""
    head = ["what", "who", "seconds", "combinations/s", "distinct/s", "bars x combinations/s",
            "ns per trade", "peak memory"]  # fmt: skip
    lines, last = [], ""
    for row in report["rows"]:
        if row["group"] != group:
            continue
        middle, timed = median(row["seconds"]), row["timed_combos"]
        note = "" if timed == row["combos"] else f" *({timed:,})*"
        case = f"{int(row['case']):,}" if row["case"].isdecimal() else row["case"]
        peak = row["peak"]
        lines.append(
            [
                case if case != last else "",
                row["contender"],
                _seconds(middle / timed * row["combos"]) + note,
                f"{timed / middle:,.0f}",
                f"{row['distinct'] / middle:,.0f}",
                f"{row['bars'] * timed / middle:.2e}",
                f"{per_trade(row):,.1f}",
                f"{peak / 1e6:,.0f} MB" if peak else "",
            ]
        )
        last = case
    return _table(head, lines) if lines else "Not measured in this run."


def _lost(report: Mapping[str, Any]) -> str:
    """Return the rows in which another contender beats Rust, the one we would back."""
    rows = rows_of(report)
    lines = []
    for (group, case, who), row in rows.items():
        first = rows.get((group, case, "rust"))
        if first is None or first is row:
            continue
        ratio = each(first) / each(row)
        if ratio > 1.02:
            lines.append([group, case, who, "rust", f"{ratio:.2f}"])
    head = ["group", "what", "faster", "than", "times"]
    return _table(head, lines) if lines else "Nowhere, in this run."


def _shell(report: Mapping[str, Any]) -> str:
    head = ["combinations", "engine", "gate", "wall", "of it the gate", "of it the shards",
            "processor seconds", "peak memory", "on disk"]  # fmt: skip
    lines = [
        [
            f"{run['size']:,}",
            f"{run['engine']} {run['level']}".strip(),
            "yes" if run["gate"] else "no",
            _seconds(run["seconds"]),
            _seconds(run["gate_seconds"]) if run["gate_seconds"] else "",
            _seconds(run["sweep_seconds"]),
            f"{run['processor_seconds']:.1f} s",
            f"{run['peak'] / 1e6:,.0f} MB",
            f"{run['bytes'] / 1e6:,.1f} MB",
        ]
        for run in report["shell"]
    ]
    return _table(head, lines)


def _machine(report: Mapping[str, Any]) -> str:
    facts = report["facts"]
    rust = facts["engines"]["rust"]
    lines = [
        ("date", report["date"]),
        ("processor", facts["processor"]),
        ("processors to run on", str(facts["processors"])),
        ("system", facts["system"]),
        ("load average before and after", ", ".join(f"{load:.1f}" for load in facts["load"])),
        ("Rust engine", f"{rust['profile']} build, {rust['rustc']}, {rust['level']}"),
        *facts["versions"].items(),
    ]
    return _table(["", ""], lines)


def _agreement(report: Mapping[str, Any]) -> str:
    row = next((row for row in report["rows"] if "agreement" in row), None)
    if row is None:
        return ""
    found = row["agreement"]
    text = (
        f"On {row['timed_combos']} combinations vectorbt makes {found['their_trades']:,} trades "
        f"where there should be {found['our_trades']:,}; {found['equal_trades']:,} are the same. "
        f"All but {found['different_days']:,} of {found['days']:,} days with a trade agree, and "
        "each of those has an exit on the entry bar, or a bar whose extreme is the very price of "
        "a stop or target."
    )
    return textwrap.fill(text, WIDTH)


def render(report: Mapping[str, Any]) -> str:
    """Return the page."""
    groups = ("size", "others", "bars", "threads", "levels", "peers")
    return PAGE.read_text(encoding="utf-8").format(
        machine=_machine(report),
        verdicts=_table(
            ["what", "bound", "measured", ""],
            [[it.what, it.bound, it.measured, it.word] for it in verdicts_of(report)],
        ),
        lost=_lost(report),
        shell=_shell(report),
        agreement=_agreement(report),
        **{group: _group(report, group) for group in groups},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and its plots; return 1 if an asserted ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="what benches.sweep wrote")
    parser.add_argument("page", type=Path, help="where the page goes; plots go to img beside it")
    options = parser.parse_args(arguments)
    report = json.loads(options.report.read_text(encoding="utf-8"))
    options.page.write_text(render(report), encoding="utf-8")
    draw(report, options.page.parent / "img")
    verdicts = verdicts_of(report)
    for verdict in verdicts:
        word = "holds " if verdict.holds else "MISSED"
        note = "" if verdict.holds or verdict.asserted else " (reported, not asserted)"
        print(f"{word}  {verdict.what}: {verdict.measured}, {verdict.bound}{note}")
    return int(any(verdict.asserted and not verdict.holds for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
