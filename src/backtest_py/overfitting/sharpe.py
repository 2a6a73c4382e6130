"""How sure one Sharpe ratio is: the probabilistic Sharpe ratio, the minimum track record.

All Sharpe ratios here are those of **one period**, such as a day: the annual one over the root of
the periods in a year. The kurtosis is the plain one, 3 for a normal distribution.

References
----------
Bailey, D. H. and López de Prado, M. (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk
15 (2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.contract import MetricSettings
from backtest_py.engines.numba_engine.metrics import NEGLIGIBLE
from backtest_py.errors import ConfigError
from backtest_py.overfitting._inputs import column, real, share, whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ReturnMoments", "min_track_record", "probabilistic_sharpe", "return_moments"]

NORMAL: Final = NormalDist()
"""The standard normal distribution."""

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ReturnMoments:
    """What the statistics of a Sharpe ratio need to know of the returns.

    Attributes
    ----------
    n_returns : int
        How many returns.
    sharpe : float
        Mean excess return over the deviation of one period, not annualised; nan below 2 returns or
        where all are equal.
    skew : float
        Third standardised moment; nan where ``sharpe`` is.
    kurtosis : float
        Fourth standardised moment, 3 for a normal distribution; nan where ``sharpe`` is.
    """

    n_returns: int
    sharpe: float
    skew: float
    kurtosis: float


def return_moments(
    returns: ArrayLike, *, risk_free_rate: float = 0.0, periods_per_year: float = 252
) -> ReturnMoments:
    """Return the number of returns, their Sharpe ratio of one period, skew and kurtosis.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Returns of all periods as fractions, periods without a trade included.
    risk_free_rate : float
        Per year, as a fraction.
    periods_per_year : float
        How many returns make a year.

    Returns
    -------
    ReturnMoments

    Raises
    ------
    DataError
        If a return is not a finite number.
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> found = return_moments([0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02])
    >>> round(found.sharpe * 252**0.5, 6), round(found.kurtosis, 4)
    (4.755564, 1.9014)
    """
    values = column(returns, "returns")
    settings = MetricSettings(risk_free_rate=risk_free_rate, periods_per_year=periods_per_year)
    n = values.size
    undefined = ReturnMoments(n, math.nan, math.nan, math.nan)
    if n < 2:
        return undefined
    mean = float(values.mean())
    centred = values - mean
    second = float(np.mean(centred**2))
    if not second * n / (n - 1) > NEGLIGIBLE * float(np.mean(values**2)):
        return undefined
    excess = mean - settings.risk_free_rate / settings.periods_per_year
    return ReturnMoments(
        n,
        excess / math.sqrt(second * n / (n - 1)),
        float(np.mean(centred**3)) / second**1.5,
        float(np.mean(centred**4)) / second**2,
    )


def probabilistic_sharpe(
    sharpe: float,
    n_returns: int,
    *,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark (PSR).

    ``Z((SR - SR*)*sqrt(n - 1)/sqrt(1 - skew*SR + (kurtosis - 1)/4*SR**2))``, with ``Z`` the normal
    distribution. Losses that are larger and rarer than gains (a negative skew, a high kurtosis)
    make a Sharpe ratio less certain.

    Parameters
    ----------
    sharpe : float
        Observed, of one period: an annual one is divided by the root of the periods in a year.
    n_returns : int
        From how many returns, 1 or more.
    skew, kurtosis : float
        Of the returns; a kurtosis of 3 is normal (it is not the excess over 3).
    benchmark : float
        The Sharpe ratio to beat, of one period.

    Returns
    -------
    float
        0 to 1; nan where an argument is nan, for a single return, and for returns of only two
        values that leave the Sharpe ratio no error at all.

    Raises
    ------
    ConfigError
        If ``n_returns`` is below 1, or no returns have such a skew and kurtosis.

    Examples
    --------
    Two years of monthly returns of a hedge fund, example of the paper:

    >>> round(probabilistic_sharpe(0.458, 24, skew=-2.448, kurtosis=10.164), 4)
    0.9134
    >>> round(probabilistic_sharpe(0.458, 24), 4)
    0.9817
    """
    n = whole(n_returns, "n_returns", least=1)
    spread = _spread(sharpe, skew, kurtosis)
    lead = real(sharpe, "sharpe") - real(benchmark, "benchmark")
    if not spread > 0.0 or math.isnan(lead) or n < 2:
        return math.nan
    return NORMAL.cdf(lead * math.sqrt(n - 1) / math.sqrt(spread))


def min_track_record(
    sharpe: float,
    *,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """Return how many returns it takes until a Sharpe ratio is surely above a benchmark (MinTRL).

    ``1 + (1 - skew*SR + (kurtosis - 1)/4*SR**2)*(Z**-1(confidence)/(SR - SR*))**2``.

    Parameters
    ----------
    sharpe, skew, kurtosis, benchmark : float
        As in :func:`probabilistic_sharpe`, of one period.
    confidence : float
        Probability to reach, between 0 and 1.

    Returns
    -------
    float
        Number of returns, in periods; inf where the Sharpe ratio is not above the benchmark, nan
        where an argument is nan.

    Raises
    ------
    ConfigError
        If the confidence is not between 0 and 1, or no returns have such a skew and kurtosis.

    Examples
    --------
    >>> round(min_track_record(0.458, skew=-2.448, kurtosis=10.164), 2)
    34.56
    >>> round(min_track_record(0.458), 2)
    15.25
    """
    wanted = NORMAL.inv_cdf(share(confidence, "confidence"))
    spread = _spread(sharpe, skew, kurtosis)
    lead = real(sharpe, "sharpe") - real(benchmark, "benchmark")
    if math.isnan(spread) or math.isnan(lead):
        return math.nan
    if wanted <= 0.0 and lead > 0.0:
        return 1.0
    return 1.0 + spread * (wanted / lead) ** 2 if lead > 0.0 else math.inf


def _spread(sharpe: float, skew: float, kurtosis: float) -> float:
    """Return ``n - 1`` times the variance of an estimated Sharpe ratio."""
    ratio = real(sharpe, "sharpe")
    third = real(skew, "skew")
    fourth = real(kurtosis, "kurtosis")
    least = 1.0 + third * third
    if fourth < least * (1.0 - _ROUNDING):
        raise ConfigError(
            f"kurtosis = {fourth:g} is not possible with a skew of {third:g}; it is never below "
            f"{least:g} (1 + skew**2). Give the plain kurtosis, which is 3 for normal returns, not "
            "the excess"
        )
    if not math.isfinite(ratio):
        return math.nan
    return 1.0 - third * ratio + (fourth - 1.0) / 4.0 * ratio * ratio
