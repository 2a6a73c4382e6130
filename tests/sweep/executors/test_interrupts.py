"""Control-C and SIGTERM in a sweep of the Python API, at every moment from its begin to its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import backtest_py as bt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PREAMBLE = """
import os, signal, sys, threading, time
import backtest_py as bt
from backtest_py.sweep import run
from backtest_py.sweep.compute import evaluator, shards
from backtest_py.sweep.executors import work
from backtest_py.sweep.gate import gate
from backtest_py.sweep.store import journal, lock, store

shards.MAX_ROWS, shards.MAX_EXITS = 40, 10
out, number = sys.argv[1], getattr(signal, sys.argv[2])
stops = {"start": 0.5, "stop": 20.0, "step": 0.5}
grid = {"strategy.lookback": [5, 10, 15, 20], "rules.stop": stops}
bars = bt.synthetic_bars(n_days=20)
given = {"grid": grid, "engine": "rust", "out": out, "gate": None}
handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

def kill():
    os.kill(os.getpid(), number)

def at(owner, name, *, after=False, times=1, pause=0.0):
    '''Have a signal come when a function is called.'''
    real, calls = getattr(owner, name), []

    def patched(*arguments, **options):
        calls.append(1)
        hit = len(calls) == times
        if hit and not after:
            kill()
            time.sleep(pause)
        answer = real(*arguments, **options)
        if hit and after:
            kill()
        return answer

    setattr(owner, name, patched)
"""
END = """
try:
    bt.sweep(bars, **given)
except KeyboardInterrupt:
    print("interrupted")
print(handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)])
"""
MOMENTS = {
    "the directory is made": "at(store.SweepStore, '_begin')",
    "the manifest says that it runs": "at(store.SweepStore, '_begin', after=True)",
    "the gate runs": "given['gate'] = 0; at(run, 'pass_gate', pause=3.0)",
    "the gate is written": "at(store.SweepStore, 'update')",
    "the evaluator starts": "at(work, 'Evaluator', pause=3.0)",
    "the order is planned": "at(shards.Shards, 'in_working_order')",
    "a shard is computed": "at(evaluator.Evaluator, 'evaluate', times=3)",
    "a shard is written": "at(store, 'replace_file', times=2)",
    "the journal is written": "at(journal.Journal, 'append', times=2)",
    "progress is shown": "given['progress'] = lambda progress: progress.shards == 2 and kill()",
    "the end is written": "at(store.SweepStore, 'update', times=2)",
    "the end is on the disk": "at(store.SweepStore, 'update', times=2, after=True)",
}


def swept(script, out, number):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(out), number],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def status_of(out):
    return json.loads((out / "manifest.json").read_text())["status"]


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_every_moment(tmp_path, moment, number):
    done = swept(PREAMBLE + MOMENTS[moment] + END, tmp_path / "out", number)
    assert (done.returncode, done.stdout) == (0, "interrupted\nTrue\n"), done.stderr
    assert status_of(tmp_path / "out") == "interrupted"
    again = swept(PREAMBLE + "given['resume'] = True" + END, tmp_path / "out", number)
    assert (again.returncode, again.stdout) == (0, "True\n"), again.stderr
    assert status_of(tmp_path / "out") == "complete"
    assert len(bt.open_sweep(tmp_path / "out")) == 160


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_while_the_directory_is_given_back(tmp_path, number):
    done = swept(PREAMBLE + "at(lock.DirectoryLock, 'release')" + END, tmp_path / "out", number)
    assert (done.returncode, done.stdout) == (0, "interrupted\nTrue\n"), done.stderr
    assert status_of(tmp_path / "out") == "complete"  # as it is


def test_a_signal_while_a_resume_reads_the_files(tmp_path):
    done = swept(PREAMBLE + END, tmp_path / "out", "SIGTERM")
    assert done.stdout == "True\n", done.stderr
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    script = "given['resume'] = True; at(store, '_fault', times=2)"
    done = swept(PREAMBLE + script + END, tmp_path / "out", "SIGTERM")
    assert (done.returncode, done.stdout) == (0, "interrupted\nTrue\n"), done.stderr
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_a_sweep_in_memory_is_interrupted_too(tmp_path):
    script = "del given['out']; at(work, 'Evaluator', pause=3.0)"
    done = swept(PREAMBLE + script + END, tmp_path, "SIGTERM")
    assert (done.returncode, done.stdout) == (0, "interrupted\nTrue\n"), done.stderr


def test_another_thread_than_the_main_one_leaves_the_handlers_alone(tmp_path):
    bars = bt.synthetic_bars(n_days=5)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def progress(_):
        seen.append([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)])

    grid = {"rules.stop": [1.0, 2.0, 3.0]}
    thread = threading.Thread(
        target=lambda: bt.sweep(bars, grid=grid, out=tmp_path / "out", progress=progress)
    )
    thread.start()
    thread.join()
    assert seen
    assert all(handlers == before for handlers in seen)
    assert status_of(tmp_path / "out") == "complete"
