"""Shards that look like a sweep's, for tests of its directory and for their child processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from backtest_py.metrics.catalogue import COUNT_METRICS, METRICS
from backtest_py.sweep.store.tables import coded_column, shard_table

STOPS = [0.5, 1.0, 1.5, 2.0]
CLOCKS = ["09:00", "09:10", ""]
IDENTITY = {
    "grid": {
        "axes": [{"key": "rules.stop", "values": STOPS}, {"key": "rules.trail", "values": [0.0]}],
        "rules": {"unit": "atr", "max_bars": 0},
        "where": "",
    },
    "bars_hash": "5f0c",
    "semantics_version": 1,
}
MANIFEST = {"identity": IDENTITY, "version": "0.1.0"}


def table_of(shard, n_rows=60):
    """Return the table of a shard: every type, nan and infinities among the numbers."""
    rng = np.random.default_rng(shard)
    ids = np.arange(shard * n_rows, (shard + 1) * n_rows)
    metrics = rng.normal(size=(len(METRICS), n_rows))
    metrics[:, ::7] = np.nan
    metrics[3:, ::11] = np.inf
    for row, name in enumerate(METRICS):
        if name in COUNT_METRICS or name == "ruined":
            metrics[row] = rng.integers(0, 2 if name == "ruined" else 500, n_rows)
    parameters = {
        "rules.stop": coded_column(ids % 4, STOPS),
        "rules.round_to_tick": coded_column(ids % 2, [False, True]),
        "strategy.entry_start": coded_column(ids % 3, CLOCKS),
        "strategy.drawn": rng.uniform(size=n_rows),
    }
    return shard_table(ids, parameters, metrics)


def write_all(store, shards, n_rows=60):
    for shard in shards:
        if shard not in store.done:
            store.write(shard, table_of(shard, n_rows))


def contents(path):
    return {file.name: file.read_bytes() for file in sorted((path / "results").iterdir())}


def python(script, *arguments, prefix=(), **options):
    """Run a script in a process of its own; it has the names of this module."""
    preamble = (
        "import os, subprocess, sys\n"
        "from backtest_py.errors import *\n"
        "from backtest_py.sweep.store.store import *\n"
        "from tests.sweep_tables import *\n"
    )
    command = [*prefix, sys.executable, "-c", preamble + textwrap.dedent(script)]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out
