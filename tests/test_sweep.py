"""The sweep: every row is the single run of the same engine, bit for bit, however it was computed.

Random grids of every strategy on generated bars and, where ``BACKTEST_PY_SHARED`` names the folder
that holds them, on real ones.
"""

from __future__ import annotations

import math
import os
import random
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.data import load_bars
from backtest_py.records import METRICS
from backtest_py.run import as_strategy
from backtest_py.sweep import evaluate, shards, sources, work
from backtest_py.sweep.sample import build_grid
from backtest_py.sweep.tables import scenario_column

# markets here are not on every contract's grid of ticks, and some trade on weekends
pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
REAL = {
    "index": ("WIN_M5_2023H1.csv", 3_000),
    "coin": ("BTCUSDT_30m_2021-2023H1.parquet", 3_000),
}
MARKETS = ("session", "round the clock", *(REAL if SHARED else ()))
LEVELS = ("baseline", "avx2", "avx512")


def falling(bars, *, span: int = 3, gap: float = 0.0):
    """Buy below the close of some bars ago, sell above it; the distance is the risk."""
    back = np.full(len(bars), np.nan)
    back[span:] = bars.close[:-span]
    below = bars.close < back * (1.0 - gap)
    above = bars.close > back * (1.0 + gap)
    risk = np.abs(bars.close - back)
    risk[::7] = np.nan
    return below.astype(np.int8) - above.astype(np.int8), risk


STRATEGIES = {
    "barra_elefante": {
        "strategy.min_range_mult": [0.5, 1.0, 1.5, 2.0],
        "strategy.min_volume_mult": [0.0, 0.5, 1.0],
        "strategy.max_shadow_ratio": [0.2, 0.5, 0.8, 1.0],
        "strategy.lookback": [2, 5, 10, 20],
        "strategy.entry_start": ["09:00", "10:00", "11:30"],
        "strategy.entry_end": ["11:00", "14:00", "23:59"],
        "strategy.confirm_breakout": [False, True],
    },
    "moving_average_cross": {
        "strategy.fast": [2, 3, 5, 8],
        "strategy.slow": [4, 8, 13, 30],
        "strategy.entry_start": ["00:00", "10:00"],
        "strategy.entry_end": ["09:30", "12:00", "23:59"],
    },
    "opening_range_breakout": {
        "strategy.range_minutes": [15, 30, 60],
        "strategy.entry_end": ["11:00", "15:00", "23:59"],
    },
    "falling": {"strategy.span": [1, 3, 6, 10], "strategy.gap": [0.0, 0.0005, 0.002]},
}
RULES = {
    "rules.stop": [0.0, 0.5, 1.0, 2.0],
    "rules.target": [0.0, 1.0, 3.0],
    "rules.target_r": [0.0, 1.0, 2.5],
    "rules.trail": [0.0, 1.0],
    "rules.unit": ["atr", "points", "percent"],
    "rules.atr_period": [5, 14],
    "rules.atr_method": ["wilder", "sma"],
    "rules.round_to_tick": [False, True],
    "rules.target_through_ticks": [0.0, 1.0],
    "rules.close_time": ["", "12:15", "17:00"],
    "rules.max_bars": [0, 3, 20],
    "rules.intrabar": ["stop_first", "target_first"],
}
CONTRACT = {
    "contract.tick_size": [5.0, 1.0],
    "contract.quantity": [1.0, 3.0],
    "contract.fee_per_side": [0.0, 0.25],
    "contract.fee_rate": [0.0, 1e-4],
    "contract.slippage_ticks": [0.0, 1.0],
    "contract.initial_capital": [200.0, 10_000.0],
}
WHERES = (
    "",
    "",
    "rules.stop >= 1 or rules.target > 0",
    "contract.quantity < 2 and not rules.trail > rules.stop",
)
GIVES_RISK = ("opening_range_breakout", "falling")
MAX_ROWS = 250


def named(strategy):
    return falling if strategy == "falling" else strategy


def random_grid(rng, strategy):
    """Draw axes of every section in any order, and a condition that leaves something to run."""
    while True:
        axes = {}
        for section, at_least, at_most in (
            (STRATEGIES[strategy], 1, 4),
            (RULES, 1, 4),
            (CONTRACT, 0, 2),
        ):
            count = min(len(section), rng.randint(at_least, at_most))
            for key in rng.sample(sorted(section), count):
                values = list(section[key])
                if key == "rules.unit" and strategy in GIVES_RISK:
                    values.append("strategy")
                axes[key] = rng.sample(values, rng.randint(1, len(values)))
        keys = rng.sample(sorted(axes), len(axes))
        axes, where = {key: axes[key] for key in keys}, rng.choice(WHERES)
        if 8 <= math.prod(map(len, axes.values())) <= MAX_ROWS and is_swept(strategy, axes, where):
            return axes, where


def is_swept(strategy, axes, where):
    settings = (as_strategy(named(strategy)), bt.ExitRules(), bt.Contract())
    try:
        build_grid(*settings, axes, where=where, invalid="skip")
    except bt.ConfigError:
        return False
    return True


@pytest.fixture(scope="module")
def markets():
    found = {
        "session": bt.synthetic_bars(n_days=20),
        "round the clock": bt.synthetic_bars(
            n_days=40, bars_per_day=48, first_minute=0, interval_minutes=30, seed=2
        ),
    }
    if SHARED:
        for name, (file, n_bars) in REAL.items():
            found[name] = load_bars(Path(SHARED) / "data" / file)[:n_bars]
    return found


@pytest.fixture(scope="module")
def bars(markets):
    return markets["session"]


def vectors(result, scenario=""):
    """Return the metrics of every row as engines give them, by combo_id."""
    names = [scenario_column(name, scenario) if scenario else name for name in METRICS]
    table = result.table(["combo_id", *names])
    columns = [table[name].to_numpy().astype(np.float64) for name in names]
    return dict(zip(table["combo_id"].to_pylist(), np.array(columns).T, strict=True))


def assert_rows_are_runs(result, bars, engine, **options):
    rows = vectors(result)
    for combo_id, found in rows.items():
        strategy, rules, contract = result.grid.settings(combo_id)
        single = bt.run(bars, strategy, rules, contract, engine=engine, **options)
        expected = single.output.metrics
        assert found.tobytes() == expected.tobytes(), (
            result.grid.values(combo_id),
            [name for name, a, b in zip(METRICS, found, expected, strict=True) if a != b],
        )
    assert rows


def same_rows(left, right):
    """Tell whether two sweeps hold the same bits."""
    a, b = vectors(left), vectors(right)
    return list(a) == list(b) and all(a[key].tobytes() == b[key].tobytes() for key in a)


# every row is a run


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("market", MARKETS)
def test_every_combination_of_random_grids_is_the_run_of_the_same_engine(
    markets, market, strategy, engine
):
    bars = markets[market]
    rng = random.Random(f"{market} {strategy}")
    metrics = bt.MetricSettings(risk_free_rate=0.03, periods_per_year=365)
    for span in (None, (bars.session_dates[2], bars.session_dates[-2]), (None, None)):
        axes, where = random_grid(rng, strategy)
        options = {"metrics": metrics, "range": span, "engine": engine}
        result = bt.sweep(bars, named(strategy), axes, where=where, invalid="skip", **options)
        assert_rows_are_runs(result, bars, **options)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_numba_and_rust_give_the_same_tables(bars, strategy):
    rng = random.Random(strategy)
    axes, where = random_grid(rng, strategy)
    options = {"where": where, "invalid": "skip", "scenarios": "rules.intrabar" not in axes}
    numba, rust = (
        bt.sweep(bars, named(strategy), axes, engine=name, **options) for name in ("numba", "rust")
    )
    assert numba.table().schema == rust.table().schema
    assert same_rows(numba, rust)


@pytest.mark.parametrize("kind", ["random", "halton"])
def test_samples_of_a_grid(bars, engine, kind):
    axes = {
        **STRATEGIES["barra_elefante"],
        "rules.stop": RULES["rules.stop"],
        "rules.target_r": RULES["rules.target_r"],
        "contract.quantity": [1.0, 2.0],
    }
    sample = bt.Sample(kind=kind, n=60, seed=3)
    result = bt.sweep(bars, grid=axes, sample=sample, invalid="skip", engine=engine)
    assert len(result) == 60
    assert_rows_are_runs(result, bars, engine)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_samples_of_continuous_ranges(markets, engine, strategy):
    bars = markets["round the clock"]
    spans = {
        "barra_elefante": {
            "strategy.min_range_mult": {"min": 0.3, "max": 2.0},
            "strategy.lookback": {"min": 2, "max": 40},
        },
        "moving_average_cross": {
            "strategy.fast": {"min": 2, "max": 20},
            "strategy.slow": {"min": 5, "max": 60},
        },
        "opening_range_breakout": {"strategy.range_minutes": {"min": 10, "max": 200}},
        "falling": {"strategy.gap": {"min": 0.0, "max": 0.01}, "strategy.span": [1, 2, 5]},
    }
    axes = {
        **spans[strategy],
        "rules.stop": {"min": 0.5, "max": 4.0},
        "rules.atr_period": {"min": 2, "max": 30},
        "contract.slippage_ticks": {"min": 0.0, "max": 2.0},
    }
    result = bt.sweep(
        bars,
        named(strategy),
        axes,
        sample=bt.Sample(n=50, seed=5),
        where="contract.slippage_ticks < rules.stop",
        invalid="skip",
        engine=engine,
    )
    assert len(result) == 50
    assert_rows_are_runs(result, bars, engine)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("strategy", ["barra_elefante", "falling"])
def test_both_scenarios_are_the_runs_with_each(markets, market, strategy, engine):
    bars = markets[market]
    axes = {
        next(iter(STRATEGIES[strategy])): next(iter(STRATEGIES[strategy].values())),
        "rules.stop": [0.1, 0.3],
        "rules.target": [0.1, 0.4],
    }
    ambiguous = 0
    for intrabar, other in (("stop_first", "target_first"), ("target_first", "stop_first")):
        rules = bt.ExitRules(intrabar=intrabar)
        result = bt.sweep(bars, named(strategy), axes, rules=rules, scenarios=True, engine=engine)
        assert_rows_are_runs(result, bars, engine)
        alone = bt.sweep(
            bars, named(strategy), axes, rules=bt.ExitRules(intrabar=other), engine=engine
        )
        both, single = vectors(result, other), vectors(alone)
        assert all(both[key].tobytes() == single[key].tobytes() for key in single)
        ambiguous += sum(row[METRICS.index("ambiguous_trades")] for row in single.values())
        worst = result.top(1, by="total_return", worst_case=True)["combo_id"].iloc[0]
        least = {key: min(vectors(result)[key][6], both[key][6]) for key in single}
        assert least[worst] == max(least.values())
    assert ambiguous > 0


@pytest.mark.parametrize("n_stops", [0, 1, 2, 3])
@pytest.mark.parametrize("strategy", ["barra_elefante", "falling"])
def test_grids_of_hardly_any_combination(bars, engine, n_stops, strategy):
    axes = {"rules.stop": [1.0, 2.0, 3.0][:n_stops]} if n_stops else {}
    for options in ({}, {"scenarios": True}):
        result = bt.sweep(bars, named(strategy), axes, engine=engine, **options)
        assert len(result) == max(1, n_stops)
        assert_rows_are_runs(result, bars, engine)
    if n_stops > 1:
        most = bt.sweep(bars, named(strategy), axes, where="rules.stop > 1", engine=engine)
        assert list(vectors(most)) == list(range(1, n_stops))
        assert_rows_are_runs(most, bars, engine)
    if n_stops:
        sampled = bt.sweep(bars, named(strategy), axes, sample=bt.Sample(n=1), engine=engine)
        assert_rows_are_runs(sampled, bars, engine)


def test_a_sparse_where_is_exact(bars, engine):
    axes = {
        "rules.stop": {"start": 0.5, "stop": 4.0, "step": 0.5},
        "strategy.min_range_mult": {"start": 0.5, "stop": 4.0, "step": 0.5},
        "rules.max_bars": [5, 50],
    }
    result = bt.sweep(bars, grid=axes, where="rules.stop == strategy.min_range_mult", engine=engine)
    assert [result.values(int(i))["rules.stop"] for i in vectors(result)] == [
        stop for stop in np.arange(0.5, 4.5, 0.5) for _ in range(2)
    ]
    assert_rows_are_runs(result, bars, engine)


def test_the_base_is_what_does_not_vary(bars, engine):
    result = bt.sweep(
        bars,
        bt.MovingAverageCross(fast=4, slow=9, entry_end="15:00"),
        {"rules.stop": [1.0, 1.5, 2.0], "rules.target_r": [0.0, 2.0]},
        rules=bt.ExitRules(close_time="16:00"),
        contract=bt.Contract(tick_size=5, fee_per_side=1.0),
        engine=engine,
    )
    assert_rows_are_runs(result, bars, engine)
    strategy, rules, contract = result.grid.settings(3)
    assert (strategy.fast, rules.close_time, rules.target, contract.fee_per_side) == (
        4,
        "16:00",
        0.0,
        1.0,
    )


def test_a_function_is_called_once_for_each_of_its_sets(bars, engine):
    calls = []

    def counted(bars, *, span: int = 3, gap: float = 0.0):
        calls.append((span, gap))
        return falling(bars, span=span, gap=gap)[0]

    axes = {
        "rules.stop": [1.0, 2.0, 3.0],
        "strategy.span": [1, 2, 3, 4],
        "contract.quantity": [1.0, 2.0],
        "strategy.gap": [0.0, 0.001],
    }
    result = bt.sweep(bars, counted, axes, engine=engine)
    assert len(result) == 48
    assert len(calls) == 1 + 8  # one before anything varies
    assert len(set(calls[1:])) == 8


# however it is computed


GRID = {
    "strategy.min_range_mult": [0.5, 1.0, 1.5],
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "strategy.lookback": [3, 5, 8, 13, 20],
    "rules.target": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "strategy.confirm_breakout": [False, True],
    "contract.slippage_ticks": [0.0, 1.0],
}
FILES = {"where": "rules.target >= rules.stop", "scenarios": True, "gate": None}


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
            patch.setattr(sources.Sources, "_at_once", lambda self, members: 2)
            bt.sweep(bars, grid=GRID, engine=engine, out=tmp_path / name, **FILES)
        assert files_of(tmp_path / name) == swept, name


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
    monkeypatch.setattr(work, "POLL_SECONDS", 0.001)
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
    monkeypatch.setattr(work, "POLL_SECONDS", 0.001)
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
    loads = []
    plain = evaluate.Evaluator._load

    def load(self, plan, exits, batch):
        loads.append((batch.stop - batch.start) * plan.n_candidates * evaluate.CELL_BYTES)
        return plain(self, plan, exits, batch)

    monkeypatch.setattr(evaluate.Evaluator, "_load", load)
    whole = bt.sweep(bars, falling, axes, engine=engine)
    assert len(loads) == 1
    limit = 1_200_000
    parts = bt.sweep(bars, falling, axes, engine=engine, max_memory=limit)
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


# what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": -1}, "threads = -1 is not allowed"),
        ({"threads": 1.5}, "threads = 1.5 is not allowed"),
        ({"processes": True}, "processes = True is not allowed"),
        ({"max_memory": 0}, "max_memory = 0 is not allowed"),
        ({"engine": "fortran"}, "unknown engine 'fortran'"),
        ({"rules": {"stop": 2}}, "rules is dict, not bt.ExitRules"),
        ({"contract": bt.ExitRules()}, "contract is ExitRules, not bt.Contract"),
        ({"metrics": 252}, "metrics is int, not bt.MetricSettings"),
        ({"strategy": 5}, "strategy = 5 is not allowed"),
        ({"grid": [1, 2]}, "grid = "),
        ({"grid": {"rules.stopp": [1]}}, "did you mean 'rules.stop'"),
        ({"where": "rules.stop"}, "where"),
        ({"invalid": "ignore"}, "invalid = 'ignore'"),
        ({"range": ("2030-01-01", None)}, "range"),
        ({"scenarios": True, "grid": {"rules.intrabar": ["stop_first"]}}, "rules.intrabar"),
        ({"grid": {"rules.unit": ["points", "strategy"]}}, "gives no risk"),
        (
            {"grid": {"rules.unit": ["points", "atr"], "rules.atr_method": ["sma", "column"]}},
            'no column "atr"',
        ),
        ({"grid": {"rules.stop": [0.0, 1.0], "rules.target_r": [1.0, 2.0]}}, "needs a stop"),
    ],
)
def test_wrong_arguments_are_refused(bars, options, words):
    asked = {"grid": {"rules.stop": [1.0, 2.0]}, **options}
    with pytest.raises(bt.ConfigError) as caught:
        bt.sweep(bars, **asked)
    assert words in str(caught.value)


def test_bars_without_volume_are_refused_where_the_grid_looks_at_it(bars):
    silent = bt.Bars(bars.time, bars.open, bars.high, bars.low, bars.close)
    grid = {"strategy.min_volume_mult": [0.0, 1.0], "strategy.lookback": [5, 10]}
    with pytest.raises(bt.ConfigError, match="no volume"):
        bt.sweep(silent, grid=grid)
    quiet = bt.sweep(silent, grid=grid, where="strategy.min_volume_mult == 0")
    assert len(quiet) == 2


def test_a_sweep_too_large_for_memory_needs_a_directory(bars):
    axes = {"rules.stop": {"start": 0.001, "stop": 10.0, "step": 0.001}, "rules.max_bars": [1, 2]}
    with pytest.raises(bt.ConfigError, match="give out, a directory"):
        bt.sweep(bars, grid=axes, gate=None, max_memory=6_000_000)


def test_importing_the_package_imports_no_sweep():
    import subprocess
    import sys

    code = (
        "import sys, backtest_py as bt; "
        "print([m for m in sys.modules if m.startswith('backtest_py.sweep.')], "
        "callable(bt.sweep), bt.Sample.__name__, bt.Progress.__name__, bt.Config is not None, "
        "callable(bt.sweep))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[] True Sample Progress True True"
