"""Public metric functions: definitions, undefined cases, bad input, both engines bit for bit."""

from __future__ import annotations

import inspect
import math
import os
import time

import empyrical
import numpy as np
import pandas as pd
import pytest
import quantstats.stats as quantstats

import backtest_py as bt
from backtest_py import metrics
from backtest_py.engines.numba_engine import series_metrics

SERIES = ("equity_from_pnl", "returns_from_equity", "drawdown_series", "drawdown_pct_series")
NUMBERS = tuple(name for name in metrics.__all__ if name not in SERIES)

# reliability.md, section 4: daily returns on which libraries have been compared by hand
RETURNS = [0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02]


@pytest.fixture(params=["numba", "rust"])
def engine(request):
    return request.param


def subject(name):
    """Return what a function measures: pnl, equity or returns."""
    return next(iter(inspect.signature(getattr(metrics, name)).parameters))


def same_bits(a, b):
    a, b = np.atleast_1d(np.asarray(a, np.float64)), np.atleast_1d(np.asarray(b, np.float64))
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def random_input(kind, n, seed):
    rng = np.random.default_rng(seed)
    if kind == "returns":
        return rng.normal(2e-4, 1e-2, n)
    if kind == "equity":
        return 10_000.0 * np.cumprod(1.0 + rng.normal(2e-4, 1e-2, n))
    return np.round(rng.normal(2.0, 40.0, n)) * 0.25


# Definitions


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("risk_free_rate", [0.0, 0.05])
def test_ratios_equal_empyrical(engine, seed, risk_free_rate):
    returns = random_input("returns", 750, seed)
    rf = risk_free_rate / 252
    expected = {
        "sharpe_ratio": empyrical.sharpe_ratio(returns, risk_free=rf, annualization=252),
        "sortino_ratio": empyrical.sortino_ratio(returns, required_return=rf, annualization=252),
    }
    for name, value in expected.items():
        found = getattr(metrics, name)(returns, risk_free_rate=risk_free_rate, engine=engine)
        assert found == pytest.approx(value, rel=1e-10)
    found = metrics.volatility(returns, engine=engine)
    assert found == pytest.approx(empyrical.annual_volatility(returns, annualization=252))


@pytest.mark.parametrize("seed", range(5))
def test_ratios_equal_quantstats(engine, seed):
    returns = pd.Series(
        random_input("returns", 500, seed), pd.date_range("2020-01-01", periods=500, freq="B")
    )
    equity = np.concatenate([[10_000.0], 10_000.0 * np.cumprod(1.0 + returns.to_numpy())])
    assert metrics.sharpe_ratio(returns, engine=engine) == pytest.approx(
        quantstats.sharpe(returns, periods=252), rel=1e-10
    )
    assert metrics.sortino_ratio(returns, engine=engine) == pytest.approx(
        quantstats.sortino(returns, periods=252), rel=1e-10
    )
    assert metrics.max_drawdown_pct(equity, engine=engine) == pytest.approx(
        -100.0 * quantstats.max_drawdown(returns), rel=1e-10
    )
    assert metrics.drawdown_pct_series(equity, engine=engine)[1:] == pytest.approx(
        -100.0 * quantstats.to_drawdown_series(returns).to_numpy(), abs=1e-10
    )


def test_drawdown_counts_the_start_capital(engine):
    """S25: a loss at once is a drawdown, and the share is of the peak of its own time."""
    assert metrics.max_drawdown_pct([100.0, 90.0, 95.0], engine=engine) == 10.0
    assert metrics.max_drawdown_pct([90.0, 95.0], initial_capital=100, engine=engine) == 10.0
    assert 100.0 * empyrical.max_drawdown(np.array([-0.1, 0.02, 0.03])) == pytest.approx(-10.0)
    equity = [100.0, 60.0, 1_000.0, 900.0]
    assert metrics.max_drawdown(equity, engine=engine) == 100.0
    assert metrics.max_drawdown_pct(equity, engine=engine) == 40.0


def test_hand_computed_returns(engine):
    """S23, S24: ddof = 1, and the downside over all days, not over the losing ones."""
    assert metrics.sharpe_ratio(RETURNS, engine=engine) == pytest.approx(4.755563543407302)
    assert metrics.sortino_ratio(RETURNS, engine=engine) == pytest.approx(9.797958971132712)
    equity = 100.0 * np.cumprod([1.0, *(1.0 + np.array(RETURNS))])
    back = metrics.returns_from_equity(equity, engine=engine)
    assert back == pytest.approx(RETURNS, abs=1e-15)


def test_hand_computed_trades(engine):
    pnl = [30.0, -10.0, 0.0, -20.0, 50.0]
    expected = {
        "win_rate": 0.4,
        "expectancy": 10.0,
        "avg_win": 40.0,
        "avg_loss": -15.0,
        "profit_factor": 80.0 / 30.0,
        "payoff_ratio": 40.0 / 15.0,
        "sqn": math.sqrt(5.0) * 10.0 / np.std(pnl, ddof=1),
        "recovery_factor": 50.0 / 30.0,
    }
    for name, value in expected.items():
        assert getattr(metrics, name)(pnl, engine=engine) == pytest.approx(value, rel=1e-14)
    equity = metrics.equity_from_pnl(pnl, initial_capital=100, engine=engine)
    assert equity.tolist() == [130.0, 120.0, 120.0, 100.0, 150.0]


def test_annual_return_is_not_compounded(engine):
    equity = [1_000.0, 1_100.0, 990.0, 1_200.0]
    assert metrics.annual_return_pct(equity, periods_per_year=12, engine=engine) == 80.0
    found = metrics.calmar_ratio(equity, periods_per_year=12, engine=engine)
    assert found == pytest.approx(8.0, rel=1e-14)
    after = metrics.annual_return_pct(
        equity[1:], initial_capital=1_000, periods_per_year=12, engine=engine
    )
    assert after == 80.0


def test_same_numbers_as_a_run(engine):
    bars = bt.synthetic_bars(n_days=60)
    rules = bt.ExitRules(stop=2.0, target=3.0, close_time="17:00")
    settings = bt.MetricSettings(periods_per_year=252)
    result = bt.run(bars, bt.BarraElefante(), rules, bt.Contract(), metrics=settings, engine=engine)
    pnl = result.trades["pnl"].to_numpy()
    assert len(pnl) > 20
    of_trades = (
        "win_rate expectancy avg_win avg_loss profit_factor payoff_ratio sqn recovery_factor"
    )
    for name in of_trades.split():
        assert same_bits(getattr(metrics, name)(pnl, engine=engine), result.metrics[name]), name
    equity = metrics.equity_from_pnl(pnl, engine=engine)
    for name in ("max_drawdown", "max_drawdown_pct"):
        found = getattr(metrics, name)(equity, initial_capital=10_000, engine=engine)
        assert same_bits(found, result.metrics[name]), name
    returns = np.zeros(result.metrics["days"])
    exit_days = bars.day[result.trades["exit_bar"].to_numpy()]
    before = 10_000.0
    for day in np.unique(exit_days):
        day_pnl, after = 0.0, before
        for value in pnl[exit_days == day].tolist():
            day_pnl += value
            after += value
        returns[day] = day_pnl / before
        before = after
    assert same_bits(metrics.sharpe_ratio(returns, engine=engine), result.metrics["sharpe"])
    assert same_bits(metrics.sortino_ratio(returns, engine=engine), result.metrics["sortino"])


# What is undefined


@pytest.mark.parametrize("name", [name for name in NUMBERS if subject(name) == "pnl"])
def test_no_trades_are_nan(engine, name):
    assert math.isnan(getattr(metrics, name)([], engine=engine))


@pytest.mark.parametrize("name", [name for name in NUMBERS if subject(name) == "returns"])
@pytest.mark.parametrize("returns", [[], [0.01]])
def test_too_few_returns_are_nan(engine, name, returns):
    assert math.isnan(getattr(metrics, name)(returns, engine=engine))


def test_quotients_over_nothing_are_nan(engine):
    """S26: undefined is nan, never 0 or a big number; wins alone have an infinite factor."""
    assert math.isnan(metrics.sortino_ratio([0.01, 0.02], engine=engine))
    assert math.isnan(metrics.calmar_ratio([100.0, 110.0], engine=engine))
    assert math.isnan(metrics.calmar_ratio([100.0], engine=engine))
    assert math.isnan(metrics.annual_return_pct([100.0], engine=engine))
    assert math.isnan(metrics.recovery_factor([1.0, 2.0], engine=engine))
    assert metrics.profit_factor([1.0, 2.0], engine=engine) == math.inf
    assert math.isnan(metrics.profit_factor([0.0], engine=engine))
    assert metrics.profit_factor([-1.0], engine=engine) == 0.0
    assert math.isnan(metrics.payoff_ratio([1.0, 2.0], engine=engine))
    assert math.isnan(metrics.avg_loss([1.0], engine=engine))
    assert metrics.max_drawdown([100.0], engine=engine) == 0.0
    assert metrics.max_drawdown([], initial_capital=100, engine=engine) == 0.0
    assert metrics.returns_from_equity([100.0], engine=engine).size == 0


def test_spread_of_rounding_alone_counts_as_none(engine):
    """empyrical says inf here, or a huge number: 0.1 has no exact sum."""
    constant = [0.1] * 1_000
    assert math.isnan(metrics.sharpe_ratio(constant, engine=engine))
    assert metrics.volatility(constant, engine=engine) == 0.0
    assert math.isnan(metrics.sqn([0.1] * 1_000, engine=engine))


def test_zero_is_positive(engine):
    zeros = (
        metrics.expectancy([-1.0, 1.0, -0.0], engine=engine),
        metrics.profit_factor([-1.0, -0.0], engine=engine),
        metrics.max_drawdown([1.0, 2.0], engine=engine),
        *metrics.drawdown_series([1.0, 2.0], engine=engine),
        *metrics.returns_from_equity([2.0, 2.0], engine=engine),
    )
    assert same_bits(zeros, np.zeros(6))


# Input


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(engine, name, value):
    values = np.full(100, 5.0)
    values[[17, 40]] = value
    with pytest.raises(bt.DataError, match=rf"^{subject(name)}\[17\] = -?(nan|inf) .*\(2 such"):
        getattr(metrics, name)(values, engine=engine)


@pytest.mark.parametrize("name", metrics.__all__)
def test_what_is_no_column_of_numbers_is_refused(engine, name):
    function = getattr(metrics, name)
    with pytest.raises(bt.DataError, match=r"has the shape \(3, 2\)"):
        function(np.ones((3, 2)), engine=engine)
    with pytest.raises(bt.DataError, match="not numbers"):
        function(["a", "b"], engine=engine)
    with pytest.raises(bt.DataError, match="not numbers"):
        function([True, False], engine=engine)


@pytest.mark.parametrize("name", metrics.__all__)
def test_columns_of_any_kind_are_taken(engine, name):
    function = getattr(metrics, name)
    values = np.array([100.0, 103.0, 99.0, 110.0, 104.0, 120.0])
    expected = function(values, engine=engine)
    index = pd.date_range("2024-01-01", periods=6)
    for given in (
        values.tolist(),
        values.astype(np.int64),
        values.astype(np.float32),
        values.astype(">f8"),
        pd.Series(values, index),
        np.repeat(values, 2)[::2],
    ):
        assert same_bits(function(given, engine=engine), expected)
    frozen = values.copy()
    frozen.flags.writeable = False
    assert same_bits(function(frozen, engine=engine), expected)


@pytest.mark.parametrize("name", [name for name in metrics.__all__ if subject(name) == "equity"])
def test_curves_without_a_positive_start_are_refused(engine, name):
    function = getattr(metrics, name)
    with pytest.raises(bt.DataError, match="equity is empty"):
        function([], engine=engine)
    with pytest.raises(bt.DataError, match=r"equity\[0\] = 0.0 is not above 0"):
        function([0.0, 10.0], engine=engine)
    with pytest.raises(bt.ConfigError, match="initial_capital = -5"):
        function([1.0], initial_capital=-5, engine=engine)


def test_returns_end_at_the_ruin(engine):
    assert metrics.returns_from_equity([100.0, 50.0, -25.0], engine=engine).tolist() == [-0.5, -1.5]
    with pytest.raises(bt.DataError, match=r"equity\[2\] = -25.0 is not above 0"):
        metrics.returns_from_equity([100.0, 50.0, -25.0, 10.0], engine=engine)
    with pytest.raises(bt.DataError, match=r"equity\[0\] = -25.0 is not above 0"):
        metrics.returns_from_equity([-25.0, 10.0], initial_capital=100, engine=engine)


@pytest.mark.parametrize(
    "setting", [{"periods_per_year": 0}, {"periods_per_year": math.nan}, {"risk_free_rate": "5%"}]
)
def test_settings_are_checked(setting):
    with pytest.raises(bt.ConfigError, match=next(iter(setting))):
        metrics.sharpe_ratio(RETURNS, **setting)


def test_unknown_engine_is_refused():
    with pytest.raises(bt.ConfigError, match="'rust'"):
        metrics.sqn([1.0, 2.0], engine="rsut")


# Two engines


@pytest.mark.parametrize("name", metrics.__all__)
def test_engines_agree_bit_for_bit(name):
    function = getattr(metrics, name)
    cases = [random_input(subject(name), n, seed) for seed, n in enumerate([1, 2, 3, 17, 5_000])]
    cases += [case * scale for case in cases for scale in (1e-9, 1e12, 0.1)]
    cases += [np.full(100, 0.1), np.full(9, 1e-300), np.array([1e300, 1e-300, 1e300])]
    for case in cases:
        numba, rust = function(case, engine="numba"), function(case, engine="rust")
        assert same_bits(numba, rust), (name, case)


def test_engines_have_the_same_functions():
    from backtest_py import _engine_rust

    assert sorted(series_metrics.__all__) == sorted(metrics.__all__)
    assert [name for name in metrics.__all__ if not hasattr(_engine_rust, name)] == []


def test_rust_refuses_to_copy_a_strided_column():
    from backtest_py import _engine_rust

    with pytest.raises(bt.EngineError, match="returns is not a contiguous array"):
        _engine_rust.volatility(np.ones(10)[::2], 252.0)


@pytest.mark.parametrize("name", metrics.__all__)
def test_252_000_points_take_less_than_2_ms(engine, name):
    if engine == "numba" and os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}:
        pytest.skip("NUMBA_DISABLE_JIT: there is no compiled code to time")
    function, values = getattr(metrics, name), random_input(subject(name), 252_000, 0)
    if subject(name) == "equity":
        values = 10_000.0 + np.abs(np.cumsum(random_input("pnl", 252_000, 0)))
    function(values, engine=engine)
    best = math.inf
    for _ in range(50):
        start = time.perf_counter()
        function(values, engine=engine)
        best = min(best, time.perf_counter() - start)
    assert best < 0.002
