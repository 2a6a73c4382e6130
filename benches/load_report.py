"""From JSON to docs/benchmarks-load.md: `python -m benches.load_report`."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benches.feed_report import machine, table, time_text
from benches.load_feed import GROWTH_BYTES, WAL_BYTES, latencies
from benches.load_worker import LARGE, PHASES, SMALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main", "render"]

PAGE: Final = Path(__file__).with_name("load_page.md")
TIERS: Final = ("memory", "database", "archive", "exchange")
MEGA: Final = 1e6
WIDTH: Final = 118


def hit_rates(found: Mapping[str, Any]) -> list[list[str]]:
    """Return, by phase, the requests and the share that each tier was enough for."""
    served: Counter[tuple[str, str]] = Counter()
    for worker in found["workers"]:
        for phase, tier, count in worker["served"]:
            served[phase, tier] += count
    lines = []
    for phase in PHASES[:-1]:
        total = sum(served[phase, tier] for tier in TIERS)
        shares = [f"{served[phase, tier] / max(1, total):.1%}" for tier in TIERS]
        lines.append([phase, f"{total:,}", *shares])
    return lines


def memory_curve(found: Mapping[str, Any]) -> list[list[str]]:
    """Return, by phase, the resident memory, threads and files of the processes at its end."""
    lines = []
    for number, worker in enumerate(found["workers"]):
        row = [f"process {number}", _mega(worker["before"]["rss"])]
        for phase in range(len(PHASES) - 1):
            samples = [rss for at, rss, *_ in worker["curve"] if at == phase]
            row.append(_mega(samples[-1]) if samples else "")
        most = max((sample[2] for sample in worker["curve"]), default=0)
        files = max((sample[3] for sample in worker["curve"]), default=0)
        after = worker["after"]
        row += [
            _mega(after["rss"]),
            f"{most}, {after['threads']}",
            f"{worker['before']['files']}, {files}, {after['files']}",
        ]
        lines.append(row)
    return lines


def _mega(n_bytes: float) -> str:
    return f"{n_bytes / MEGA:.0f}"


def _counts(found: Mapping[str, Any], name: str) -> list[list[str]]:
    total: Counter[str] = Counter()
    for worker in found["workers"]:
        total.update(worker[name])
    return [[kind, f"{count:,}"] for kind, count in sorted(total.items())] or [["none", "0"]]


def _text(what: str, counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
    return textwrap.fill(f"{what}: {listed}.", WIDTH)


def _verdicts(found: Mapping[str, Any]) -> list[list[str]]:
    """Return what must hold, and what was seen."""
    weight, end, workers = found["weight"], found["end"], found["workers"]
    failures = sum(len(worker["failures"]) for worker in workers)
    wal = max(found["largest_wal"], end["wal"])
    return [
        ["answers with a wrong bar, errors without a type, requests that hang", "0", str(failures)],
        ["blocks on disk with a wrong candle at the end", "0", str(len(end["wrong"]))],
        [
            f"request weight in any {weight['window']:g} s, measured at the server",
            f"at most {weight['limit']:,}",
            f"{weight['most']:,}",
        ],
        ["processes that did not end", "0", str(len(found["hung"]) + found["silent"])],
        ["threads of Python at the end, of any process", "1", str(_most(workers, "threads"))],
        [
            "open files at the end beyond those at the beginning",
            "at most 2",
            str(max(each["after"]["files"] - each["before"]["files"] for each in workers)),
        ],
        ["temporary files left behind", "0", str(len(end["left"]))],
        ["largest log of SQLite", f"at most {WAL_BYTES / MEGA:.0f} MB", f"{wal / MEGA:.1f} MB"],
    ]


def _most(workers: Sequence[Mapping[str, Any]], name: str) -> int:
    return max(int(worker["after"][name]) for worker in workers)


def render(found: Mapping[str, Any]) -> str:
    """Return the page."""
    latency = [
        [tier, f"{n:,}", time_text(middle), time_text(most)]
        for tier, (n, middle, most) in latencies(found).items()
    ]
    phases = [f"end of {phase}" for phase in PHASES[:-1]]
    head = ["", "at first", *phases, "after it", "threads, most and after",
            "files, at first, most, after"]  # fmt: skip
    problems = "\n".join(f"- {problem}" for problem in found["problems"])
    return PAGE.read_text(encoding="utf-8").format(
        machine=machine(found),
        processes=found["processes"],
        threads=found["threads"],
        seconds=f"{found['seconds']:g}",
        days=found["days"],
        seed=found["seed"],
        requests=f"{found['requests_at_exchange']:,}",
        large=f"{LARGE >> 20} MB",
        small=f"{SMALL >> 20} MB",
        growth=f"{GROWTH_BYTES >> 20} MB",
        problems=problems or "None.",
        verdicts=table(["what", "bound", "seen"], _verdicts(found)),
        hits=table(["phase", "requests", *TIERS], hit_rates(found)),
        latency=table(["tier", "requests", "p50", "p99"], latency),
        errors=table(["request: error", "times"], _counts(found, "errors")),
        warnings=table(["warning", "times"], _counts(found, "warnings")),
        memory=table(head, memory_curve(found)),
        faults=_text("Faults of the exchange", found["faults"]),
        damage=_text("Damage", found["damage"]),
        blocks=_text("Blocks at the end", found["end"]["blocks"]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="what benches.load_feed wrote")
    parser.add_argument("page", type=Path, help="where the page goes")
    options = parser.parse_args(arguments)
    found = json.loads(options.report.read_text(encoding="utf-8"))
    options.page.write_text(render(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
