"""Golden cases on all implementations; generated cases on which all must agree bit for bit."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

import backtest_py as bt
from backtest_py.engines.rust_engine import RustEngine
from backtest_py.parity import require_same
from parity import golden, reference
from parity.cases import Case, drawn_cases, seeded_case
from parity.checks import TALLY, check_case, check_golden
from parity.implementations import IMPLEMENTATIONS, run_engine, to_bars

N_CASES = 2000
BLOCK = 200


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
    for case in (*map(seeded_case, range(200)), *long):
        result = run_engine("numba", case, to_bars(case.bars))
        for engine in engines:
            job = dataclasses.replace(result.job, bars=to_bars(case.bars))  # nothing remembered
            require_same(result.output, engine.run(job), names=("numba", f"rust {engine.level}"))
            TALLY["cases of single instruction levels"] += 1
