"""The page of metrics is what the registry says, and the registry is what the engines do."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import backtest_py as bt
from backtest_py import metrics
from backtest_py.metrics.catalogue import CATALOGUE, COUNT_METRICS, METRICS, SECTIONS, UNITS
from backtest_py.report.metrics_page import main, metrics_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def run(side_at, *, bars=None, engine="auto", **settings):
    """Backtest signals at some bars of made-up prices, without a stop."""
    bars = bt.synthetic_bars(n_days=4) if bars is None else bars
    side = np.zeros(len(bars), np.int8)
    for bar, value in side_at.items():
        side[bar] = value
    rules = bt.ExitRules(stop=0, target=0, max_bars=5)
    contract = bt.Contract(tick_size=5)
    return bt.run_signals(bars, side, rules, contract, engine=engine, **settings).metrics


def bars_that_rise():
    time = np.datetime64("2024-01-02T09:00", "ns") + np.arange(200) * np.timedelta64(1, "h")
    price = 1000.0 + 5 * np.arange(200)
    return bt.Bars(time, open=price, high=price + 5, low=price, close=price + 5)


def undefined(values):
    return {name for name, value in values.items() if math.isnan(value)}


def test_every_metric_has_an_entry():
    assert set(CATALOGUE) == set(METRICS)


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == metrics_page(), "run: make docs"


def test_the_page_names_every_metric_and_every_function():
    page = metrics_page()
    for name in METRICS:
        assert page.count(f"| `{name}` |") == 1, name
    for name in metrics.__all__:
        assert page.count(f"| `{name}(") == 1, name


def test_the_module_writes_the_file_that_it_is_given(tmp_path):
    main([str(tmp_path / "metrics.md")])
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8") == metrics_page()


@pytest.mark.parametrize("name", METRICS)
def test_an_entry_is_whole(name):
    info = CATALOGUE[name]
    assert info.section in SECTIONS
    assert info.unit in UNITS
    assert info.title
    assert info.formula
    assert "|" not in f"{info.title}{info.formula}{info.undefined}{info.note}"


def test_units_are_those_of_the_numbers():
    counts = {name for name, info in CATALOGUE.items() if info.unit == "count"}
    assert counts == COUNT_METRICS
    assert [name for name, info in CATALOGUE.items() if info.unit == "flag"] == ["ruined"]
    percent = {name for name, info in CATALOGUE.items() if info.unit == "percent"}
    assert percent == {name for name in METRICS if name.endswith("_pct")}


def test_titles_tell_metrics_of_one_section_apart():
    shown = [(info.section, info.title, info.unit) for info in CATALOGUE.values()]
    assert len(set(shown)) == len(shown)


def test_without_a_trade_exactly_the_metrics_that_say_so_are_undefined(engine):
    values = run({}, engine=engine)
    assert values.total_trades == 0
    assert undefined(values) == {name for name, info in CATALOGUE.items() if info.undefined}


def test_what_wins_alone_leave_undefined(engine):
    every_day = bt.MetricSettings(periods_per_year=365)
    values = run({10: 1, 100: 1}, bars=bars_that_rise(), engine=engine, metrics=every_day)
    assert values.winning_trades == 2
    assert undefined(values) == {"avg_loss", "payoff_ratio", "sortino", "calmar",
                                 "recovery_factor", "sqn"}  # fmt: skip
    assert math.isinf(values.profit_factor)


def test_one_day_has_no_sharpe_and_one_trade_no_sqn(engine):
    bars = bt.synthetic_bars(n_days=1)
    values = run({10: 1}, bars=bars, engine=engine)
    assert (values.total_trades, values.days) == (1, 1)
    assert {"sharpe", "sqn"} <= undefined(values)
