"""A result by trading day, and the confidence intervals of its metrics."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt
from backtest_py import overfitting

SHARED = Path(os.environ.get("BACKTEST_PY_SHARED", "shared")) / "data"
SAME = {"check_exact": True, "check_freq": False}

WIN = {"tick_size": 0.01, "point_value": 0.2, "fee_per_side": 0.25, "slippage_ticks": 500}
COINS = {"tick_size": 0.01, "fee_rate": 0.0005, "quantity": 0.1}
EVERY_DAY = bt.MetricSettings(risk_free_rate=0.05, periods_per_year=365)


@pytest.fixture(scope="module")
def win():
    return bt.load_bars(SHARED / "WIN_M5_2023H1.csv")


@pytest.fixture(scope="module")
def btc():
    return bt.load_bars(SHARED / "BTCUSDT_30m_2021-2023H1.parquet")


def intraday(win, engine, **how):
    rules = bt.ExitRules(stop=1.0, target=2.0, close_time="17:00")
    strategy = bt.BarraElefante(min_range_mult=2.2)
    return bt.run(win, strategy, rules, bt.Contract(**WIN), engine=engine, **how)


def overnight(btc, engine, **how):
    rules = bt.ExitRules(stop=4.0, target=12.0)
    contract = bt.Contract(**COINS)
    return bt.run(btc, "barra_elefante", rules, contract, metrics=EVERY_DAY, engine=engine, **how)


def ruined(win, engine):
    contract = bt.Contract(**WIN, quantity=20, initial_capital=3_000)
    strategy = bt.BarraElefante(min_range_mult=1.2)
    result = bt.run(win, strategy, bt.ExitRules(stop=3.0, target=3.0), contract, engine=engine)
    assert result.metrics.ruined
    return result


CASES = {
    "intraday": lambda win, btc, engine: intraday(win, engine),
    "a range": lambda win, btc, engine: intraday(
        win, engine, range=("2023-02-01 11:00", "2023-04-01")
    ),
    "overnight": lambda win, btc, engine: overnight(btc, engine),
    "overnight in a range": lambda win, btc, engine: overnight(
        btc, engine, range=("2022-03-01 07:30", "2022-05-17 13:30")
    ),
    "one day": lambda win, btc, engine: overnight(btc, engine, range=("2022-03-04", "2022-03-05")),
    "ruined": lambda win, btc, engine: ruined(win, engine),
    "no trade": lambda win, btc, engine: intraday(
        win, engine, range=("2023-02-01 11:30", "2023-02-01 11:35")
    ),
}


@pytest.fixture(params=CASES)
def result(request, win, btc, engine):
    """Return a result, on each engine."""
    return CASES[request.param](win, btc, engine)


def ratios(returns, settings):
    """Sharpe and Sortino of daily returns, as section 5 of the semantics writes them."""
    rf = settings.risk_free_rate / settings.periods_per_year
    n = len(returns)
    total = squares = downside = 0.0
    for r in returns:
        total += r
        squares += r * r
        x = r - rf
        downside += x * x if x < 0.0 else 0.0
    if n < 2:
        return math.nan, None
    variance = (squares - total * total / n) / (n - 1)
    year = math.sqrt(settings.periods_per_year)
    flat = variance <= 1e-9 * (squares / n)
    sharpe = math.nan if flat else (total / n - rf) / math.sqrt(variance) * year
    below = math.sqrt(downside / n)
    return sharpe, math.nan if below == 0.0 else (total / n - rf) / below * year


def by_hand(result):
    """Days, and what stands in them, by a slow loop over bars and trades."""
    job, trades = result.job, result.trades
    bars, contract = job.bars, job.contract
    days = set(bars.day[job.first : job.last].tolist())
    exits = [int(bars.day[row]) for row in trades["exit_bar"]]
    days |= set(exits)
    if result.metrics.ruined:
        days = {day for day in days if day <= exits[-1]}
    rows, equity = [], contract.initial_capital
    for day in sorted(days):
        before, pnl, open_profit = equity, 0.0, 0.0
        last = int(np.flatnonzero(bars.day == day)[-1])
        for row, trade in enumerate(trades.itertuples()):
            if exits[row] == day:
                pnl += trade.pnl
                equity += trade.pnl
            elif bars.day[trade.entry_bar] <= day < exits[row]:
                points = trade.side * (bars.close[last] - trade.entry_price)
                fee = contract.fee_per_side * contract.quantity + (
                    contract.fee_rate
                    * abs(trade.entry_price)
                    * contract.point_value
                    * contract.quantity
                )
                open_profit = points * contract.point_value * contract.quantity - fee
        rows.append((bars.session_dates[day], pnl, pnl / before, equity, equity + open_profit))
    return rows


def test_it_is_what_a_slow_loop_finds(result):
    daily, expected = result.daily, by_hand(result)
    assert list(daily.columns) == ["pnl", "returns", "equity", "equity_marked", "drawdown"]
    assert daily.index.name == "day"
    assert len(daily) == result.metrics.days == len(expected)
    assert [day.date() for day in daily.index] == [row[0].astype(object) for row in expected]
    for place, name in enumerate(("pnl", "returns", "equity"), 1):
        assert daily[name].tolist() == [row[place] for row in expected], name
    np.testing.assert_allclose(daily["equity_marked"], [row[4] for row in expected], rtol=1e-12)
    peak, falls = result.job.contract.initial_capital, []
    for value in daily["equity_marked"]:
        peak = max(peak, value)
        falls.append(peak - value)
    assert daily["drawdown"].tolist() == falls


def test_sharpe_and_sortino_are_made_of_these_returns(result):
    sharpe, sortino = ratios(result.daily["returns"].tolist(), result.job.metrics)
    metrics = result.metrics
    assert sharpe == metrics.sharpe or math.isnan(sharpe) == math.isnan(metrics.sharpe)
    if not math.isnan(sharpe):
        assert sharpe == metrics.sharpe  # to the bit
    if sortino is not None and not math.isnan(sortino):
        assert sortino == pytest.approx(metrics.sortino, rel=1e-12)


def test_sums_and_ends(result):
    daily, metrics = result.daily, result.metrics
    capital = result.job.contract.initial_capital
    assert daily["pnl"].sum() == pytest.approx(metrics.total_return, rel=1e-12, abs=1e-9)
    assert daily["equity"].iloc[-1] == result.balance[-1]
    assert (daily["drawdown"] >= 0.0).all()
    assert daily["equity"].iloc[-1] - capital == pytest.approx(metrics.total_return, abs=1e-6)
    assert daily.dtypes.eq(np.float64).all()


def test_the_cases_are_what_they_say(win, btc, engine):
    inside, across = intraday(win, engine).daily, overnight(btc, engine).daily
    pd.testing.assert_series_equal(
        inside["equity"], inside["equity_marked"], check_names=False, **SAME
    )
    assert (across["equity"] != across["equity_marked"]).mean() > 0.1
    assert (across["pnl"] == 0.0).any()
    assert (inside["pnl"] == 0.0).any()
    later = CASES["one day"](win, btc, engine)
    assert len(later.daily) == 2  # the day, and a later one on which its last trade exits
    end = ruined(win, engine)
    assert end.daily["equity"].iloc[-1] <= 0.0
    assert len(end.daily) < win.day[-1] + 1


def test_quantstats_and_empyrical_would_find_the_same_sharpe(win, engine):
    result = intraday(win, engine)
    returns = result.daily["returns"]
    assert result.metrics.sharpe == pytest.approx(
        returns.mean() / returns.std(ddof=1) * 252**0.5, rel=1e-9
    )


def test_each_access_gives_a_frame_of_its_own(win):
    result = intraday(win, "numba")
    mine = result.daily
    mine["pnl"] = 0.0
    assert result.daily["pnl"].abs().sum() > 0.0


def test_signals_and_other_clocks(win):
    side = np.zeros(len(win), np.int8)
    side[::200] = 1
    frame = win.to_frame()
    utc = bt.Bars.from_frame(
        frame.tz_localize("America/Sao_Paulo").tz_convert("UTC"),
        session_timezone="America/Sao_Paulo",
    )
    how = (side, bt.ExitRules(max_bars=9), bt.Contract(**WIN))
    plain, zoned = (bt.run_signals(each, *how) for each in (win, utc))
    pd.testing.assert_frame_equal(plain.daily, zoned.daily, **SAME)
    assert plain.daily.index.tz is None


def test_streamed_bars_know_their_days(win, btc):
    rules = bt.ExitRules(stop=1.0, target=2.0, close_time="17:00")
    how = (bt.BarraElefante(min_range_mult=1.5), rules, bt.Contract(**WIN))
    pieces = [win[first : first + 1_000] for first in range(0, len(win), 1_000)]
    span = ("2023-02-01", "2023-04-01")
    streamed, whole = bt.run_chunked(pieces, *how, range=span), bt.run(win, *how, range=span)
    pd.testing.assert_frame_equal(streamed.daily, whole.daily, **SAME)
    pd.testing.assert_frame_equal(
        streamed.intervals(n_resamples=50), whole.intervals(n_resamples=50)
    )
    rules, every_day = bt.ExitRules(stop=4.0, target=12.0), {"metrics": EVERY_DAY}
    across = bt.run_chunked([btc], "barra_elefante", rules, bt.Contract(**COINS), **every_day)
    with pytest.raises(bt.UnsupportedError, match="streamed"):
        _ = across.daily
    assert across.intervals(n_resamples=50).loc["sharpe", "low"] < across.metrics.sharpe


class TestIntervals:
    def test_they_are_those_of_the_module(self, result):
        given = {"n_resamples": 100, "resampling": overfitting.Resampling(seed=3)}
        found = result.intervals(0.9, **given)
        job = result.job
        expected = overfitting.metric_intervals(
            result.daily["returns"],
            result.trades,
            n_bars=job.last - job.first,
            initial_capital=job.contract.initial_capital,
            risk_free_rate=job.metrics.risk_free_rate,
            periods_per_year=job.metrics.periods_per_year,
            level=0.9,
            **given,
        )
        assert list(found.index) == list(expected)
        assert found.index.name == "metric"
        assert list(found.columns) == ["value", "low", "high", "undefined"]
        for name, each in expected.items():
            row = found.loc[name]
            assert np.array_equal([row.low, row.high], [each.low, each.high], equal_nan=True), name
            assert np.array_equal(row.value, float(result.metrics[name]), equal_nan=True), name

    def test_values_lie_within_and_levels_matter(self, win):
        result = intraday(win, "rust")
        wide, narrow = result.intervals(n_resamples=500), result.intervals(0.5, n_resamples=500)
        for name in ("sharpe", "expectancy", "win_rate", "total_return"):
            assert wide.loc[name, "low"] <= wide.loc[name, "value"] <= wide.loc[name, "high"]
            assert wide.loc[name, "low"] < narrow.loc[name, "low"]
            assert narrow.loc[name, "high"] < wide.loc[name, "high"]
        assert not {"total_trades", "days", "ruined"} & set(wide.index)

    def test_both_engines_give_the_same(self, win):
        first, second = (
            intraday(win, engine).intervals(n_resamples=100) for engine in ("numba", "rust")
        )
        pd.testing.assert_frame_equal(first, second, check_exact=True)

    @pytest.mark.parametrize("level", [0.0, 1.0, 95, "much"])
    def test_a_level_that_is_none(self, win, level):
        with pytest.raises(bt.ConfigError, match="level"):
            intraday(win, "rust").intervals(level)
