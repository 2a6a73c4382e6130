"""A verdict that is kept, and a sweep that is resumed, know the code that makes rows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import backtest_py as bt
from backtest_py import fingerprints
from backtest_py.fingerprints import package_code_hash
from backtest_py.sweep.store.manifest import read_manifest

PACKAGE = Path(bt.__file__).parent

# Sweeps into the directory of the first argument; verdicts are kept in that of the second.
SWEEP = """
import sys
from pathlib import Path
import backtest_py as bt
from backtest_py.sweep.compute import shards
from backtest_py.sweep.gate import verdicts

out, cache, how = sys.argv[1:]
assert Path(bt.__file__).parent == Path(sys.path[1]) / "backtest_py", bt.__file__
verdicts.cache_directory = lambda kind: Path(cache) / kind
shards.MAX_ROWS = 8

def stop(progress):
    if how == "interrupted" and progress.shards == 2:
        raise KeyboardInterrupt

axes = {"strategy.lookback": [5, 10, 20], "rules.stop": [1.0, 2.0, 3.0], "rules.trail": [0, 1]}
try:
    result = bt.sweep(
        bt.synthetic_bars(n_days=20), grid=axes, engine="rust", gate=1, out=out,
        resume=how != "begin", progress=stop,
    )
    print("reused" if result.manifest["gate"]["reused"] else "asked")
except KeyboardInterrupt:
    print("interrupted")
except bt.ConfigError as error:
    print(error)
"""


def execute(code, path, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def copied(folder):
    shutil.copytree(PACKAGE, folder / "backtest_py", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def edit(folder, name, old, new):
    file = folder / "backtest_py" / name
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_an_edited_evaluator_takes_neither_the_verdict_nor_the_shards(tmp_path):
    cache, same, edited = tmp_path / "cache", tmp_path / "same", tmp_path / "edited"
    copied(same)
    copied(edited)
    edit(edited, "sweep/compute/evaluator.py", "SPARSE: Final = 8\n", "SPARSE: Final = 9\n")
    edit(same, "report/tables.py", "from __future__", "\nfrom __future__")

    assert execute(SWEEP, PACKAGE.parent, tmp_path / "first", cache, "begin") == "asked"
    assert execute(SWEEP, same, tmp_path / "second", cache, "begin") == "reused"
    assert execute(SWEEP, edited, tmp_path / "third", cache, "begin") == "asked"

    out = tmp_path / "out"
    assert execute(SWEEP, PACKAGE.parent, out, cache, "interrupted") == "interrupted"
    before = {file: file.read_bytes() for file in out.rglob("*.*") if file.name != ".lock"}
    assert any(file.suffix == ".parquet" for file in before)
    refusal = execute(SWEEP, edited, out, cache, "resume")
    assert "the code of backtest-py changed" in refusal
    assert "cannot be resumed" in refusal
    assert {file: file.read_bytes() for file in before} == before
    assert execute(SWEEP, same, out, cache, "resume") == "reused"


def test_an_older_sweep_opens_but_is_not_resumed(tmp_path, monkeypatch):
    bars = bt.synthetic_bars(n_days=10)
    axes = {"rules.stop": [1.0, 2.0, 3.0]}
    from backtest_py.sweep.store import store

    written = store.write_manifest

    def older(path, manifest):
        identity = {k: v for k, v in manifest["identity"].items() if k != "package_code"}
        written(path, {**manifest, "identity": identity})

    done = store.identity_hash
    monkeypatch.setattr(store, "write_manifest", older)
    monkeypatch.setattr(
        store,
        "identity_hash",
        lambda m: done(
            {"identity": {k: v for k, v in m["identity"].items() if k != "package_code"}}
        ),
    )
    bt.sweep(bars, grid=axes, out=tmp_path)
    monkeypatch.undo()
    assert "package_code" not in read_manifest(tmp_path)["identity"]
    opened = bt.open_sweep(tmp_path, bars=bars)
    best = opened.top(1)
    assert opened.replay(int(best["combo_id"].iloc[0])).metrics.sharpe == best["sharpe"].iloc[0]
    with pytest.raises(bt.ConfigError, match=r"of backtest-py changed.*package_code was absent"):
        bt.sweep(bars, grid=axes, out=tmp_path, resume=True)


def test_every_source_counts_but_those_that_only_show(tmp_path):
    ask = "from backtest_py.fingerprints import package_code_hash as f; print(f())"
    folder = copied(tmp_path / "copy")
    assert execute(ask, folder) == package_code_hash()
    for room in fingerprints.PRESENTATION:
        with next((folder / "backtest_py" / room).glob("*.py")).open("a") as file:
            file.write("# a comment\n")
    assert execute(ask, folder) == package_code_hash()
    found = {package_code_hash()}
    counting = ("sweep/compute/sources.py", "engines/rust_engine/engine.py", "new_room/rule.py")
    for number, name in enumerate(counting, start=2):
        file = folder / "backtest_py" / name
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as opened:
            opened.write("# a comment\n")
        found.add(execute(ask, folder))
        assert len(found) == number, name


def test_sources_in_a_zip_file_have_the_same_hash(tmp_path):
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        for file in PACKAGE.rglob("*.py"):
            archive.write(file, file.relative_to(PACKAGE.parent))
    ask = "from backtest_py.fingerprints import package_code_hash as f; print(f())"
    assert execute(ask, tmp_path / "package.zip") == package_code_hash()


def test_a_sweep_in_memory_reads_no_source():
    code = """
import backtest_py as bt
from backtest_py import fingerprints
result = bt.sweep(bt.synthetic_bars(n_days=10), grid={"rules.stop": [1.0, 2.0, 3.0]})
print(len(result), fingerprints.package_code_hash.cache_info().misses)
assert result.manifest["identity"]["package_code"] == fingerprints.package_code_hash()
"""
    assert execute(code, PACKAGE.parent) == "3 0"


def test_the_manifest_says_which_code_it_was(tmp_path):
    bt.sweep(bt.synthetic_bars(n_days=10), grid={"rules.stop": [1.0, 2.0]}, out=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["identity"]["package_code"] == package_code_hash()
