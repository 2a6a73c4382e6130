"""Sweeps against each other and against what else a user could do: `python -m benches.sweep`.

Every contender is a process of its own that waits while others work. Agreement is checked before
anything is timed: whole tables between the engines, rows against single runs, the loop's rows
against the engines', and vectorbt's trades against ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest_py.engines.registry import engine_status
from benches.sweep_cases import BARS, OTHERS
from benches.sweep_contender import Contender
from benches.sweep_shell import end_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["facts", "measure"]

STANDARD = "4233600"
SIZES = ("1", "1000", "100000", STANDARD)
PACKAGES = ("numpy", "numba", "joblib", "pyarrow", "vectorbt", "vectorbt-rust")


def measure(
    *, quick: bool = False, rounds: int = 3, keep: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Measure all groups; ``quick`` does a little of each kind, to see that it works.

    ``keep`` gets what there is after each part, so that an interrupted run is not lost.
    """
    load = os.getloadavg()[0]
    started = str(datetime.now(UTC).date())

    def report(runs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        found = {"date": started, "facts": facts(load), "rows": rows, "shell": list(runs)}
        if keep is not None:
            keep(found)
        return found

    rounds = 1 if quick else rounds
    sizes = SIZES[:2] if quick else SIZES
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:

        def start(kind: str, options: dict[str, Any] | None = None, **environment: str):
            return stack.enter_context(Contender(kind, options=options, **environment))

        planners = {"rust": start("rust"), "numba": start("numba")}
        everyone = {**planners, "numba loop": start("loop")}
        for size in sizes:
            runs = {
                f"one run, {engine}": start("run", {"engine": engine})
                for engine in planners
                if size == "1"
            }
            rows += compare("size", size, {**everyone, **runs}, 3 * rounds if runs else rounds)
            report()
        for case in OTHERS[-1:] if quick else OTHERS:
            rows += compare("others", case, everyone, rounds)
            report()
        for case in BARS[:1] if quick else BARS:
            rows += compare("bars", case, everyone, rounds)
            report()
        threads = {
            f"{engine}, {count} thread{'s' * (count > 1)}": start(engine, {"threads": count})
            for engine in planners
            for count in (2, 1)
        }
        rows += compare("threads", sizes[-2], threads, rounds)
        report()
    if not quick:
        rows += peers(rounds)
        report()
    rows += levels(sizes[-1], rounds)
    report()
    return report(shell(int(sizes[-1]), quick=quick))


def levels(size: str, rounds: int) -> list[dict[str, Any]]:
    """Compare the instruction levels of the Rust engine."""
    build = {status.name: status.build for status in engine_status()}["rust"]
    with ExitStack() as stack:
        contenders = {
            level: stack.enter_context(Contender("rust", BACKTEST_PY_SIMD=level))
            for level in reversed(build["levels"].split(","))
        }
        return compare("levels", size, contenders, rounds)


def peers(rounds: int) -> list[dict[str, Any]]:
    """Compare with vectorbt on what it can express."""
    with ExitStack() as stack:
        contenders = {kind: stack.enter_context(Contender(kind)) for kind in ("rust", "numba")}
        contenders["numba loop"] = stack.enter_context(Contender("loop"))
        for engine in ("rust", "numba"):
            for columns, bare in ((1, False), (8, False), (1, True)):
                name = f"vectorbt {engine}, {columns} column{'s' * (columns > 1)} a call"
                name += ", from_signals alone" if bare else ""
                options = {"engine": engine, "columns": columns, "bare": bare}
                contenders[name] = stack.enter_context(Contender("vectorbt", options=options))
        return compare("peers", "common", contenders, rounds)


def compare(
    group: str, case: str, contenders: Mapping[str, Contender], rounds: int
) -> list[dict[str, Any]]:
    """Check that contenders agree on a case, then time them in turns."""
    facts = {name: contender.check(case) for name, contender in contenders.items()}
    tables = {name: fact["sha256"] for name, fact in facts.items() if "sha256" in fact}
    if len(set(tables.values())) > 1:
        raise AssertionError(f"{case}: the tables of {', '.join(tables)} are not the same")
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(contenders[name].seconds(case))
    print(group, case, {name: round(min(found), 4) for name, found in seconds.items()}, flush=True)
    return [
        {"group": group, "case": case, "contender": name, **facts[name], "seconds": seconds[name]}
        for name in names
    ]


def shell(size: int, *, quick: bool) -> list[dict[str, Any]]:
    """Measure whole processes: the large grid with the gate, and a small one from a cold start."""
    build = {status.name: status.build for status in engine_status()}["rust"]
    found = [end_to_end(1_000, "rust", gate=False)]
    found += [
        end_to_end(size, "rust", gate=True, level=level)
        for level in reversed(build["levels"].split(","))
    ]
    if not quick:
        found += [end_to_end(size, "rust", gate=False), end_to_end(size, "numba", gate=False)]
    for each in found:
        print("shell", each, flush=True)
    return found


def facts(load_before: float, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return what the figures belong to."""
    names = {status.name: dict(status.build) for status in engine_status()}
    return {
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [load_before, os.getloadavg()[0]],
        "versions": {
            "python": platform.python_version(),
            "backtest-py": version("backtest-py"),
            **{name: version(name) for name in packages},
        },
        "engines": names,
    }


def processor() -> str:
    """Return the processor's name, family and model, and its instruction sets that matter."""
    found: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return (
        f"{found.get('model name', 'unknown')}, family {found.get('cpu family', '?')}, "
        f"model {found.get('model', '?')}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="JSON to write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)

    def keep(report: dict[str, Any]) -> None:
        options.report.write_text(json.dumps(report, indent=1), encoding="utf-8")

    measure(quick=options.quick, rounds=options.rounds, keep=keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
