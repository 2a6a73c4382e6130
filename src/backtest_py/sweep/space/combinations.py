"""What a sweep's parts ask of its combinations, whether all of a grid or a sample of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from backtest_py.sweep.space.space import ParameterSpace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.contract import Contract
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy

__all__ = ["BoxRows", "Combinations"]


class BoxRows(NamedTuple):
    """The combinations of a box that are valid and admitted.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Their numbers, ascending.
    digits : list of ndarray of int32, shape (n,)
        Their positions on every axis.
    places : ndarray of int, shape (n,), or None
        Their places in the box, the last axis fastest; None where the whole box is admitted.
    """

    combo_ids: NDArray[np.int64]
    digits: list[NDArray[np.int32]]
    places: NDArray[np.intp] | None

    @property
    def matrix(self) -> NDArray[np.int32]:
        """The digits as one array of shape (n, n_axes)."""
        matrix = np.empty((len(self.combo_ids), len(self.digits)), np.int32)
        for axis, column in enumerate(self.digits):
            matrix[:, axis] = column
        return matrix


class SmallCopy(NamedTuple):
    """A few combinations as a grid or a sample of their own.

    ``numbers`` are those in the whole of all that the copy counts, in its order; None where they
    keep their numbers.
    """

    grid: Combinations
    numbers: NDArray[np.int64] | None

    def in_whole(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers in the whole of some combinations of the copy."""
        return combo_ids if self.numbers is None else self.numbers[combo_ids]


class Combinations(ParameterSpace, ABC):
    """The combinations that a sweep computes, whether all of a grid or a sample of them.

    A sweep works on boxes: a grid's box is a range of positions on every axis, a sample's box is
    one range of rows. Code that computes, checks or shows a sweep only uses these methods.

    Attributes
    ----------
    crosses : bool
        Whether a box crosses signal sets with exits, so that its combinations share both.
    """

    crosses: ClassVar[bool]

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of places that boxes count: of a grid, those that are not admitted too."""

    @property
    @abstractmethod
    def n_combos(self) -> int:
        """Number of combinations that are valid and admitted."""

    @abstractmethod
    def values(self, combo_id: int) -> dict[str, Any]:
        """Return the swept values of a combination, by full key in the order of the axes."""

    @abstractmethod
    def settings(self, combo_id: int) -> tuple[Strategy, ExitRules, Contract]:
        """Return what :func:`backtest_py.run` would take for a combination."""

    @abstractmethod
    def id_at(self, place: int) -> int:
        """Return the number of the combination at a place from 0 up to ``size``."""

    @abstractmethod
    def digit_rows(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions on every axis of many combinations, shape (n, n_axes)."""

    @abstractmethod
    def first_with(self, digits: Mapping[int, int]) -> int | None:
        """Return the first combination that is admitted and stands at these positions on axes."""

    @abstractmethod
    def n_distinct(self, axes: Sequence[int]) -> int:
        """Return how many different positions there are on some axes."""

    @abstractmethod
    def occurring(self, axes: Sequence[int]) -> NDArray[np.integer[Any]]:
        """Return the distinct positions on some of the strategy's axes that are worth computing.

        Returns
        -------
        ndarray of int, shape (n, len(axes))
            In ascending order; those of every combination that is admitted, and perhaps others
            that the strategy's own rules allow.
        """

    # boxes

    @abstractmethod
    def cuts(self, rows: int, exits: int, samples: int) -> tuple[tuple[range, ...], ...]:
        """Return the ranges into which every dimension of the boxes is cut.

        Parameters
        ----------
        rows, exits : int
            Combinations and exits of a box of a grid, at most.
        samples : int
            Rows of a box of a sample, at most.
        """

    @abstractmethod
    def cut_order(self, *, by_exits: bool) -> tuple[int, ...]:
        """Return the dimensions of the boxes, the one that changes slowest first.

        Parameters
        ----------
        by_exits : bool
            Whether boxes with the same exits follow one another, or those with the same signals.
        """

    @abstractmethod
    def box_rows(self, box: Sequence[range]) -> BoxRows:
        """Return the combinations of a box that are valid and admitted."""

    @abstractmethod
    def middle_box(self, boxes: Sequence[Sequence[range]], size: int, rows: int) -> Sequence[range]:
        """Return a small box that is typical of the sweep and holds an admitted combination.

        Parameters
        ----------
        boxes : sequence of sequence of range
            All boxes of the sweep.
        size, rows : int
            Combinations that it may have, of a grid and of a sample.
        """

    # what a check of a few combinations looks at

    @abstractmethod
    def corners(self, limit: int) -> NDArray[np.int64]:
        """Return numbers of combinations whose parameters are extreme."""

    @abstractmethod
    def draw(self, n: int, seed: int, boxes: Sequence[Sequence[range]]) -> NDArray[np.int64]:
        """Draw combinations at random, distinct, at most ``n``; arguments as elsewhere.

        Those of a grid share a few exits, because to follow trades under an exit costs most.
        """

    @abstractmethod
    def small_copies(self, combo_ids: NDArray[np.int64], limit: int) -> list[SmallCopy]:
        """Return small combinations of the same kind, whose shards are computed as these are.

        Parameters
        ----------
        combo_ids : ndarray of int64, shape (n,)
            Admitted combinations, the first of which is in every copy.
        limit : int
            Combinations of a copy at most.
        """

    @abstractmethod
    def crossings(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what comes at hardly any cost with some combinations, themselves included.

        Of a grid these are all crossings of their signal sets with their exits that are admitted.
        """
