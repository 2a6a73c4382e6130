"""Sweeps in processes: what they leave behind, and what happens when workers die."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

import backtest_py as bt
from backtest_py.sweep.compute import shards

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts descriptors of POSIX")

GRID = {"strategy.shift": [0, 1, 2, 3], "rules.stop": {"start": 0.5, "stop": 20.0, "step": 0.5}}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=20)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "MAX_ROWS", 40)
    monkeypatch.setattr(shards, "MAX_EXITS", 10)


def dying(marks, *, how, times):
    """Return a strategy of which one parameter kills the worker that computes it, some times."""
    parent = os.getpid()

    def mine(bars, *, shift: int = 0):
        if shift == 2 and os.getpid() != parent:
            for name in (str(count) for count in range(times)):
                try:
                    (Path(marks) / name).touch(exist_ok=False)
                except FileExistsError:
                    continue
                if how == "exit":
                    os._exit(3)
                os.kill(os.getpid(), signal.SIGKILL)
        side = (bars.close > bars.open).astype(np.int8)
        return np.roll(side, shift)

    return mine


def files_of(path):
    return {file.name: file.read_bytes() for file in sorted((path / "results").iterdir())}


def status_of(path):
    return json.loads((path / "manifest.json").read_text())["status"]


def left_behind():
    """Count what a sweep may leave in this process and on this machine."""
    temporary = [Path(tempfile.gettempdir()), Path("/dev/shm")]
    ours = sorted(
        entry.name
        for place in temporary
        if place.exists()
        for entry in place.iterdir()
        if entry.name.startswith("backtest-py-") or str(os.getpid()) in entry.name
    )
    children = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "loky.backend.popen"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "files": ours,
        "children": children,
    }


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_the_shards_of_a_dead_worker_are_computed_again(bars, small_shards, tmp_path, how):
    (tmp_path / "marks").mkdir()
    mine = dying(tmp_path / "marks", how=how, times=1)
    bt.sweep(bars, mine, GRID, out=tmp_path / "alone", gate=None)
    bt.sweep(bars, mine, GRID, out=tmp_path / "two", gate=None, processes=2)
    assert (tmp_path / "marks" / "0").exists()
    assert files_of(tmp_path / "two") == files_of(tmp_path / "alone")


def test_workers_that_die_again_end_the_sweep_with_a_typed_error(bars, small_shards, tmp_path):
    (tmp_path / "marks").mkdir()
    mine = dying(tmp_path / "marks", how="kill", times=1_000)
    with pytest.raises(bt.WorkerError, match=r"while they computed shard [0-9, ]+:.*resume"):
        bt.sweep(bars, mine, GRID, out=tmp_path / "out", gate=None, processes=2)
    assert 2 <= len(list((tmp_path / "marks").iterdir())) <= 4  # two workers, tried twice
    assert status_of(tmp_path / "out") == "interrupted"
    result = bt.sweep(bars, mine, GRID, out=tmp_path / "out", gate=None, resume=True)
    assert len(result) == 160
    bt.sweep(bars, mine, GRID, out=tmp_path / "alone", gate=None)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "alone")


def test_a_worker_error_is_an_engine_error():
    assert issubclass(bt.WorkerError, bt.EngineError)


class UnkindError(Exception):
    """An exception that can be pickled, but not unpickled."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_exception_that_cannot_travel_keeps_its_words(bars, small_shards):
    parent = os.getpid()

    def mine(bars, *, shift: int = 0):
        if shift == 2 and os.getpid() != parent:
            raise UnkindError("salt", "snow")
        return (bars.close > bars.open).astype(np.int8)

    with pytest.raises(bt.EngineError, match="UnkindError: salt and snow"):
        bt.sweep(bars, mine, GRID, gate=None, processes=2)


def test_nothing_is_left_behind(bars, small_shards, tmp_path, monkeypatch):
    # a folder of its own, because other sweeps on this machine have theirs in the usual one
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    parent = os.getpid()

    def killed(bars, *, shift: int = 0):
        if shift == 2 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return (bars.close > bars.open).astype(np.int8)

    def failing(bars, *, shift: int = 0):
        if shift == 2 and os.getpid() != parent:
            raise OverflowError("enough")
        return (bars.close > bars.open).astype(np.int8)

    def fine(bars, *, shift: int = 0):
        return np.roll((bars.close > bars.open).astype(np.int8), shift)

    def stopped(progress):
        if progress.shards == 2:
            signal.raise_signal(signal.SIGINT)

    ends = (
        (fine, None, None),
        (killed, bt.WorkerError, None),
        (failing, OverflowError, None),
        (fine, KeyboardInterrupt, stopped),
    )
    # other tests use joblib's own workers, which live on until they are told to end
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
    before = left_behind()
    seen = []
    for turn in range(3):
        for strategy, error, progress in ends:
            given = {"gate": None, "processes": 2, "progress": progress}
            out = tmp_path / f"{turn}" / strategy.__name__ / f"{error}"
            if error is None:
                bt.sweep(bars, strategy, GRID, out=out, **given)
            else:
                with pytest.raises(error):
                    bt.sweep(bars, strategy, GRID, out=out, **given)
        gc.collect()
        seen.append(left_behind())
    assert set(seen[0]["files"]) <= set(before["files"])
    assert set(seen[0]["children"]) <= set(before["children"])
    assert seen[1] == seen[0]  # the first turn starts what joblib keeps: its resource tracker
    assert seen[2] == seen[0]


def test_bars_are_sent_once(bars, small_shards, tmp_path, monkeypatch):
    """Tasks are so small that a pipe takes any number of them, whatever the bars weigh."""
    from joblib.externals.loky.backend import queues

    sizes = []
    dumps = queues.dumps
    monkeypatch.setattr(
        queues,
        "dumps",
        lambda *given, **how: sizes.append(len(found := dumps(*given, **how))) or found,
    )
    result = bt.sweep(
        bars,
        grid={
            "rules.stop": {"start": 0.5, "stop": 20.0, "step": 0.5},
            "strategy.lookback": [3, 5, 8, 13],
        },
        processes=2,
        gate=None,
    )
    assert len(result) == 160
    assert len(sizes) >= 4
    assert max(sizes) < 500


SCRIPT = """
import sys
import numpy as np
import backtest_py as bt
from backtest_py.sweep.compute import shards

shards.MAX_ROWS, shards.MAX_EXITS = 40, 10

def mine(bars, *, shift: int = 0):
    import time
    time.sleep(0.2)
    return np.roll((bars.close > bars.open).astype(np.int8), shift)

grid = {"strategy.shift": list(range(40)), "rules.stop": {"start": 0.5, "stop": 20.0, "step": 0.5}}
print("ready", flush=True)
bt.sweep(bt.synthetic_bars(n_days=20), mine, grid, out=sys.argv[1], gate=None, processes=4)
"""


@pytest.mark.parametrize("pause", [0.0, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0])
def test_workers_end_with_a_killed_parent(tmp_path, pause):
    """At any moment, and the pipe of the parent's output is closed then."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(pause)
    process.kill()
    began = time.monotonic()
    process.communicate(timeout=30)  # until nobody holds the pipes any more
    assert time.monotonic() - began < 10.0
    assert [file.name for file in tmp_path.iterdir() if file.name != "out"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_while_workers_die(tmp_path, number):
    """Workers are killed all the time, and the sweep still stops when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    end = time.monotonic() + 30
    while not list(tmp_path.glob("out/results/shard-*")) and time.monotonic() < end:
        time.sleep(0.02)
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "loky.backend.popen"],
        capture_output=True,
        text=True,
        check=True,
    )
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert status_of(tmp_path / "out") == "interrupted"


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
def test_a_terminal_interrupts_workers_that_are_starting(tmp_path, pause):
    """It sends Control-C to all processes; only the sweep itself has something to say."""
    quiet = SCRIPT.replace("bt.sweep(", "try:\n    bt.sweep(") + "except KeyboardInterrupt: pass\n"
    process = subprocess.Popen(
        [sys.executable, "-c", quiet, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    end = time.monotonic() + 30
    while not (tmp_path / "out" / "manifest.json").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(pause)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert status_of(tmp_path / "out") == "interrupted"


DAEMON = """
import multiprocessing
import warnings
import backtest_py as bt

def work(out):
    grid = {"rules.stop": [1.0, 2.0, 3.0]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = bt.sweep(bt.synthetic_bars(n_days=5), grid=grid, processes=2)
    return len(result), [str(each.message)[:40] for each in caught]

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1])[0])
"""


def test_a_process_that_may_have_no_children_sweeps_alone_and_says_so(tmp_path):
    (tmp_path / "daemon.py").write_text(DAEMON)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "daemon.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "(3, ['processes = 2 is not possible in a daemo'])\n", done.stderr
