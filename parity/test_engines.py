"""Golden cases on all implementations; generated cases on which all must agree bit for bit."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given

import backtest_py as bt
from backtest_py._engine_rust import signals_of_chunk
from backtest_py.engines import resolve
from backtest_py.engines.numba_engine.types import bar_columns
from backtest_py.engines.rust_engine import RustEngine
from backtest_py.parameters import parameter
from backtest_py.parity import require_same
from backtest_py.strategies.base import Strategy, get_strategy, strategy_names
from parity import golden, reference
from parity.cases import Case, drawn_cases, seeded_case, strategy_case
from parity.checks import TALLY, check_case, check_golden
from parity.implementations import IMPLEMENTATIONS, run_engine, to_bars, to_strategy

N_CASES = 2000
BLOCK = 200
N_STRATEGY_CASES = 100
# all that an engine computes; a function of the user's own brings its signals
STRATEGIES = [
    type(strategy)
    for strategy in map(get_strategy, strategy_names())
    if strategy.kernel is not None
]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("path", golden.case_paths(), ids=lambda path: path.name.split(".")[0])
def test_golden_case(path, implementation):
    check_golden(golden.load_case(path), implementation).require()


def test_golden_cases_are_there():
    committed = [path for path in golden.case_paths() if path.parent == golden.COMMITTED]
    assert len(committed) >= 12
    if golden.shared_folder() is not None:
        assert len(golden.case_paths()) > len(committed)


@pytest.mark.parametrize("first", range(0, N_CASES, BLOCK))
def test_seeded_cases(first):
    for number in range(first, first + BLOCK):
        check_case(seeded_case(number)).require()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_random_parameters_of_every_registered_strategy(strategy):
    before = TALLY["cases with trades"]
    for number in range(N_STRATEGY_CASES):
        check_case(strategy_case(strategy, number)).require()
    assert TALLY["cases with trades"] - before >= N_STRATEGY_CASES // 10


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_any_split_of_the_bars_gives_the_same_signals(strategy, size):
    for number in range(20):
        case = strategy_case(strategy, number)
        bars, asked = to_bars(case.bars), to_strategy(case.config["strategy"])
        whole = resolve("numba")[0].signals(bars, asked)
        values = np.array(asked.values())
        for start in range(0, len(bars), size):
            part = slice(start, min(start + size, len(bars)))
            side = np.full(part.stop - start, 9, np.int8)
            risk = np.full(len(side) if strategy.gives_risk else 0, 9.0)
            strategy.kernel(bar_columns(bars), values, start, side, risk)
            named = (asked.name, values.tolist())
            rust_side, rust_risk = signals_of_chunk(bars, named, start, part.stop)
            for found in (side, rust_side):
                np.testing.assert_array_equal(found, whole.side[part])
            if strategy.gives_risk:
                for found in (risk, rust_risk):
                    np.testing.assert_array_equal(found, whole.risk[part])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EveryKind(Strategy):
    """A strategy with a parameter of every kind, and a rule between two of them."""

    name: ClassVar[str] = "every_kind"

    low: int = parameter(1, "int", "", minimum=1, maximum=100_000)
    high: int = parameter(2, "int", "", minimum=1, maximum=100_000)
    step: float = parameter(0.5, "float", "", minimum=0, above=True)
    share: float = parameter(0.5, "float", "", minimum=0, maximum=1)
    drift: float = parameter(0.0, "float", "")
    count: int = parameter(0, "int", "")
    start: str = parameter("09:00", "clock", "", minimum=1, optional=True)
    fast: bool = parameter(default=False, kind="bool", doc="")
    mean: str = parameter("simple", "choice", "", choices=("simple", "weighted"))

    def validate(self):
        if self.low >= self.high:
            raise bt.ConfigError("low must be below high")


def test_random_parameters_are_legal_and_of_every_kind():
    drawn = [strategy_case(EveryKind, number).config["strategy"]["params"] for number in range(100)]
    for params in drawn:
        EveryKind(**params)
    for name in drawn[0]:
        assert len({params[name] for params in drawn}) >= 2, name
    assert {params["share"] for params in drawn} >= {0, 1, 0.5}, "limits and default"
    assert {params["low"] for params in drawn} >= {1, 2}


@given(drawn_cases())
def test_drawn_cases(case):
    check_case(case).require()


def long_bars():
    """Return more bars than the Rust engine leaves to one thread."""
    bars = bt.synthetic_bars(n_days=310, seed=3)
    names = ("time", "open", "high", "low", "close", "volume")
    return reference.Bars(**{name: getattr(bars, name).tolist() for name in names})


LONG_CASES = (
    {
        "strategy": {"name": "barra_elefante", "params": {"confirm_breakout": True}},
        "rules": {"close_time": "17:00", "trail": 1.5},
    },
    {
        "strategy": {"name": "opening_range_breakout", "params": {"range_minutes": 45}},
        "rules": {"unit": "strategy", "stop": 1.0, "target_r": 1.5},
    },
    {
        "strategy": {"name": "moving_average_cross", "params": {"fast": 7, "slow": 31}},
        "rules": {"atr_method": "sma", "stop": 2.0, "close_time": "17:30"},
    },
)


@pytest.mark.parametrize("config", LONG_CASES, ids=lambda config: config["strategy"]["name"])
def test_long_bars(config):
    contract = {"tick_size": 5.0, "point_value": 0.2, "initial_capital": 1e6}
    bars = long_bars()
    assert len(bars.time) > 32_768
    check_case(Case("long bars", bars, {**config, "contract": contract})).require()


def test_every_instruction_level_gives_the_same_bits():
    engines = [RustEngine(level) for level in RustEngine().build["levels"].split(",")]
    long = [Case("long bars", long_bars(), config) for config in LONG_CASES]
    drawn = [strategy_case(strategy, k) for strategy in STRATEGIES for k in range(20)]
    for case in (*map(seeded_case, range(200)), *drawn, *long):
        result = run_engine("numba", case, to_bars(case.bars))
        for engine in engines:
            job = dataclasses.replace(result.job, bars=to_bars(case.bars))  # nothing remembered
            require_same(result.output, engine.run(job), names=("numba", f"rust {engine.level}"))
            TALLY["cases of single instruction levels"] += 1
