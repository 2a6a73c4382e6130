"""One number for each group of rows, such as a cell of a heatmap, built up batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REDUCTIONS", "ReducedGroups", "Reduction"]

Reduction: TypeAlias = Literal["best", "max", "min", "mean", "median"]

REDUCTIONS: Final = ("best", "max", "min", "mean", "median")
"""How several rows become one number; ``best`` is the largest or the smallest, by the metric."""


class ReducedGroups:
    """The largest, smallest, mean or median value of each group; ``nan`` values do not count.

    Memory grows with the number of groups; only the median keeps every value.

    Parameters
    ----------
    n : int
        Number of groups.
    reduction : {"max", "min", "mean", "median"}
        How the values of a group become one.

    Examples
    --------
    >>> groups = ReducedGroups(3, "mean")
    >>> groups.add(np.array([0, 0, 2]), np.array([1.0, 2.0, np.nan]))
    >>> groups.values()
    array([1.5, nan, nan])
    """

    def __init__(self, n: int, reduction: str) -> None:
        if reduction not in REDUCTIONS[1:]:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        self._reduction = reduction
        self._count = np.zeros(n, np.int64)
        self._value = np.full(n, 0.0 if reduction == "mean" else np.nan)
        self._kept: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def add(self, groups: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Add rows: the group and the value of each, shape (n_rows,)."""
        defined = ~np.isnan(values)
        groups, values = groups[defined], values[defined]
        self._count += np.bincount(groups, minlength=len(self._count))
        if self._reduction == "mean":
            with np.errstate(invalid="ignore"):  # inf and -inf in one group have no mean
                self._value += np.bincount(groups, weights=values, minlength=len(self._value))
        elif self._reduction == "median":
            self._kept.append((groups, values))
        else:
            pick = np.fmax if self._reduction == "max" else np.fmin
            pick.at(self._value, groups, values)

    def values(self) -> NDArray[np.float64]:
        """Return the value of each group, shape (n,); ``nan`` where it has no row."""
        if self._reduction == "median":
            return self._medians()
        if self._reduction == "mean":
            with np.errstate(invalid="ignore"):
                return self._value / self._count
        return self._value

    def _medians(self) -> NDArray[np.float64]:
        groups = np.concatenate([np.empty(0, np.int64), *(kept[0] for kept in self._kept)])
        values = np.concatenate([np.empty(0), *(kept[1] for kept in self._kept)])
        values = values[np.lexsort((values, groups))]
        filled = np.flatnonzero(self._count)
        begin = (np.cumsum(self._count) - self._count)[filled]
        count = self._count[filled]
        low, high = values[begin + (count - 1) // 2], values[begin + count // 2]
        medians = self._value.copy()
        with np.errstate(invalid="ignore"):
            # halves are added, because the sum of both may be too large for a double
            medians[filled] = np.where(low == high, low, low / 2 + high / 2)
        return medians
