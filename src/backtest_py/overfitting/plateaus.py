"""Plateaus: whether the neighbours of a combination in the grid are good as well.

A combination whose neighbours are poor owes its place to chance: the next market differs from the
past by more than one step of a parameter. The neighbours of a combination are those **one step up
or down along one axis**, all other parameters as they are, at most two for each axis. Diagonals are
no neighbours: eight axes have 6,560 of them against 16, and they say little more. Values of an axis
are neighbours in the order in which the grid lists them.

Undefined metrics count as the worst of all: a neighbour that does not trade is a poor one. Set the
metric of ruined rows to nan for the same reason. Combinations that ``where`` left out are not
there: they are nobody's neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from backtest_py.errors import ConfigError, DataError
from backtest_py.overfitting._inputs import column, share, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Cliff", "GridValues", "Plateaus", "Sensitivity", "WinnerSurroundings"]

Better: TypeAlias = Literal["large", "small"]

_CHUNK: Final = 1 << 18
"""Combinations whose neighbours are looked up at a time; 8 axes need some 80 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Plateaus:
    """What the neighbours of every combination are worth, in the order of the rows.

    Attributes
    ----------
    worst, median : ndarray of float64, shape (n_rows,)
        Of the metric over the neighbours, the combination itself not included; nan where there is
        none, or where it falls on an undefined value.
    score : ndarray of float64, shape (n_rows,)
        The worse of a combination's own value and ``worst``, by which plateaus rank: a hole in the
        middle of good neighbours is no plateau.
    n_neighbours : ndarray of uint16, shape (n_rows,)
        How many there are, undefined ones included.
    best : int
        The row with the best score, the first of equals; -1 where none is defined.
    """

    worst: NDArray[np.float64]
    median: NDArray[np.float64]
    score: NDArray[np.float64]
    n_neighbours: NDArray[np.uint16]
    best: int


@dataclass(frozen=True, slots=True)
class Cliff:
    """A neighbour of the winner that loses much of its lead.

    Attributes
    ----------
    axis : int
        Along which axis.
    step : {-1, 1}
        Towards the values listed before or after.
    row : int
        The neighbour's row.
    value : float
        Its metric; nan where undefined.
    """

    axis: int
    step: int
    row: int
    value: float


@dataclass(frozen=True, slots=True)
class WinnerSurroundings:
    """The best row and what lies around it.

    Attributes
    ----------
    row : int
        The row with the best value, the first of equals; -1 where no value is defined.
    value, worst, median : float
        Its metric, and those of its neighbours as in :class:`Plateaus`.
    n_neighbours : int
        How many neighbours it has.
    edges : tuple of int
        Axes of three or more values on which it has the first or the last: the best value may lie
        outside the grid.
    cliffs : tuple of Cliff
        Neighbours that are undefined, or lose more than a share of the winner's lead over the
        median of all rows.
    """

    row: int
    value: float
    worst: float
    median: float
    n_neighbours: int
    edges: tuple[int, ...]
    cliffs: tuple[Cliff, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """How much a metric hangs on one parameter, all others taken together.

    Attributes
    ----------
    means : ndarray of float64, shape (n_values,)
        Mean of the metric over the rows with each value of the axis; nan without one.
    counts : ndarray of int64, shape (n_values,)
        How many finite values are in each mean.
    range_of_means : float
        The largest mean less the smallest; nan where there is none.
    explained : float
        Share of the metric's variance that the means explain, 0 to 1; nan where it does not vary.
    """

    means: NDArray[np.float64]
    counts: NDArray[np.int64]
    range_of_means: float
    explained: float


class GridValues:
    """A metric over the rows of a sweep, with their places in the grid.

    Parameters
    ----------
    values : array-like, shape (n_rows,)
        The metric of every row; nan is undefined.
    shape : sequence of int
        How many values each axis has, in the order of the grid's keys, the last one fastest.
    combo_ids : array-like of int, shape (n_rows,), optional
        Number of every row's combination in the full grid, ascending; all of them by default.
    better : {"large", "small"}
        Which values are good.

    Raises
    ------
    DataError
        If there is no row, the number of rows does not fit, or numbers are not ascending and within
        the grid.
    ConfigError
        If the shape or ``better`` is not allowed.

    Examples
    --------
    A lonely peak among poor neighbours, and a plateau:

    >>> values = [0.1, 3.0, 0.1, 0.2, 1.9, 2.0, 1.9]
    >>> grid = GridValues(values, [7])
    >>> grid.winner().row, grid.plateaus().best
    (1, 5)
    """

    def __init__(
        self,
        values: ArrayLike,
        shape: Sequence[int],
        combo_ids: ArrayLike | None = None,
        *,
        better: Better = "large",
    ) -> None:
        self.shape = tuple(whole(size, "shape", least=1) for size in shape)
        if not self.shape:
            raise ConfigError("shape is empty; give the number of values of each axis")
        self.size = math.prod(self.shape)
        if self.size >= 1 << 63:
            raise ConfigError(f"the grid has {self.size:,} combinations; it must be below 2**63")
        if better not in {"large", "small"}:
            raise ConfigError(f'better = {better!r} is not allowed; give "large" or "small"')
        self._sign = 1.0 if better == "large" else -1.0
        self.values = column(values, "values", finite=False)
        if not self.values.size:
            raise DataError("values is empty; give at least one row")
        self._ids = None if combo_ids is None else self._checked(combo_ids)
        if self._ids is None and self.values.size != self.size:
            raise DataError(
                f"there are {self.values.size:,} rows and the grid has {self.size:,} combinations; "
                "give combo_ids where some are left out"
            )
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        self._axes = list(zip(self.shape, strides, strict=True))

    def plateaus(self) -> Plateaus:
        """Return the worst and the median of the metric over the neighbours of every row."""
        n_rows = self.values.size
        worst, median = np.empty(n_rows), np.empty(n_rows)
        counts = np.empty(n_rows, np.uint16)
        for start in range(0, n_rows, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, n_rows))
            at = slice(start, start + len(rows))
            worst[at], median[at], counts[at] = self._around(rows)
        own = self._graded(self.values)
        score = np.minimum(own, self._graded(worst))
        best = int(score.argmax())
        if np.isneginf(score[best]):
            best = -1
        return Plateaus(worst, median, self._shown(score), counts, best)

    def winner(
        self, *, cliff: float = 0.5, among: NDArray[np.bool_] | None = None
    ) -> WinnerSurroundings:
        """Return the best row, its neighbours' values, and where it stands at an edge or a cliff.

        Parameters
        ----------
        cliff : float
            The share of the lead over the median of all rows that one step may cost, between 0 and
            1.
        among : ndarray of bool, shape (n_rows,), optional
            Which rows may be the best; all of them by default. Others still are neighbours.

        Raises
        ------
        ConfigError
            If the share is not between 0 and 1.
        """
        limit = share(cliff, "cliff")
        graded = self._graded(self.values)
        allowed = graded if among is None else np.where(among, graded, -np.inf)
        row = int(allowed.argmax())
        if np.isneginf(allowed[row]):
            return WinnerSurroundings(-1, math.nan, math.nan, math.nan, 0, (), ())
        rows = np.array([row])
        worst, median, counts = self._around(rows)
        place = int(self._combo_ids(rows)[0])
        edges = tuple(
            axis
            for axis, (size, stride) in enumerate(self._axes)
            if size >= 3 and place // stride % size in {0, size - 1}
        )
        # inf less inf, and undefined rows, leave no lead: then only undefined neighbours are cliffs
        middle = np.sort(graded)[(graded.size - 1) // 2]
        lead = graded[row] - middle if np.isfinite(graded[row]) else math.nan
        cliffs = [
            Cliff(axis, step, int(found[0]), float(self.values[found[0]]))
            for axis, step, found in self._steps(rows)
            if found[0] >= 0
            and (
                np.isneginf(graded[found[0]])
                or (lead > 0.0 and graded[row] - graded[found[0]] > limit * lead)
            )
        ]
        return WinnerSurroundings(
            row,
            float(self.values[row]),
            float(worst[0]),
            float(median[0]),
            int(counts[0]),
            edges,
            tuple(cliffs),
        )

    def sensitivity(self) -> list[Sensitivity]:
        """Return how much the metric hangs on each axis; only finite values count."""
        finite = np.flatnonzero(np.isfinite(self.values))
        values = self.values[finite]
        ids = self._combo_ids(finite)
        mean = float(values.mean()) if values.size else math.nan
        total = float(np.sum((values - mean) ** 2))
        varies = total > 1e-18 * float(np.sum(values**2))
        found = []
        for size, stride in self._axes:
            places = ids // stride % size
            counts = np.bincount(places, minlength=size)
            sums = np.bincount(places, weights=values - mean, minlength=size)
            means = np.where(counts, mean + sums / np.maximum(counts, 1), np.nan)
            known = means[counts > 0]
            between = float(np.sum(sums**2 / np.maximum(counts, 1)))
            found.append(
                Sensitivity(
                    means,
                    counts,
                    float(np.ptp(known)) if known.size else math.nan,
                    min(between / total, 1.0) if varies else math.nan,
                )
            )
        return found

    def _around(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return worst and median over the neighbours of some rows, and how many these are."""
        graded = np.full((len(rows), 2 * len(self.shape)), np.inf)  # absent ones sort last
        counts = np.zeros(len(rows), np.int64)
        for k, (_, _, found) in enumerate(self._steps(rows)):
            there = found >= 0
            graded[there, k] = self._graded(self.values[found[there]])
            counts += there
        graded.sort(axis=1)
        each = np.arange(len(rows))
        low = graded[each, np.maximum(counts - 1, 0) // 2]
        high = graded[each, np.minimum(counts // 2, graded.shape[1] - 1)]
        with np.errstate(invalid="ignore"):  # -inf, undefined, and inf
            middle = np.where(low == high, low, low / 2.0 + high / 2.0)
        none = counts == 0
        worst, median = self._shown(graded[:, 0]), self._shown(middle)
        worst[none] = np.nan
        median[none | np.isneginf(low)] = np.nan
        return worst, median, counts

    def _steps(self, rows: NDArray[np.int64]) -> list[tuple[int, int, NDArray[np.int64]]]:
        """Return the row one step along every axis in both directions, -1 where there is none."""
        ids = self._combo_ids(rows)
        found = []
        for axis, (size, stride) in enumerate(self._axes):
            places = ids // stride % size
            for step in (-1, 1):
                inside = (places > 0) if step < 0 else (places < size - 1)
                wanted = np.where(inside, ids + step * stride, -1)
                found.append((axis, step, self._rows_of(wanted)))
        return found

    def _rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._ids is None:
            return ids
        rows = np.minimum(np.searchsorted(self._ids, ids), self._ids.size - 1)
        return np.where(self._ids[rows] == ids, rows, -1)

    def _combo_ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows if self._ids is None else self._ids[rows]

    def _graded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of which larger ones are better, and undefined ones are -inf."""
        return np.where(np.isnan(values), -np.inf, self._sign * values)

    def _shown(self, graded: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isneginf(graded), np.nan, self._sign * graded) + 0.0

    def _checked(self, combo_ids: ArrayLike) -> NDArray[np.int64] | None:
        given = np.asarray(combo_ids)
        if given.dtype.kind not in "iu" or given.shape != self.values.shape:
            raise DataError(
                f"combo_ids holds {given.dtype} of shape {given.shape}; give one whole number for "
                f"each of the {self.values.size:,} rows"
            )
        ids = given.astype(np.int64)
        if (np.diff(ids) <= 0).any() or ids[0] < 0 or ids[-1] >= self.size:
            raise DataError(
                f"combo_ids must ascend, from 0 or more to below {self.size:,}; sort the rows"
            )
        return None if ids.size == self.size else ids
