"""What a type checker knows of metrics: the names, and whether each is int, float or bool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from backtest_py.backtest.metrics import Metrics
from backtest_py.records import COUNT_METRICS, METRICS

SNIPPET = """
from typing import assert_type
import backtest_py as bt

def look(result: bt.BacktestResult) -> None:
    assert_type(result.metrics.sharpe, float)
    assert_type(result.metrics.total_trades, int)
    assert_type(result.metrics.exits_stop_loss, int)
    assert_type(result.metrics.ruined, bool)
    rounded: str = result.metrics.sharpe  # an error: a float
    result.metrics.sharp  # an error: no such metric
"""


def test_annotations_are_the_metrics_and_their_kinds():
    hints = {name: kind for name, kind in Metrics.__annotations__.items() if name != "_values"}
    assert tuple(hints) == METRICS
    metrics = Metrics(np.zeros(len(METRICS)))
    for name, kind in hints.items():
        assert type(getattr(metrics, name)).__name__ == kind, name
        assert (kind == "int") == (name in COUNT_METRICS)


def test_mypy_knows_them(tmp_path):
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(file)],
        capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(source)},
    )  # fmt: skip
    found = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if "snippet.py" in line]
    assert len(found) == 2, done.stdout + done.stderr
    assert 'expression has type "float", variable has type "str"' in found[0]
    assert '"Metrics" has no attribute "sharp"' in found[1]
