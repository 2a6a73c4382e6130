"""Metrics of trades that were made elsewhere are those of the run that made them."""

from __future__ import annotations

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.backtest.metrics import Metrics
from backtest_py.engines import resolve
from backtest_py.engines.layouts import MEASURED

RULES = bt.ExitRules(close_time="17:00")


@pytest.fixture(scope="module")
def result():
    bars = bt.synthetic_bars(n_days=30)
    return bt.run(bars, bt.BarraElefante(lookback=10), RULES, range=("2019-01-08", None))


def measured(engine, result, columns, exit_day=None, span=None, n_bars=None):
    job, day = result.job, result.job.bars.day
    if exit_day is None:
        exit_day = day[result.columns["exit_bar"]]
    if span is None:
        span, n_bars = (int(day[job.first]), int(day[job.last - 1])), job.last - job.first
    runner = resolve(engine)[0]
    return Metrics(runner.measure(columns, exit_day, job.contract, job.metrics, span, n_bars))


def test_of_a_run(engine, result):
    assert len(result) > 10
    assert measured(engine, result, result.columns) == result.metrics


def test_of_no_trade_in_no_day(engine, result):
    nothing = {name: column[:0] for name, column in result.columns.items()}
    found = measured(engine, result, nothing, np.zeros(0, np.int32), (0, -1), 0)
    assert found.days == found.total_trades == 0
    assert found.total_return == 0.0
    assert np.isnan([found.sharpe, found.sortino, found.annual_return_pct, found.exposure]).all()
    assert not found.ruined


def test_a_wrong_call_is_refused(result):
    for name in set(MEASURED) - {"pnl"}:
        columns = {**result.columns, name: result.columns[name][:1]}
        with pytest.raises(bt.EngineError, match=f"{name} has 1 elements, but there are"):
            measured("rust", result, columns)
    columns = {**result.columns, "reason": np.full(len(result), 200, np.uint8)}
    with pytest.raises(bt.EngineError, match="reason = 200 is not allowed"):
        measured("rust", result, columns)
