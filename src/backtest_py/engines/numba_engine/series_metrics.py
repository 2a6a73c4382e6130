"""Metrics of curves, returns and trade results. Mirrors ``engine_rust/src/series_metrics.rs``.

Every sum is one chain of additions from left to right, and what becomes of the sums is in
``metrics``: fed with the same numbers, a function here gives what a run gives. ``start`` is the
equity before the first element of a curve.
"""

from __future__ import annotations

import math

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.metrics import profit_factor as profit_factor_of_sums
from backtest_py.engines.numba_engine.metrics import quotient, sharpe, sortino, variance
from backtest_py.engines.numba_engine.metrics import sqn as sqn_of_sums

__all__ = [
    "annual_return_pct",
    "avg_loss",
    "avg_win",
    "calmar_ratio",
    "drawdown_pct_series",
    "drawdown_series",
    "equity_from_pnl",
    "expectancy",
    "max_drawdown",
    "max_drawdown_pct",
    "payoff_ratio",
    "profit_factor",
    "recovery_factor",
    "returns_from_equity",
    "sharpe_ratio",
    "sortino_ratio",
    "sqn",
    "volatility",
    "win_rate",
]


@kernel
def equity_from_pnl(pnl, start):
    """Return the equity after each trade."""
    out = np.empty(len(pnl))
    equity = start
    for i in range(len(pnl)):
        equity += pnl[i]
        out[i] = equity
    return out


@kernel
def returns_from_equity(equity, start):
    """Return the change of each element as a share of the one before."""
    out = np.empty(len(equity))
    before = start
    for i in range(len(equity)):
        out[i] = (equity[i] - before) / before
        before = equity[i]
    return out


@kernel
def drawdown_series(equity, start):
    """Return how far each element is below the running maximum."""
    out = np.empty(len(equity))
    peak = start
    for i in range(len(equity)):
        peak = equity[i] if equity[i] > peak else peak
        out[i] = peak - equity[i]
    return out


@kernel
def drawdown_pct_series(equity, start):
    """Return how far each element is below the running maximum, in percent of it."""
    out = np.empty(len(equity))
    peak = start
    for i in range(len(equity)):
        peak = equity[i] if equity[i] > peak else peak
        out[i] = 100.0 * ((peak - equity[i]) / peak)
    return out


@kernel
def max_drawdown(equity, start):
    """Return the largest fall below the peak."""
    peak = start
    largest = 0.0
    for i in range(len(equity)):
        peak = equity[i] if equity[i] > peak else peak
        drawdown = peak - equity[i]
        largest = drawdown if drawdown > largest else largest
    return largest


@kernel
def max_drawdown_pct(equity, start):
    """Return the largest fall below the peak, in percent of the peak."""
    peak = start
    largest = 0.0
    for i in range(len(equity)):
        peak = equity[i] if equity[i] > peak else peak
        ratio = (peak - equity[i]) / peak
        largest = ratio if ratio > largest else largest
    return 100.0 * largest


@kernel
def annual_return_pct(equity, start, periods_per_year):
    """Return the change of the whole curve in percent of the start, per year, not compounded."""
    n = len(equity)
    total = equity[n - 1] - start if n > 0 else 0.0
    return quotient(100.0 * total / start * periods_per_year, float(n))


@kernel
def calmar_ratio(equity, start, periods_per_year):
    """Return the annual return over the largest drawdown, both in percent."""
    annual_pct = annual_return_pct(equity, start, periods_per_year)
    return quotient(annual_pct, max_drawdown_pct(equity, start))


@kernel
def volatility(returns, periods_per_year):
    """Return the standard deviation of the returns, annualised."""
    total, squares = sums_of(returns)
    return math.sqrt(variance(total, squares, len(returns))) * math.sqrt(periods_per_year)


@kernel
def sharpe_ratio(returns, rf, periods_per_year):
    """Return the mean excess return over the standard deviation, annualised."""
    if len(returns) < 2:
        return np.nan
    total, squares = sums_of(returns)
    return sharpe(total, squares, len(returns), rf, periods_per_year)


@kernel
def sortino_ratio(returns, rf, periods_per_year):
    """Return the mean excess return over the downside deviation of all periods, annualised.

    A return that is not below ``rf`` adds 0.0: a branch would be mispredicted half of the time.
    """
    n = len(returns)
    total = downside_squares = 0.0
    for i in range(n):
        total += returns[i]
        x = returns[i] - rf
        downside_squares += x * x if x < 0.0 else 0.0
    return sortino(total, downside_squares, n, n, rf, periods_per_year)


@kernel
def sums_of(values):
    """Return the sum and the sum of squares."""
    total = squares = 0.0
    for i in range(len(values)):
        total += values[i]
        squares += values[i] * values[i]
    return total, squares


@kernel
def sides_of(pnl):
    """Return the sum of the wins, the sum of the losses, and how many there are of each."""
    gain = loss = 0.0
    wins = losses = 0
    for i in range(len(pnl)):
        gain += pnl[i] if pnl[i] > 0.0 else 0.0
        loss += pnl[i] if pnl[i] < 0.0 else 0.0
        wins += pnl[i] > 0.0
        losses += pnl[i] < 0.0
    return gain, loss, wins, losses


@kernel
def win_rate(pnl):
    """Return the share of the trades that win."""
    wins = sides_of(pnl)[2]
    return quotient(float(wins), float(len(pnl)))


@kernel
def expectancy(pnl):
    """Return the mean result of a trade."""
    return quotient(sums_of(pnl)[0], float(len(pnl)))


@kernel
def avg_win(pnl):
    """Return the mean of the wins."""
    gain, _, wins, _ = sides_of(pnl)
    return quotient(gain, float(wins))


@kernel
def avg_loss(pnl):
    """Return the mean of the losses, negative."""
    _, loss, _, losses = sides_of(pnl)
    return quotient(loss, float(losses))


@kernel
def profit_factor(pnl):
    """Return gross profit over gross loss, inf with a win and no loss."""
    gain, loss, wins, losses = sides_of(pnl)
    return profit_factor_of_sums(gain, loss, wins, losses)


@kernel
def payoff_ratio(pnl):
    """Return the mean win over the mean loss."""
    gain, loss, wins, losses = sides_of(pnl)
    return quotient(quotient(gain, float(wins)), 0.0 - quotient(loss, float(losses)))


@kernel
def sqn(pnl):
    """Return the system quality number."""
    total, squares = sums_of(pnl)
    return sqn_of_sums(total, squares, len(pnl))


@kernel
def recovery_factor(pnl, start):
    """Return the sum of the results over the largest drawdown of the equity they make."""
    return quotient(sums_of(pnl)[0], max_drawdown(equity_from_pnl(pnl, start), start))
