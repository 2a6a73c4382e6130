"""The programs that show how the package is used run, and say what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_extension_is_called_directly():
    first, *runs, build = run("engine_rust/example_usage.py").splitlines()
    assert int(first.split(" trades, sharpe ")[0]) > 0
    assert len(runs) == 3
    assert all(line.startswith("sharpe=") for line in runs)
    assert " build, instructions: " in build


def test_the_demonstration_shows_that_both_engines_agree(tmp_path):
    out = run("examples/demo.py", "--out", tmp_path, "--days", 40)
    assert "bit for bit" in out
    written = {path.name for path in tmp_path.iterdir()}
    assert {"bars.parquet", "demo.toml", "result.png", "manifest.json"} <= written
