"""The plan of a sweep, on both engines: every combination is the engine's single run, bit for bit.

Random signal sets and exits on generated bars and, where ``BACKTEST_PY_SHARED`` names the folder
that holds them, on real ones. Thresholds are drawn from the scores themselves, so that bars lie on
them exactly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from joblib import Parallel, delayed
from tests.plan_questions import (
    KINDS,
    MARKETS,
    N_EXITS,
    N_SETS,
    assert_same_bits,
    make_market,
    make_signals,
    make_sweep,
)

import backtest_py as bt
from backtest_py._jit import Kernel, kernel
from backtest_py.engines.registry import resolve
from backtest_py.errors import EngineError, SweepCancelled, UnsupportedError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import parameter
from backtest_py.signals import Signals
from backtest_py.strategies.base import Bound, Strategy, Threshold


@pytest.fixture(scope="module")
def markets():
    return {name: make_market(name) for name in MARKETS}


@pytest.fixture
def runner(engine):
    return resolve(engine)[0]


@pytest.mark.parametrize("same_day", [False, True], ids=["any day", "same day"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("market", MARKETS)
def test_every_combination_is_the_single_run(runner, markets, market, kind, same_day):
    sweep = make_sweep(kind, markets[market], seed=len(kind) + same_day, same_day=same_day)
    expected = sweep.single_runs(runner)
    assert_same_bits(sweep.evaluate(runner), expected)
    rows = np.arange(len(sweep.sets))
    assert_same_bits(sweep.evaluate_each(runner), expected[:, rows, rows % N_EXITS])
    trades, ruined = expected[METRICS.index("total_trades")], expected[METRICS.index("ruined")]
    assert trades.max() > 10
    assert trades.min() < trades.max()
    assert kind != "own" or ruined.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("market", MARKETS)
def test_the_engines_agree(markets, market, kind):
    for seed, same_day in ((3, False), (4, True)):
        sweep = make_sweep(kind, markets[market], seed, same_day=same_day)
        numba, rust = (resolve(name)[0] for name in ("numba", "rust"))
        assert_same_bits(sweep.evaluate(numba), sweep.evaluate(rust))
        assert_same_bits(sweep.evaluate_each(numba), sweep.evaluate_each(rust))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_threads_nor_order_matter(runner, markets, kind):
    sweep = make_sweep(kind, markets["session"], seed=5)
    expected = sweep.evaluate(runner, threads=1)
    each = sweep.evaluate_each(runner, threads=1)
    shuffled = np.random.default_rng(6).permutation(len(sweep.sets))
    for threads in (1, 2, 0):
        for order in (slice(None), slice(None, None, -1), shuffled):
            found = sweep.evaluate(runner, threads, order)
            assert_same_bits(found, expected[:, order])
        assert_same_bits(sweep.evaluate_each(runner, threads), each)


@pytest.mark.parametrize("kind", KINDS)
def test_every_instruction_level_gives_the_same_bits(markets, kind):
    rust, _ = resolve("rust")
    for market in ("session", "round the clock"):
        sweep = make_sweep(kind, markets[market], seed=7, same_day=market == "session")
        expected = sweep.evaluate(rust)
        for level in rust.build["levels"].split(","):
            assert_same_bits(sweep.evaluate(type(rust)(level)), expected)


def test_one_exit_or_one_set_alone_is_the_same(runner, markets):
    sweep = make_sweep("barra_elefante", markets["session"], seed=8)
    expected = sweep.evaluate(runner)
    for exits in ([4], [2, 7, 5], [0, 1, 2, 3, 4, 5, 6, 7], list(range(N_EXITS)) * 8):
        some = replace(sweep, exits=[sweep.exits[k] for k in exits])
        assert_same_bits(some.evaluate(runner), expected[:, :, exits])
    for order in ([3], [N_SETS + 1], []):
        found = sweep.evaluate(runner, order=np.array(order, np.int64))
        assert_same_bits(found, expected[:, order])


def test_signals_without_risk(runner, markets):
    sweep = make_sweep("own", markets["session"], seed=9)
    bare = [Signals(source.side) for source in sweep.signals]
    exits = [pair for pair in sweep.exits if pair[0].unit != "strategy"]
    sweep = replace(sweep, signals=bare, variants=[bare[k] for k in sweep.sets], exits=exits)
    assert_same_bits(sweep.evaluate(runner), sweep.single_runs(runner))


def test_bars_and_trades_that_are_hardly_any(runner):
    for n_bars in (1, 2, 7):
        bars = bt.synthetic_bars(n_days=1, bars_per_day=n_bars)
        for kind in KINDS:
            sweep = make_sweep(kind, bt.synthetic_bars(n_days=3), seed=10)
            if kind == "own":
                signals = [make_signals(np.random.default_rng(k), bars) for k in range(3)]
                variants = [signals[k] for k in sweep.sets]
                sweep = replace(sweep, signals=signals, variants=variants)
            sweep = replace(sweep, bars=bars, first=0, last=n_bars)
            assert_same_bits(sweep.evaluate(runner), sweep.single_runs(runner))


def test_money_beyond_all_bounds(runner, markets):
    sweep = make_sweep("own", markets["session"], seed=11)
    exits = [(rules, replace(contract, point_value=1e306)) for rules, contract in sweep.exits]
    sweep = replace(sweep, exits=exits)
    expected = sweep.single_runs(runner)
    assert not np.isfinite(expected[METRICS.index("total_return")]).all()
    assert_same_bits(sweep.evaluate(runner), expected)


@pytest.mark.parametrize("kind", ["barra_elefante", "own"])
def test_workers_of_joblib_give_the_same(runner, markets, kind):
    sweep = make_sweep(kind, markets["session"], seed=12)
    half = len(sweep.sets) // 2

    def work(plan_of, exits, sets, thresholds, span):
        plan = plan_of()
        plan.load(exits)
        return plan.evaluate(sets, thresholds, *span)

    strategies, signals, loosest, bars = (
        sweep.strategies,
        sweep.signals,
        sweep.loosest,
        sweep.bars,
    )

    def plan_of():
        return runner.sweep_plan(
            bars, strategies=strategies, signals=signals, loosest=loosest, threads=1
        )

    span = (sweep.metrics, [(sweep.first, sweep.last)])
    parts = Parallel(n_jobs=2)(
        delayed(work)(
            plan_of, sweep.with_atr(runner), sweep.sets[part], sweep.thresholds[part].ravel(), span
        )
        for part in (slice(None, half), slice(half, None))
    )
    expected = sweep.evaluate(runner).reshape(len(METRICS), -1)
    assert_same_bits(np.concatenate(parts, axis=2)[0], expected)


def test_a_cancelled_plan_stops(runner, markets):
    sweep = make_sweep("own", markets["session"], seed=13)
    plan = sweep.plan(runner)
    plan.load(sweep.with_atr(runner))
    plan.cancel()
    with pytest.raises(SweepCancelled):
        plan.evaluate(sweep.sets, sweep.thresholds.ravel(), sweep.metrics, [(0, len(sweep.bars))])
    with pytest.raises(SweepCancelled):
        plan.evaluate_each(
            [sweep.with_atr(runner)[0]] * len(sweep.sets),
            sweep.sets,
            sweep.thresholds.ravel(),
            sweep.metrics,
            [(0, len(sweep.bars))],
        )
    assert plan.done == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_running_evaluation_stops_within_a_second(runner, threads):
    bars = bt.synthetic_bars(n_days=400)
    sweep = make_sweep("own", bars, seed=14)
    plan = sweep.plan(runner, threads)
    plan.load(sweep.with_atr(runner))
    sets = np.zeros(100_000, np.uint32)
    stopped = []

    def stop():
        time.sleep(0.3)
        stopped.append(time.perf_counter())
        plan.cancel()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(SweepCancelled):
        plan.evaluate(sets, np.empty(0), sweep.metrics, [(0, len(bars))])
    took = time.perf_counter() - stopped[0]
    stopper.join()
    assert took < 1.0
    assert plan.done < len(sets) * N_EXITS


def test_wrong_calls_are_refused(runner, markets):
    sweep = make_sweep("barra_elefante", markets["session"], seed=15)
    plan = sweep.plan(runner)
    cuts, settings, n = sweep.thresholds.ravel(), sweep.metrics, len(sweep.bars)
    with pytest.raises(EngineError):  # nothing is loaded
        plan.evaluate(sweep.sets, cuts, settings, [(0, n)])
    plan.load(sweep.with_atr(runner))
    for sets, thresholds, first, last in (
        (sweep.sets + 99, cuts, 0, n),
        (sweep.sets, cuts[1:], 0, n),
        (sweep.sets, cuts, 5, 5),
        (sweep.sets, cuts, 0, n + 1),
    ):
        with pytest.raises(EngineError):
            plan.evaluate(sets, thresholds, settings, [(first, last)])
    with pytest.raises(EngineError):
        plan.evaluate_each(sweep.with_atr(runner)[:1], sweep.sets, cuts, settings, [(0, n)])
    with pytest.raises(EngineError):
        plan.load([(bt.ExitRules(), bt.Contract(), np.ones(n - 1))])
    for signals in (
        Signals(np.ones(n + 1, np.int8)),
        Signals(np.ones(n, np.int8), np.ones(n - 1)),
    ):
        with pytest.raises(EngineError):
            runner.sweep_plan(sweep.bars, strategies=None, signals=[signals], loosest=[], threads=1)
    for sources in ((None, None), ([], None), (sweep.strategies, [])):
        with pytest.raises(EngineError):
            runner.sweep_plan(
                sweep.bars,
                strategies=sources[0],
                signals=sources[1],
                loosest=sweep.loosest,
                threads=1,
            )
    with pytest.raises(EngineError):
        replace(sweep, loosest=[1.0]).plan(runner)


def test_strategies_of_several_classes_are_refused():
    mixed = [bt.MovingAverageCross(), bt.OpeningRangeBreakout()]
    bars = bt.synthetic_bars(n_days=1)
    with pytest.raises(EngineError, match="several classes"):
        resolve("numba")[0].sweep_plan(
            bars, strategies=mixed, signals=None, loosest=[0.0, 1439.0], threads=1
        )


@kernel
def every_few(bars, values, start, side, risk):
    for t in range(len(side)):
        side[t] = 1 if (start + t) % int(values[0]) == 0 else 0


@kernel
def every_few_scores(bars, values, side, risk, scores):
    every_few(bars, values, 0, side, risk)
    for t in range(len(side)):
        scores[0, t] = bars.volume[t]


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryFew(Strategy):
    """A user's strategy with a kernel and no thresholds."""

    name: ClassVar[str] = "every_few"
    kernel: ClassVar[Kernel] = every_few

    step: int = parameter(2, "int", "bars from signal to signal", minimum=1)
    least_volume: float = parameter(0.0, "float", "volume of a signal's bar", minimum=0)


def test_kernel_of_a_user(markets):
    numba, _ = resolve("numba")
    sweep = make_sweep("own", markets["session"], seed=16)
    strategies = [EveryFew(step=step) for step in (2, 7, 31)]
    exits = [pair for pair in sweep.exits if pair[0].unit != "strategy"]
    sweep = replace(
        sweep,
        signals=None,
        strategies=strategies,
        exits=exits,
        variants=[strategies[k] for k in sweep.sets],
    )
    expected = sweep.single_runs(numba)
    assert_same_bits(sweep.evaluate(numba), expected)

    class Scored(EveryFew):
        thresholds = (Threshold("least_volume", Bound.AtLeast),)

    with pytest.raises(UnsupportedError, match="score_kernel"):
        replace(sweep, strategies=[Scored()], loosest=[0.0]).plan(numba)
    Scored.score_kernel = every_few_scores
    n = len(sweep.sets)
    scored = replace(
        sweep,
        strategies=[Scored(step=each.step) for each in strategies],
        loosest=[0.0],
        thresholds=np.zeros((n, 1)),
    )
    assert_same_bits(scored.evaluate(numba), expected)
    none = replace(scored, thresholds=np.full((n, 1), np.inf)).evaluate(numba)
    assert not none[METRICS.index("total_trades")].any()


def test_parameters_are_cuts_or_shape_the_scores():
    cuts, shapes = bt.BarraElefante.split_parameters()
    assert cuts == (
        "min_range_mult",
        "min_volume_mult",
        "max_shadow_ratio",
        "entry_start",
        "entry_end",
    )
    assert shapes == ("lookback", "confirm_breakout")
    assert EveryFew.split_parameters() == ((), ("step", "least_volume"))


INTERPRETED = """
import json
import backtest_py as bt
from backtest_py.engines.base import atr_for
from backtest_py.engines.registry import resolve
import numpy as np
engine, _ = resolve("numba")
bars = bt.synthetic_bars(n_days=2, bars_per_day=60)
strategies = [bt.BarraElefante(lookback=3), bt.BarraElefante(lookback=5)]
plan = engine.sweep_plan(
    bars, strategies=strategies, signals=None, loosest=[0.5, 0.0, 1.0, 0.0, 1439.0], threads=1
)
capital = bt.Contract(initial_capital=3000.0, fee_rate=1e-4)
exits = [
    (rules, capital, atr_for(engine, bars, rules))
    for rules in (
        bt.ExitRules(stop=0.3, target=0.4),
        bt.ExitRules(stop=0.5, trail=0.5, close_time="12:00"),
        bt.ExitRules(stop=0, target=0, max_bars=1),
    )
]
plan.load(exits)
cuts = np.array([[0.5, 0.0, 1.0, 0.0, 1439.0], [0.9, 0.5, 0.9, 545.0, 800.0]] * 2)
sets = np.array([0, 0, 1, 1], np.uint32)
asked = (sets, cuts.ravel(), bt.MetricSettings(risk_free_rate=0.02), [(0, len(bars)), (9, 99)], 2)
found = [plan.evaluate(*asked), plan.evaluate_each([*exits, exits[0]], *asked)]
print(json.dumps([each.view(np.int64).tolist() for each in found]))
"""


def test_kernels_without_the_compiler_give_the_same():
    found = []
    for disabled in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", INTERPRETED],
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert max(np.array(found[0][0]).view(np.float64)[0, 0]) > 20
