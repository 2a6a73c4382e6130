"""How a sweep works: the same bytes in every way, its progress, its plan, its memory and cost."""

from __future__ import annotations

import math
import random
import time
import tracemalloc

import numpy as np
import pytest
from tests.sweep_rows import falling, same_rows, vectors

import backtest_py as bt
from backtest_py.sweep.compute import evaluator as evaluate
from backtest_py.sweep.compute import shards, sources
from backtest_py.sweep.executors import thread

# markets here are not on every contract's grid of ticks, and some trade on weekends
pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")

LEVELS = ("baseline", "avx2", "avx512")
GRID = {
    "strategy.min_range_mult": [0.5, 1.0, 1.5],
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "strategy.lookback": [3, 5, 8, 13, 20],
    "rules.target": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "strategy.confirm_breakout": [False, True],
    "contract.slippage_ticks": [0.0, 1.0],
}
FILES = {"where": "rules.target >= rules.stop", "scenarios": True, "gate": None}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=20)


# however it is computed


@pytest.fixture
def small_shards(monkeypatch):
    """Cut a grid into many shards, as if it were a large one."""
    monkeypatch.setattr(shards, "MAX_ROWS", 120)
    monkeypatch.setattr(shards, "MAX_EXITS", 20)
    monkeypatch.setattr(shards, "MAX_SAMPLES", 16)


def files_of(path):
    return {file.name: file.read_bytes() for file in sorted((path / "results").iterdir())}


@pytest.fixture
def swept(bars, engine, small_shards, tmp_path):
    """Files of the sweep that others must equal."""
    result = bt.sweep(bars, grid=GRID, engine=engine, out=tmp_path / "plain", threads=1, **FILES)
    files = files_of(tmp_path / "plain")
    assert len(files) > 12
    assert len(result) == result.grid.count() == 1_260
    return files


def many_ways(bars, tmp_path, engine, axes, **options):
    """Sweep in every way that must not matter, and yield how with the files."""
    ways = {
        "two threads": {"threads": 2},
        "all threads": {"threads": 0},
        "little memory": {"max_memory": 9_000_000},
        "one process": {"processes": 1},
        "two processes": {"processes": 2},
    }
    for name, how in ways.items():
        bt.sweep(bars, grid=axes, engine=engine, out=tmp_path / name, **{**options, **how})
        yield name, files_of(tmp_path / name)


def test_the_same_bytes_in_every_way(bars, engine, swept, tmp_path, monkeypatch):
    for name, files in many_ways(bars, tmp_path, engine, GRID, **FILES):
        assert files == swept, name
    for name, attribute, value in (
        ("a plan for each shard", "MAX_COMMON", 0),
        ("few sources at a time", "AT_LEAST", 2),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sources, attribute, value)
            patch.setattr(sources.SignalSources, "_at_once", lambda self, members: 2)
            bt.sweep(bars, grid=GRID, engine=engine, out=tmp_path / name, **FILES)
        assert files_of(tmp_path / name) == swept, name


def test_combinations_apart_give_the_same_bytes(bars, engine, swept, tmp_path, monkeypatch):
    calls = []
    each = evaluate.Evaluator._each
    monkeypatch.setattr(
        evaluate.Evaluator,
        "_each",
        lambda self, rows, *given: calls.append(len(rows)) or each(self, rows, *given),
    )
    monkeypatch.setattr(evaluate, "APART_COST", 0.0)
    bt.sweep(bars, grid=GRID, engine=engine, out=tmp_path / "apart", **FILES)
    assert files_of(tmp_path / "apart") == swept
    assert sum(calls) > 1_260


def test_few_sets_of_dense_signals_are_computed_apart(bars, engine, monkeypatch):
    def each_bar(bars):
        return np.ones(len(bars), np.int8)

    loads = []
    load = evaluate.Evaluator._load
    monkeypatch.setattr(
        evaluate.Evaluator, "_load", lambda self, *given: loads.append(1) or load(self, *given)
    )
    axes = {"rules.stop": {"start": 1.0, "stop": 5.0, "step": 0.1}, "rules.target": [4.0, 6.0]}
    apart = bt.sweep(bars, each_bar, axes, engine=engine).table()
    assert not loads
    monkeypatch.setattr(evaluate, "APART_COST", math.inf)
    assert bt.sweep(bars, each_bar, axes, engine=engine).table().equals(apart)
    assert loads


def test_boxes_of_which_nothing_is_left_are_empty_apart_too(bars, engine, small_shards, tmp_path):
    def each_bar(bars):
        return np.ones(len(bars), np.int8)

    axes = {
        "rules.stop": {"start": 0.5, "stop": 5.0, "step": 0.5},
        "rules.target": {"start": 0.1, "stop": 10.0, "step": 0.1},
    }
    result = bt.sweep(bars, each_bar, axes, where="rules.stop < 3", engine=engine, out=tmp_path)
    assert len(result) == 500
    assert result.replay(499).metrics.total_trades > 0


def test_many_sets_of_long_trades_are_computed_apart(bars, engine):
    axes = {
        "strategy.lookback": {"start": 3, "stop": 12, "step": 1},
        "strategy.min_range_mult": {"start": 0.5, "stop": 1.4, "step": 0.1},
        "rules.stop": {"start": 60.0, "stop": 90.0, "step": 10.0},
    }
    rules = bt.ExitRules(target=0)
    plan = bt.plan_sweep(bars, grid=axes, rules=rules, engine=engine)
    assert plan.apart
    result = bt.sweep(bars, grid=axes, rules=rules, engine=engine)
    assert result.replay(399).metrics.total_trades == result.table()["total_trades"][399].as_py()


@pytest.mark.parametrize("scenarios", [False, True])
def test_combinations_that_share_nothing_are_runs(bars, engine, scenarios):
    seen = []
    axes = {
        "strategy.lookback": {"start": 2, "stop": 21, "step": 1},
        "strategy.confirm_breakout": [False, True],
    }
    rules = bt.ExitRules(stop=0.5, target=0.5, close_time="17:00")
    result = bt.sweep(
        bars, grid=axes, rules=rules, engine=engine, scenarios=scenarios, progress=seen.append
    )
    assert (seen[-1].combos, len(result)) == (40, 40)
    rows = result.table().to_pylist()
    for row in rows:
        metrics = result.replay(row["combo_id"]).metrics
        assert [row[name] for name in metrics] == pytest.approx(list(metrics.values()), 0, 0, True)
    if scenarios:
        assert any(row["sharpe"] != row["sharpe_target_first"] for row in rows)


def test_runs_that_share_nothing_can_be_stopped(bars, engine):
    def stop(progress):
        raise RuntimeError("enough")

    axes = {"strategy.lookback": {"start": 2, "stop": 200, "step": 1}}
    with pytest.raises(RuntimeError, match="enough"):
        bt.sweep(bars, grid=axes, engine=engine, progress=stop)


def test_the_average_true_ranges_count_as_memory(bars, engine):
    axes = {"rules.atr_period": {"start": 2, "stop": 301, "step": 1}}
    with pytest.raises(bt.ConfigError, match="average true ranges"):
        bt.sweep(bars, grid=axes, engine=engine, max_memory=5_000_000)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_mistyped_number_of_workers_is_refused(bars, name):
    with pytest.raises(bt.ConfigError, match=f"{name} = 100,000"):
        bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]}, **{name: 100_000})


def test_a_function_is_not_asked_for_what_the_condition_excludes(bars, engine):
    def cross(bars, *, fast: int = 3, slow: int = 9):
        if fast >= slow:
            raise ValueError(f"fast {fast} >= slow {slow}")
        return np.sign(bars.close - bars.open).astype(np.int8)

    axes = {"strategy.fast": [3, 5, 9], "strategy.slow": [5, 9, 20], "rules.stop": [1.0, 2.0]}
    result = bt.sweep(bars, cross, axes, where="strategy.fast < strategy.slow", engine=engine)
    assert len(result) == 12


def test_shards_may_be_computed_in_any_order(bars, engine, swept, tmp_path, monkeypatch):
    in_order = shards.Shards.in_working_order

    def reverse(self, **options):
        return reversed(list(in_order(self, **options)))

    monkeypatch.setattr(shards.Shards, "in_working_order", reverse)
    bt.sweep(bars, grid=GRID, engine=engine, out=tmp_path / "reversed", **FILES)
    assert files_of(tmp_path / "reversed") == swept


@pytest.mark.parametrize("level", LEVELS)
def test_every_instruction_level_gives_the_same_bytes(
    bars, small_shards, tmp_path, monkeypatch, level
):
    from backtest_py.engines import registry, resolve

    if level not in resolve("rust")[0].build["levels"]:
        pytest.skip(f"this processor has no {level}")
    bt.sweep(bars, grid=GRID, engine="numba", out=tmp_path / "numba", **FILES)
    monkeypatch.setenv("BACKTEST_PY_SIMD", level)
    monkeypatch.setattr(registry, "_loaded", {})
    result = bt.sweep(bars, grid=GRID, engine="rust", out=tmp_path / level, **FILES)
    assert result.manifest["level"] == level
    assert files_of(tmp_path / level) == files_of(tmp_path / "numba")


def test_a_function_in_processes_gives_the_same_bytes(bars, engine, small_shards, tmp_path):
    def own(bars, *, span: int = 3, gap: float = 0.0):
        back = np.roll(bars.close, span)
        side = (bars.close < back * (1.0 - gap)).astype(np.int8)
        side[:span] = 0
        return side

    axes = {
        "strategy.span": [1, 2, 3],
        "rules.stop": {"start": 0.5, "stop": 10.0, "step": 0.5},
        "strategy.gap": [0.0, 0.001],
    }
    for name, how in (("one", {}), ("two", {"processes": 2})):
        bt.sweep(bars, own, axes, engine=engine, out=tmp_path / name, gate=None, **how)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@pytest.mark.parametrize("kind", ["random", "halton"])
def test_samples_give_the_same_bytes_in_every_way(bars, engine, small_shards, tmp_path, kind):
    axes = {
        "strategy.min_range_mult": {"min": 0.5, "max": 2.0},
        "strategy.lookback": {"min": 2, "max": 400},
        "rules.stop": {"min": 0.5, "max": 3.0},
    }
    options = {"sample": bt.Sample(n=100, kind=kind), "scenarios": True}
    bt.sweep(bars, grid=axes, engine=engine, out=tmp_path / "plain", threads=1, **options)
    plain = files_of(tmp_path / "plain")
    assert len(plain) == 7
    for name, files in many_ways(bars, tmp_path, engine, axes, **options):
        assert files == plain, name


def test_in_memory_is_the_same_as_on_disk(bars, engine, small_shards, tmp_path):
    written = bt.sweep(bars, grid=GRID, engine=engine, out=tmp_path / "sweep", **FILES)
    for how in ({}, {"processes": 2}):
        kept = bt.sweep(bars, grid=GRID, engine=engine, **FILES, **how)
        assert kept.table().equals(written.table()) or same_rows(kept, written)
        assert kept.columns == written.columns
        assert kept.manifest["identity"] == written.manifest["identity"]
        assert kept.top(5)["combo_id"].tolist() == written.top(5)["combo_id"].tolist()


def test_replay_is_the_row(bars, engine, tmp_path):
    bars.to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    read = bt.load_bars(tmp_path / "bars.csv")
    span = (bars.session_dates[1], None)
    bt.sweep(
        read,
        grid=GRID,
        engine=engine,
        out=tmp_path / "sweep",
        range=span,
        metrics=bt.MetricSettings(risk_free_rate=0.02),
        where="rules.stop > 1",
        gate=None,
    )
    result = bt.open_sweep(tmp_path / "sweep")
    rows = vectors(result)
    for combo_id in random.Random(1).sample(list(rows), 20):
        again = result.replay(combo_id)
        assert again.engine == engine
        assert again.output.metrics.tobytes() == rows[combo_id].tobytes()
        assert len(again.trades) == again.metrics.total_trades


# progress


@pytest.mark.parametrize("how", [{}, {"processes": 2}, {"out": "sweep"}])
def test_progress_rises_and_ends_at_everything(
    bars, engine, small_shards, tmp_path, monkeypatch, how
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(thread, "POLL_SECONDS", 0.001)
    seen = []
    result = bt.sweep(bars, grid=GRID, engine=engine, progress=seen.append, **FILES, **how)
    combos, done = ([getattr(each, name) for each in seen] for name in ("combos", "shards"))
    assert combos == sorted(combos)
    assert done == sorted(done)
    assert {each.total_combos for each in seen} == {len(result)} == {combos[-1]}
    assert {each.total_shards for each in seen} == {result.manifest["n_shards"]} == {done[-1]}
    assert seen[-1].seconds_left == 0.0
    assert seen[-1].combos_per_second > 0
    assert all(each.seconds >= 0 for each in seen)


def test_progress_of_a_running_shard_is_seen(bars, monkeypatch):
    monkeypatch.setattr(thread, "POLL_SECONDS", 0.001)
    axes = {
        "strategy.min_range_mult": {"start": 0.5, "stop": 3.0, "step": 0.1},
        "strategy.max_shadow_ratio": {"start": 0.1, "stop": 1.0, "step": 0.05},
        "rules.stop": {"start": 0.1, "stop": 6.0, "step": 0.1},
    }
    seen = []
    result = bt.sweep(bars, grid=axes, engine="rust", threads=1, gate=None, progress=seen.append)
    assert result.manifest["n_shards"] == 1
    assert any(0 < each.combos < len(result) for each in seen)


def test_an_error_of_the_callback_stops_the_sweep(bars, engine, small_shards, tmp_path):
    def refuse(_):
        raise RuntimeError("enough")

    for how in ({}, {"processes": 2}):
        out = tmp_path / f"sweep {len(how)}"
        with pytest.raises(RuntimeError, match="enough"):
            bt.sweep(bars, grid=GRID, engine=engine, out=out, progress=refuse, **FILES, **how)
        assert bt.open_sweep(out).manifest["status"] == "interrupted"
        result = bt.sweep(bars, grid=GRID, engine=engine, out=out, resume=True, **FILES)
        assert len(result) == 1_260
        assert result.manifest["status"] == "complete"


# the plan


def test_the_plan_counts_what_is_shared(bars, engine):
    plan = bt.plan_sweep(bars, grid=GRID, where=FILES["where"], engine=engine)
    assert plan.combos == 1_260
    assert plan.signal_sets == 3 * 5 * 2
    assert plan.score_sets == 5 * 2
    assert plan.conditions == {"strategy.min_range_mult": 3}
    assert plan.exits == 6 * 6 * 2
    assert plan.shards == 1
    assert plan.saved == 1_260 / (10 + 72)
    assert plan.candidates > 0
    assert plan.seconds > 0
    assert 0 < plan.memory < 1 << 30
    text = plan.explain()
    assert "1,260 in 1 shard\n" in text
    assert "strategy.min_range_mult (3 values)" in text


def test_the_plan_of_a_sample(bars, engine):
    axes = {"strategy.lookback": {"min": 2, "max": 30}, "rules.stop": {"min": 0.5, "max": 3.0}}
    plan = bt.plan_sweep(bars, grid=axes, sample=bt.Sample(n=5_000), engine=engine)
    assert (plan.combos, plan.exits, plan.shards) == (5_000, 5_000, 3)
    assert plan.score_sets == 29


def test_a_billion_combinations_cost_no_memory(bars):
    thousand = {"start": 0.01, "stop": 10.0, "step": 0.01}
    axes = {"strategy.min_range_mult": thousand, "rules.stop": thousand, "rules.target": thousand}
    tracemalloc.start()
    began = time.perf_counter()
    plan = bt.plan_sweep(bars, grid=axes, where="rules.target > rules.stop", engine="rust")
    took = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.combos == 1_000 * 999 * 1_000 // 2
    assert peak < 100_000_000
    assert took < 5.0


def test_the_memory_limit_is_kept_or_refused(bars, engine, monkeypatch):
    axes = {
        "strategy.gap": [0.0, 0.001, 0.002],
        "rules.stop": {"start": 0.1, "stop": 6.0, "step": 0.1},
    }
    monkeypatch.setattr(evaluate, "APART_COST", math.inf)  # the outcome table is what takes memory
    loads = []
    plain = evaluate.Evaluator._load

    def load(self, plan, exits, batch):
        limits = self.engine.sweep_limits
        loads.append(limits.table_bytes(plan.n_candidates, batch.stop - batch.start))
        return plain(self, plan, exits, batch)

    monkeypatch.setattr(evaluate.Evaluator, "_load", load)
    whole = bt.sweep(bars, falling, axes, engine=engine, blocks=0)
    assert len(loads) == 1
    limit = 1_200_000
    parts = bt.sweep(bars, falling, axes, engine=engine, max_memory=limit, blocks=0)
    assert len(loads) > 3
    assert loads[0] > limit > max(loads[1:])
    assert same_rows(whole, parts)
    for too_little in (1, 100_000, 500_000):
        with pytest.raises(bt.ConfigError, match="max_memory = "):
            bt.sweep(bars, falling, axes, engine=engine, max_memory=too_little)
        with pytest.raises(bt.ConfigError, match="max_memory = "):
            bt.plan_sweep(bars, falling, axes, engine=engine, max_memory=too_little)


def test_one_combination_costs_little_more_than_a_run():
    bars = bt.synthetic_bars(n_days=1_285)

    def fastest(work):
        durations = []
        for _ in range(15):
            began = time.perf_counter()
            work()
            durations.append(time.perf_counter() - began)
        return min(durations)

    run = fastest(lambda: bt.run(bars, "barra_elefante", bt.ExitRules(stop=2.0), engine="rust"))
    sweep = fastest(lambda: bt.sweep(bars, grid={"rules.stop": [2.0]}, engine="rust"))
    assert sweep < 2.0 * run + 0.001
