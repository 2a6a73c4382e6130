"""Samples: some combinations of a grid, or points of continuous ranges.

All of it is integer arithmetic on 64 bits and single float64 operations, so that a seed gives the
same sample everywhere. Random numbers are those of splitmix64 (Steele, Lea and Flood, 2014);
combinations without replacement are its values as a permutation, by a Feistel network that walks
its cycles (Black and Rogaway, 2002), so that memory goes with the sample and not with the grid.
Quasi-random points are Halton's (1960), with the digits of each base permuted and every dimension
shifted by the seed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from backtest_py._io.random_numbers import splitmix64, splitmix64_at
from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, counted, parameter
from backtest_py.sweep.space.boxes import distinct_rows, runs
from backtest_py.sweep.space.combinations import BoxRows, Combinations, SmallCopy
from backtest_py.sweep.space.grid import Grid
from backtest_py.sweep.space.search import Unsettled
from backtest_py.sweep.space.space import (
    build_arguments,
    meet_all,
    prepare_axes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.contract import Contract
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.space.space import Constraint

__all__ = ["Sample", "SampledGrid", "build_grid", "grid_from_mapping", "part_of"]

DRAWS: Final = 1_000_000
"""A sample gives up after so many draws, or a hundred per row if those are more."""

_BATCH: Final = 2**18
_TRIED: Final = 2**18
"""Value tuples that the rules of a section are tried on in advance; each costs a microsecond."""

_BOXES: Final = 2**12
"""Boxes of the grid that each search looks at; most take a tenth of a millisecond."""

_ROUNDS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Settings):
    """Which combinations of a grid a sweep takes: ``n`` of them, at random or spread evenly.

    Examples
    --------
    >>> from backtest_py import BarraElefante, Contract, ExitRules
    >>> grid = Grid.build(
    ...     BarraElefante(), ExitRules(), Contract(), {"rules.max_bars": {"min": 1, "max": 1000}}
    ... )
    >>> Sample(n=5, seed=7).combo_ids(grid)
    array([107, 321, 603, 664, 738])
    """

    section: ClassVar[str] = "sample"

    kind: str = parameter(
        "random", "choice", "how combinations are drawn", choices=("random", "halton")
    )
    n: int = parameter(1_000, "int", "combinations", minimum=1, maximum=10_000_000)
    seed: int = parameter(0, "int", "start of the sequence", minimum=0, maximum=2**64 - 1)

    @property
    def draws(self) -> int:
        """Number of draws after which the sample gives up."""
        return max(DRAWS, 100 * self.n)

    def combo_ids(self, grid: Grid) -> NDArray[np.int64]:
        """Return combinations of a grid that are valid and admitted, without repetition.

        The work goes with the sample and not with the grid.

        Returns
        -------
        ndarray of int64, shape (n,)
            Ascending.

        Raises
        ------
        ConfigError
            If the grid has fewer of them, or they are too rare to be found; or if ``invalid`` is
            ``"refuse"``, and the settings' own rules refuse a combination that ``where`` admits.
            In the whole grid it is looked for as long as that is quick, then in the sample.
        """

        def draw(start: int, stop: int) -> NDArray[np.int64]:
            if self.kind == "random":
                return _permuted(np.arange(start, stop, dtype=np.uint64), grid.size, self.seed)
            points = self.points(start, stop, len(grid.axes)).T
            ids = np.zeros(stop - start, dtype=np.int64)
            for column, axis, stride in zip(points, grid.axes, grid.strides, strict=True):
                ids += (column * len(axis)).astype(np.int64) * stride
            return ids

        def admit(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
            return _admitted(conditions, rules, grid.digit_rows(ids))

        if self.n > grid.size:
            raise ConfigError(
                f"sample.n = {self.n:,} is more than the grid's "
                f"{counted(grid.size, 'combination')}; give a smaller n, or sweep the whole grid"
            )
        tables, others = grid.rules_for_rows(max(_TRIED, self.n))
        # what takes too long to find in the whole grid is searched for in the sample
        with suppress(Unsettled):
            grid.check_rules(tables, _BOXES)
        conditions = grid.conditions
        rules = (*tables, *others) if grid.invalid == "skip" else ()
        draws = min(grid.size, self.draws) if self.kind == "random" else self.draws
        ids = np.sort(_collect(self.n, draw, admit, draws))
        held = _admitted((), (*tables, *others), grid.digit_rows(ids))
        if not held.all():
            broken = int(ids[np.argmin(held)])
            what = f"combination {broken:,} of the grid"
            raise grid.refusal(grid.digits(broken), what, others=bool(held.any()))
        return ids

    def points(self, start: int, stop: int, width: int) -> NDArray[np.float64]:
        """Return points ``start`` to ``stop`` of the unit cube, shape (stop - start, width)."""
        if self.kind == "halton":
            return _halton(start, stop, width, self.seed)
        counters = np.arange(start * width, stop * width, dtype=np.uint64)
        return _unit(splitmix64_at(self.seed, counters)).reshape(-1, width)


@dataclass(frozen=True)
class SampledGrid(Combinations):
    """Some combinations of a grid, or points of continuous ranges: rows instead of boxes.

    Every row is valid and admitted by ``where``. Rows ascend by ``combo_id``, which counts the full
    grid where there is one, and the rows themselves where an axis is continuous. The values of a
    continuous axis are those that were drawn, ascending.

    Attributes
    ----------
    sample : Sample
        How the rows were drawn.
    combo_ids : ndarray of int64, shape (n,)
        The number of every row.
    digits : ndarray of int32, shape (n, n_axes)
        Positions on every axis.

    Examples
    --------
    >>> from backtest_py import BarraElefante, Contract, ExitRules
    >>> grid = {"rules.stop": {"min": 0.5, "max": 3.0}, "strategy.lookback": [10, 20]}
    >>> space = SampledGrid.build(
    ...     BarraElefante(), ExitRules(), Contract(), grid, Sample(n=100, seed=7)
    ... )
    >>> space.size, list(space.values(99))
    (100, ['rules.stop', 'strategy.lookback'])
    """

    crosses: ClassVar[bool] = False

    sample: Sample
    combo_ids: NDArray[np.int64] = field(compare=False, repr=False)
    digits: NDArray[np.int32] = field(compare=False, repr=False)

    @classmethod
    def build(
        cls,
        strategy: Strategy,
        rules: ExitRules,
        contract: Contract,
        grid: Mapping[str, object],
        sample: Sample,
        *,
        where: str = "",
        invalid: str = "refuse",
    ) -> SampledGrid:
        """Draw the rows.

        Parameters
        ----------
        strategy, rules, contract, grid, where, invalid
            As :meth:`Grid.build` takes them. A mapping of ``min`` and ``max`` makes an axis
            continuous, if its parameter is neither a whole number nor a time of day.
        sample : Sample
            How many rows, and how they are drawn.

        Raises
        ------
        ConfigError
            As :meth:`Grid.build` and :meth:`Grid.check`, or if there are not enough combinations.
        """
        axes, options = prepare_axes(strategy, rules, grid, where, invalid)
        frame = cls(strategy, rules, contract, axes, **options, sample=sample, **_NO_ROWS)
        if any(axis.span for axis in axes):
            return frame._drawn()
        whole = Grid.from_axes(strategy, rules, contract, axes, **options)
        ids = sample.combo_ids(whole)
        return replace(frame, combo_ids=ids, digits=whole.digit_rows(ids).astype(np.int32))

    def _drawn(self) -> SampledGrid:
        """Return this space with the rows of its sample."""

        def draw(start: int, stop: int) -> NDArray[np.float64]:
            points = self.sample.points(start, stop, len(self.axes))
            for column, axis in zip(points.T, self.axes, strict=True):
                if axis.span is None:
                    column[:] = np.floor(column * len(axis))
                else:
                    low, high = axis.values
                    column[:] = np.clip(low * (1.0 - column) + high * column, low, high)
            return points

        def admit(points: NDArray[np.float64]) -> NDArray[np.bool_]:
            space = self._at(points)
            rules = space.rules_between if self.invalid == "skip" else ()
            return _admitted(space.conditions, rules, space.digits)

        drawn = self._at(_collect(self.sample.n, draw, admit, self.sample.draws))
        held = _admitted((), drawn.rules_between, drawn.digits)
        if not held.all():
            row = int(np.argmin(held))
            what = f"combination {row:,} of the sample"
            raise drawn.refusal(drawn.digits[row], what, others=bool(held.any()))
        return drawn

    def _at(self, points: NDArray[np.float64]) -> SampledGrid:
        """Return this space with other rows: positions, or values where an axis is continuous."""
        axes = list(self.axes)
        digits = np.empty(points.shape, dtype=np.int32)
        for at, axis in enumerate(self.axes):
            if axis.span is None:
                digits[:, at] = points[:, at]
            else:
                values, digits[:, at] = np.unique(points[:, at], return_inverse=True)
                axes[at] = replace(axis, values=tuple(values.tolist()))
        ids = np.arange(len(points), dtype=np.int64)
        return replace(self, axes=tuple(axes), combo_ids=ids, digits=digits)

    def to_mapping(self) -> dict[str, Any]:
        """Return everything that defines the sample, ready for JSON and for a hash."""
        return {**super().to_mapping(), "sample": self.sample.to_mapping()}

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.combo_ids)

    @property
    def n_combos(self) -> int:
        """Number of rows, each of which is valid and admitted."""
        return self.size

    def id_at(self, place: int) -> int:
        """Return the number of the combination in a row."""
        return int(self.combo_ids[place])

    def digit_rows(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions on every axis of many combinations, shape (n, n_axes)."""
        return self.digits[np.searchsorted(self.combo_ids, combo_ids)].astype(np.int64)

    def n_distinct(self, axes: Sequence[int]) -> int:
        """Return how many different positions there are on some axes."""
        return len(self.occurring(axes))

    def occurring(self, axes: Sequence[int]) -> NDArray[np.integer[Any]]:
        """Return the distinct positions of the rows on some axes."""
        rows = self.digits[:, list(axes)]
        return rows[distinct_rows(rows)[0]]

    # boxes: runs of rows

    def cuts(self, rows: int, exits: int, samples: int) -> tuple[tuple[range, ...], ...]:  # noqa: ARG002 - of a grid
        """Return the runs into which the rows are cut."""
        return (runs(self.size, samples),)

    def cut_order(self, *, by_exits: bool) -> tuple[int, ...]:  # noqa: ARG002 - rows share neither
        """Return the one dimension of the boxes."""
        return (0,)

    def box_rows(self, box: Sequence[range]) -> BoxRows:
        """Return a run of rows."""
        rows = slice(box[0].start, box[0].stop)
        return BoxRows(self.combo_ids[rows], list(self.digits[rows].T), None)

    def middle_box(self, boxes: Sequence[Sequence[range]], size: int, rows: int) -> Sequence[range]:  # noqa: ARG002
        """Return rows in the middle."""
        first = max(0, self.size // 2 - rows // 2)
        return (range(first, min(self.size, first + rows)),)

    # what a check of a few combinations looks at

    def corners(self, limit: int) -> NDArray[np.int64]:
        """Return the rows with the first and the last value of every axis."""
        ends = [end for column in self.digits.T for end in (column.argmin(), column.argmax())]
        return self.combo_ids[list(dict.fromkeys(ends))[:limit]]

    def draw(self, n: int, seed: int, boxes: Sequence[Sequence[range]]) -> NDArray[np.int64]:  # noqa: ARG002
        """Draw rows."""
        return self.combo_ids[np.argsort(splitmix64(seed, 0, self.size), kind="stable")[:n]]

    def small_copies(self, combo_ids: NDArray[np.int64], limit: int) -> list[SmallCopy]:
        """Return some of the rows as a sample of their own, under their numbers."""
        return [SmallCopy(part_of(self, np.sort(combo_ids[:limit])), None)]

    def crossings(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the combinations themselves: rows share nothing."""
        return combo_ids

    def row(self, combo_id: int) -> int:
        """Return the row of a combination.

        Raises
        ------
        ConfigError
            If the sample does not hold it.
        """
        # the type too, because True and 1.0 equal 1
        whole = isinstance(combo_id, Integral) and not isinstance(combo_id, bool)
        row = int(np.searchsorted(self.combo_ids, combo_id)) if whole else self.size
        if row == self.size or self.combo_ids[row] != combo_id:
            raise ConfigError(
                f"combo_id = {combo_id!r} is not in the sample; it holds {self.size:,}, from "
                f"{self.combo_ids[0]:,} to {self.combo_ids[-1]:,}"
            )
        return row

    def first_with(self, digits: Mapping[int, int]) -> int | None:
        """Return the first combination at these positions on axes, as :meth:`Grid.first_with`."""
        found = np.ones(self.size, np.bool_)
        for axis, digit in digits.items():
            found &= self.digits[:, axis] == digit
        return int(self.combo_ids[np.argmax(found)]) if found.any() else None

    def values(self, combo_id: int) -> dict[str, Any]:
        """Return the swept values of a combination, as :meth:`Grid.values`."""
        return self.values_at(self.digits[self.row(combo_id)])

    def settings(self, combo_id: int) -> tuple[Strategy, ExitRules, Contract]:
        """Return what :func:`backtest_py.run` would take, as :meth:`Grid.settings`."""
        return self.settings_at(self.digits[self.row(combo_id)])


_NO_ROWS: Final[Mapping[str, Any]] = MappingProxyType(
    {"combo_ids": np.empty(0, dtype=np.int64), "digits": np.empty((0, 0), dtype=np.int32)}
)


def build_grid(
    strategy: Strategy,
    rules: ExitRules,
    contract: Contract,
    grid: Mapping[str, object],
    sample: Sample | None = None,
    *,
    where: str = "",
    invalid: str = "refuse",
) -> Combinations:
    """Build and check a grid, or a sample of one.

    Parameters
    ----------
    strategy, rules, contract, grid, where, invalid
        As :meth:`Grid.build` takes them.
    sample : Sample, optional
        Without one, every combination.

    Raises
    ------
    ConfigError
        As :meth:`Grid.build`, :meth:`Grid.check` and :meth:`SampledGrid.build`.
    """
    if sample is not None:
        return SampledGrid.build(
            strategy, rules, contract, grid, sample, where=where, invalid=invalid
        )
    whole = Grid.build(strategy, rules, contract, grid, where=where, invalid=invalid)
    whole.check()
    return whole


def part_of(whole: Combinations, combo_ids: NDArray[np.int64]) -> SampledGrid:
    """Return some combinations of a grid or a sample, ascending, as a sample of their own."""
    return SampledGrid(
        whole.strategy,
        whole.rules,
        whole.contract,
        whole.axes,
        where=whole.where,
        invalid=whole.invalid,
        target_given=whole.target_given,
        sample=Sample(n=len(combo_ids)),
        combo_ids=combo_ids,
        digits=whole.digit_rows(combo_ids).astype(np.int32),
    )


def grid_from_mapping(
    mapping: Mapping[str, Any], strategy: type[Strategy] | None = None
) -> Combinations:
    """Build the grid or sample again that ``to_mapping`` described.

    Parameters
    ----------
    mapping : mapping
        The description.
    strategy : type of Strategy, optional
        The strategy's class, where it is not registered.

    Raises
    ------
    ConfigError
        If it names a strategy that is not registered, or holds a value that is not allowed.
    """
    sample = Sample.from_mapping(mapping["sample"]) if "sample" in mapping else None
    return build_grid(**build_arguments(mapping, strategy), sample=sample)


def _admitted(
    conditions: Sequence[Constraint], rules: Sequence[Constraint], digits: NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    """Return which rows meet everything; the rules, which cost more, are asked of what is left."""
    held = np.array(np.broadcast_to(meet_all(conditions, list(digits.T)), len(digits)))
    held[held] = meet_all(rules, list(digits[held].T))
    return held


def _collect(
    n: int,
    draw: Callable[[int, int], NDArray[Any]],
    admit: Callable[[NDArray[Any]], NDArray[np.bool_]],
    draws: int,
) -> NDArray[Any]:
    """Return the first ``n`` rows that are admitted, without repetition, in the order of draws."""
    found: list[NDArray[Any]] = []
    start, count = 0, min(max(n, 1_024), _BATCH)
    while start < draws:
        stop = min(start + count, draws)
        batch = draw(start, stop)
        found.append(batch[admit(batch)])
        start, count = stop, min(2 * count, _BATCH)
        if sum(map(len, found)) >= n:
            rows = np.concatenate(found)
            _, first = np.unique(rows, axis=0, return_index=True)
            if len(first) >= n:
                return rows[np.sort(first)[:n]]
            found = [rows[np.sort(first)]]
    distinct = len(np.unique(np.concatenate(found), axis=0))
    raise ConfigError(
        f"sample.n = {n:,}, but only {distinct:,} combinations that are valid and that where "
        f"admits were found in {draws:,} draws; give a smaller n, or a grid that holds more of them"
    )


def _unit(numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the upper 53 bits as numbers from 0, included, to 1, excluded."""
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _permuted(index: NDArray[np.uint64], size: int, seed: int) -> NDArray[np.int64]:
    """Return where a random permutation of ``range(size)`` takes each index below ``size``.

    A Feistel network permutes the next power of four; what lands beyond the size goes round again,
    at most three more times in the mean.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    keys = splitmix64_at(seed, np.arange(_ROUNDS, dtype=np.uint64))

    def network(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = x >> np.uint64(half), x & low
        for key in keys:
            left, right = right, left ^ (splitmix64_at(int(key), right) & low)
        return left << np.uint64(half) | right

    result = network(index)
    beyond = np.flatnonzero(result >= size)
    while len(beyond):
        result[beyond] = network(result[beyond])
        beyond = beyond[result[beyond] >= size]
    return result.astype(np.int64)


def _halton(start: int, stop: int, width: int, seed: int) -> NDArray[np.float64]:
    """Return points of a scrambled Halton sequence, shape (stop - start, width).

    The bases are primes. The digits above 0 of each are permuted, because sequences in large bases
    follow each other closely at first, and the points are shifted, modulo 1.
    """
    points = np.empty((stop - start, width), dtype=np.float64)
    shifts = _unit(splitmix64_at(seed, np.arange(width, dtype=np.uint64)))
    for at, (base, shift) in enumerate(zip(_primes(width), shifts, strict=True)):
        keys = splitmix64_at(seed ^ base, np.arange(base - 1, dtype=np.uint64))
        digit_of = np.concatenate([[0], 1 + np.argsort(keys, kind="stable")]).astype(np.float64)
        rest = np.arange(start + 1, stop + 1, dtype=np.int64)
        column, scale = np.full(len(rest), shift), 1.0
        while rest.any():
            rest, digit = np.divmod(rest, base)
            scale /= base
            column += digit_of[digit] * scale
        points[:, at] = column - np.floor(column)
    return points


def _primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes
