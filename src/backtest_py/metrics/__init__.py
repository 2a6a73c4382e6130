"""Metrics: what each is called and means, and functions that compute one from a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Fetch a function when it is asked for: it needs the engines, which need the catalogue."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from backtest_py.metrics import functions  # noqa: PLC0415 - as the docstring says

        found = globals()[name] = getattr(functions, name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
