"""From JSON to docs/benchmarks-feed.md: `python -m benches.feed_report`.

Bounds hold for medians, as they are stated; one that is missed fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benches.feed import INTERVALS, N_CANDLES
from benches.sweep_report import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["machine", "main", "render", "table", "time_text", "verdicts_of"]

PAGE: Final = Path(__file__).with_name("feed_page.md")
BOUNDS: Final = {
    ("4h", "memory"): 50e-6,
    ("1m", "memory"): 1e-3,
    ("4h", "SQLite"): 5e-3,
    ("1m", "SQLite"): 60e-3,
    ("4h", "archive"): 20e-3,
    ("1m", "archive"): 150e-3,
}
"""Seconds that a year of bars may take from a tier, in the median."""
RUN: Final = 50e-3
COLD: Final = 2.0
TIMES: Final = 3.0


def seconds_of(report: Mapping[str, Any]) -> dict[tuple[str, str], list[float]]:
    """Return the samples by group and contender."""
    return {(row["group"], row["who"]): row["seconds"] for row in report["rows"]}


def verdicts_of(report: Mapping[str, Any]) -> list[Verdict]:
    """Return what must hold."""
    rows = seconds_of(report)
    limits = [
        (f"a year of {interval} bars from {tier}", rows[f"tier, {interval}", tier], bound)
        for (interval, tier), bound in BOUNDS.items()
    ]
    for engine in ("rust", "numba"):
        what = f"{N_CANDLES:,} candles, validated, to signals, trades and metrics, {engine}"
        limits.append((what, rows["candles to metrics", engine], RUN))
        what = f"a year of 4h bars, cold from the exchange, to metrics, {engine}"
        limits.append((what, rows["exchange to metrics", engine], COLD))
    found = [
        Verdict(
            what, f"under {time_text(bound)}", time_text(median(seconds)), median(seconds) < bound
        )
        for what, seconds, bound in limits
    ]
    sequence, together = (rows["ten symbols", who] for who in ("one after the other", "at once"))
    times = median(sequence) / median(together)
    what = "ten symbols at once, answers after 200 ms: times as fast as in sequence"
    found.append(Verdict(what, f"at least {TIMES:g}", f"{times:.1f}", times >= TIMES))
    return found


def time_text(seconds: float) -> str:
    """Return a time with three digits that count and a unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.1 * size:
            return f"{seconds / size:#.3g}".removesuffix(".") + f" {unit}"
    return f"{seconds / 1e-6:#.3g}".removesuffix(".") + " µs"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def machine(report: Mapping[str, Any]) -> str:
    """Return the table of what the figures belong to."""
    facts = report["facts"]
    lines = [
        ("date", report["date"]),
        ("processor", facts["processor"]),
        ("processors to run on", str(facts["processors"])),
        ("system", facts["system"]),
        ("load average before and after", ", ".join(f"{load:.1f}" for load in facts["load"])),
        *facts["versions"].items(),
    ]
    return table(["", ""], lines)


def _tiers(report: Mapping[str, Any], interval: str) -> str:
    rows = seconds_of(report)
    group = f"tier, {interval}"
    cold = median(rows[group, "exchange"])
    lines = []
    for (found, who), seconds in rows.items():
        if found == group:
            bound = BOUNDS.get((interval, who))
            times = cold / median(seconds)
            lines.append(
                [
                    who,
                    time_text(min(seconds)),
                    time_text(median(seconds)),
                    "" if bound is None else time_text(bound),
                    f"{times:,.0f}" if times >= 10 else f"{times:.1f}",
                    str(len(seconds)),
                ]
            )
    head = ["tier", "min", "median", "bound", "times faster than the exchange", "requests"]
    return table(head, lines)


def _rest(report: Mapping[str, Any]) -> str:
    lines = [
        [row["group"], row["who"], time_text(min(row["seconds"])),
         time_text(median(row["seconds"])), str(len(row["seconds"]))]
        for row in report["rows"]
        if not row["group"].startswith("tier")
    ]  # fmt: skip
    return table(["what", "who", "min", "median", "rounds"], lines)


def render(report: Mapping[str, Any]) -> str:
    """Return the page."""
    verdicts = [[it.what, it.bound, it.measured, it.word] for it in verdicts_of(report)]
    return PAGE.read_text(encoding="utf-8").format(
        machine=machine(report),
        verdicts=table(["what", "bound", "median", ""], verdicts),
        rest=_rest(report),
        **{f"tiers_{interval}": _tiers(report, interval) for interval in INTERVALS},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, say what must hold, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="what benches.feed wrote")
    parser.add_argument("page", type=Path, nargs="?", help="where the page goes")
    options = parser.parse_args(arguments)
    report = json.loads(options.report.read_text(encoding="utf-8"))
    if options.page:
        options.page.write_text(render(report), encoding="utf-8")
    verdicts = verdicts_of(report)
    for verdict in verdicts:
        word = "holds " if verdict.holds else "MISSED"
        print(f"{word}  {verdict.what}: {verdict.measured}, {verdict.bound}")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
