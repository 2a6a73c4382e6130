"""Confidence intervals of the package's own metrics, many samples at a time.

The definitions are those of docs/semantics.md, section 5. Sums are NumPy's here, so that the last
digits may differ from a result's own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines.numba_engine.metrics import NEGLIGIBLE
from backtest_py.errors import ConfigError, DataError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.overfitting._inputs import column, whole
from backtest_py.overfitting.intervals import ConfidenceInterval, Method, intervals
from backtest_py.rules import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from backtest_py.overfitting.resampling import Resampling

__all__ = ["WITHOUT_INTERVAL", "metric_intervals"]

WITHOUT_INTERVAL: Final = frozenset({"total_trades", "days", "ruined"})
"""Metrics that resampling leaves as they are; Monte Carlo paths tell the risk of ruin."""


def metric_intervals(
    returns: ArrayLike,
    trades: Mapping[str, Any],
    *,
    n_bars: int = 0,
    initial_capital: float = 10_000.0,
    risk_free_rate: float = 0.0,
    periods_per_year: float = 252,
    level: float = 0.95,
    method: Method = "bca",
    n_resamples: int = 2_000,
    resampling: Resampling | None = None,
) -> dict[str, ConfidenceInterval]:
    """Return the bootstrap confidence interval of every metric that days or trades give.

    Days are drawn for ``sharpe`` and ``sortino``, trades for all others, their number and that of
    the days as they are. Drawing changes the order: intervals of drawdowns and streaks are those of
    other orders of similar trades, and always percentiles. A path ends at the first trade after
    which nothing is left of the capital, for drawdowns; sums and averages are those of all trades.

    Parameters
    ----------
    returns : array-like, shape (n_days,)
        Daily returns as fractions, days without a trade included.
    trades : mapping or DataFrame
        Columns of ``result.trades``, each of shape (n_trades,): ``pnl``, and ``side``,
        ``bars_held``, ``ambiguous`` and ``reason`` (names or codes) for the metrics that need them.
    n_bars : int
        Bars of the range, for ``exposure``; 0 leaves it out.
    initial_capital, risk_free_rate, periods_per_year : float
        As in :class:`~backtest_py.Contract` and :class:`~backtest_py.MetricSettings`.
    level, method, n_resamples, resampling
        As in :func:`~backtest_py.overfitting.confidence_interval`.

    Returns
    -------
    dict of str to ConfidenceInterval
        In the order of the metrics of a result.

    Raises
    ------
    DataError
        If a number is not finite, or columns differ in length.
    ConfigError
        If a setting is not allowed, or ``pnl`` is missing.

    Examples
    --------
    >>> import numpy as np
    >>> pnl = np.tile([30.0, -10.0, -10.0, 25.0], 25)
    >>> found = metric_intervals(pnl / 10_000.0, {"pnl": pnl}, n_resamples=200)
    >>> found["expectancy"].low < 8.75 < found["expectancy"].high
    True
    >>> "exposure" in found
    False
    """
    settings = MetricSettings(risk_free_rate=risk_free_rate, periods_per_year=periods_per_year)
    capital = Contract(initial_capital=initial_capital).initial_capital
    daily = column(returns, "returns")
    columns = _trade_columns(trades)
    bars = whole(n_bars, "n_bars", least=0)

    def of_days(drawn: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        return _day_metrics(drawn["returns"], settings)

    def of_trades(drawn: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        pnl = drawn["pnl"]
        total = pnl.sum(axis=1)
        return (
            _pnl_metrics(pnl, total)
            | _return_metrics(total, capital, settings, daily.size)
            | _column_metrics(drawn, bars)
        )

    def of_paths(drawn: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        pnl = drawn["pnl"]
        annual = _return_metrics(pnl.sum(axis=1), capital, settings, daily.size)
        return _path_metrics(pnl, capital, annual["annual_return_pct"])

    options: dict[str, Any] = {"level": level, "n_resamples": n_resamples, "resampling": resampling}
    with np.errstate(all="ignore"):
        found = {
            **intervals({"returns": daily}, of_days, method=method, **options),
            **intervals(columns, of_trades, method=method, **options),
            **intervals({"pnl": columns["pnl"]}, of_paths, method="percentile", **options),
        }
    return {name: found[name] for name in METRICS if name in found}


def _trade_columns(trades: Mapping[str, Any]) -> dict[str, NDArray[np.generic]]:
    """Return the columns that metrics are made of, reasons as their codes."""
    if "pnl" not in trades:
        raise ConfigError("trades has no pnl; give the columns of result.trades")
    found: dict[str, NDArray[np.generic]] = {"pnl": column(trades["pnl"], "pnl")}
    for name in ("side", "bars_held", "ambiguous"):
        if name in trades:
            found[name] = np.asarray(trades[name])
    if "reason" in trades:
        given = np.asarray(trades["reason"])
        if given.dtype.kind not in "iu":
            codes = {reason.name: int(reason) for reason in Reason}
            unknown = sorted(set(map(str, given)) - codes.keys())
            if unknown:
                raise DataError(f"reason holds {unknown[0]!r}; give one of {list(codes)}")
            given = np.array([codes[str(each)] for each in given], np.int64)
        found["reason"] = given
    n_trades = len(found["pnl"])
    for name, values in found.items():
        if values.shape != (n_trades,):
            raise DataError(f"{name} has the shape {values.shape}; there are {n_trades} trades")
    return found


def _day_metrics(
    returns: NDArray[np.float64], settings: MetricSettings
) -> dict[str, NDArray[np.float64]]:
    n = returns.shape[1]
    rf = settings.risk_free_rate / settings.periods_per_year
    year = math.sqrt(settings.periods_per_year)
    excess = returns.sum(axis=1) / n - rf
    deviation = np.sqrt(_variance(returns))
    downside = np.sqrt((np.minimum(returns - rf, 0.0) ** 2).sum(axis=1) / n)
    return {
        "sharpe": _quotient(excess, deviation) * year,
        "sortino": _quotient(excess, downside) * year,
    }


def _pnl_metrics(
    pnl: NDArray[np.float64], total: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return what does not hang on the order of the trades."""
    n = float(pnl.shape[1])
    wins = (pnl > 0.0).sum(axis=1).astype(np.float64)
    losses = (pnl < 0.0).sum(axis=1).astype(np.float64)
    gain = np.maximum(pnl, 0.0).sum(axis=1)
    lost = -np.minimum(pnl, 0.0).sum(axis=1)
    avg_win, avg_loss = _quotient(gain, wins), _quotient(-lost, losses)
    factor = np.where((losses == 0.0) & (wins > 0.0), np.inf, _quotient(gain, lost))
    empty = np.full(len(pnl), np.nan)
    return {
        "winning_trades": wins,
        "losing_trades": losses,
        "win_rate": _quotient(wins, n),
        "expectancy": _quotient(total, n),
        "avg_win": avg_win,
        "avg_loss": avg_loss,
        "gross_profit": gain,
        "gross_loss": lost,
        "profit_factor": factor,
        "payoff_ratio": _quotient(avg_win, -avg_loss),
        "best_trade": pnl.max(axis=1) if n else empty,
        "worst_trade": pnl.min(axis=1) if n else empty,
        "sqn": _quotient(math.sqrt(n) * _quotient(total, n), np.sqrt(_variance(pnl))),
    }


def _return_metrics(
    total: NDArray[np.float64], capital: float, settings: MetricSettings, n_days: int
) -> dict[str, NDArray[np.float64]]:
    percent = 100.0 * total / capital
    return {
        "total_return": total,
        "total_return_pct": percent,
        "annual_return_pct": _quotient(percent * settings.periods_per_year, float(n_days)),
    }


def _column_metrics(drawn: Mapping[str, Any], n_bars: int) -> dict[str, NDArray[np.float64]]:
    """Return what is made of other columns, where they were given."""
    found = {}
    if "side" in drawn:
        found["long_trades"] = (drawn["side"] > 0).sum(axis=1).astype(np.float64)
        found["short_trades"] = (drawn["side"] < 0).sum(axis=1).astype(np.float64)
    if "bars_held" in drawn:
        held = drawn["bars_held"].sum(axis=1).astype(np.float64)
        found["avg_bars_held"] = _quotient(held, float(drawn["bars_held"].shape[1]))
        if n_bars:
            found["exposure"] = held / n_bars
    if "ambiguous" in drawn:
        found["ambiguous_trades"] = drawn["ambiguous"].sum(axis=1).astype(np.float64)
    if "reason" in drawn:
        for reason in Reason:
            count = (drawn["reason"] == int(reason)).sum(axis=1)
            found[f"exits_{reason.name}"] = count.astype(np.float64)
    return found


def _path_metrics(
    pnl: NDArray[np.float64], capital: float, annual_pct: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return what hangs on the order of the trades."""
    equity = np.cumsum(np.pad(pnl, ((0, 0), (1, 0)), constant_values=capital), axis=1)
    peak = np.maximum.accumulate(equity, axis=1)
    ruined = np.maximum.accumulate(equity <= 0.0, axis=1)
    fall = peak - equity
    fall[:, 1:][ruined[:, :-1]] = 0.0  # the account was closed before
    deepest, deepest_pct = fall.max(axis=1), 100.0 * (fall / peak).max(axis=1)
    return {
        "max_consecutive_wins": _longest_run(pnl > 0.0),
        "max_consecutive_losses": _longest_run(pnl < 0.0),
        "max_drawdown": deepest,
        "max_drawdown_pct": deepest_pct,
        "calmar": _quotient(annual_pct, deepest_pct),
        "recovery_factor": _quotient(pnl.sum(axis=1), deepest),
    }


def _longest_run(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    counted = np.cumsum(hits, axis=1)
    before = np.maximum.accumulate(np.where(hits, 0, counted), axis=1)
    return (counted - before).max(axis=1, initial=0).astype(np.float64)


def _variance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sample variance of every row; 0 where it is rounding, nan below two values."""
    n = values.shape[1]
    if n < 2:
        return np.full(len(values), np.nan)
    total, squares = values.sum(axis=1), (values * values).sum(axis=1)
    variance = (squares - total * total / n) / (n - 1)
    return np.where(variance > NEGLIGIBLE * (squares / n), variance, 0.0)


def _quotient(
    above: NDArray[np.float64], below: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return the quotient, nan over zero."""
    zero = np.equal(below, 0.0)
    return np.where(zero, np.nan, above / np.where(zero, 1.0, below))
