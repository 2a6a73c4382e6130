"""Sweeps that are killed, interrupted, resumed and disturbed, in processes of their own.

Whatever happens, a resumed sweep has the bytes of one that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import backtest_py as bt
from backtest_py.sweep.compute import shards

COMMAND = [sys.executable, "-m", "backtest_py", "sweep"]
CONFIG = """
[data]
path = "bars.csv"
[rules]
close_time = "17:00"
[sweep.grid]
"rules.stop" = { start = 0.1, stop = 4.0, step = 0.1 }
"strategy.min_range_mult" = { start = 0.2, stop = 4.0, step = 0.2 }
"strategy.max_shadow_ratio" = [0.2, 0.4, 0.6, 0.8, 1.0]
"rules.target" = { start = 0.1, stop = 8.0, step = 0.1 }
"""
N_SHARDS = 40
N_ROWS = 40 * 20 * 5 * 80

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bars, a configuration and the directory ``whole`` of an undisturbed sweep."""
    path = tmp_path_factory.mktemp("sweeps")
    bt.synthetic_bars(n_days=120).to_frame().to_csv(path / "bars.csv", lineterminator="\n")
    (path / "sweep.toml").write_text(CONFIG)
    done = subprocess.run(
        [*COMMAND, "sweep.toml", "--out", "whole", "--engine", "rust"],
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(files_of(path / "whole")) == N_SHARDS
    return path


def files_of(path):
    return {file.name: file.read_bytes() for file in sorted((path / "results").iterdir())}


def start(folder, out, *arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    command = [*COMMAND, "sweep.toml", "--out", str(out), "--engine", "rust", *arguments]
    return subprocess.Popen(command, cwd=folder, **options)


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def n_shards(out):
    return sum(1 for _ in (out / "results").glob("shard-*.parquet")) if out.exists() else 0


def is_begun(out):
    return (out / "results").is_dir() and any((out / "results").glob("shard-*"))


def wait_for(what, process, *, seconds=60.0):
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def assert_whole(folder, out):
    """Nothing is lost, nothing is doubled, and every byte is as it should be."""
    assert files_of(out) == files_of(folder / "whole")
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    assert sorted(line["shard"] for line in lines) == list(range(N_SHARDS))
    assert sum(line["rows"] for line in lines) == N_ROWS
    result = bt.open_sweep(out)
    assert result.manifest["status"] == "complete"
    assert result.table(["combo_id"])["combo_id"].to_pylist() == list(range(N_ROWS))


# killed


@posix
def test_kill_at_20_random_moments_and_resume(folder, tmp_path):
    rng = random.Random(20)
    out = tmp_path / "out"
    kept = [0]
    moments = 0
    while moments < 20:
        process = start(folder, out, "--resume", "--skip-gate")
        if rng.random() < 0.8:
            wanted = min(N_SHARDS, kept[-1] % N_SHARDS + rng.randint(1, 5))
            while n_shards(out) < wanted and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.05)
        else:  # while it starts
            time.sleep(rng.random() * 0.3)
        process.kill()
        process.communicate(timeout=60)
        moments += 1
        kept.append(n_shards(out))
        if kept[-1] == N_SHARDS:  # and from the beginning
            for file in (out / "results").iterdir():
                file.unlink()
            (out / "journal.jsonl").unlink()
            (out / "manifest.json").unlink()
    assert len(set(kept)) > 3
    status, _, err = finish(start(folder, out, "--resume", "--skip-gate"))
    assert status == 0, err
    assert_whole(folder, out)


@posix
def test_kill_of_processes_that_compute(folder, tmp_path):
    out = tmp_path / "out"
    process = start(folder, out, "--processes", "2")
    wait_for(lambda: is_begun(out), process)
    process.kill()
    process.communicate(timeout=60)
    status, _, err = finish(start(folder, out, "--processes", "2", "--resume"))
    assert status == 0, err
    assert_whole(folder, out)


# interrupted


@posix
@pytest.mark.parametrize("way", ["Control-C", "Control-C twice", "SIGTERM", "whole group"])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_signal_stops_soon_and_the_sweep_is_resumed(folder, tmp_path, way, processes):
    out = tmp_path / "out"
    how = ("--skip-gate", "--processes", str(processes))
    process = start(folder, out, *how, start_new_session=True)
    wait_for(lambda: is_begun(out), process)
    sent = time.monotonic()
    if way == "whole group":  # as a terminal does
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGINT)
    if way.endswith("twice"):
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
    status, printed, err = finish(process)
    took = time.monotonic() - sent
    assert status == 130
    assert printed == ""
    said, counted = err.splitlines()
    assert said == f"interrupted; what is done is kept in {out}, --resume continues"
    assert f" of {N_ROWS:,} combinations are done (" in counted
    assert took < 3.0  # a second on a machine with nothing else to do
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    n_kept = len(files_of(out))
    assert 0 < n_kept < N_SHARDS
    status, _, err = finish(start(folder, out, "--resume", "--skip-gate"))
    assert status == 0, err
    assert_whole(folder, out)


@posix
def test_a_signal_before_the_first_shard(folder, tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        out = tmp_path / number.name
        process = start(folder, out)
        wait_for(lambda out=out: (out / "manifest.json").exists(), process)
        process.send_signal(number)
        status, printed, err = finish(process)
        assert (status, printed) == (130, "")
        assert "--resume continues" in err
        assert "Traceback" not in err
        status, _, err = finish(start(folder, out, "--resume"))
        assert status == 0, err
        assert_whole(folder, out)


@posix
def test_numba_is_interrupted_too(folder, tmp_path):
    out = tmp_path / "out"
    process = start(folder, out, "--engine", "numba")
    wait_for(lambda: is_begun(out), process)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130, err
    assert time.monotonic() - sent < 3.0
    status, _, err = finish(start(folder, out, "--engine", "numba", "--resume"))
    assert status == 0, err
    assert files_of(out) == files_of(folder / "whole")


@posix
def test_python_hears_control_c_too_and_gets_its_handlers_back(folder, tmp_path):
    script = """
import signal, sys
import backtest_py as bt

def stop(progress):
    if progress.shards == 3:
        signal.raise_signal(signal.SIGINT)

config = bt.Config.load("sweep.toml")
handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
try:
    config.run_sweep(out=sys.argv[1], engine="rust", gate=None, progress=stop)
except KeyboardInterrupt:
    print("stopped", bt.open_sweep(sys.argv[1]).manifest["status"])
print(handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)])
print(len(config.run_sweep(out=sys.argv[1], engine="rust", gate=None, resume=True)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split() == ["stopped", "interrupted", "True", str(N_ROWS)], done.stderr
    assert_whole(folder, tmp_path / "out")


# disturbed


@posix
def test_two_runs_on_one_directory(folder, tmp_path):
    out = tmp_path / "out"
    first = start(folder, out, "--skip-gate")
    wait_for(lambda: is_begun(out), first)
    first.send_signal(signal.SIGSTOP)  # so that it is not done before the others ask
    try:
        refused = [finish(start(folder, out, *arguments)) for arguments in ((), ("--resume",))]
    finally:
        first.send_signal(signal.SIGCONT)
        status, _, err = finish(first)
    for others_status, printed, others_err in refused:
        assert others_status == 2
        assert printed == ""
        assert (
            f"{out} is in use: the process {first.pid}" in others_err or "continue it" in others_err
        )
    assert status == 0, err
    assert_whole(folder, out)


@posix
def test_a_limit_on_the_size_of_files(folder, tmp_path):
    import resource

    out = tmp_path / "out"
    smallest = min(map(len, files_of(folder / "whole").values()))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest // 2, smallest // 2))

    process = start(folder, out, "--skip-gate", preexec_fn=limit)
    status, printed, err = finish(process)
    assert status == 1
    assert printed == ""
    assert err.startswith("error: ")
    assert "a limit on the size of files is reached" in err
    assert "--resume" in err
    assert "Traceback" not in err
    status, _, err = finish(start(folder, out, "--resume"))
    assert status == 0, err
    assert_whole(folder, out)


@pytest.fixture
def part(folder, tmp_path):
    """A sweep of which some shards are missing, and one is damaged."""
    out = tmp_path / "part"
    status, _, err = finish(start(folder, out, "--skip-gate"))
    assert status == 0, err
    results = out / "results"
    for number in (0, 7, 39):
        (results / f"shard-{number:06d}.parquet").unlink()
    file = results / "shard-000011.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    (results / "shard-000012.parquet").write_bytes(b"PAR1")
    return out


def test_what_is_missing_or_damaged_is_computed_again(folder, part):
    seen = []
    result = bt.Config.load(folder / "sweep.toml").run_sweep(
        out=part, engine="rust", gate=None, resume=True, progress=seen.append
    )
    assert len(result) == N_ROWS
    assert seen[0].shards >= N_SHARDS - 5
    assert_whole(folder, part)
    seen.clear()
    bt.Config.load(folder / "sweep.toml").run_sweep(
        out=part, engine="rust", resume=True, progress=seen.append
    )
    assert [(each.combos, each.shards) for each in seen] == [(N_ROWS, N_SHARDS)]


CHANGES = {
    "a value of the grid": ("stop = 8.0", "stop = 7.9", "rules.target"),
    "the order of the grid": (
        '"strategy.max_shadow_ratio" = [0.2, 0.4, 0.6, 0.8, 1.0]',
        '"strategy.max_shadow_ratio" = [0.4, 0.2, 0.6, 0.8, 1.0]',
        "strategy.max_shadow_ratio",
    ),
    "a rule": ('close_time = "17:00"', 'close_time = "16:00"', 'was "17:00", now "16:00"'),
    "the contract": ("[sweep.grid]", "[contract]\nquantity = 2\n[sweep.grid]", "quantity was 1.0"),
    "the strategy": (
        "[sweep.grid]",
        "[strategy.params]\nlookback = 9\n[sweep.grid]",
        "lookback was 20, now 9",
    ),
    "the metrics": (
        "[sweep.grid]",
        "[metrics]\nperiods_per_year = 365\n[sweep.grid]",
        "periods_per_year",
    ),
    "the range": ("[sweep.grid]", '[range]\nstart = "2019-01-09"\n[sweep.grid]', "range[0] was 0"),
    "the condition": ("[sweep.grid]", '[sweep]\nwhere = "stop > 1"\n[sweep.grid]', "where was"),
    "the scenarios": (
        "[sweep.grid]",
        "[sweep]\nscenarios = true\n[sweep.grid]",
        "scenarios was false, now true",
    ),
    "the data": ('path = "bars.csv"', 'path = "other.csv"', "bars_hash was"),
    "the engine": ("", "", "engine was"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_sweep_is_not_continued(folder, cli, what):
    old, new, words = CHANGES[what]
    changed = folder / "changed.toml"
    changed.write_text(CONFIG.replace(old, new, 1) if old else CONFIG)
    if not (folder / "other.csv").exists():
        text = (folder / "bars.csv").read_text()
        (folder / "other.csv").write_text(text.rpartition("2019")[0])
    before = {path: path.read_bytes() for path in (folder / "whole").rglob("*") if path.is_file()}
    engine = "rust" if old else "numba"
    outcome = cli("sweep", changed, "--out", folder / "whole", "--engine", engine, "--resume")
    assert outcome.status == 2
    assert "holds another sweep" in outcome.err
    assert words in outcome.err
    for path, content in before.items():
        if path.name != ".lock":
            assert path.read_bytes() == content, path


def test_a_function_that_changed_is_another_sweep(tmp_path):
    bars = bt.synthetic_bars(n_days=10)

    def make(step):
        def mine(bars, *, shift: int = 0):
            side = (bars.close > bars.open).astype("int8")
            side[(shift)::step] = 0
            return side

        return mine

    axes = {"strategy.shift": [0, 1, 2], "rules.stop": [1.0, 2.0]}
    bt.sweep(bars, make(3), axes, out=tmp_path)
    bt.sweep(bars, make(3), axes, out=tmp_path, resume=True)
    with pytest.raises(bt.ConfigError, match="signals was"):
        bt.sweep(bars, make(4), axes, out=tmp_path, resume=True)


def test_a_function_that_changed_where_its_defaults_do_not_show_it_is_another_sweep(tmp_path):
    bars = bt.synthetic_bars(n_days=10)
    axes = {"strategy.shift": [0, 1, 2], "rules.stop": [1.0, 2.0]}

    def first():
        def mine(bars, *, shift: int = 0):
            side = (bars.close > bars.open).astype("int8")
            return side if shift == 0 else -side

        return mine

    def second():
        def mine(bars, *, shift: int = 0):
            side = (bars.close > bars.open).astype("int8")
            return side if shift == 0 else abs(side)

        return mine

    bt.sweep(bars, first(), axes, out=tmp_path)
    with pytest.raises(bt.ConfigError, match="code was"):
        bt.sweep(bars, second(), axes, out=tmp_path, resume=True)


def test_another_way_to_cut_is_another_sweep(tmp_path, monkeypatch):
    bars = bt.synthetic_bars(n_days=10)
    axes = {"rules.stop": [1.0, 2.0, 3.0]}
    bt.sweep(bars, grid=axes, out=tmp_path)
    monkeypatch.setitem(shards.LAYOUT, "exits", 2)
    with pytest.raises(bt.ConfigError, match=r"layout\.exits was 128, now 2"):
        bt.sweep(bars, grid=axes, out=tmp_path, resume=True)


def test_another_build_is_another_sweep_and_another_level_is_not(tmp_path, monkeypatch):
    from backtest_py.engines import resolve

    bars = bt.synthetic_bars(n_days=10)
    rust, _ = resolve("rust")
    axes = {"rules.stop": [1.0, 2.0, 3.0]}
    bt.sweep(bars, grid=axes, engine="rust", out=tmp_path)
    build = dict(rust.build)
    monkeypatch.setitem(rust.__dict__, "build", {**build, "level": "another"})
    bt.sweep(bars, grid=axes, engine="rust", out=tmp_path, resume=True)
    monkeypatch.setitem(rust.__dict__, "build", {**build, "rustc": "another"})
    with pytest.raises(bt.ConfigError, match=r"build\.rustc was"):
        bt.sweep(bars, grid=axes, engine="rust", out=tmp_path, resume=True)


def test_resume_begins_where_there_is_nothing(folder, cli, tmp_path):
    small = tmp_path / "small.toml"
    text = CONFIG.replace("bars.csv", (folder / "bars.csv").as_posix())
    small.write_text(text.replace("stop = 8.0", "stop = 0.2"))
    outcome = cli("sweep", small, "--out", tmp_path / "new", "--engine", "rust", "--resume")
    assert outcome.status == 0, outcome.err
    assert Path(tmp_path / "new" / "results" / "shard-000000.parquet").exists()
