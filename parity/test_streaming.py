"""Bars that come piece by piece give what they give at once, bit for bit, however they are cut.

The cases are those of the engines: every strategy, every rule, ranges and clocks. What a piece is
cut by ends up nowhere in a result.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backtest_py as bt
from backtest_py.errors import BacktestWarning
from backtest_py.rules import Reason
from backtest_py.strategies.base import get_strategy, strategy_names
from parity import golden, reference
from parity.cases import (
    Case,
    Drawn,
    Market,
    Seeded,
    bar_count,
    make_bars,
    make_settings,
    make_strategy,
    strategy_case,
)
from parity.implementations import ENGINES, run_engine, to_answer, to_bars, to_strategy

SIZES = (1, 7, 1000)
N_CASES = 150
STRATEGIES = [get_strategy(name) for name in strategy_names()]
STREAMED = [strategy for strategy in STRATEGIES if strategy.history() is not None]


def pieces(bars, cuts):
    """Cut bars after so many of them each, again and again."""
    first = number = 0
    while first < len(bars):
        size = cuts[number % len(cuts)]
        yield bars[first : first + size]
        first, number = first + size, number + 1


def streamed(engine, case, bars, cuts):
    """Run a case on pieces of its bars."""
    config = case.config
    span = config.get("range", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        return bt.run_chunked(
            pieces(bars, cuts),
            to_strategy(config["strategy"]),
            bt.ExitRules(**config.get("rules", {})),
            bt.Contract(**config.get("contract", {})),
            metrics=bt.MetricSettings(**config.get("metrics", {})),
            range=(span.get("start") or None, span.get("end") or None),
            engine=engine,
        )


def require_same(whole, parts):
    """Require the same trades, metrics and provenance, bit for bit."""
    assert parts.metrics == whole.metrics  # which compares bytes
    assert list(parts.columns) == list(whole.columns)
    for name, column in whole.columns.items():
        assert parts.columns[name].dtype == column.dtype, name
        assert parts.columns[name].tobytes() == column.tobytes(), name
    assert parts.trades_arrow.equals(whole.trades_arrow)
    assert parts.provenance == whole.provenance
    assert parts.manifest() == whole.manifest()


def drawn_case(choices, n_bars):
    """Return a random case of a strategy."""
    market = Market(choices)
    bars = make_bars(choices, market, n_bars)
    section = make_strategy(choices, market, bars)
    gives_risk = section["name"] == "opening_range_breakout"
    settings = make_settings(choices, market, bars, gives_risk=gives_risk)
    return Case("streamed", bars, {"strategy": section, **settings})


def check(case, cuts):
    """Require of both engines that pieces give what the whole does; return the result."""
    bars = to_bars(case.bars)
    found = []
    for engine in ENGINES:
        whole = run_engine(engine, case, bars)
        parts = [streamed(engine, case, bars, sizes) for sizes in cuts]
        for each in parts:
            require_same(whole, each)
        found.append(parts[0])
    numba, rust = found
    assert numba.metrics == rust.metrics
    for name, column in numba.columns.items():
        assert column.tobytes() == rust.columns[name].tobytes(), name
    return numba


def test_seeded_cases_in_pieces_of_any_size():
    seen: Counter[str] = Counter()
    for number in range(N_CASES):
        choices = Seeded(number * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15)
        case = drawn_case(choices, bar_count(choices, 150))
        cuts = [[choices.between(1, 40) for _ in range(5)], [SIZES[number % 3]]]
        result = check(case, cuts)
        rules = case.config["rules"]
        seen[rules.get("unit", "atr")] += len(result) > 0
        seen[f"atr {rules.get('atr_method', 'wilder')}"] += result.job.rules.needs_atr
        seen["range"] += "range" in case.config and len(result) > 0
        for reason in Reason:
            seen[reason.name] += result.metrics[f"exits_{reason.name}"]
    wanted = {*(reason.name for reason in Reason), "range", "atr", "points", "percent"}
    wanted |= {"strategy", "atr wilder", "atr sma", "atr column"}
    assert wanted <= {name for name, number in seen.items() if number >= 3}, seen


@pytest.mark.parametrize("strategy", STREAMED, ids=lambda strategy: strategy.name)
def test_every_strategy_looks_back_as_far_as_it_says(strategy):
    trades = 0
    for number in range(30):
        trades += len(check(strategy_case(type(strategy), number), [[1], [3, 11]]))
    assert trades >= 3


def test_all_strategies_of_the_package_can_be_streamed():
    assert {strategy.name for strategy in STREAMED} >= {
        "barra_elefante",
        "moving_average_cross",
        "opening_range_breakout",
    }


@given(st.data())
def test_drawn_cases(data):
    case = drawn_case(Drawn(data.draw), data.draw(st.integers(1, 40)))
    cuts = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    check(case, [cuts])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", golden.case_paths(), ids=lambda path: path.name.split(".")[0])
def test_golden_cases(path, engine):
    case = golden.load_case(path)
    bars = to_bars(case.bars)
    asked = Case(case.name, case.bars, case.config)
    whole = run_engine(engine, asked, bars)
    expected: Any = to_answer(reference.Result(case.trades, case.metrics, [], None))
    for size in (37, 1000):
        parts = streamed(engine, asked, bars, [size])
        require_same(whole, parts)
        for name, column in expected.trades.items():
            np.testing.assert_array_equal(parts.columns[name], column, err_msg=name)
        assert golden.metric_faults(case, dict(parts.metrics)) == []


def test_the_whole_market_of_the_golden_cases_bar_by_bar():
    """Chunks of one bar on real data: thousands of edges in one run."""
    path = min(golden.case_paths(), key=lambda path: len(golden.load_case(path).bars.time))
    case = golden.load_case(path)
    check(Case(case.name, case.bars, case.config), [[1]])
