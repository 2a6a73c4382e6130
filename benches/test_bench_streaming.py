"""Bars that come piece by piece: time against one run, and the memory of a file of 50 million."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pytest

import backtest_py as bt
from benches.datasets import WORKLOADS, load_market
from benches.long_file import write_long_file
from benches.report import CANDLES
from benches.timing import ROOT, clock

MOST_NANOSECONDS = 50e6
"""What 100,000 candles may take from arrays to metrics, compiled."""
ROWS = 50_000_000
MOST_MEGABYTES = 600
"""What the process of a run on such a file may take, Python and all libraries included."""


@pytest.mark.parametrize("engine_name", ["rust", "numba"])
def test_pieces_against_one_run(findings, engine_name):
    """What it costs to cut bars into pieces."""
    bars, work = load_market("b3_m5_140k"), WORKLOADS["elephant_2k"]

    def streamed(size):
        return lambda: bt.run_chunked(
            (bars[first : first + size] for first in range(0, len(bars), size)),
            work.strategy,
            work.rules,
            work.contract,
            engine=engine_name,
        )

    findings.compare(
        f"Streaming: elephant_2k on b3_m5_140k, {engine_name}",
        {
            "one run": clock(
                lambda: bt.run(bars, work.strategy, work.rules, work.contract, engine=engine_name)
            ),
            **{f"pieces of {size:,}": clock(streamed(size)) for size in (1_000, 65_536)},
        },
        rounds=20,
    )


def test_everything_of_100_000_candles(findings):
    """From plain arrays to metrics: validation, detection, simulation, metrics."""
    bars, work = load_market("b3_m5_100k"), WORKLOADS["elephant_2k"]
    arrays = [getattr(bars, name) for name in ("time", "open", "high", "low", "close", "volume")]

    def everything(engine_name):
        return lambda: bt.run(
            bt.Bars(*arrays), work.strategy, work.rules, work.contract, engine=engine_name
        )

    findings.compare(
        CANDLES, {name: clock(everything(name)) for name in ("rust", "numba")}, rounds=30
    )
    if not findings.quick:
        for name, samples in findings.comparisons[CANDLES].items():
            assert median(samples) < MOST_NANOSECONDS, name


def test_memory_of_a_long_file(findings):
    """The whole process stays under the limit, whatever the length of the file."""
    rows = 500_000 if findings.quick else ROWS
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bars.parquet")
        write_long_file(path, rows)
        found["file"] = path.stat().st_size
        for engine_name in ("rust", "numba"):
            done = subprocess.run(
                [sys.executable, "-m", "benches.test_bench_streaming", str(path), engine_name],
                cwd=ROOT,
                env=os.environ,
                check=True,
                capture_output=True,
                text=True,
            )
            found[engine_name] = json.loads(done.stdout)
            assert found[engine_name]["bars"] == rows
            assert found[engine_name]["megabytes"] < MOST_MEGABYTES
    findings.facts["streaming"] = {"rows": rows, **found}


def measure(path: str, engine_name: str) -> None:
    """Print what a run on the file takes."""
    start = time.perf_counter()
    result = bt.run_chunked(
        path,
        bt.BarraElefante(),
        bt.ExitRules(close_time="17:00"),
        bt.Contract(tick_size=5, initial_capital=1e8),
        metrics=bt.MetricSettings(periods_per_year=365),
        engine=engine_name,
    )
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    found = {
        "bars": len(result.job.bars),
        "trades": len(result),
        "seconds": seconds,
        "megabytes": int(peak.group(1)) / 1024 if peak else 0.0,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    measure(*sys.argv[1:])
