"""What luck alone shows after many trials: deflated Sharpe ratio, minimum length of a backtest.

References
----------
Bailey, D. H. and López de Prado, M. (2014), The Deflated Sharpe Ratio, Journal of Portfolio
Management 40 (5).

Bailey, D. H., Borwein, J. M., López de Prado, M. and Zhu, Q. J. (2014), Pseudo-Mathematics and
Financial Charlatanism, Notices of the American Mathematical Society 61 (5).
"""

from __future__ import annotations

import math
from typing import Final

from backtest_py.errors import ConfigError
from backtest_py.overfitting._inputs import real
from backtest_py.overfitting.sharpe import NORMAL, probabilistic_sharpe

__all__ = [
    "deflated_sharpe",
    "expected_best_sharpe",
    "expected_maximum",
    "luck_benchmark",
    "min_backtest_years",
    "min_backtest_years_bound",
]

_EULER: Final = 0.5772156649015329


def expected_maximum(n_trials: float) -> float:
    """Return the largest of many independent standard normal numbers that is to be expected.

    ``(1 - g)*Z**-1(1 - 1/N) + g*Z**-1(1 - 1/(N*e))`` with Euler's constant ``g``; the papers'
    approximation, good from some 5 trials on. 0 for one trial, whose best is itself.

    Parameters
    ----------
    n_trials : float
        1 or more; an effective number of trials need not be whole.

    Returns
    -------
    float
        In standard deviations, 0 or more.

    Raises
    ------
    ConfigError
        If it is below 1.

    Examples
    --------
    >>> [round(expected_maximum(n), 4) for n in (1, 45, 1000, 4_233_600)]
    [0.0, 2.2356, 3.2551, 5.1458]
    """
    n = _trials(n_trials)
    if math.isnan(n) or n == 1.0:
        return math.nan if math.isnan(n) else 0.0
    # Z**-1(1 - p) is -Z**-1(p), which keeps its digits for any number of trials
    upper = -NORMAL.inv_cdf(1.0 / n)
    beyond = -NORMAL.inv_cdf(1.0 / n / math.e)
    return max(0.0, (1.0 - _EULER) * upper + _EULER * beyond)


def luck_benchmark(n_trials: float, variance: float) -> float:
    """Return the best Sharpe ratio to be expected of trials none of which has an edge.

    Parameters
    ----------
    n_trials : float
        How many sets of parameters were tried, or their effective number.
    variance : float
        Of the trials' Sharpe ratios; its period (a day, a year) is that of the result.

    Returns
    -------
    float
        ``sqrt(variance)*expected_maximum(n_trials)``; 0 for one trial; nan where the variance is.

    Raises
    ------
    ConfigError
        If the trials are fewer than 1, or the variance is negative.

    Examples
    --------
    >>> round(luck_benchmark(100, 0.5), 4)
    1.7894
    """
    spread = real(variance, "variance", least=0.0)
    best = expected_maximum(n_trials)
    return 0.0 if best == 0.0 else math.sqrt(spread) * best


def deflated_sharpe(
    sharpe: float,
    n_returns: int,
    *,
    n_trials: float,
    variance: float,
    skew: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Return the probability that the best of many trials has a true Sharpe ratio above 0 (DSR).

    It is the probabilistic Sharpe ratio against :func:`luck_benchmark`. Everything is of one
    period: an annual Sharpe ratio is divided by the root of the periods in a year, an annual
    variance by the periods.

    Parameters
    ----------
    sharpe : float
        Of the best trial, of one period.
    n_returns : int
        From how many returns, 1 or more.
    n_trials : float
        How many sets of parameters were tried, all of them, or their effective number.
    variance : float
        Of the trials' Sharpe ratios of one period.
    skew, kurtosis : float
        Of the best trial's returns; a kurtosis of 3 is normal.

    Returns
    -------
    float
        0 to 1, and 0.95 or more is significant at 5 %; nan as in :func:`probabilistic_sharpe`.

    Raises
    ------
    ConfigError
        If an argument is not allowed.

    Examples
    --------
    The paper's example: an annual Sharpe ratio of 2.5 over five years of 250 days, from trials
    with an annual variance of 1/2.

    >>> daily = {"sharpe": 2.5 / 250**0.5, "variance": 0.5 / 250}
    >>> tails = {"skew": -3.0, "kurtosis": 10.0}
    >>> [round(deflated_sharpe(n_returns=1250, n_trials=n, **daily, **tails), 4) for n in (100, 46)]
    [0.9004, 0.9505]
    """
    return probabilistic_sharpe(
        sharpe,
        n_returns,
        skew=skew,
        kurtosis=kurtosis,
        benchmark=luck_benchmark(n_trials, variance),
    )


def expected_best_sharpe(n_trials: float, years: float) -> float:
    """Return the annual Sharpe ratio that the best of many trials without an edge shows.

    Over ``years``, the Sharpe ratio of returns without an edge has a standard deviation of
    ``1/sqrt(years)``; the best of ``n_trials`` independent ones is :func:`expected_maximum` of
    these away from 0. Trials that resemble each other show less: give their effective number.

    Parameters
    ----------
    n_trials : float
        1 or more.
    years : float
        Length of the backtest, above 0.

    Returns
    -------
    float
        Annual Sharpe ratio.

    Raises
    ------
    ConfigError
        If an argument is not allowed.

    Examples
    --------
    >>> round(expected_best_sharpe(4_233_600, 3.5), 2)
    2.75
    """
    return expected_maximum(n_trials) / math.sqrt(real(years, "years", above=0.0))


def min_backtest_years(n_trials: float, *, sharpe: float = 1.0) -> float:
    """Return how many years of data it takes until luck alone stops showing a Sharpe ratio.

    ``(expected_maximum(n_trials)/sharpe)**2``: over fewer years, the best of so many trials
    without an edge is expected to show more than ``sharpe`` (MinBTL).

    Parameters
    ----------
    n_trials : float
        1 or more.
    sharpe : float
        Annual Sharpe ratio, above 0.

    Returns
    -------
    float
        Years; 0 for one trial.

    Raises
    ------
    ConfigError
        If an argument is not allowed.

    Examples
    --------
    >>> [round(min_backtest_years(n), 3) for n in (10, 45, 46, 1000)]
    [2.479, 4.998, 5.036, 10.596]
    """
    return (expected_maximum(n_trials) / real(sharpe, "sharpe", above=0.0)) ** 2


def min_backtest_years_bound(n_trials: float, *, sharpe: float = 1.0) -> float:
    """Return the simple upper bound of :func:`min_backtest_years`, ``2*ln(N)/sharpe**2``.

    Parameters and errors as there.

    Examples
    --------
    >>> round(min_backtest_years_bound(1000), 3)
    13.816
    """
    return 2.0 * math.log(_trials(n_trials)) / real(sharpe, "sharpe", above=0.0) ** 2


def _trials(n_trials: float) -> float:
    n = real(n_trials, "n_trials", least=1.0)
    if math.isinf(n):
        raise ConfigError(f"n_trials = {n} is not allowed; give how many sets were tried")
    return n
