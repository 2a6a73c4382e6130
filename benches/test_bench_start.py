"""From a cold process to the first result, and what a run takes in memory."""

from __future__ import annotations

import sys

from backtest_py import _engine_rust
from benches import peak_memory
from benches.datasets import load_market
from benches.timing import clock_command

RUN = """
import sys
import backtest_py as bt
bars = bt.synthetic_bars(n_days=1_285)
strategy = bt.BarraElefante(min_range_mult=1.5, entry_start="09:15", entry_end="16:00")
rules = bt.ExitRules(stop=2.0, target=3.0, atr_method="sma", close_time="17:00")
result = bt.run(bars, strategy, rules, engine="{engine}")
assert result.metrics.total_trades > 2_000
loaded = set(sys.modules) & {{"numba", "llvmlite", "pandas", "pyarrow"}}
assert "{engine}" == "numba" or not loaded, loaded
"""


def test_cold_process(findings, tmp_path):
    """Whole processes, from the start of the interpreter to its end, files in the page cache."""
    findings.compare(
        "Cold process: what Python itself takes",
        {
            "python, nothing else": clock_command("-c", "pass"),
            "import numpy": clock_command("-c", "import numpy"),
            "import backtest_py": clock_command("-c", "import backtest_py"),
        },
        rounds=21,
    )
    findings.compare(
        "Cold process: first result on 140,065 generated bars",
        {
            "rust": clock_command("-c", RUN.format(engine="rust")),
            "numba, kernels compiled earlier": clock_command("-c", RUN.format(engine="numba")),
        },
        rounds=11,
    )


def test_cold_kernels(findings, tmp_path):
    """What Numba compiles once per user and machine."""
    folders = iter(range(100))
    command = RUN.format(engine="numba")

    def compile_all():
        empty = str(tmp_path / str(next(folders)))
        return clock_command("-c", command, BACKTEST_PY_CACHE_DIR=empty)()

    findings.comparisons["Cold process: kernels compiled on the spot"] = {
        "numba, no kernel on disk": [compile_all() for _ in range(1 if findings.quick else 3)]
    }


def test_memory(findings):
    """The engine reads the columns where they lie."""
    bars = load_market("b3_m1_1500k")
    addresses = [getattr(bars, name).ctypes.data for name in peak_memory.COLUMNS]
    assert _engine_rust.column_addresses(bars) == addresses
    findings.facts["columns_in_place"] = len(addresses)
    if sys.platform == "linux":
        findings.facts["memory"] = peak_memory.measure()
