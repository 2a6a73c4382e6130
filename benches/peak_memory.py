"""How much memory a run on the Rust engine takes on top of the bars.

Linux only: it resets the peak of a process's resident memory between the steps.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import backtest_py as bt
from benches.datasets import WORKLOADS, load_market
from benches.timing import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COLUMNS", "measure"]

COLUMNS: Final = ("open", "high", "low", "close", "volume", "minute", "day")
"""What the engine reads of bars."""


def measure() -> dict[str, int]:
    """Return bytes: of the columns, by which a run raises the peak, by which a copy would.

    Measured in a process of its own, whose allocator gives large blocks back at once: memory that
    an earlier step left behind would otherwise hide a copy.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benches.peak_memory"],
        cwd=ROOT,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _peak() -> int:
    """Return the highest resident memory since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    if found is None:
        raise RuntimeError("/proc/self/status holds no VmHWM")
    return 1024 * int(found.group(1))


def _growth(call: Callable[[], object]) -> int:
    """Return by how much a call raises the peak above what is resident before it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _peak()
    call()
    return _peak() - before


def main() -> None:
    """Measure in this process and print the bytes as JSON."""
    bars, work = load_market("b3_m1_1500k"), WORKLOADS["elephant_2k"]

    def run() -> bt.BacktestResult:
        return bt.run(bars, work.strategy, work.rules, work.contract, engine="rust")

    run()  # starts threads, and remembers the average true range with the bars
    columns = [getattr(bars, name) for name in COLUMNS]
    found = {
        "columns": sum(column.nbytes for column in columns),
        "run": _growth(run),
        "copy": _growth(lambda: [column.copy() for column in columns]),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
