"""The grid of a sweep: combinations of parameters, numbered and checked but never listed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import counted, unknown_name
from backtest_py.sweep.space import search
from backtest_py.sweep.space.axis import Axis, GridRange, GridSpan, count_text
from backtest_py.sweep.space.boxes import cut
from backtest_py.sweep.space.combinations import BoxRows, Combinations, SmallCopy
from backtest_py.sweep.space.draws import corners, distinct_by, draw
from backtest_py.sweep.space.space import (
    Constraint,
    RuleProbe,
    build_arguments,
    meet_all,
    prepare_axes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.contract import Contract
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.space.space import Index, Section

__all__ = ["Axis", "Grid", "GridRange", "GridSpan"]

MAX_SIZE: Final = 2**62
"""Combinations of a grid, so that ``combo_id`` and what is computed from it fit int64."""

MAX_JUDGED: Final = 2**24
"""Value tuples that the rules of one section are tried on; each costs a microsecond and a byte."""


@dataclass(frozen=True)
class Grid(Combinations):
    """Every combination of the values of its axes; the last axis varies fastest.

    Nothing is listed: a combination is its number, whose digits are positions on the axes.

    Examples
    --------
    >>> from backtest_py import BarraElefante, Contract, ExitRules
    >>> grid = Grid.build(
    ...     BarraElefante(),
    ...     ExitRules(close_time="13:30"),
    ...     Contract(),
    ...     {"rules.stop": GridRange(0.5, 3.0, 0.5), "rules.target": [1.0, 2.0, 3.0]},
    ...     where="rules.target > rules.stop",
    ... )
    >>> grid.size, grid.count()
    (18, 9)
    >>> grid.values(5)
    {'rules.stop': 1.0, 'rules.target': 3.0}
    >>> strategy, rules, contract = grid.settings(5)
    >>> rules.target
    3.0
    """

    crosses: ClassVar[bool] = True

    @classmethod
    def build(
        cls,
        strategy: Strategy,
        rules: ExitRules,
        contract: Contract,
        grid: Mapping[str, object],
        *,
        where: str = "",
        invalid: str = "refuse",
    ) -> Grid:
        """Build a grid from what the user wrote.

        Parameters
        ----------
        strategy, rules, contract
            The base: values of the parameters that do not vary.
        grid : mapping
            Full keys, as ``"rules.stop"``, and for each a list of values, a :class:`GridRange` or
            a mapping of ``start``, ``stop`` and ``step``. Of whole numbers and times of day,
            ``min`` and ``max`` are every value between them.
        where : str, optional
            A condition between parameters, swept or not; see :mod:`backtest_py.sweep.space.where`.
        invalid : {"refuse", "skip"}
            What :meth:`check` says of combinations that the settings' own rules refuse.

        Raises
        ------
        ConfigError
            If a key, a value or the condition is not allowed, or there are too many combinations.
        """
        axes, options = prepare_axes(strategy, rules, grid, where, invalid)
        return cls.from_axes(strategy, rules, contract, axes, **options)

    @classmethod
    def from_axes(
        cls,
        strategy: Strategy,
        rules: ExitRules,
        contract: Contract,
        axes: tuple[Axis, ...],
        **options: Any,
    ) -> Grid:
        """Build a grid from what :func:`prepare_axes` returns.

        Raises
        ------
        ConfigError
            As :meth:`build`.
        """
        for axis in axes:
            if axis.span is not None:
                raise ConfigError(
                    f'the grid\'s "{axis.key}" runs from {axis.span.min!r} to {axis.span.max!r} '
                    "without steps, as only a sample can; ask for a sample, or give a range with "
                    "start, stop and step"
                )
        built = cls(strategy, rules, contract, axes, **options)
        if built.size > MAX_SIZE:
            lengths = " x ".join(f"{len(axis):,}" for axis in axes)
            raise ConfigError(
                f"the grid has {count_text(built.size)} combinations ({lengths}); at most "
                f"{MAX_SIZE:,} can be numbered, so give fewer values or sweep fewer parameters"
            )
        _ = built.conditions  # a condition with a mistake is refused here
        return built

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], strategy: type[Strategy] | None = None
    ) -> Grid:
        """Build the grid again that :meth:`to_mapping` described.

        Parameters
        ----------
        mapping : mapping
            The description.
        strategy : type of Strategy, optional
            The strategy's class, where it is not registered.

        Raises
        ------
        ConfigError
            If the description fits no strategy or breaks a rule.
        """
        return cls.build(**build_arguments(mapping, strategy))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every axis."""
        return tuple(map(len, self.axes))

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """By how much ``combo_id`` grows with one step on every axis."""
        return tuple(math.prod(self.shape[at + 1 :]) for at in range(len(self.shape)))

    @cached_property
    def size(self) -> int:
        """Number of combinations, admitted or not."""
        return math.prod(self.shape)

    @cached_property
    def n_combos(self) -> int:
        """Number of combinations that are valid and admitted."""
        return self.count()

    # numbers and what they mean

    def digits(self, combo_id: int) -> tuple[int, ...]:
        """Return the positions on every axis of a combination.

        Raises
        ------
        ConfigError
            If there is no such combination.
        """
        # the type too, because True and 1.0 equal 1
        whole = isinstance(combo_id, Integral) and not isinstance(combo_id, bool)
        if not whole or not 0 <= combo_id < self.size:
            raise ConfigError(
                f"combo_id = {combo_id!r} is not in the grid; give a whole number from 0 to "
                f"{self.size - 1:,}"
            )
        digits, rest = [], int(combo_id)
        for stride in self.strides:
            digit, rest = divmod(rest, stride)
            digits.append(digit)
        return tuple(digits)

    def digit_rows(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions on every axis of many combinations, shape (n, n_axes)."""
        rest = np.asarray(combo_ids, dtype=np.int64)
        rows = np.empty((len(rest), len(self.axes)), dtype=np.int64)
        for at, stride in enumerate(self.strides):
            rows[:, at], rest = np.divmod(rest, np.int64(stride))
        return rows

    def id_at(self, place: int) -> int:
        """Return the number of the combination at a place, which is the place itself."""
        return place

    def n_distinct(self, axes: Sequence[int]) -> int:
        """Return how many different positions there are on some axes."""
        return math.prod(self.shape[axis] for axis in axes)

    def values(self, combo_id: int) -> dict[str, Any]:
        """Return the swept values of a combination, by full key in the order of the axes."""
        return self.values_at(self.digits(combo_id))

    def settings(self, combo_id: int) -> tuple[Strategy, ExitRules, Contract]:
        """Return what :func:`backtest_py.run` would take for a combination.

        Raises
        ------
        ConfigError
            If there is no such combination, or the settings' own rules refuse it.
        """
        return self.settings_at(self.digits(combo_id))

    def combo_id(self, values: Mapping[str, object]) -> int:
        """Return the number of the combination with these values, by full key.

        Raises
        ------
        ConfigError
            If a key is missing or unknown, or a value is not on its axis.
        """
        for key in values:
            if key not in self.keys:
                raise unknown_name("key of the grid", key, self.keys)
        missing = [key for key in self.keys if key not in values]
        if missing:
            raise ConfigError(f"a combination needs a value of {', '.join(missing)}")
        return sum(
            axis.index(values[axis.key]) * stride
            for axis, stride in zip(self.axes, self.strides, strict=True)
        )

    # boxes

    def cuts(self, rows: int, exits: int, samples: int) -> tuple[tuple[range, ...], ...]:  # noqa: ARG002 - of a sample
        """Return the ranges into which every axis is cut, exits first."""
        pieces = cut(self.shape, (*self.rules_axes, *self.contract_axes), exits)
        n_exits = math.prod(len(pieces[axis][0]) for axis in self.exit_axes)
        pieces |= cut(self.shape, self.strategy_axes, max(1, rows // n_exits))
        return tuple(pieces[axis] for axis in range(len(self.shape)))

    def cut_order(self, *, by_exits: bool) -> tuple[int, ...]:
        """Return the axes, the one that changes slowest first."""
        exits, sets = self.exit_axes, self.strategy_axes
        return (*exits, *sets) if by_exits else (*sets, *exits)

    def box_rows(self, box: Sequence[range]) -> BoxRows:
        """Return the combinations of a box that are valid and admitted."""
        # a grid of one combination was refused if that was not admitted
        mask = np.ones((1,) * len(box), np.bool_) if self.size == 1 else self.box_mask(box)
        places = None if mask.all() else np.flatnonzero(mask)
        chosen = slice(None) if places is None else places
        combo_ids = np.zeros((1,) * len(box), np.int64)
        digits = []
        for axis, (positions, stride) in enumerate(zip(box, self.strides, strict=True)):
            along = [1] * len(box)
            along[axis] = len(positions)
            column = np.arange(positions.start, positions.stop, dtype=np.int32).reshape(along)
            combo_ids = combo_ids + column * np.int64(stride)
            digits.append(np.broadcast_to(column, mask.shape).ravel()[chosen])
        return BoxRows(combo_ids.ravel()[chosen], digits, places)

    def middle_box(self, boxes: Sequence[Sequence[range]], size: int, rows: int) -> Sequence[range]:  # noqa: ARG002
        """Return a box around an admitted combination near the middle of the grid."""
        middle = len(boxes) // 2
        for number in itertools.chain(range(middle, len(boxes)), range(middle)):
            box = boxes[number]
            mask = self.box_mask(box)
            if mask.any():
                break
        places = np.flatnonzero(mask)
        centre = np.unravel_index(places[len(places) // 2], mask.shape)
        room, small = size, list(box)
        for axis in (*reversed(self.exit_axes), *reversed(self.strategy_axes)):
            length = max(1, min(len(box[axis]), room))
            first = min(max(0, int(centre[axis]) - length // 2), len(box[axis]) - length)
            small[axis] = box[axis][first : first + length]
            room //= length
        return tuple(small)

    # what a check of a few combinations looks at

    def corners(self, limit: int) -> NDArray[np.int64]:
        """Return the first and the last combination, and both with one axis at its other end."""
        return self._numbers(corners(self)[:limit])

    def draw(self, n: int, seed: int, boxes: Sequence[Sequence[range]]) -> NDArray[np.int64]:
        """Draw combinations all over the grid, most of them under a few exits."""
        return self._numbers(draw(self, n, seed, boxes))

    def crossings(self, combo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return all admitted crossings of the signal sets of combinations with their exits."""
        rows = self.digit_rows(combo_ids)
        sets, exits = (distinct_by(rows, axes) for axes in (self.strategy_axes, self.exit_axes))
        return self._numbers(self.crossed(sets, exits))

    def small_copies(self, combo_ids: NDArray[np.int64], limit: int) -> list[SmallCopy]:
        """Return grids of two values on some axes: one in which all is admitted, one of the rest.

        The shards of a sweep are whole boxes or boxes with holes, so both are needed.
        """
        digits = self.digit_rows(combo_ids)
        base = digits[0]
        others = [next((d for d in column[1:] if d != column[0]), None) for column in digits.T]
        # axes of signals and of exits in turn, because a table has the ones across the others
        turns = itertools.zip_longest(self.strategy_axes, self.exit_axes)
        order = [axis for turn in turns for axis in turn if axis is not None]
        varied = [axis for axis in order if others[axis] is not None][: limit.bit_length() - 1]
        whole: dict[int, int] = {}
        for axis in varied:
            wider = {**whole, axis: int(others[axis])}  # type: ignore[arg-type]
            if self._small_copy(base, wider).grid.n_combos == 2 ** len(wider):
                whole = wider
        copies = [self._small_copy(base, whole)]
        if len(whole) < len(varied):
            every = {axis: int(others[axis]) for axis in varied}  # type: ignore[arg-type]
            copies.append(self._small_copy(base, every))
        return copies

    def _small_copy(self, base: NDArray[np.int64], others: Mapping[int, int]) -> SmallCopy:
        """Return the grid of one combination and of another position on some axes."""
        positions = [sorted({int(at), others.get(axis, int(at))}) for axis, at in enumerate(base)]
        axes = tuple(
            replace(axis, values=tuple(axis.values[at] for at in places))
            for axis, places in zip(self.axes, positions, strict=True)
        )
        copy = Grid(
            self.strategy,
            self.rules,
            self.contract,
            axes,
            where=self.where,
            invalid=self.invalid,
            target_given=self.target_given,
        )
        numbers = np.zeros(1, np.int64)
        for places, stride in zip(positions, self.strides, strict=True):
            numbers = np.add.outer(numbers, np.array(places, np.int64) * stride).ravel()
        return SmallCopy(copy, numbers)

    def crossed(self, sets: NDArray[np.int64], exits: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the digits of every set of signals with every exit that is admitted."""
        rows = np.repeat(sets, len(exits), axis=0)
        for axis in self.exit_axes:
            rows[:, axis] = np.tile(exits[:, axis], len(sets))
        return rows[np.broadcast_to(self.admits(list(rows.T)), len(rows))]

    def _numbers(self, digits: NDArray[np.int64]) -> NDArray[np.int64]:
        return digits @ np.array(self.strides, np.int64)

    # admitted combinations

    def occurring(self, axes: Sequence[int]) -> NDArray[np.integer[Any]]:
        """Return the positions on some axes that the strategy's rules and ``where`` allow.

        The engines, or a user's function, cannot be asked for others: a mean may not be faster
        than itself.
        """
        strategy = set(self.strategy_axes)
        own = [each for each in self.rules_between if each.axes <= strategy]
        read = frozenset(axes).union(*(each.axes for each in own))
        for condition in self.conditions:
            wider = read | condition.axes
            if wider <= strategy and math.prod(self.shape[at] for at in wider) <= MAX_JUDGED:
                own.append(condition)
                read = wider
        shape = [length if axis in read else 1 for axis, length in enumerate(self.shape)]
        admitted = np.ones([self.shape[axis] for axis in axes], np.bool_)
        if own:
            index = np.ix_(*map(np.arange, shape))
            other = tuple(axis for axis in range(len(self.shape)) if axis not in axes)
            admitted &= np.broadcast_to(meet_all(own, index), shape).any(axis=other)
        return np.argwhere(admitted)

    def box_mask(self, slices: Sequence[range]) -> NDArray[np.bool_]:
        """Return which combinations of a box are valid and admitted by ``where``.

        Parameters
        ----------
        slices : sequence of range
            Positions on every axis.

        Returns
        -------
        ndarray of bool
            Of the box's shape.
        """
        mask = np.empty(tuple(map(len, slices)), dtype=np.bool_)
        mask[...] = self.admits(search.box_index(slices))
        return mask

    def count(self) -> int:
        """Return the number of combinations that are valid and admitted by ``where``."""
        return search.count(self.shape, (*self.conditions, *self.rules_between))

    def check(self) -> None:
        """Refuse a grid with an invalid combination, or one of which nothing is left.

        With ``invalid = "refuse"`` the error names the first combination that ``where`` admits and
        the settings' own rules refuse.

        Raises
        ------
        ConfigError
            If there is such a combination, or none that is valid and admitted.
        """
        self.check_rules(self.rules_between)

    def check_rules(self, rules: Sequence[Constraint], boxes: int | None = None) -> None:
        """Refuse what :meth:`check` refuses, by some of the rules and with a bounded search.

        Parameters
        ----------
        rules : sequence of Constraint
            From :attr:`rules_between` or :meth:`rules_for_rows`.
        boxes : int, optional
            How long each search may be, as :func:`backtest_py.sweep.space.search.first` counts.

        Raises
        ------
        ConfigError
            As :meth:`check`.
        Unsettled
            If a search was too long.
        """
        if self.size == 1 and not self.where:
            self._check_only()
            return
        if self.invalid == "refuse":
            firsts = [self._first((*self.conditions, _negated(r)), boxes) for r in rules]
            broken = min((first for first in firsts if first is not None), default=None)
            if broken is not None:
                others = self._first((*self.conditions, *rules), boxes) is not None
                what = f"combination {broken:,} of the grid"
                raise self.refusal(self.digits(broken), what, others=others)
        if self._first((*self.conditions, *rules), boxes) is None:
            reason = f"where = {self.where!r} excludes all of them"
            if self._first(self.conditions, boxes) is not None:
                reason = "the settings' own rules refuse them"
                fixed = self.target_in_the_way()
                if fixed:
                    reason += f"; {fixed} is set in [rules]: delete that line, or set it to 0"
            raise ConfigError(
                f"nothing is left of the grid's {counted(self.size, 'combination')}: {reason}"
            )

    def _check_only(self) -> None:
        """Check a grid of one combination, which its settings do themselves."""
        try:
            self.settings(0)
        except ConfigError as error:
            if self.invalid == "refuse":
                what = "combination 0 of the grid"
                raise self.refusal(self.digits(0), what, others=False) from error
            raise ConfigError(f"nothing is left of the grid's one combination: {error}") from error

    def first_with(self, digits: Mapping[int, int], boxes: int | None = None) -> int | None:
        """Return the first combination that is admitted and stands at these positions on axes.

        Raises
        ------
        Unsettled
            If ``boxes``, as :meth:`check_rules` takes it, were not enough.
        """
        fixed = (_at(axis, digit) for axis, digit in digits.items())
        return self._first((*self.conditions, *self.rules_between, *fixed), boxes)

    def _first(self, constraints: Sequence[Constraint], boxes: int | None = None) -> int | None:
        """Return the number of the first combination that meets all constraints."""
        found = search.first(self.shape, constraints, boxes)
        if found is None:
            return None
        return sum(at * stride for at, stride in zip(found, self.strides, strict=True))

    @cached_property
    def rules_between(self) -> tuple[Constraint, ...]:
        """Constraints from the rules between fields, as a table over the fields that they read."""
        constraints = []
        for section in self._varied:
            positions, table = self._table(section, MAX_JUDGED)
            if table is None:
                axes = [self.axes[at] for at in positions]
                raise ConfigError(
                    f"the values of {', '.join(axis.key for axis in axes)} must fit together, and "
                    f"{count_text(math.prod(map(len, axes)))} combinations of them are too many to "
                    f"try; give these parameters fewer values, at most {MAX_JUDGED:,} combinations"
                )
            constraints += _from_table(positions, table)
        return tuple(constraints)

    def rules_for_rows(self, most: int) -> tuple[list[Constraint], list[Constraint]]:
        """Return the rules between fields for use on some rows only.

        Parameters
        ----------
        most : int
            Value tuples that the rules of a section may be tried on in advance.

        Returns
        -------
        tables : list of Constraint
            As :attr:`rules_between`, of sections whose rules read no more than so many.
        others : list of Constraint
            Of the other sections: their rules run row by row.
        """
        tables, others = [], []
        for section in self._varied:
            positions, table = self._table(section, most)
            if table is None:
                others.append(self._row_constraint(section))
            else:
                tables += _from_table(positions, table)
        return tables, others

    @property
    def _varied(self) -> list[Section]:
        return [section for section in self.sections if section.swept]

    def _table(self, section: Section, most: int) -> tuple[list[int], NDArray[np.bool_] | None]:
        """Return the axes that the rules of a section read, and which of their values are allowed.

        Which fields the rules read may depend on the values: when they read another one, the
        table is started again. It is None if it would have more than ``most`` entries.
        """
        probe = RuleProbe(section)
        swept = dict(section.swept)
        probe.set({name: self.axes[at].values[0] for name, at in section.swept})
        names: list[str] = []
        while True:
            positions = [swept[name] for name in names]
            axes = [self.axes[at] for at in positions]
            if math.prod(map(len, axes)) > most:
                return positions, None
            table = np.empty(tuple(map(len, axes)), dtype=np.bool_)
            flat = table.reshape(-1)
            late: list[str] = []
            for at, row in enumerate(itertools.product(*(axis.values for axis in axes))):
                flat[at] = probe(names, row)
                if len(probe.reads) > len(names):
                    late = [name for name in swept if name in probe.reads and name not in names]
                    if late:
                        break
            if not late:
                return positions, table
            names = [name for name in swept if name in names or name in late]


def _from_table(positions: Sequence[int], table: NDArray[np.bool_]) -> list[Constraint]:
    """Return the constraint of a table, or none where all of it is true."""

    def holds(index: Index) -> NDArray[np.bool_]:
        return np.asarray(table[tuple(index[at] for at in positions)])

    def bounds(box: Sequence[range]) -> tuple[bool, bool]:
        part = table[tuple(slice(box[at].start, box[at].stop) for at in positions)]
        return bool(part.all()), bool(part.any())

    return [] if table.all() or not positions else [Constraint(frozenset(positions), holds, bounds)]


def _at(axis: int, digit: int) -> Constraint:
    return Constraint(
        frozenset({axis}),
        lambda index: np.equal(index[axis], digit),
        lambda box: (box[axis] == range(digit, digit + 1), digit in box[axis]),
    )


def _negated(constraint: Constraint) -> Constraint:
    def bounds(box: Sequence[range]) -> tuple[bool, bool]:
        everywhere, somewhere = constraint.bounds(box)
        return not somewhere, not everywhere

    return Constraint(constraint.axes, lambda index: ~constraint.holds(index), bounds)
