"""The parts of a backtest: detection, simulation, average true range."""

from __future__ import annotations

import pytest

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.backtest.job import prepare
from backtest_py.engines.rust_engine import RustEngine
from backtest_py.signals import Signals
from benches.datasets import WORKLOADS, dense_signals, load_market

pytestmark = pytest.mark.benchmark(
    disable_gc=True, warmup=True, warmup_iterations=3, min_rounds=50, max_time=1.0
)

MARKET = "b3_m5_140k"
DETECTED = ("elephant_2k", "opening_range", "average_cross")
LEVELS = _engine_rust.build_info()["levels"].split(",")[::-1]


@pytest.mark.parametrize("workload", DETECTED)
def test_detection(benchmark, engine, workload):
    """Signals of every bar."""
    benchmark.group = f"Detection: {workload} on {MARKET}"
    benchmark.extra_info["contender"] = engine.name
    signals = benchmark(engine.signals, load_market(MARKET), WORKLOADS[workload].strategy)
    assert signals.side.any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("workload", ["elephant_2k", "average_cross"])
def test_detection_by_level(benchmark, workload, level):
    """Signals of every bar on narrower vectors; the opening range has no use for them."""
    benchmark.group = f"Detection by instruction level: {workload} on {MARKET}"
    benchmark.extra_info["contender"] = level
    benchmark(RustEngine(level).signals, load_market(MARKET), WORKLOADS[workload].strategy)


@pytest.mark.parametrize("density", ["elephant_2k", "every bar"])
def test_simulation(benchmark, engine, density):
    """Trades and metrics of signals that are there already."""
    bars, work = load_market(MARKET), WORKLOADS["elephant_2k"]
    signals = (
        Signals(dense_signals(MARKET))
        if density == "every bar"
        else engine.signals(bars, work.strategy)
    )
    job = prepare(bars, None, signals, work.rules, work.contract, None, None)
    benchmark.group = f"Simulation and metrics: signals of {density}, {MARKET}"
    benchmark.extra_info["contender"] = engine.name
    benchmark(engine.run, job)


@pytest.mark.parametrize("method", ["wilder", "sma"])
def test_average_true_range(benchmark, engine, method):
    """The range of every bar, computed: later runs on the same bars remember it."""
    bars = load_market(MARKET)
    benchmark.group = f"Average true range, not yet remembered: {method}, {MARKET}"
    benchmark.extra_info["contender"] = engine.name
    # A slice shares the columns, and remembers nothing.
    benchmark.pedantic(
        lambda fresh: engine.atr(fresh, 14, method),
        setup=lambda: ((bars[:],), {}),
        rounds=300,
        warmup_rounds=3,
    )


def test_several_backtests(benchmark, engine):
    """A straight loop over 64 sets of rules, metrics alone."""
    bars, work = load_market(MARKET), WORKLOADS["elephant_2k"]
    jobs = [
        prepare(
            bars,
            work.strategy,
            None,
            bt.ExitRules(stop=stop, target=target, close_time="17:00"),
            work.contract,
            None,
            None,
        )
        for stop in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
        for target in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    ]
    benchmark.group = f"Straight loop: 64 backtests on {MARKET}"
    benchmark.extra_info["contender"] = engine.name
    benchmark.pedantic(engine.optimize, (jobs,), rounds=8, warmup_rounds=1)


def test_report(benchmark, tmp_path):
    """A report as one file, both ways to settle ambiguous bars included."""
    work = WORKLOADS["elephant_2k"]
    result = bt.run(load_market(MARKET), work.strategy, work.rules, work.contract)
    benchmark.group = f"Report: elephant_2k on {MARKET}"
    benchmark.extra_info["contender"] = "one HTML file"
    written = benchmark(result.report, tmp_path / "run.html")
    assert written.stat().st_size < 1_500_000
