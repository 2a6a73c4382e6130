"""Strategies that are Python functions: what they may take, return and be called."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.strategies import base


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=5)


def every(bars, step):
    side = np.zeros(len(bars), np.int8)
    side[::step] = 1
    return side


def function_with(parameter):
    """Return a strategy function with one more parameter, written as source."""
    scope = {}
    exec(f"def mine(bars, *, {parameter}): raise AssertionError('not called')", scope)
    return scope["mine"]


class TestParameters:
    @pytest.mark.parametrize(
        "name",
        [
            "name",
            "function",
            "section",
            "kernel",
            "gives_risk",
            "values",
            "validate",
            "parameters",
            "to_mapping",
            "from_mapping",
            "uses_volume",
            "compute",
            "_parameters",
            "__slots__",
        ],
    )
    def test_a_name_of_the_strategy_itself_is_refused(self, name):
        words = f"strategy function mine: parameter {name} has a name that strategies use"
        with pytest.raises(bt.ConfigError, match=words):
            bt.register_strategy(function_with(f"{name}=3"))

    @pytest.mark.parametrize(
        ("parameter", "words"),
        [
            ("mode='fast'", "parameter mode has the default 'fast'"),
            ("mode='9:15'", "parameter mode has the default '9:15'"),
            ("x=None", "parameter x has the default None"),
            ("x=(1, 2)", r"parameter x has the default \(1, 2\)"),
            ("x=float('nan')", "parameter x has the default nan"),
            ("x=float('inf')", "parameter x has the default inf"),
            ("x", "parameter x has no default"),
        ],
    )
    def test_a_default_that_is_no_parameter(self, bars, parameter, words):
        function = function_with(parameter)
        for use in (bt.register_strategy, lambda function: bt.run(bars, function)):
            with pytest.raises(bt.ConfigError, match=f'function mine: {words}.*"HH:MM"'):
                use(function)

    def test_parameters_without_names(self):
        with pytest.raises(bt.ConfigError, match=r"function mine takes \*\*options; name its"):
            bt.register_strategy(function_with("n=3, **options"))
        with pytest.raises(bt.ConfigError, match=r"takes \*more; name its"):
            bt.register_strategy(lambda bars, *more: None)

    def test_kinds_go_by_the_default(self, bars):
        @bt.register_strategy
        def mine(bars, *, step: int = 7, size: float = 2, from_: str = "", on: bool = True):
            assert (step, size, from_, on) == (9, 1.5, "10:00", False)
            return every(bars, step)

        strategy = mine(step=9, size=1.5, from_="10:00", on=False)
        assert bt.run(bars, strategy).metrics.total_trades > 0
        with pytest.raises(bt.ConfigError, match=r"unknown argument of mine 'stp'.* mean 'step'"):
            mine(stp=9)
        with pytest.raises(bt.ConfigError, match=r"strategy\.from_ = '25:00'"):
            mine(from_="25:00")


@pytest.mark.parametrize("n_values", [0, 1, 3])
def test_a_function_returns_sides_or_a_pair(bars, n_values):
    def mine(bars):
        return (every(bars, 9),) * n_values

    with pytest.raises(bt.ConfigError, match=f"mine returned {n_values} value.* or a pair of"):
        bt.run(bars, mine)


def test_a_pair_is_sides_and_risks(bars):
    def mine(bars):
        return every(bars, 9), np.full(len(bars), 50.0)

    result = bt.run(bars, mine, bt.ExitRules(unit="strategy", stop=1.0, target=1.0))
    assert set((result.trades.entry_price - result.trades.stop_price).tolist()) == {50.0}


class TestRegistration:
    def test_the_same_function_again_replaces_the_old_one(self, bars):
        """A notebook's cell that runs again defines its function again."""
        for step in (50, 9):

            @bt.register_strategy
            def mine(bars, *, step: int = step):
                return every(bars, step)

        assert bt.run(bars, "mine").job.strategy.step == 9
        assert bt.run(bars, mine()).job.strategy.step == 9

    def test_the_same_class_again_replaces_the_old_one(self):
        classes = [define_class() for _ in range(2)]
        assert classes[0] is not classes[1]
        assert type(base.get_strategy("mine")) is classes[1]

    def test_another_function_of_the_same_name_is_refused(self, bars):
        @bt.register_strategy
        def mine(bars):
            return every(bars, 9)

        with pytest.raises(
            bt.ConfigError, match=r"'mine' of \S+ cannot be registered: \S+ has this"
        ):
            bt.register_strategy(function_with("n=3"))
        assert base._REGISTRY["mine"] is mine

    def test_a_strategy_of_the_package_is_never_replaced(self):
        def barra_elefante(bars):
            return every(bars, 9)

        with pytest.raises(bt.ConfigError, match=r"backtest_py\.strategies\.barra_elefante\.Barra"):
            bt.register_strategy(barra_elefante)


def define_class():
    from dataclasses import dataclass
    from typing import ClassVar

    @base.register
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Mine(bt.Strategy):
        name: ClassVar[str] = "mine"

    return Mine


@pytest.mark.parametrize("registered", [True, False])
def test_a_result_can_be_copied(bars, registered):
    def three(bars, *, step: int = 3):
        return every(bars, step)

    strategy = bt.register_strategy(three)(step=4) if registered else three
    result = bt.run(bars, strategy)
    found = copy.deepcopy(result)
    assert found.manifest() == result.manifest()
    assert found.job.strategy.compute(bars).side.tolist() == result.job.signals.side.tolist()
    assert (type(found.job.strategy) is type(result.job.strategy)) is registered
