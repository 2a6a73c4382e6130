"""The sweep: every row is the single run of the same engine, bit for bit; and what is refused.

Random grids of every strategy on generated bars and, where ``BACKTEST_PY_SHARED`` names the folder
that holds them, on real ones.
"""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
from tests.sweep_rows import falling, same_rows, vectors

import backtest_py as bt
from backtest_py.backtest.run import as_strategy
from backtest_py.data import load_bars
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.space.sample import build_grid

# markets here are not on every contract's grid of ticks, and some trade on weekends
pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
REAL = {
    "index": ("WIN_M5_2023H1.csv", 3_000),
    "coin": ("BTCUSDT_30m_2021-2023H1.parquet", 3_000),
}
MARKETS = ("session", "round the clock", *(REAL if SHARED else ()))
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
    grid["strategy.min_volume_mult"] = [0.0, 0.5, 1.0]
    with pytest.raises(bt.ConfigError, match="no volume"):
        bt.sweep(silent, grid=grid, where="strategy.min_volume_mult < 0.9")


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


def test_resume_needs_a_directory():
    with pytest.raises(bt.ConfigError, match="give out as well"):
        bt.sweep(bt.synthetic_bars(n_days=5), grid={"rules.stop": [1.0, 2.0]}, resume=True)
