"""Run everything that proves parity and write down what was compared."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from backtest_py.engines import resolve
from backtest_py.engines.layouts import SEMANTICS_VERSION, TRADE_DTYPE
from backtest_py.metrics.catalogue import METRICS
from parity import golden
from parity.cases import seeded_case
from parity.checks import TALLY, Verdict, check_case, check_golden
from parity.implementations import ENGINES, IMPLEMENTATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = Path(__file__).parent
PACKAGES = (
    "backtest-py",
    "numpy",
    "numba",
    "llvmlite",
    "hypothesis",
    "empyrical-reloaded",
    "quantstats",
    "ta-lib",
)
MOST_SHOWN = 20
# what this module runs itself, on as many cases as it is asked for
DONE_HERE = ("test_engines.py::test_golden_case[", "test_engines.py::test_seeded_cases")


@dataclass
class Part:
    """One part of the proof: how much was compared, and what differed."""

    title: str
    compared: int = 0
    largest: float = 0.0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, ready for JSON."""
        return {
            "compared": self.compared,
            "differing": len(self.differences),
            "largest_relative_difference": _json_number(self.largest),
            "seconds": round(self.seconds, 1),
            "counts": self.counts,
            "differences": self.differences[:MOST_SHOWN],
        }


def build_report(n_cases: int, first: int = 0) -> dict[str, Any]:
    """Run golden cases, generated cases and tests; return the report, ready for JSON.

    Raises
    ------
    EngineUnavailableError
        If one of the engines cannot be loaded: parity is never half proved.
    """
    started = time.perf_counter()
    engines = {name: dict(resolve(name)[0].build) for name in ENGINES}
    parts = [
        judge("Golden cases", golden_verdicts()),
        judge("Generated cases", generated_verdicts(first, n_cases)),
        run_tests(),
    ]
    return {
        "same": not any(part.differences for part in parts),
        "parts": {part.title: part.to_mapping() for part in parts},
        "engines": engines,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "machine": f"{platform.machine()}, {platform.platform(terse=True)}",
        "semantics_version": SEMANTICS_VERSION,
        "first_case": first,
        "seconds": round(time.perf_counter() - started, 1),
    }


def judge(title: str, verdicts: Iterable[Verdict]) -> Part:
    """Collect verdicts into one part."""
    part, started, before = Part(title), time.perf_counter(), TALLY.copy()
    for verdict in verdicts:
        part.compared += 1
        part.largest = max(part.largest, verdict.largest)
        if verdict.wrong:
            part.differences.append("\n".join([verdict.name, *verdict.wrong]))
            print(part.differences[-1], file=sys.stderr, flush=True)
    part.counts = {
        name: TALLY[name] - before[name]
        for name in sorted(TALLY)
        if name not in before or TALLY[name] > before[name]
    }
    part.seconds = time.perf_counter() - started
    return part


def golden_verdicts() -> Iterator[Verdict]:
    """Put every golden case to every implementation."""
    for path in golden.case_paths():
        case = golden.load_case(path)
        TALLY[f"{case.name.split('/')[0]} golden cases"] += 1
        for implementation in IMPLEMENTATIONS:
            yield check_golden(case, implementation)


def generated_verdicts(first: int, n_cases: int) -> Iterator[Verdict]:
    """Put seeded cases to all implementations, and say from time to time how far it is."""
    for k in range(n_cases):
        yield check_case(seeded_case(first + k))
        if (k + 1) % 5000 == 0:
            print(f"{k + 1:,} of {n_cases:,} generated cases", file=sys.stderr, flush=True)


def run_tests() -> Part:
    """Run the tests of this folder: comparator, metamorphic, drawn cases, other libraries."""
    part, started = Part("Tests"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        # a process of its own: pytest wants to rewrite modules before anybody imports them
        command = [sys.executable, "-m", "pytest", str(FOLDER), f"--rootdir={FOLDER.parent}", "-q"]
        command += [f"--deselect=parity/{node}" for node in DONE_HERE]
        command += ["-p", "no:cacheprovider", f"--junitxml={results}"]
        status = subprocess.run(command, cwd=FOLDER.parent, check=False, stdout=sys.stderr)
        tests = ET.parse(results).findall(".//testcase") if results.exists() else []
    for test in tests:
        name = f"{test.get('classname')}::{test.get('name')}"
        faults = [*test.findall("failure"), *test.findall("error"), *test.findall("skipped")]
        part.differences += [f"{name}: {fault.tag}\n{fault.text}" for fault in faults]
        outcome = faults[0].tag if faults else "passed"
        key = f"{str(test.get('classname')).rpartition('.')[2]}, {outcome}"
        part.counts[key] = part.counts.get(key, 0) + 1
    if status.returncode != 0 and not part.differences:
        part.differences = [f"pytest ended with status {status.returncode}"]
    part.compared = len(tests)
    part.seconds = time.perf_counter() - started
    return part


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report for people."""
    verdict = "agree, bit for bit" if report["same"] else "DISAGREE"
    lines = [
        "# Parity report",
        "",
        f"Numba, Rust and the reference **{verdict}**.",
        f"{len(TRADE_DTYPE)} columns of every trade and {len(METRICS)} metrics were compared.",
        "",
        "| part | compared | differing | largest relative difference | seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for title, part in report["parts"].items():
        lines.append(
            f"| {title} | {part['compared']:,} | {part['differing']:,} "
            f"| {part['largest_relative_difference']} | {part['seconds']:,} |"
        )
    for title, part in report["parts"].items():
        lines += ["", f"## {title}", "", "| what | number |", "| --- | ---: |"]
        lines += [f"| {name} | {number:,} |" for name, number in part["counts"].items()]
        for difference in part["differences"]:
            lines += ["", "```", difference, "```"]
    lines += ["", "## What ran", "", "| | |", "| --- | --- |"]
    for engine, build in report["engines"].items():
        lines.append(f"| {engine} | {', '.join(f'{k} {v}' for k, v in build.items())} |")
    lines.append(f"| versions | {', '.join(f'{k} {v}' for k, v in report['versions'].items())} |")
    lines.append(f"| semantics version | {report['semantics_version']} |")
    lines.append(f"| machine | {report['machine']} |")
    lines.append(f"| seconds | {report['seconds']:,} |")
    return "\n".join(lines) + "\n"


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write ``parity-report.json`` and ``parity-report.md``."""
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "parity-report.json").write_text(text + "\n", encoding="utf-8")
    (folder / "parity-report.md").write_text(to_markdown(report), encoding="utf-8")


def _json_number(value: float) -> Any:
    return value if math.isfinite(value) else str(value)
