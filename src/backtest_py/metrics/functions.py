"""Metrics of any equity curve, returns or trade results, outside a backtest.

The definitions are those of docs/semantics.md, section 5, and the numbers are the same bit for
bit on both engines. What is undefined is nan: a quotient with a zero denominator (the profit
factor of wins alone is inf), too few values, a spread of returns that is only rounding.

Every function takes a list, an array or a Series of finite numbers. ``engine`` is ``"auto"``,
``"numba"`` or ``"rust"``, as in :func:`backtest_py.run`.

An equity curve starts with the capital: a fall from there counts. Either it is the first element
of ``equity``, or it is given as ``initial_capital`` and ``equity`` holds what came after.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines.registry import resolve
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

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


def equity_from_pnl(
    pnl: ArrayLike, *, initial_capital: float = 10_000.0, engine: str = "auto"
) -> NDArray[np.float64]:
    """Add trade results to the capital, one by one.

    Parameters
    ----------
    pnl : array-like, shape (n_trades,)
        Results in money, in order.
    initial_capital : float
        Money before the first trade, above 0.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    ndarray of float64, shape (n_trades,)
        Money after each trade.

    Raises
    ------
    DataError
        If a value is not a finite number.
    ConfigError
        If the capital or the engine is not allowed.

    Examples
    --------
    >>> equity_from_pnl([50.0, -20.0], initial_capital=1_000.0)
    array([1050., 1030.])
    """
    start = Contract(initial_capital=initial_capital).initial_capital
    return _series("equity_from_pnl", engine, _numbers(pnl, "pnl"), start)


def returns_from_equity(
    equity: ArrayLike, *, initial_capital: float | None = None, engine: str = "auto"
) -> NDArray[np.float64]:
    """Turn an equity curve into simple returns, ``equity[i]/equity[i-1] - 1`` as one quotient.

    Parameters
    ----------
    equity : array-like, shape (n,)
        Money; only the last element may be 0 or less (ruin).
    initial_capital : float, optional
        Money before the first element; by default the first element is that.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    ndarray of float64, shape (n,), or (n - 1,) without ``initial_capital``
        Fractions: 0.01 is 1 %.

    Raises
    ------
    DataError
        If a value is not finite, or a return has no positive base.
    ConfigError
        If the capital or the engine is not allowed.

    Examples
    --------
    >>> returns_from_equity([100.0, 110.0, 55.0])
    array([ 0.1, -0.5])
    """
    start, curve = _curve(equity, initial_capital)
    _check_positive(curve[:-1], first=0 if initial_capital is not None else 1)
    return _series("returns_from_equity", engine, curve, start)


def drawdown_series(
    equity: ArrayLike, *, initial_capital: float | None = None, engine: str = "auto"
) -> NDArray[np.float64]:
    """Return how much money each element is below the running maximum: ``peak - equity``.

    Parameters
    ----------
    equity : array-like, shape (n,)
        Money.
    initial_capital : float, optional
        Money before the first element; by default the first element is that.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    ndarray of float64, shape (n,)
        Money, 0 or more.

    Raises
    ------
    DataError
        If a value is not finite, or the start is not above 0.
    ConfigError
        If the capital or the engine is not allowed.

    Examples
    --------
    >>> drawdown_series([100.0, 120.0, 90.0, 130.0])
    array([ 0.,  0., 30.,  0.])
    """
    start, _ = _curve(equity, initial_capital)
    return _series("drawdown_series", engine, _numbers(equity, "equity"), start)


def drawdown_pct_series(
    equity: ArrayLike, *, initial_capital: float | None = None, engine: str = "auto"
) -> NDArray[np.float64]:
    """Return how far each element is below the running maximum, in percent of it.

    ``100*(peak - equity)/peak``; arguments and errors as in :func:`drawdown_series`. empyrical and
    quantstats give the same as a negative fraction.

    Returns
    -------
    ndarray of float64, shape (n,)
        Percent, 0 or more.

    Examples
    --------
    >>> drawdown_pct_series([100.0, 120.0, 90.0, 130.0])
    array([ 0.,  0., 25.,  0.])
    """
    start, _ = _curve(equity, initial_capital)
    return _series("drawdown_pct_series", engine, _numbers(equity, "equity"), start)


def max_drawdown(
    equity: ArrayLike, *, initial_capital: float | None = None, engine: str = "auto"
) -> float:
    """Return the largest of :func:`drawdown_series`, in money.

    Examples
    --------
    >>> max_drawdown([90.0, 95.0], initial_capital=100.0)
    10.0
    """
    start, curve = _curve(equity, initial_capital)
    return _number("max_drawdown", engine, curve, start)


def max_drawdown_pct(
    equity: ArrayLike, *, initial_capital: float | None = None, engine: str = "auto"
) -> float:
    """Return the largest of :func:`drawdown_pct_series`, in percent.

    It need not be where the largest fall in money is.

    Examples
    --------
    >>> max_drawdown_pct([100.0, 120.0, 90.0, 130.0])
    25.0
    """
    start, curve = _curve(equity, initial_capital)
    return _number("max_drawdown_pct", engine, curve, start)


def annual_return_pct(
    equity: ArrayLike,
    *,
    initial_capital: float | None = None,
    periods_per_year: float = 252,
    engine: str = "auto",
) -> float:
    """Return the gain in percent of the capital, per year.

    ``100*(last - start)/start*periods_per_year/n``: positions have a fixed size, so nothing is
    compounded.

    Parameters
    ----------
    equity : array-like, shape (n,), or (n + 1,) without ``initial_capital``
        Money, one element per period.
    initial_capital : float, optional
        Money before the first element; by default the first element is that.
    periods_per_year : float
        252 for days on exchanges, 365 on crypto.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    float
        Percent; nan without a period.

    Raises
    ------
    DataError
        If a value is not finite, or the start is not above 0.
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> annual_return_pct([100.0, 104.0, 110.0], periods_per_year=4)
    20.0
    """
    start, curve = _curve(equity, initial_capital)
    _, periods = _settings(0.0, periods_per_year)
    return _number("annual_return_pct", engine, curve, start, periods)


def calmar_ratio(
    equity: ArrayLike,
    *,
    initial_capital: float | None = None,
    periods_per_year: float = 252,
    engine: str = "auto",
) -> float:
    """Return :func:`annual_return_pct` over :func:`max_drawdown_pct`, nan without a drawdown.

    Examples
    --------
    >>> calmar_ratio([100.0, 120.0, 90.0, 110.0], periods_per_year=3)
    0.4
    """
    start, curve = _curve(equity, initial_capital)
    _, periods = _settings(0.0, periods_per_year)
    return _number("calmar_ratio", engine, curve, start, periods)


def volatility(returns: ArrayLike, *, periods_per_year: float = 252, engine: str = "auto") -> float:
    """Return the sample standard deviation of returns times ``sqrt(periods_per_year)``.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions, one per period, periods without a trade included.
    periods_per_year : float
        252 for days on exchanges, 365 on crypto.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    float
        Fraction; nan below two returns, 0 where they differ by rounding alone.

    Raises
    ------
    DataError
        If a value is not a finite number.
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> volatility([0.01, -0.01], periods_per_year=2)
    0.02
    """
    _, periods = _settings(0.0, periods_per_year)
    return _number("volatility", engine, _numbers(returns, "returns"), periods)


def sharpe_ratio(
    returns: ArrayLike,
    *,
    risk_free_rate: float = 0.0,
    periods_per_year: float = 252,
    engine: str = "auto",
) -> float:
    """Return the annualised mean excess return over the sample standard deviation.

    ``(S1/n - rf)/sqrt(var)*sqrt(periods_per_year)`` with ``S1`` the sum of the returns, ``S2`` that
    of their squares, ``var = (S2 - S1*S1/n)/(n-1)`` and ``rf = risk_free_rate/periods_per_year``.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions, one per period, periods without a trade included.
    risk_free_rate : float
        Annual return of a riskless investment, as a fraction.
    periods_per_year : float
        252 for days on exchanges, 365 on crypto.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    float
        nan below two returns, or where they differ by rounding alone.

    Raises
    ------
    DataError
        If a value is not a finite number.
    ConfigError
        If a setting is not allowed.

    References
    ----------
    Sharpe, W. F. (1994), The Sharpe Ratio, Journal of Portfolio Management 21 (1).

    Examples
    --------
    >>> returns = [0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02]
    >>> round(sharpe_ratio(returns), 6)
    4.755564
    """
    rf, periods = _settings(risk_free_rate, periods_per_year)
    return _number("sharpe_ratio", engine, _numbers(returns, "returns"), rf, periods)


def sortino_ratio(
    returns: ArrayLike,
    *,
    risk_free_rate: float = 0.0,
    periods_per_year: float = 252,
    engine: str = "auto",
) -> float:
    """Return the annualised mean excess return over the downside deviation of all periods.

    ``(S1/n - rf)/sqrt(D/n)*sqrt(periods_per_year)`` with ``D`` the sum of ``(r - rf)**2`` over the
    returns below ``rf = risk_free_rate/periods_per_year``, and ``n`` the number of all returns.
    Parameters and errors as in :func:`sharpe_ratio`.

    Returns
    -------
    float
        nan without a return below ``rf``.

    References
    ----------
    Sortino, F. and Price, L. (1994), Performance Measurement in a Downside Risk Framework,
    Journal of Investing 3 (3).

    Examples
    --------
    >>> returns = [0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02]
    >>> round(sortino_ratio(returns), 6)
    9.797959
    """
    rf, periods = _settings(risk_free_rate, periods_per_year)
    return _number("sortino_ratio", engine, _numbers(returns, "returns"), rf, periods)


def win_rate(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the share of trades with a result above 0, nan without a trade.

    Parameters
    ----------
    pnl : array-like, shape (n_trades,)
        Results in money, in order.
    engine : {"auto", "numba", "rust"}
        Which engine computes.

    Returns
    -------
    float
        Fraction.

    Raises
    ------
    DataError
        If a value is not a finite number.
    ConfigError
        If the engine is not known.

    Examples
    --------
    >>> win_rate([30.0, -10.0, 0.0, -20.0])
    0.25
    """
    return _number("win_rate", engine, _numbers(pnl, "pnl"))


def expectancy(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the mean result of a trade in money, nan without a trade.

    Parameters and errors as in :func:`win_rate`.

    Examples
    --------
    >>> expectancy([30.0, -10.0, 0.0, -16.0])
    1.0
    """
    return _number("expectancy", engine, _numbers(pnl, "pnl"))


def avg_win(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the mean of the results above 0 in money, nan without one.

    Parameters and errors as in :func:`win_rate`.

    Examples
    --------
    >>> avg_win([30.0, -10.0, 50.0])
    40.0
    """
    return _number("avg_win", engine, _numbers(pnl, "pnl"))


def avg_loss(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the mean of the results below 0 in money, itself below 0, nan without one.

    Parameters and errors as in :func:`win_rate`.

    Examples
    --------
    >>> avg_loss([30.0, -10.0, -20.0])
    -15.0
    """
    return _number("avg_loss", engine, _numbers(pnl, "pnl"))


def profit_factor(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the sum of the wins over the sum of the losses.

    inf with a win and no loss, nan with neither. Parameters and errors as in :func:`win_rate`.

    Examples
    --------
    >>> profit_factor([30.0, -10.0, -10.0])
    1.5
    """
    return _number("profit_factor", engine, _numbers(pnl, "pnl"))


def payoff_ratio(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the mean win over the mean loss, nan without either.

    Parameters and errors as in :func:`win_rate`.

    Examples
    --------
    >>> payoff_ratio([30.0, -10.0, -20.0])
    2.0
    """
    return _number("payoff_ratio", engine, _numbers(pnl, "pnl"))


def sqn(pnl: ArrayLike, *, engine: str = "auto") -> float:
    """Return the system quality number: ``sqrt(N)`` times the mean result over its deviation.

    nan below two trades, or where results differ by rounding alone. Parameters and errors as in
    :func:`win_rate`.

    References
    ----------
    Tharp, V. K. (2008), The Definitive Guide to Position Sizing.

    Examples
    --------
    >>> round(sqn([10.0, 20.0, 30.0, 40.0]), 6)
    3.872983
    """
    return _number("sqn", engine, _numbers(pnl, "pnl"))


def recovery_factor(
    pnl: ArrayLike, *, initial_capital: float = 10_000.0, engine: str = "auto"
) -> float:
    """Return the sum of the results over the largest drawdown in money, nan without a drawdown.

    The capital, as in :func:`equity_from_pnl`, is where the equity starts; it matters for rounding
    alone.

    Examples
    --------
    >>> recovery_factor([10.0, -5.0, 10.0])
    3.0
    """
    start = Contract(initial_capital=initial_capital).initial_capital
    return _number("recovery_factor", engine, _numbers(pnl, "pnl"), start)


def _series(name: str, engine: str, *arguments: Any) -> NDArray[np.float64]:
    result: NDArray[np.float64] = resolve(engine)[0].series_metric(name, *arguments)
    return result


def _number(name: str, engine: str, *arguments: Any) -> float:
    """Compute one number; nan loses its sign, which processors choose, and 0 is +0."""
    result = float(resolve(engine)[0].series_metric(name, *arguments))
    return math.nan if math.isnan(result) else result + 0.0


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a contiguous column of finite float64."""
    column = np.asarray(values)
    if column.dtype.kind not in "iuf":
        raise DataError(f"{name} holds {column.dtype}, not numbers; give float64")
    if column.ndim != 1:
        raise DataError(
            f"{name} has the shape {column.shape}; give one column, such as {name}[:, 0]"
        )
    numbers = np.ascontiguousarray(column, dtype=np.float64)
    finite = np.isfinite(numbers)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise DataError(
            f"{name}[{bad[0]}] = {numbers[bad[0]]} is not finite ({bad.size:,} such values); "
            "drop or fill them"
        )
    return numbers


def _curve(equity: ArrayLike, initial_capital: float | None) -> tuple[float, NDArray[np.float64]]:
    """Split an equity curve into its start and what came after."""
    curve = _numbers(equity, "equity")
    if initial_capital is not None:
        return Contract(initial_capital=initial_capital).initial_capital, curve
    if curve.size == 0:
        raise DataError("equity is empty; give at least the capital, or initial_capital")
    _check_positive(curve[:1], first=0)
    return float(curve[0]), curve[1:]


def _check_positive(bases: NDArray[np.float64], *, first: int) -> None:
    """Refuse a base of returns or drawdowns that is not above 0; ``first`` is its index."""
    bad = np.flatnonzero(bases <= 0.0)
    if bad.size:
        raise DataError(
            f"equity[{bad[0] + first}] = {bases[bad[0]]} is not above 0, so that nothing can be "
            "measured against it; end the curve at the ruin"
        )


def _settings(risk_free_rate: float, periods_per_year: float) -> tuple[float, float]:
    """Return the risk-free return of one period, and the periods of a year."""
    settings = MetricSettings(risk_free_rate=risk_free_rate, periods_per_year=periods_per_year)
    return settings.risk_free_rate / settings.periods_per_year, settings.periods_per_year
