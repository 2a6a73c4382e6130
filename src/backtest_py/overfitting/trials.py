"""Effective number of trials: how many different strategies a set of backtests really holds.

Neighbours in a grid trade almost alike, and a hundred of them are not a hundred tries. The
deflated Sharpe ratio takes this number instead of the count as an option. It makes the test less
strict, and it is an estimate: without it the statistics are on the safe side.

References
----------
Bailey, D. H. and López de Prado, M. (2014), The Deflated Sharpe Ratio, Journal of Portfolio
Management 40 (5), appendix 3.

López de Prado, M. and Lewis, M. J. (2019), Detection of False Investment Strategies Using
Unsupervised Learning Methods, Quantitative Finance 19 (9).

Rousseeuw, P. J. (1987), Silhouettes, Journal of Computational and Applied Mathematics 20.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.data.extras import required
from backtest_py.errors import ConfigError, DataError
from backtest_py.overfitting._inputs import matrix, moves

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["EffectiveTrials", "effective_trials"]

MAX_SERIES: Final = 1_000
"""Clustering compares all pairs on every level; 1,000 series take some 3 seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class EffectiveTrials:
    """How many independent trials a set of series is worth.

    Attributes
    ----------
    number : float
        1 or more: the number of clusters, or what the mean correlation gives where there are none.
    labels : ndarray of int64, shape (n_series,)
        Cluster of each series, numbered by their first members; -1 for a series that never moves.
        All 0 upwards, one for each series, where no clusters were found.
    score : float
        Mean silhouette of the clusters, at most 1; nan where there is nothing to compare.
    mean_correlation : float
        Of all pairs of series; nan below two.
    clustered : bool
        Whether the clusters are more than what noise shows.
    """

    number: float
    labels: NDArray[np.int64]
    score: float
    mean_correlation: float
    clustered: bool


def effective_trials(returns: ArrayLike) -> EffectiveTrials:
    """Return how many independent trials some backtests are worth, by clustering their returns.

    The distance of two series is ``sqrt((1 - correlation)/2)``. They are joined by average linkage,
    which needs no random start, and of all numbers of clusters the one with the largest mean
    silhouette is taken. Where that is not above ``1/sqrt(n_days)``, the standard error of a
    correlation, the clusters are noise; then the number is ``c + (1 - c)*n`` with ``c`` the mean
    correlation, 0 at least. Series that never move are not trials and do not count.

    A sample of a large sweep shows at most as many clusters as it has series: where the number is
    not far below theirs, take the count of the whole sweep instead.

    Parameters
    ----------
    returns : array-like, shape (n_days, n_series)
        Daily returns as fractions; at most 1,000 series.

    Returns
    -------
    EffectiveTrials

    Raises
    ------
    DataError
        If a return is not finite, there are fewer than 3 days, or no series moves.
    ConfigError
        If there are too many series, or the extra ``overfitting`` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> ideas = np.repeat(rng.normal(size=(500, 4)), 25, axis=1)
    >>> effective_trials(ideas + 0.5 * rng.normal(size=(500, 100))).number
    4.0
    """
    table = matrix(returns, "returns")
    n_days, n_series = table.shape
    if n_series > MAX_SERIES:
        raise ConfigError(
            f"{n_series:,} series are too many to cluster; give a sample of at most {MAX_SERIES:,}"
        )
    if n_days < 3:
        raise DataError(f"returns has {n_days} days; correlations need at least 3")
    moving = moves(table)
    if not moving.any():
        raise DataError("no series in returns moves; leave out combinations that do not trade")
    labels = np.full(n_series, -1)
    count = int(moving.sum())
    labels[moving] = np.arange(count)
    if count == 1:
        return EffectiveTrials(1.0, labels, math.nan, math.nan, clustered=False)
    correlation = np.clip(np.corrcoef(table[:, moving], rowvar=False), -1.0, 1.0)
    mean = float((correlation.sum() - count) / (count * (count - 1)))
    spread = 1.0 - max(mean, 0.0)
    alike = max(1.0, count - (1.0 - spread) * (count - 1))
    if count == 2:
        return EffectiveTrials(alike, labels, math.nan, mean, clustered=False)
    distance = np.sqrt((1.0 - correlation) / 2.0)
    distance = (distance + distance.T) / 2.0
    np.fill_diagonal(distance, 0.0)
    found, score = _best_clusters(distance)
    if not score > 1.0 / math.sqrt(n_days):
        return EffectiveTrials(alike, labels, score, mean, clustered=False)
    labels[moving] = found
    return EffectiveTrials(float(found.max() + 1), labels, score, mean, clustered=True)


def _best_clusters(distance: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """Return the clusters with the largest mean silhouette, and that; of equals the most."""
    hierarchy: Any = required("scipy.cluster.hierarchy", "overfitting")
    n = len(distance)
    tree = hierarchy.linkage(distance[np.triu_indices(n, 1)], "average")
    everyone = np.arange(n)
    own = everyone.copy()  # the column in which a series' cluster is kept
    column = dict(enumerate(range(n)))
    sums, sizes = distance.copy(), np.ones(n)
    best, score = own.copy(), -math.inf
    for merged, (one, other) in enumerate(tree[:-1, :2].astype(int)):
        kept, gone = column[one], column[other]
        column[n + merged] = kept
        sums[:, kept] += sums[:, gone]
        sums[:, gone] = np.inf
        sizes[kept] += sizes[gone]
        own[own == gone] = kept
        inside = sums[everyone, own] / np.maximum(sizes[own] - 1.0, 1.0)
        means = sums / sizes
        means[everyone, own] = np.inf
        nearest = means.min(axis=1)
        wider = np.maximum(nearest, inside)
        alone = (sizes[own] == 1.0) | (wider == 0.0)
        silhouettes = np.where(alone, 0.0, (nearest - inside) / np.where(alone, 1.0, wider))
        mean = float(silhouettes.mean())
        if mean > score:
            best, score = own.copy(), mean
    _, first, inverse = np.unique(best, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[inverse].astype(np.int64), score
