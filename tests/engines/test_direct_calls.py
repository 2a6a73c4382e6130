"""The extension called directly refuses what would compute nonsense."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.errors import EngineError

BARS = bt.synthetic_bars(n_days=5)
RULES = bt.ExitRules(stop=2.0, target=3.0, unit="points")
BY_ATR = bt.ExitRules(stop=2.0, target=3.0)
BY_RISK = bt.ExitRules(stop=1.0, target=2.0, unit="strategy")
ELEPHANT = ("barra_elefante", list(bt.BarraElefante().values()))
OPENING = ("opening_range_breakout", list(bt.OpeningRangeBreakout().values()))
SIDE = np.zeros(len(BARS), np.int8)
SIDE[10] = 1


def call(rules=RULES, **source):
    return _engine_rust.run_backtest_rust(
        BARS, rules, bt.Contract(), bt.MetricSettings(), 0, len(BARS), **source
    )


def optimize(rules, strategy):
    run = (strategy, None, rules, bt.Contract(), bt.MetricSettings(), 0, len(BARS))
    return _engine_rust.optimize_rust(BARS, [run])


def plan(side=SIDE):
    return _engine_rust.SweepPlan(BARS, signals=[(side, None)])


def with_side(value):
    side = SIDE.copy()
    side[20] = value
    return side


def with_values(**values):
    """Return rules that give other values to an engine than they could be made with."""
    names = [spec.name for spec in RULES.parameters()]
    return SimpleNamespace(
        values=lambda: tuple((dict(zip(names, RULES.values(), strict=True)) | values).values())
    )


def test_what_is_meant_runs():
    assert len(call(side=SIDE)[0]["pnl"]) == 1
    call(BY_RISK, strategy=OPENING)
    call(BY_RISK, side=SIDE, risk=np.ones(len(BARS)))
    call(bt.ExitRules(stop=0, target=0), side=SIDE)  # nothing is measured in the absent range
    optimize(RULES, ELEPHANT)


@pytest.mark.parametrize("value", [2, -2, -128, 127])
def test_a_side_that_is_none_is_refused(value):
    for attempt in (lambda: call(side=with_side(value)), lambda: plan(with_side(value))):
        with pytest.raises(EngineError, match=rf"side = {value} .*-1, 0 or 1"):
            attempt()


def test_a_unit_without_its_column_is_refused():
    for attempt in (
        lambda: call(BY_RISK, side=SIDE),
        lambda: call(BY_RISK, strategy=ELEPHANT),
        lambda: optimize(BY_RISK, ELEPHANT),
    ):
        with pytest.raises(EngineError, match="needs the column risk"):
            attempt()
    for attempt in (
        lambda: call(BY_ATR, side=SIDE),
        lambda: optimize(BY_ATR, ELEPHANT),
        lambda: plan().load([(BY_ATR, bt.Contract(), None)]),
    ):
        with pytest.raises(EngineError, match="needs the column atr"):
            attempt()


@pytest.mark.parametrize("code", [-1, 2])
def test_an_unknown_order_within_the_bar_is_refused(code):
    with pytest.raises(EngineError, match=f"intrabar = {code} is not a known code"):
        call(with_values(intrabar=code), side=SIDE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop", float("nan")),
        ("round_to_tick", 2),
        ("close_time", 1440),
        ("close_time", -2),
        ("max_bars", -1),
        ("max_bars", 0.5),
    ],
)
def test_a_setting_that_stands_for_nothing_is_refused(name, value):
    with pytest.raises(EngineError, match=f"{name} = .* is not allowed"):
        call(with_values(**{name: value}), side=SIDE)


def test_settings_of_another_version_are_refused():
    with pytest.raises(EngineError, match=r"Rules has 12 fields here, but 13 values .*rebuild"):
        call(with_values(another=0.0), side=SIDE)


@pytest.mark.parametrize("value", [0.0, -3.0, 2.5, 1e30, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("name", "place", "parameter"),
    [
        ("barra_elefante", 3, "lookback"),
        ("opening_range_breakout", 0, "range_minutes"),
        ("moving_average_cross", 0, "fast"),
        ("moving_average_cross", 1, "slow"),
    ],
)
def test_a_count_that_is_none_is_refused(name, place, parameter, value):
    values = dict([ELEPHANT, OPENING, ("moving_average_cross", [2.0, 5.0, 0.0, 1439.0])])[name]
    values = [*values[:place], value, *values[place + 1 :]]
    with pytest.raises(EngineError, match=f"{parameter} = "):
        call(strategy=(name, values))


def test_a_fast_mean_that_is_not_faster_is_refused():
    with pytest.raises(EngineError, match=r"fast = 5 .*below slow"):
        call(strategy=("moving_average_cross", [5.0, 5.0, 0.0, 1439.0]))


def test_a_period_of_none_is_refused():
    with pytest.raises(EngineError, match="atr_period = 0 is not allowed; give a whole number"):
        _engine_rust.average_true_range(BARS, 0, 0)
