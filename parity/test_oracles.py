"""Metrics against empyrical-reloaded and quantstats, and the ATR against TA-Lib."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pandas as pd
import pytest
import talib

from backtest_py import metrics
from backtest_py.engines import resolve
from parity import golden, reference
from parity.cases import seeded_case
from parity.checks import TALLY
from parity.implementations import ask, to_bars
from parity.test_metamorphic import suitable_cases

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    import quantstats

RTOL = 1e-9
ISSUE_RETURNS = (0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02)


def generated_returns(seed):
    """Return two years of daily returns with idle days, as a backtest has them."""
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(4, 504) * 0.01 + 0.0003
    returns[rng.random(504) < 0.3] = 0.0
    return returns


def shared_returns():
    """Return the daily returns of empyrical's own tests, in percent there."""
    path = golden.shared_folder() / "data" / "daily_returns_empyrical.csv"
    with path.open(encoding="utf-8") as file:
        return np.array([float(row[1]) / 100 for row in csv.reader(file)])


def series_of_returns():
    """Name all series of daily returns at hand."""
    found = {"issue": np.array(ISSUE_RETURNS)}
    found.update({f"generated {seed}": generated_returns(seed) for seed in range(5)})
    if golden.shared_folder() is not None:
        found["empyrical's own"] = shared_returns()
    return found


def dated(returns):
    return pd.Series(returns, index=pd.date_range("2021-01-01", periods=len(returns)))


def quietly(function, *args, **kwargs):
    """Call a library that warns of its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


@pytest.mark.parametrize("rate", [0.0, 0.03, -0.01])
@pytest.mark.parametrize("periods", [252, 365])
@pytest.mark.parametrize("name", series_of_returns())
def test_sharpe_and_sortino(engine, name, periods, rate):
    returns = series_of_returns()[name]
    ours = {"risk_free_rate": rate, "periods_per_year": periods, "engine": engine}
    sharpe = metrics.sharpe_ratio(returns, **ours)
    sortino = metrics.sortino_ratio(returns, **ours)
    daily = rate / periods
    theirs = quietly(empyrical.sharpe_ratio, dated(returns), daily, annualization=periods)
    assert sharpe == pytest.approx(theirs, rel=RTOL)
    theirs = quietly(empyrical.sortino_ratio, dated(returns), daily, annualization=periods)
    assert sortino == pytest.approx(theirs, rel=RTOL)
    if rate == 0.0:  # quantstats compounds the rate into a daily one, the contract divides it
        theirs = quietly(quantstats.stats.sharpe, dated(returns), periods=periods)
        assert sharpe == pytest.approx(theirs, rel=RTOL)
        theirs = quietly(quantstats.stats.sortino, dated(returns), periods=periods)
        assert sortino == pytest.approx(theirs, rel=RTOL)
    TALLY["metrics against other libraries"] += 2


@pytest.mark.parametrize("name", series_of_returns())
def test_max_drawdown(engine, name):
    returns = series_of_returns()[name]
    equity = 10_000.0 * np.cumprod(1 + returns)
    ours = metrics.max_drawdown_pct(equity, initial_capital=10_000.0, engine=engine)
    assert -ours / 100 == pytest.approx(quietly(empyrical.max_drawdown, dated(returns)), rel=RTOL)
    theirs = quietly(quantstats.stats.max_drawdown, dated(returns))
    assert -ours / 100 == pytest.approx(theirs, rel=RTOL)
    TALLY["metrics against other libraries"] += 1


def test_a_loss_on_the_first_day_is_a_drawdown(engine):
    returns = np.array([-0.1, 0.02, 0.03])
    equity = 100 * np.cumprod(1 + returns)
    ours = metrics.max_drawdown_pct(equity, initial_capital=100.0, engine=engine)
    assert ours == pytest.approx(10.0)
    assert -ours / 100 == pytest.approx(quietly(empyrical.max_drawdown, dated(returns)))


def daily_returns(case, answer):
    """Turn trades into the returns of all counted days, by pandas alone."""
    chosen = reference.setup(case.bars, case.config)
    day = np.array(case.bars.day)
    exits = day[answer.trades["exit_bar"]]
    pnl = pd.Series(answer.trades["pnl"]).groupby(exits).sum()
    days = np.union1d(day[chosen.first : chosen.last], exits)
    if answer.metric("ruined"):
        days = days[days <= exits[-1]]
    pnl = pnl.reindex(days, fill_value=0.0)
    capital = chosen.contract["initial_capital"]
    before = capital + pnl.cumsum().shift(fill_value=0.0)
    return (pnl / before).to_numpy(), chosen


def traded_enough(case):
    answer = ask("reference", case)
    wins, losses = answer.metric("winning_trades"), answer.metric("losing_trades")
    usual = all(1e-6 < abs(x) < 1e9 for x in case.bars.close)
    return usual and wins > 1 and losses > 1 and np.isfinite(answer.metric("sharpe"))


def test_metrics_of_whole_backtests(engine):
    for case in suitable_cases(traded_enough, number=60):
        answer = ask(engine, case)
        returns, chosen = daily_returns(case, answer)
        periods = chosen.metrics["periods_per_year"]
        daily = chosen.metrics["risk_free_rate"] / periods
        assert answer.metric("days") == len(returns)
        theirs = quietly(empyrical.sharpe_ratio, returns, daily, annualization=periods)
        assert answer.metric("sharpe") == pytest.approx(theirs, rel=1e-6)
        if np.isfinite(answer.metric("sortino")):
            theirs = quietly(empyrical.sortino_ratio, returns, daily, annualization=periods)
            assert answer.metric("sortino") == pytest.approx(theirs, rel=1e-6)
        pnl = answer.trades["pnl"]
        equity = chosen.contract["initial_capital"] + np.cumsum(pnl)
        before = np.append(chosen.contract["initial_capital"], equity[:-1])
        theirs = quietly(empyrical.max_drawdown, pnl / before)
        assert answer.metric("max_drawdown_pct") == pytest.approx(-100 * theirs, rel=1e-9)
        theirs = quietly(quantstats.stats.profit_factor, dated(pnl), prepare_returns=False)
        assert answer.metric("profit_factor") == pytest.approx(theirs, rel=1e-9)
        theirs = quietly(quantstats.stats.avg_win, dated(pnl), prepare_returns=False)
        assert answer.metric("avg_win") == pytest.approx(theirs, rel=1e-9)
        theirs = quietly(quantstats.stats.avg_loss, dated(pnl), prepare_returns=False)
        assert answer.metric("avg_loss") == pytest.approx(theirs, rel=1e-9)
        TALLY["metrics against other libraries"] += 6


@pytest.mark.parametrize("period", [2, 3, 14, 50])
def test_atr_wilder_against_talib(engine, period):
    for number in range(40):
        bars = seeded_case(number).bars
        if len(bars.time) <= period or bars.close[0] > 1e100:
            continue
        columns = [np.array(column) for column in (bars.high, bars.low, bars.close)]
        theirs = talib.ATR(*columns, timeperiod=period)
        ours = resolve(engine)[0].atr(to_bars(bars), period, "wilder")
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=0)
        TALLY["average true ranges against TA-Lib"] += 1


@pytest.mark.parametrize("period", [2, 3, 14, 50])
def test_atr_sma_against_talib(engine, period):
    for number in range(40):
        bars = seeded_case(number).bars
        if len(bars.time) <= period or bars.close[0] > 1e100:
            continue
        columns = [np.array(column) for column in (bars.high, bars.low, bars.close)]
        true_range = talib.TRANGE(*columns)[1:]  # TA-Lib leaves out the first bar
        theirs = talib.SMA(true_range, timeperiod=period)
        ours = resolve(engine)[0].atr(to_bars(bars), period, "sma")[1:]
        np.testing.assert_allclose(ours[period - 1 :], theirs[period - 1 :], rtol=1e-9, atol=1e-9)
        TALLY["average true ranges against TA-Lib"] += 1
