"""Confidence intervals of metrics: how far a number moves when the same past is drawn again.

The percentile interval takes the quantiles of the samples' values; BCa corrects them for bias and
for a spread that changes with the value.

References
----------
Efron, B. (1987), Better Bootstrap Confidence Intervals, Journal of the American Statistical
Association 82.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from backtest_py.errors import ConfigError, DataError
from backtest_py.overfitting._inputs import share, whole
from backtest_py.overfitting.resampling import Resampling
from backtest_py.overfitting.sharpe import NORMAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    Columns: TypeAlias = Mapping[str, NDArray[Any]]
    Batch: TypeAlias = Callable[[Columns], Mapping[str, NDArray[np.float64]]]

__all__ = ["ConfidenceInterval", "Method", "confidence_interval", "intervals"]

Method: TypeAlias = Literal["bca", "percentile"]

_CELLS: Final = 2_000_000
"""Values of one column that are resampled at a time: 16 MB."""
_GROUPS: Final = 1_000
"""The jackknife leaves out one value at a time, or one of so many runs of neighbours."""


@dataclass(frozen=True, slots=True)
class ConfidenceInterval:
    """Between which values a metric lies, with some confidence.

    Attributes
    ----------
    estimate : float
        The metric of the data itself.
    low, high : float
        Ends of the interval; nan where the estimate or every sample's value is, and below two
        values, from which nothing can be learnt.
    level : float
        The confidence.
    undefined : float
        Share of the samples in which the metric is nan; they are left out.
    """

    estimate: float
    low: float
    high: float
    level: float
    undefined: float


def confidence_interval(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    level: float = 0.95,
    method: Method = "bca",
    n_resamples: int = 2_000,
    resampling: Resampling | None = None,
) -> ConfidenceInterval:
    """Return the bootstrap confidence interval of any function of returns or of trade results.

    For the package's own metrics, :func:`~backtest_py.overfitting.metric_intervals` is much faster.

    Parameters
    ----------
    values : array-like, shape (n,) or (n, n_columns)
        Daily returns, or results of trades; of rows and columns, rows are drawn.
    statistic : callable
        Takes an array like ``values`` and returns a number.
    level : float
        Confidence, between 0 and 1.
    method : {"bca", "percentile"}
        For a path, such as a drawdown, take percentiles: BCa needs a value that does not hang on
        the order.
    n_resamples : int
        Samples to draw.
    resampling : Resampling, optional
        Which samples; by default stationary blocks from seed 0.

    Returns
    -------
    ConfidenceInterval

    Raises
    ------
    DataError
        If a value is not a finite number.
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> returns = np.random.default_rng(1).normal(0.001, 0.01, 500)
    >>> found = confidence_interval(returns, np.mean, n_resamples=500)
    >>> bool(found.low < returns.mean() < found.high)
    True
    """
    table = np.asarray(values)
    if table.dtype.kind not in "iuf" or table.ndim not in {1, 2}:
        raise DataError(
            f"values holds {table.dtype} of shape {table.shape}; give numbers in rows, or in rows "
            "and columns"
        )
    numbers = table.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError("values holds numbers that are not finite; drop or fill them")

    def batch(columns: Columns) -> dict[str, NDArray[np.float64]]:
        return {"": np.array([float(statistic(sample)) for sample in columns["values"]])}

    return intervals(
        {"values": numbers},
        batch,
        level=level,
        method=method,
        n_resamples=n_resamples,
        resampling=resampling,
    )[""]


def intervals(
    columns: Columns,
    batch: Batch,
    *,
    level: float = 0.95,
    method: Method = "bca",
    n_resamples: int = 2_000,
    resampling: Resampling | None = None,
) -> dict[str, ConfidenceInterval]:
    """Return the confidence intervals of several statistics from the same samples.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n, ...)
        Series of one length, drawn together.
    batch : callable
        Takes the columns of several samples, each of shape (n_samples, n, ...), and returns every
        statistic by its name, of shape (n_samples,).
    level, method, n_resamples, resampling
        As in :func:`confidence_interval`.

    Returns
    -------
    dict of str to ConfidenceInterval
    """
    confidence = share(level, "level")
    count = whole(n_resamples, "n_resamples", least=2)
    if method not in {"bca", "percentile"}:
        raise ConfigError(f'method = {method!r} is not allowed; give "bca" or "percentile"')
    (n,) = {len(values) for values in columns.values()}
    estimates = batch({name: values[None] for name, values in columns.items()})
    if n < 2:
        return {
            name: ConfidenceInterval(float(found[0]), math.nan, math.nan, confidence, math.nan)
            for name, found in estimates.items()
        }
    draw = resampling or Resampling()
    drawn = _collect(
        columns, batch, lambda first, last: draw.places(n, first, last - first), count, n
    )
    left_out = _jackknife(columns, batch, n) if method == "bca" else {}
    return {
        name: _interval(float(found[0]), drawn[name], left_out.get(name), confidence)
        for name, found in estimates.items()
    }


def _collect(
    columns: Columns,
    batch: Batch,
    places: Callable[[int, int], NDArray[np.int64]],
    count: int,
    width: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of samples 0 to ``count``, a few at a time."""
    step = max(1, _CELLS // max(width, 1))
    parts = []
    for first in range(0, count, step):
        at = places(first, min(first + step, count))
        parts.append(batch({name: values[at] for name, values in columns.items()}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _jackknife(columns: Columns, batch: Batch, n: int) -> dict[str, NDArray[np.float64]]:
    """Return the statistics without one value, or without one run of neighbours."""
    size = -(-n // _GROUPS)
    n_groups = n // size  # what is left at the end, fewer than a group, always stays

    def places(first: int, last: int) -> NDArray[np.int64]:
        gone = np.arange(first, last)[:, None] * size
        at = np.arange(n - size)
        return np.where(at < gone, at, at + size)

    return _collect(columns, batch, places, n_groups, n)


def _interval(
    estimate: float,
    drawn: NDArray[np.float64],
    left_out: NDArray[np.float64] | None,
    level: float,
) -> ConfidenceInterval:
    values = np.sort(drawn[~np.isnan(drawn)])
    undefined = 1.0 - values.size / drawn.size
    if math.isnan(estimate) or not values.size:
        return ConfidenceInterval(estimate, math.nan, math.nan, level, undefined)
    tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    if left_out is not None:
        tails = _corrected(tails, estimate, values, left_out)
    if math.isnan(tails[0] + tails[1]):
        return ConfidenceInterval(estimate, math.nan, math.nan, level, undefined)
    # a value that was drawn, not one between two: a profit factor may be infinite
    low, high = (
        float(values[min(max(math.ceil(tail * values.size) - 1, 0), values.size - 1)])
        for tail in tails
    )
    return ConfidenceInterval(estimate, low, high, level, undefined)


def _corrected(
    tails: tuple[float, float],
    estimate: float,
    values: NDArray[np.float64],
    left_out: NDArray[np.float64],
) -> tuple[float, float]:
    """Return the probabilities at which BCa reads the sorted values."""
    below = float(np.mean(values < estimate) + np.mean(values == estimate) / 2.0)
    if not 0.0 < below < 1.0:  # no sample on one side: nothing to correct with
        return math.nan, math.nan
    bias = NORMAL.inv_cdf(below)
    finite = left_out[np.isfinite(left_out)]
    away = finite.mean() - finite if finite.size else finite
    spread = float(np.sum(away**2)) ** 1.5
    acceleration = float(np.sum(away**3)) / (6.0 * spread) if spread > 0.0 else 0.0

    def moved(tail: float) -> float:
        shifted = bias + NORMAL.inv_cdf(tail)
        scale = 1.0 - acceleration * shifted
        if scale <= 0.0:  # so far out that the correction has no end
            return 1.0 if shifted > 0.0 else 0.0
        return NORMAL.cdf(bias + shifted / scale)

    return moved(tails[0]), moved(tails[1])
