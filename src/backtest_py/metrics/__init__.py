"""Metrics: what each is called and means, and functions that compute one from a series."""

from __future__ import annotations

from backtest_py.metrics.functions import (
    annual_return_pct,
    avg_loss,
    avg_win,
    calmar_ratio,
    drawdown_pct_series,
    drawdown_series,
    equity_from_pnl,
    expectancy,
    max_drawdown,
    max_drawdown_pct,
    payoff_ratio,
    profit_factor,
    recovery_factor,
    returns_from_equity,
    sharpe_ratio,
    sortino_ratio,
    sqn,
    volatility,
    win_rate,
)

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
