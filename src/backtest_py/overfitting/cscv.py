"""Probability of backtest overfitting (PBO), by combinatorially symmetric cross-validation.

The days are cut into an even number of blocks. Every way to take half of them is one split: on
that half the combination with the best Sharpe ratio is chosen, on the other half it is ranked among
all. A choice that is worth something stays in the upper half; PBO is the share of splits in which
it does not.

What is undefined and what ties:

* A Sharpe ratio is undefined as in docs/semantics.md: below two days, or with returns that are all
  equal, as of a combination that does not trade. It is never chosen, and where others are ranked it
  does not count, so that combinations that do nothing do not make a choice look good.
* A chosen combination whose Sharpe ratio is undefined on the other half ranks below all others.
* Of equal Sharpe ratios the lowest combination is chosen; equal ones share the mean of their ranks.
* A split in which nothing can be chosen, or only one could be ranked, or all ranked ones are equal,
  is left out: it says nothing about choosing.

References
----------
Bailey, D. H., Borwein, J. M., López de Prado, M. and Zhu, Q. J. (2015), The Probability of Backtest
Overfitting, Journal of Computational Finance 20 (4).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np

from backtest_py.contract import MetricSettings
from backtest_py.errors import ConfigError, DataError
from backtest_py.overfitting._inputs import matrix, whole
from backtest_py.overfitting.cscv_arrays import FEW, choose_and_rank
from backtest_py.overfitting.cscv_kernels import LANES, choose, judge, rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    Sums: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

__all__ = ["PboResult", "pbo", "pbo_from_blocks"]

MAX_BLOCKS: Final = 20
"""Of 20 blocks there are 184,756 splits; of 16 there are 12,870."""

_PIECE: Final = 512 * LANES
"""Combinations of one task, about 0.2 seconds with 16 blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class PboResult:
    """What CSCV found, one element for each split.

    Attributes
    ----------
    pbo : float
        Share of the splits with a logit of 0 or less; nan where all splits are left out.
    logits : ndarray of float64, shape (n_splits,)
        ``ln(w/(1 - w))`` with ``w = rank/(N + 1)``, the rank of the chosen combination out of
        sample among ``N``, 1 the worst; nan where the split is left out.
    chosen : ndarray of int64, shape (n_splits,)
        The combination with the best Sharpe ratio in sample, -1 where none is defined.
    in_sample, out_of_sample : ndarray of float64, shape (n_splits,)
        Annual Sharpe ratio of the chosen combination in both halves, nan where undefined.
    n_combos, n_blocks : int
        How many combinations were compared, on how many blocks of days.
    """

    pbo: float
    logits: NDArray[np.float64]
    chosen: NDArray[np.int64]
    in_sample: NDArray[np.float64]
    out_of_sample: NDArray[np.float64]
    n_combos: int
    n_blocks: int

    @property
    def n_splits(self) -> int:
        """How many splits there are, those left out included."""
        return len(self.logits)

    @property
    def n_left_out(self) -> int:
        """In how many splits nothing could be chosen or ranked, or all were equal."""
        return int(np.isnan(self.logits).sum())

    @property
    def probability_of_loss(self) -> float:
        """Share of the chosen combinations with a Sharpe ratio below 0 out of sample.

        Of those in which it is defined; nan without one.
        """
        judged = self.out_of_sample[~np.isnan(self.out_of_sample)]
        return float((judged < 0.0).mean()) if judged.size else math.nan

    @property
    def degradation_slope(self) -> float:
        """Slope of the Sharpe ratio out of sample over that in sample, across splits.

        Below 0, the better a choice looked the worse it did afterwards; nan below two splits, or
        where all Sharpe ratios in sample are equal.
        """
        return self._line()[0]

    @property
    def degradation_intercept(self) -> float:
        """Where the line of :attr:`degradation_slope` meets a Sharpe ratio in sample of 0."""
        return self._line()[1]

    def _line(self) -> tuple[float, float]:
        both = ~np.isnan(self.in_sample) & ~np.isnan(self.out_of_sample)
        x, y = self.in_sample[both], self.out_of_sample[both]
        if x.size < 2 or np.ptp(x) <= 1e-9 * np.abs(x).max():
            return math.nan, math.nan
        away = x - x.mean()
        slope = float(away @ (y - y.mean()) / (away @ away))
        return slope, float(y.mean() - slope * x.mean())


def pbo(
    returns: ArrayLike,
    *,
    n_blocks: int = 16,
    risk_free_rate: float = 0.0,
    periods_per_year: float = 252,
    threads: int = 0,
) -> PboResult:
    """Return the probability that the best of many backtests is overfitted.

    Parameters
    ----------
    returns : array-like, shape (n_days, n_combos)
        Daily returns of every combination that was tried, as fractions.
    n_blocks : int
        Runs of neighbouring days; even, 2 to 20, and at most one for each day.
    risk_free_rate : float
        Per year, as a fraction.
    periods_per_year : float
        How many returns make a year.
    threads : int
        Threads to use, 0 for one per processor; the result does not depend on it.

    Returns
    -------
    PboResult

    Raises
    ------
    DataError
        If a return is not finite, or there is no combination.
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(5).normal(0.0, 0.01, (320, 50))
    >>> found = pbo(noise, n_blocks=8)
    >>> found.n_splits, 0.2 < found.pbo < 0.8
    (70, True)
    >>> noise[:, 7] += 0.005
    >>> pbo(noise, n_blocks=8).pbo
    0.0
    """
    table = matrix(returns, "returns")
    _check_blocks(n_blocks)
    n_days = len(table)
    if n_days < n_blocks:
        raise ConfigError(
            f"n_blocks = {n_blocks} is not allowed for {n_days} days; give at most one for each day"
        )
    edges = n_days * np.arange(n_blocks + 1) // n_blocks
    days = np.broadcast_to(np.diff(edges).astype(np.float64)[:, None], (n_blocks, table.shape[1]))
    blocks = [table[first:last] for first, last in pairwise(edges)]
    return pbo_from_blocks(
        np.stack([block.sum(axis=0) for block in blocks]),
        np.stack([np.sum(block * block, axis=0) for block in blocks]),
        days,
        risk_free_rate=risk_free_rate,
        periods_per_year=periods_per_year,
        threads=threads,
    )


def pbo_from_blocks(
    sums: ArrayLike,
    squares: ArrayLike,
    days: ArrayLike,
    *,
    risk_free_rate: float = 0.0,
    periods_per_year: float = 252,
    threads: int = 0,
) -> PboResult:
    """Return the probability of overfitting from the sums of every block, as a sweep keeps them.

    ``SweepPlan.evaluate(..., n_blocks=16)`` gives them: of its rows after the metrics, ``[0::3]``
    are the sums, ``[1::3]`` the squares and ``[2::3]`` the days. 100,000 combinations by 16 blocks
    take about 3 seconds of one processor, and little memory beside the arrays.

    Parameters
    ----------
    sums, squares : array-like, shape (n_blocks, n_combos)
        Sum of the daily returns of each block, and of their squares.
    days : array-like, shape (n_blocks, n_combos)
        How many days of each block count; fewer after a ruin.
    risk_free_rate, periods_per_year, threads
        As in :func:`pbo`.

    Returns
    -------
    PboResult

    Raises
    ------
    DataError
        If a number is not finite or negative where it cannot be, if the shapes differ, or there is
        no combination.
    ConfigError
        If a setting is not allowed: an odd number of blocks, for one.
    """
    parts = (matrix(sums, "sums"), matrix(squares, "squares"), matrix(days, "days"))
    _check_parts(parts)
    settings = MetricSettings(risk_free_rate=risk_free_rate, periods_per_year=periods_per_year)
    n_blocks, n_combos = parts[0].shape
    halves = _halves(n_blocks)
    rf = settings.risk_free_rate / settings.periods_per_year
    n_threads = whole(threads, "threads", least=0)
    if n_combos <= FEW:
        best, chosen, judged, counts = choose_and_rank(np.stack(parts), halves, rf)
    else:
        best, chosen, judged, counts = _by_kernels(parts, halves, rf, n_threads)
    undefined = np.isneginf(judged)
    size = counts[:, 2] + undefined
    places = np.where(undefined, 1.0, counts[:, 0] + (counts[:, 1] + 1) / 2)
    differ = undefined | (counts[:, 1] < counts[:, 2])
    share = np.where((chosen >= 0) & (size >= 2) & differ, places / (size + 1), np.nan)
    logits = np.log(share / (1.0 - share))
    valid = logits[~np.isnan(logits)]
    year = math.sqrt(settings.periods_per_year)
    return PboResult(
        float((valid <= 0.0).mean()) if valid.size else math.nan,
        logits,
        chosen,
        np.where(np.isneginf(best), np.nan, best * year),
        np.where(undefined | (chosen < 0), np.nan, judged * year),
        n_combos,
        n_blocks,
    )


def _by_kernels(
    parts: Sums, halves: NDArray[np.int64], rf: float, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return what :func:`choose_and_rank` does, of many combinations."""
    others = halves ^ ((1 << len(parts[0])) - 1)
    judged = np.empty(len(halves))
    with _Pieces(parts, threads) as pieces:
        best, chosen = _choose(pieces, halves, rf)
        names, columns = np.unique(chosen, return_inverse=True)
        judge(_taken(parts, names), halves, np.where(chosen < 0, -1, columns), rf, judged)
        return best, chosen, judged, _rank(pieces, others, rf, judged)


class _Pieces:
    """Combinations in pieces, each worked on by one thread; results come in order."""

    def __init__(self, parts: Sums, threads: int) -> None:
        from joblib import cpu_count  # noqa: PLC0415 - knows affinity and containers, takes its time

        self._parts = parts
        n_combos = parts[0].shape[1]
        step = max(_PIECE, -(-n_combos // (64 * LANES)) * LANES)
        self._slices = [slice(at, at + step) for at in range(0, n_combos, step)]
        self._pool = ThreadPoolExecutor(threads or cpu_count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[NDArray[np.float64]], Any]) -> Iterator[tuple[int, Any]]:
        """Yield the first combination of every piece and what the work returns for it."""
        found = self._pool.map(lambda at: work(_taken(self._parts, at)), self._slices)
        for at, result in zip(self._slices, found, strict=True):
            yield at.start, result


def _taken(parts: Sums, at: slice | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return some combinations in an array of their own, shape (3, n_blocks, n_some)."""
    return np.ascontiguousarray(np.stack([part[:, at] for part in parts]))


def _choose(
    pieces: _Pieces, halves: NDArray[np.int64], rf: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the best Sharpe ratio of every half, -inf without one, and whose it is."""

    def work(piece: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        best = np.full(len(halves), -np.inf)
        chosen = np.full(len(halves), -1)
        choose(piece, 0, piece.shape[2], halves, rf, best, chosen)
        return best, chosen

    best = np.full(len(halves), -np.inf)
    chosen = np.full(len(halves), -1)
    for first, (higher, whose) in pieces.map(work):
        better = higher > best
        best[better] = higher[better]
        chosen[better] = whose[better] + first
    return best, chosen


def _rank(
    pieces: _Pieces, others: NDArray[np.int64], rf: float, judged: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how many are below the judged one, equal to it and defined, shape (n_splits, 3)."""

    def work(piece: NDArray[np.float64]) -> NDArray[np.int64]:
        counts = np.zeros((len(others), 3), np.int64)
        rank(piece, 0, piece.shape[2], others, rf, judged, counts)
        return counts

    total = np.zeros((len(others), 3), np.int64)
    for _, counts in pieces.map(work):
        total += counts
    return total


def _halves(n_blocks: int) -> NDArray[np.int64]:
    """Return every way to take half of the blocks, as bits."""
    taken = combinations(range(n_blocks), n_blocks // 2)
    return np.array([sum(1 << block for block in blocks) for blocks in taken], np.int64)


def _check_blocks(n_blocks: int) -> None:
    if whole(n_blocks, "n_blocks", least=2) % 2 or n_blocks > MAX_BLOCKS:
        raise ConfigError(
            f"n_blocks = {n_blocks} is not allowed; give an even number from 2 to {MAX_BLOCKS}"
        )


def _check_parts(parts: Sums) -> None:
    sums, squares, days = parts
    if not sums.shape == squares.shape == days.shape:
        raise DataError(
            f"sums, squares and days have the shapes {sums.shape}, {squares.shape} and "
            f"{days.shape}; give one row for each block and one column for each combination"
        )
    if not sums.shape[1]:
        raise DataError("there is no combination; give at least one column")
    _check_blocks(len(sums))
    for part, name in ((squares, "squares"), (days, "days")):
        if part.min() < 0.0:
            raise DataError(
                f"{name} holds {part.min()}; sums of squares and counts are never below 0"
            )
