"""Bars without volume: which parameter asks for it, by the strategy's own word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

import backtest_py as bt
from backtest_py._jit import kernel
from backtest_py.parameters import parameter
from backtest_py.strategies.base import Strategy


@kernel
def nothing(bars, values, start, side, risk):
    for t in range(len(side)):
        side[t] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heavy(Strategy):
    """Says for itself when it looks at volumes."""

    name: ClassVar[str] = "heavy"
    kernel: ClassVar = nothing
    length: int = parameter(5, "int", "bars", minimum=1)

    @property
    def uses_volume(self) -> bool:
        return self.length > 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Thin(Strategy):
    """Names the parameter that makes it look at volumes."""

    name: ClassVar[str] = "thin"
    kernel: ClassVar = nothing
    volume_parameter: ClassVar[str] = "floor"
    floor: float = parameter(2.5, "float", "least volume", minimum=0)


@pytest.fixture(scope="module")
def silent():
    bars = bt.synthetic_bars(n_days=5)
    return bt.Bars(bars.time, bars.open, bars.high, bars.low, bars.close)


def refusal(call):
    with pytest.raises(bt.ConfigError, match="no volume") as caught:
        call()
    return str(caught.value)


def test_a_strategy_names_its_own_parameter(silent):
    for ask in (
        lambda strategy: bt.run(silent, strategy, engine="numba"),
        lambda strategy: bt.sweep(silent, strategy, {"rules.stop": [1.0, 2.0]}, engine="numba"),
    ):
        elephant = refusal(lambda ask=ask: ask(bt.BarraElefante()))
        assert "strategy.min_volume_mult = 1.0 needs volume" in elephant
        assert "set min_volume_mult = 0 or" in elephant
        thin = refusal(lambda ask=ask: ask(Thin()))
        assert "strategy.floor = 2.5 needs volume" in thin
        assert "min_volume_mult" not in thin


def test_a_strategy_that_says_it_uses_volume_gets_words_that_fit(silent):
    text = refusal(lambda: bt.run(silent, Heavy(length=4), engine="numba"))
    assert "strategy 'heavy' needs volume" in text
    assert "load bars with volume" in text
    assert "min_volume_mult" not in text
    assert "= 0" not in text


def test_what_asks_for_no_volume_runs_without(silent):
    for strategy in (Heavy(length=3), Thin(floor=0), bt.BarraElefante(min_volume_mult=0)):
        assert bt.run(silent, strategy, engine="numba").metrics.total_trades >= 0
