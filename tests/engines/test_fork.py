"""A forked child runs and sweeps, whatever its parent was doing; it never waits for ever.

A parent that has threads is not forked inside pytest, where a child that hangs would stop the
suite and Python 3.12 warns of every such fork: each scenario is a script, killed with its children
when its time is over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PARENT = """
import functools, multiprocessing, os, threading, time, warnings
import numpy as np
import backtest_py as bt
from backtest_py.engines import resolve

# Python 3.12 warns where a process with threads forks, which is what is tested here.
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
AXES = {"strategy.min_range_mult": [1.0, 1.5], "rules.stop": [1.0, 2.0], "rules.target": [2.0, 3.0]}
ENGINES = "rust", "numba"
bars = bt.synthetic_bars(n_days=370)
assert len(bars) >= 40_000

def run(engine):
    # rules that measure in the average true range, which bars remember behind a lock
    return bt.run(bars, "barra_elefante", engine=engine).columns["pnl"].sum()

def sweep(engine):
    return bt.sweep(bars, grid=AXES, engine=engine).table()["total_return"].to_pylist()

def ask(question):
    work, engine = question
    return globals()[work](engine)

QUESTIONS = [(work, engine) for engine in ENGINES for work in ("run", "sweep")]

def answers_of_children():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(ask, QUESTIONS * 2, chunksize=1)
"""


def outcome_of(script, *, seconds=120):
    """Run a parent in a session of its own, which is killed as a whole after a while."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PARENT + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"a child hangs: {out}{err}")
    assert process.returncode == 0, err
    return out


def test_children_run_and_sweep_after_their_parent_did():
    out = outcome_of("""
expected = [ask(question) for question in QUESTIONS]
assert answers_of_children() == expected * 2
print("the same")
""")
    assert out == "the same\n"


def test_children_of_children_run_and_sweep():
    out = outcome_of("""
expected = [ask(question) for question in QUESTIONS]
for depth in range(3):
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status))
    assert [ask(question) for question in QUESTIONS] == expected
print("the same", flush=True)
os._exit(0)
""")
    assert out == "the same\n"


@pytest.mark.parametrize("busy", ["run", "sweep"])
@pytest.mark.parametrize("engine", ["rust", "numba"])
def test_children_run_and_sweep_while_a_thread_of_their_parent_does(engine, busy):
    out = outcome_of(f"""
expected = [ask(question) for question in QUESTIONS]
going_on = True

def work():
    while going_on:
        {busy}({engine!r})

thread = threading.Thread(target=work)
thread.start()
for _ in range(3):
    assert answers_of_children() == expected * 2
going_on = False
thread.join()
print("the same")
""")
    assert out == "the same\n"


def test_a_fork_waits_for_a_thread_that_loads_or_compiles(tmp_path):
    """A child cannot finish what another thread began: half an import, numba's lock."""
    out = outcome_of(
        f"""
os.environ["BACKTEST_PY_CACHE_DIR"] = {str(tmp_path)!r}  # empty, so that kernels are compiled
run("rust")
thread = threading.Thread(target=run, args=("numba",))
thread.start()
for pause in (0.05, 1.0):
    time.sleep(pause)
    child = os.fork()
    if child == 0:
        run("numba")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
thread.join()
print("each ran")
""",
        seconds=240,
    )
    assert out == "each ran\n"


def test_a_child_computes_what_a_thread_was_remembering():
    out = outcome_of("""
began, end = threading.Event(), threading.Event()

def slow():
    began.set()
    end.wait()
    return 1

thread = threading.Thread(target=bars.remember, args=("slow", slow))
thread.start()
began.wait()
child = os.fork()
if child == 0:
    assert bars.remember("slow", lambda: 2) == 2
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
end.set()
thread.join()
assert bars.remember("slow", lambda: 3) == 1
print("each its own")
""")
    assert out == "each its own\n"


@pytest.mark.parametrize("engine", ["rust", "numba"])
def test_a_plan_belongs_to_the_process_that_made_it(engine):
    out = outcome_of(f"""
engine, _ = resolve({engine!r})
plan = engine.sweep_plan(
    bars, strategies=[bt.BarraElefante()], signals=None,
    loosest=[0.0] * len(bt.BarraElefante.thresholds), threads=2,
)
exits = [(bt.ExitRules(stop=1.0, unit="percent"), bt.Contract(), None)]
plan.load(exits)
sets, cuts = np.zeros(1, np.uint32), np.zeros(len(bt.BarraElefante.thresholds))
rest = cuts, bt.MetricSettings(), [(0, len(bars))]
plan.evaluate(sets, *rest)
child = os.fork()
if child == 0:
    for call in (
        lambda: plan.load(exits),
        lambda: plan.evaluate(sets, *rest),
        lambda: plan.evaluate_each(exits, sets, *rest),
    ):
        try:
            call()
        except bt.EngineError as error:
            assert "forked" in str(error)
        else:
            os._exit(1)
    del plan  # a pool that is dropped must not wait for its threads either
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
plan.evaluate(sets, *rest)
print("told")
""")
    assert out == "told\n"
