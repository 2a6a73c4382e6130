"""Whole backtests: detection, simulation, all metrics, trades handed to Python as columns."""

from __future__ import annotations

import pytest

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.backtest.job import prepare
from backtest_py.engines.rust_engine import RustEngine
from benches.datasets import MARKETS, WORKLOADS, dense_signals, load_market
from benches.timing import Child, clock

pytestmark = pytest.mark.benchmark(
    disable_gc=True, warmup=True, warmup_iterations=3, min_rounds=50, max_time=1.0
)

LEVELS = _engine_rust.build_info()["levels"].split(",")[::-1]


def run(bars, work, engine):
    """Return a function that runs the workload as a user does."""
    return lambda: bt.run(bars, work.strategy, work.rules, work.contract, engine=engine)


@pytest.mark.parametrize("market", MARKETS)
def test_sizes(benchmark, engine, market):
    """One workload on more and more bars."""
    benchmark.group = f"Full backtest: elephant_2k on {market}"
    benchmark.extra_info["contender"] = engine.name
    assert len(benchmark(run(load_market(market), WORKLOADS["elephant_2k"], engine.name)))


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "elephant_2k"])
def test_workloads(benchmark, engine, workload):
    """Other strategies and rules on the same bars."""
    benchmark.group = f"Full backtest: {workload} on b3_m5_140k"
    benchmark.extra_info["contender"] = engine.name
    assert len(benchmark(run(load_market("b3_m5_140k"), WORKLOADS[workload], engine.name)))


@pytest.mark.parametrize("level", LEVELS)
def test_instruction_levels(benchmark, level):
    """The same on narrower vectors."""
    bars, work = load_market("b3_m5_140k"), WORKLOADS["elephant_2k"]
    job = prepare(bars, work.strategy, None, work.rules, work.contract, None, None)
    engine = RustEngine(level)
    benchmark.group = "Full backtest by instruction level: elephant_2k on b3_m5_140k"
    benchmark.extra_info["contender"] = level
    benchmark(engine.run, job)


def test_both_engines_interleaved(findings):
    """The ratio that must hold between the engines, and how it moves with the number of trades."""
    bars = load_market("b3_m5_140k")
    for name in ("elephant_2k", "elephant_morning"):
        findings.compare(
            f"Engines in turns: {name} on b3_m5_140k",
            {engine: clock(run(bars, WORKLOADS[name], engine)) for engine in ("rust", "numba")},
            rounds=300,
        )
    side, work = dense_signals("b3_m5_140k"), WORKLOADS["elephant_2k"]
    findings.compare(
        "Engines in turns: a signal at every bar of b3_m5_140k",
        {
            engine: clock(
                lambda engine=engine: bt.run_signals(
                    bars, side, work.rules, work.contract, engine=engine
                )
            )
            for engine in ("rust", "numba")
        },
        rounds=100,
    )


def test_threads_interleaved(findings):
    """What a second thread is worth: the pool's size is settled when a process starts."""
    with Child(RAYON_NUM_THREADS="2") as two, Child(RAYON_NUM_THREADS="1") as one:
        findings.compare(
            "Threads: elephant_2k on b3_m5_140k, rust",
            {"2 threads": two, "1 thread": one},
            rounds=60,
        )
