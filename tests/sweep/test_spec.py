"""A sweep's question: several ranges and blocks of days, and how functions take their settings."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.plan_questions import assert_same_bits, blocks_by_hand
from tests.sweep_rows import falling

import backtest_py as bt
from backtest_py.engines import resolve
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import Settings
from backtest_py.rules import Intrabar
from backtest_py.sweep.compute import evaluator as evaluate
from backtest_py.sweep.compute.evaluator import Evaluator, possible_paths
from backtest_py.sweep.compute.evaluator import Path as Way
from backtest_py.sweep.compute.shards import Shards
from backtest_py.sweep.spec import SweepSpec

SOURCE = Path(__file__).resolve().parents[2] / "src" / "backtest_py"
RULES = bt.ExitRules(close_time="17:00")
AXES = {
    "strategy.lookback": [3, 5, 8],
    "strategy.min_range_mult": [0.5, 1.0, 1.5],
    "rules.stop": [0.5, 1.0, 2.0],
    "rules.target": [1.0, 3.0],
    "contract.initial_capital": [500.0, 10_000.0],
}
QUESTIONS = {
    "whole boxes": {"grid": AXES},
    "parts of boxes": {"grid": AXES, "where": "rules.target > rules.stop"},
    "a sample": {"grid": AXES, "sample": bt.Sample(n=20, seed=3)},
    "nothing shared": {"grid": {"strategy.lookback": [3, 5, 8, 13]}},
    "hardly any": {"grid": {"rules.stop": [1.0, 2.0]}},
    "a function": {
        "strategy": falling,
        "grid": {"strategy.span": [1, 3, 5], "rules.stop": [0.5, 1.0], "rules.unit": ["strategy"]},
    },
}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=16)


@pytest.fixture
def runner(engine):
    return resolve(engine)[0]


def single_runs(spec, runner, combo_id, n_blocks):
    """Return what single runs, each restricted to a range, and their trades say."""
    strategy, rules, contract = spec.grid.settings(combo_id)
    found = []
    for scenario in range(spec.n_scenarios):
        intrabar = Intrabar(abs(scenario - Intrabar[rules.intrabar])).name
        for first, last in spec.ranges:
            span = tuple(
                spec.bars.time_text(bar) if bar < len(spec.bars) else None for bar in (first, last)
            )
            output = bt.run(
                spec.bars,
                strategy,
                replace(rules, intrabar=intrabar),
                contract,
                range=span,
                engine=runner.name,
            ).output
            numbers = [output.metrics]
            if n_blocks > 0:
                capital = contract.initial_capital
                numbers.append(blocks_by_hand(spec.bars, output, capital, first, last, n_blocks))
            found.append(np.concatenate(numbers))
    return np.array(found).reshape(spec.n_scenarios, len(spec.ranges), -1)


@pytest.mark.parametrize("way", ["as chosen", "apart"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_every_range_is_a_single_run_and_every_block_its_trades(
    bars, runner, monkeypatch, name, way
):
    monkeypatch.setattr(evaluate, "APART_COST", 0.0 if way == "apart" else np.inf)
    days = bars.session_dates
    spans = [(None, None), (days[2], days[9]), (days[5], None), (days[2], days[9])]
    question = {"rules": RULES, "scenarios": True, **QUESTIONS[name]}
    plain = SweepSpec.of(bars, **question)
    for ranges, n_blocks in ((spans, 3), (spans, 0), (spans[1:2], 0), (spans[:1], 4)):
        spec = plain.over(ranges, n_blocks=n_blocks)
        evaluator = Evaluator(spec, runner)
        seen = 0
        for shard in Shards(spec.grid).in_working_order():
            found = evaluator.numbers(shard)
            shape = (2, len(ranges), len(METRICS), len(found.rows.combo_ids))
            assert found.metrics.shape == shape
            assert found.blocks.shape == (*shape[:2], n_blocks, 3, shape[3])
            for row, combo_id in enumerate(found.rows.combo_ids.tolist()):
                expected = single_runs(spec, runner, combo_id, n_blocks)
                assert_same_bits(found.values[..., row], expected)
                seen += 1
        assert seen == spec.n_combos


def test_ranges_and_blocks_that_make_no_sense_are_refused(bars):
    spec = SweepSpec.of(bars, grid={"rules.stop": [1.0, 2.0, 3.0]})
    with pytest.raises(bt.ConfigError, match="at least one range"):
        spec.over([])
    for n_blocks in (-1, 1.5, True):
        with pytest.raises(bt.ConfigError, match="n_blocks = "):
            spec.over([(None, None)], n_blocks=n_blocks)
    with pytest.raises(bt.EngineError, match="n_blocks = 99 is not allowed"):
        Evaluator(spec.over([(None, None)], n_blocks=99), resolve("rust")[0]).numbers(
            Shards(spec.grid)[0]
        )


def test_ranges_and_blocks_belong_to_the_question(bars):
    spec = SweepSpec.of(bars, grid=AXES)
    others = [spec.over([(None, None)] * 2), spec.over([(None, None)], n_blocks=2)]
    assert "ranges" not in spec.to_mapping()
    assert len({repr(each.to_mapping()) for each in (spec, *others)}) == 3


def test_a_sweep_of_a_grid_has_few_ways(bars):
    ways = {name: possible_paths(SweepSpec.of(bars, **q)) for name, q in QUESTIONS.items()}
    tables = (Way.TABLES, Way.APART)
    assert ways == {
        "whole boxes": tables,
        "parts of boxes": tables,
        "a sample": (Way.APART,),
        "nothing shared": (Way.DIRECT,),
        "hardly any": (Way.DIRECT,),
        "a function": tables,
    }


# how functions take their settings


def test_the_plan_takes_what_the_sweep_takes_and_no_other_name(bars):
    asked = {
        "where": "rules.target > rules.stop",
        "invalid": "skip",
        "sample": bt.Sample(n=9),
        "rules": RULES,
        "contract": bt.Contract(tick_size=5),
        "metrics": bt.MetricSettings(risk_free_rate=0.02),
        "range": (bars.session_dates[2], None),
        "engine": "numba",
        "threads": 1,
        "max_memory": 1 << 28,
        "scenarios": True,
    }
    assert bt.plan_sweep(bars, "barra_elefante", AXES, **asked).combos == 9
    assert len(bt.sweep(bars, "barra_elefante", AXES, **asked)) == 9
    with pytest.raises(bt.ArgumentError, match="did you mean 'sample'"):
        bt.plan_sweep(bars, grid=AXES, samples=bt.Sample(n=9))
    with pytest.raises(TypeError):
        bt.plan_sweep(bars, grid=AXES, out="x")


def public_functions():
    """Yield every function of the public API, and the public methods of its classes."""
    for name in bt.__all__:
        value = getattr(bt, name)
        if not inspect.isclass(value):
            yield name, value
            continue
        for method in vars(value):
            if not method.startswith("_") and callable(getattr(value, method)):
                yield f"{name}.{method}", getattr(value, method)
        if not issubclass(value, (Settings, Exception)):  # their fields are declared, one line each
            yield name, value


@pytest.mark.parametrize(("name", "function"), list(public_functions()))
def test_no_public_function_takes_more_than_twelve_parameters(name, function):
    documented = {"sweep": 20, "run": 7, "run_signals": 8, "Config": 14}  # a field a section
    assert len(inspect.signature(function).parameters) <= documented.get(name, 12)


def test_nobody_asks_for_the_class_of_a_strategy_or_a_grid():
    classes = {"FunctionStrategy", "SampledGrid", "Grid"}
    factories = {"strategies/user.py", "sweep/space/grid.py", "sweep/space/sample.py"}
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or place in factories:
                continue
            names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if ast.unparse(node.func) in {"isinstance", "issubclass"} and names & classes:
                found.append(f"{place}:{node.lineno}")
    assert found == []
