"""What crosses the border to the engines is declared alike on both sides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.engines.layouts import (
    TRADE_DTYPE,
    ContractView,
    Metric,
    RulesView,
    SettingsView,
    row_dtype,
)
from backtest_py.engines.numba_engine.types import Trades, reader
from backtest_py.metrics.catalogue import CATALOGUE, COUNT_METRICS, METRICS, SMALLER_IS_BETTER
from backtest_py.rules import Reason

GROUPS = {
    "rules": (bt.ExitRules, RulesView),
    "contract": (bt.Contract, ContractView),
    "metrics": (bt.MetricSettings, SettingsView),
}
EVERY_RULE = bt.ExitRules(
    stop=1.5,
    target=0,
    target_r=2.5,
    trail=0.5,
    unit="percent",
    atr_period=7,
    atr_method="sma",
    round_to_tick=True,
    target_through_ticks=2.0,
    close_time="16:45",
    max_bars=9,
    intrabar="target_first",
)


def test_rust_knows_the_groups_of_settings():
    assert set(_engine_rust.settings()) == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_rust_declares_the_settings_as_python_does(group):
    declared = [
        (spec.name, spec.kind, list(spec.choices)) for spec in GROUPS[group][0].parameters()
    ]
    assert _engine_rust.settings()[group] == declared


def test_rust_names_the_metrics_as_the_catalogue_does():
    assert tuple(_engine_rust.metric_names()) == METRICS == tuple(Metric.__members__)


def test_trades_have_the_same_columns_everywhere(engine):
    bars = bt.synthetic_bars(n_days=5)
    result = bt.run(bars, "barra_elefante", bt.ExitRules(), engine=engine)
    assert {name: column.dtype for name, column in result.columns.items()} == TRADE_DTYPE
    assert tuple(TRADE_DTYPE) == Trades._fields == tuple(result.columns)


@pytest.mark.parametrize("group", GROUPS)
def test_a_view_holds_the_values_by_name(group):
    settings, view = GROUPS[group]
    names = [spec.name for spec in settings.parameters()]
    assert view._fields == tuple(names) == row_dtype(view).names
    made = settings()
    plain = {spec.name for spec in settings.parameters() if spec.kind not in {"clock", "choice"}}
    for name, value in view(*made.values())._asdict().items():
        if name in plain:
            assert value == getattr(made, name)


def test_texts_become_numbers_in_one_way():
    values = RulesView(*EVERY_RULE.values())
    assert values == (1.5, 0.0, 2.5, 0.5, 2, 7, 1, True, 2.0, 1005, 9, 1)
    kinds = {"float": float, "int": int, "bool": bool, "clock": int, "choice": int}
    assert [type(value) for value in values] == [
        kinds[spec.kind] for spec in bt.ExitRules.parameters()
    ]
    assert RulesView(*bt.ExitRules().values()).close_time == -1


def test_a_row_is_read_back_as_it_was_written():
    rows = np.array([bt.ExitRules().values(), EVERY_RULE.values()], row_dtype(RulesView))
    read = reader(RulesView, by_name=True)
    assert read(rows[1]) == RulesView(*EVERY_RULE.values())
    assert read(rows[0]) == RulesView(*bt.ExitRules().values())


def test_every_metric_is_set_and_every_exit_counted(engine):
    bars = bt.synthetic_bars(n_days=60)
    rules = bt.ExitRules(stop=1.0, target=1.5, trail=1.0, close_time="17:00", max_bars=9)
    result = bt.run(bars, "barra_elefante", rules, engine=engine)
    metrics, counted = result.metrics, Counter(result.trades["reason"])
    assert metrics.total_trades == len(result.trades) > 50
    assert len(counted) > 4
    for reason in Reason:
        assert metrics[f"exits_{reason.name}"] == counted[reason.name]
    assert metrics.ruined is False
    assert metrics.total_return == pytest.approx(result.trades["pnl"].sum())
    assert metrics.avg_bars_held == pytest.approx(result.trades["bars_held"].mean())


def test_kinds_and_directions_come_from_the_catalogue():
    assert {name for name, info in CATALOGUE.items() if info.kind == "flag"} == {"ruined"}
    assert {name for name, info in CATALOGUE.items() if info.kind == "count"} == COUNT_METRICS
    assert {name for name, info in CATALOGUE.items() if info.better == "small"} == SMALLER_IS_BETTER
    assert {"large", "small", ""} == {info.better for info in CATALOGUE.values()}
    assert not SMALLER_IS_BETTER & {name for name in METRICS if CATALOGUE[name].better != "small"}


def test_a_strategy_gives_its_values_in_the_same_way():
    assert bt.OpeningRangeBreakout(entry_end="10:30").values() == (30, 630)
