"""Is the best of several strategies better than a benchmark? SPA and StepM, computed by arch.

Both resample all strategies' days together, in blocks, so that what they have in common stays. They
need the daily returns of **every** strategy that was tried: with only the best ones among them the
p-value is too small. For a large sweep take a random sample that holds the winner, and know that
it still flatters.

References
----------
Hansen, P. R. (2005), A Test for Superior Predictive Ability, Journal of Business and Economic
Statistics 23 (4).

White, H. (2000), A Reality Check for Data Snooping, Econometrica 68 (5).

Romano, J. P. and Wolf, M. (2005), Stepwise Multiple Testing as Formalized Data Snooping,
Econometrica 73 (4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backtest_py.data.extras import required
from backtest_py.errors import ConfigError, DataError
from backtest_py.overfitting._inputs import column, matrix, moves, share, whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["SpaResult", "spa", "stepm"]


@dataclass(frozen=True, slots=True)
class SpaResult:
    """P-values of the test that no strategy is better than the benchmark.

    Attributes
    ----------
    lower, consistent, upper : float
        ``consistent`` is Hansen's p-value, the one to read; ``upper`` is White's reality check,
        which poor strategies make larger; ``lower`` leaves all poor ones out. nan where no strategy
        differs from the benchmark.
    n_strategies : int
        How many strategies differ from the benchmark, and were compared.
    """

    lower: float
    consistent: float
    upper: float
    n_strategies: int


def spa(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    *,
    seed: int,
    n_resamples: int = 1_000,
    block_size: int | None = None,
    bootstrap: Literal["stationary", "circular", "moving block"] = "stationary",
) -> SpaResult:
    """Test whether the best strategy is better than a benchmark, given how many were tried (SPA).

    ``arch`` compares losses; here everything is a return, and larger is better. A strategy whose
    difference to the benchmark never changes (one that does not trade, against 0) is left out,
    because it has no error that could be compared.

    Parameters
    ----------
    returns : array-like, shape (n_days, n_strategies)
        Daily returns of all strategies that were tried.
    benchmark : array-like, shape (n_days,), optional
        Daily returns to beat; 0, not trading, by default.
    seed : int
        Start of the random numbers: the same seed gives the same p-values.
    n_resamples : int
        Bootstrap samples.
    block_size : int, optional
        Days of a block, on average; the root of the number of days by default.
    bootstrap : {"stationary", "circular", "moving block"}
        How blocks are drawn.

    Returns
    -------
    SpaResult

    Raises
    ------
    DataError
        If a return is not finite, the lengths differ, or there are fewer than 3 days.
    ConfigError
        If a setting is not allowed, or the extra ``overfitting`` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(3).normal(0.0, 0.01, (500, 20))
    >>> spa(noise, seed=1).consistent > 0.05
    True
    >>> noise[:, 7] += 0.003
    >>> spa(noise, seed=1).consistent < 0.01
    True
    """
    table, base, places = _compared(returns, benchmark)
    settings = _settings(len(table), seed, n_resamples, block_size, bootstrap)
    if not places.size:
        return SpaResult(math.nan, math.nan, math.nan, 0)
    test = required("arch.bootstrap", "overfitting").SPA(-base, -table[:, places], **settings)
    test.compute()
    found = test.pvalues
    return SpaResult(
        float(found["lower"]), float(found["consistent"]), float(found["upper"]), places.size
    )


def stepm(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    *,
    seed: int,
    size: float = 0.05,
    n_resamples: int = 1_000,
    block_size: int | None = None,
    bootstrap: Literal["stationary", "circular", "moving block"] = "stationary",
) -> NDArray[np.int64]:
    """Return which strategies are better than a benchmark, given how many were tried (StepM).

    The probability that even one of those named is not better is at most ``size``.

    Parameters
    ----------
    returns, benchmark, seed, n_resamples, block_size, bootstrap
        As in :func:`spa`.
    size : float
        Probability of a wrong name among those returned, between 0 and 1.

    Returns
    -------
    ndarray of int64
        Places of the better strategies, ascending; empty where there is none.

    Raises
    ------
    DataError, ConfigError
        As in :func:`spa`.

    Examples
    --------
    >>> import numpy as np
    >>> returns = np.random.default_rng(3).normal(0.0, 0.01, (500, 20))
    >>> returns[:, [4, 9]] += 0.003
    >>> stepm(returns, seed=1)
    array([4, 9])
    """
    table, base, places = _compared(returns, benchmark)
    settings = _settings(len(table), seed, n_resamples, block_size, bootstrap)
    level = share(size, "size")
    if not places.size:
        return places
    # the steps of arch's StepM, which fails where they name every strategy in the end
    test = required("arch.bootstrap", "overfitting").SPA(-base, -table[:, places], **settings)
    left = np.ones(places.size, dtype=np.bool_)
    while left.any():
        test.subset(left)
        test.compute()
        better = np.asarray(test.better_models(level), dtype=np.int64)
        if not better.size:
            break
        left[better] = False
    return places[~left]


def _compared(
    returns: ArrayLike, benchmark: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return strategies, benchmark, and the strategies that can be compared with it."""
    table = matrix(returns, "returns")
    base = np.zeros(len(table)) if benchmark is None else column(benchmark, "benchmark")
    if len(base) != len(table):
        raise DataError(
            f"benchmark has {len(base):,} days and returns {len(table):,}; give the same days"
        )
    if len(table) < 3:
        raise DataError(f"returns has {len(table)} days; a test needs at least 3")
    return table, base, np.flatnonzero(moves(table - base[:, None]))


def _settings(
    n_days: int, seed: int, n_resamples: int, block_size: int | None, bootstrap: str
) -> dict[str, Any]:
    names = ("stationary", "circular", "moving block")
    if bootstrap not in names:
        raise ConfigError(f"bootstrap = {bootstrap!r} is not allowed; give one of {names}")
    block = None if block_size is None else whole(block_size, "block_size", least=1)
    if block is not None and block > n_days:
        raise ConfigError(f"block_size = {block} is not allowed for {n_days} days; give fewer")
    return {
        "block_size": block,
        "reps": whole(n_resamples, "n_resamples", least=1),
        "bootstrap": bootstrap,
        "seed": whole(seed, "seed", least=0),
    }
