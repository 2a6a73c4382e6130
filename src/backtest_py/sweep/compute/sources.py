"""Where the signals of a sweep come from: sets of structural parameters, and plans of them.

A parameter is a threshold, which cuts scores, or structural, which shapes them. A source is one
set of structural parameters; all signal sets of a source share its scores.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from backtest_py.errors import SweepCancelled
from backtest_py.signals import Signals
from backtest_py.strategies.base import Bound
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.space.grid import MAX_JUDGED
from backtest_py.sweep.space.sample import SampledGrid
from backtest_py.sweep.space.space import meet_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine, SweepPlan
    from backtest_py.parameters import Settings
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.space.grid import Grid

    Digits = NDArray[np.integer[Any]]

__all__ = ["Sources", "distinct_rows", "replaced"]

AT_LEAST: Final = 8
"""Sources that are taken together whatever the memory."""
MAX_COMMON: Final = 65_536
"""Sources of which one plan is kept for the whole sweep, if it fits into memory."""

SettingsT = TypeVar("SettingsT", bound="Settings")


class Sources:
    """Plans of the sources that signal sets need; the last plan is kept.

    Parameters
    ----------
    grid : Grid or SampledGrid
        The combinations.
    bars : Bars
        The market.
    engine : Engine
        Who computes scores.
    threads : int
        Threads of the engine, 0 for one per processor.
    room : int
        Bytes that the sources of one plan may take.

    Attributes
    ----------
    structural_axes : tuple of int
        Axes of structural parameters.
    n_plans : int
        Plans made so far, the number of the last one.
    """

    def __init__(
        self, grid: Grid | SampledGrid, bars: Bars, engine: Engine, threads: int, room: int
    ) -> None:
        self._grid, self._bars, self._engine = grid, bars, engine
        self._threads, self._room = threads, room
        cutting, _ = grid.strategy.split_parameters()
        keys = [axis.key for axis in grid.axes]
        self._cutting = tuple(
            (name, keys.index(f"strategy.{name}") if f"strategy.{name}" in keys else None)
            for name in cutting
        )
        cut_axes = {axis for _, axis in self._cutting}
        self.structural_axes = tuple(a for a in grid.strategy_axes if a not in cut_axes)
        self.n_plans = 0
        self._plan: SweepPlan | None = None
        self._key: bytes | None = None
        self._done_before = 0
        self._cancelled = False

    @property
    def shared(self) -> bool:
        """Whether one plan holds the sources of the whole sweep."""
        return self._common is not None

    @property
    def done(self) -> int:
        """Combinations that all plans have evaluated."""
        return self._done_before + (self._plan.done if self._plan is not None else 0)

    @property
    def n_candidates(self) -> int:
        """Candidates of the last plan."""
        return self._plan.n_candidates if self._plan is not None else 0

    def cancel(self) -> None:
        """Make what is running, and all that follows, stop with ``SweepCancelled``."""
        self._cancelled = True
        if self._plan is not None:
            self._plan.cancel()

    def require_going_on(self) -> None:
        """Raise ``SweepCancelled`` after :meth:`cancel`."""
        if self._cancelled:
            raise SweepCancelled("the sweep was stopped")

    def count_one(self) -> None:
        """Count a combination that no plan evaluates."""
        self._done_before += 1

    def plans(
        self, rows: Digits
    ) -> Iterator[tuple[SweepPlan, slice | NDArray[np.intp], NDArray[np.uint32]]]:
        """Yield plans, the rows that each can do, and the sources of these in the plan.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows, n_axes)
            Positions on every axis.
        """
        structural = rows[:, list(self.structural_axes)]
        if self._common is not None:
            members, place_of = self._common
            places = place_of[self._ranks(structural)]
            yield self._plan_of(members), slice(None), places.astype(np.uint32)
            return
        firsts, inverse = distinct_rows(structural)
        step = self._at_once(structural[firsts])
        for begin in range(0, len(firsts), step):
            plan = self._plan_of(structural[firsts[begin : begin + step]])
            chosen: slice | NDArray[np.intp] = slice(None)
            if step < len(firsts):
                chosen = np.flatnonzero((inverse >= begin) & (inverse < begin + step))
            yield plan, chosen, (inverse[chosen] - begin).astype(np.uint32)

    def thresholds(self, rows: Digits) -> NDArray[np.float64]:
        """Return the thresholds of rows, those of one row beside each other, flat."""
        cuts = np.empty((len(rows), len(self._cutting)))
        for column, (values, (_, axis)) in enumerate(
            zip(self._threshold_values, self._cutting, strict=True)
        ):
            cuts[:, column] = values[0] if axis is None else values[rows[:, axis]]
        return cuts.ravel()

    # plans

    def _plan_of(self, members: Digits) -> SweepPlan:
        """Return the plan of some sources, positions on the structural axes, shape (n, n_axes)."""
        key = members.tobytes()
        if self._plan is not None and key == self._key:
            return self._plan
        if self._plan is not None:
            self._done_before += self._plan.done
        self._plan = self._key = None
        plan = self._built(members)
        if self._cancelled:
            plan.cancel()
        self._plan, self._key = plan, key
        self.n_plans += 1
        return plan

    def _built(self, members: Digits) -> SweepPlan:
        strategies = [self._strategy(row) for row in members.tolist()]
        functions = [each for each in strategies if isinstance(each, FunctionStrategy)]
        return self._engine.sweep_plan(
            self._bars,
            strategies=None if functions else strategies,
            signals=[self._signals(each) for each in functions] if functions else None,
            loosest=self._loosest,
            threads=self._threads,
        )

    def _strategy(self, digits: list[int]) -> Strategy:
        axes = [self._grid.axes[axis] for axis in self.structural_axes]
        values = {axis.name: axis.values[at] for axis, at in zip(axes, digits, strict=True)}
        return replaced(self._grid.strategy, values)

    def _signals(self, strategy: FunctionStrategy) -> Signals:
        """Return what a user's function gives, without risks that nothing measures in."""
        if self._cancelled:
            raise SweepCancelled("the sweep was stopped")
        signals = strategy.compute(self._bars)
        return signals if self._measures_risk else Signals(signals.side)

    @cached_property
    def _measures_risk(self) -> bool:
        return self._grid.rules.unit == "strategy" or "rules.unit" in self._grid.keys

    @cached_property
    def _threshold_values(self) -> list[NDArray[np.float64]]:
        """Values of every threshold as the engines take them; one, where it is not swept."""
        specs = {spec.name: spec for spec in self._grid.strategy.parameters()}
        encoded = []
        for name, axis in self._cutting:
            base = (getattr(self._grid.strategy, name),)
            values = base if axis is None else self._grid.axes[axis].values
            encoded.append(np.array([specs[name].encode(value) for value in values], np.float64))
        return encoded

    @cached_property
    def _loosest(self) -> list[float]:
        """The loosest value of every threshold."""
        bounds = (threshold.bound for threshold in self._grid.strategy.thresholds)
        return [
            float(values.max() if bound is Bound.AtMost else values.min())
            for bound, values in zip(bounds, self._threshold_values, strict=True)
        ]

    # how many at a time

    @cached_property
    def _common(self) -> tuple[Digits, NDArray[np.int64]] | None:
        """The sources of the whole sweep, and their places by rank, where one plan holds them."""
        if math.prod(self._lengths) > MAX_COMMON:
            return None
        members = self._occurring()
        if len(members) > self._at_once(members):
            return None
        place_of = np.zeros(math.prod(self._lengths), np.int64)
        place_of[self._ranks(members)] = np.arange(len(members))
        return members, place_of

    def _at_once(self, members: Digits) -> int:
        """Return how many sources fit into memory, by what three of them take."""
        n = len(members)
        if n <= AT_LEAST:
            return n
        n_bars, n_cuts = len(self._bars), len(self._cutting)
        if isinstance(self._grid.strategy, FunctionStrategy):
            size = n_bars * (18 if self._measures_risk else 2)  # here, and a copy of the engine's
        else:
            probe = self._built(members[[0, n // 2, n - 1]])
            size = probe.n_candidates * (4 + 8 * n_cuts)
        return max(AT_LEAST, self._room // max(1, size))

    def _occurring(self) -> Digits:
        """Return the sources that the strategy's rules and ``where`` allow, by their ranks.

        The engines, or a user's function, cannot be asked for others: a mean may not be faster
        than itself.
        """
        grid, axes = self._grid, self.structural_axes
        if isinstance(grid, SampledGrid):
            structural = grid.digits[:, list(axes)]
            return structural[distinct_rows(structural)[0]]
        strategy = set(grid.strategy_axes)
        own = [each for each in grid.rules_between if each.axes <= strategy]
        read = frozenset(axes).union(*(each.axes for each in own))
        for condition in grid.conditions:
            wider = read | condition.axes
            if wider <= strategy and math.prod(grid.shape[at] for at in wider) <= MAX_JUDGED:
                own.append(condition)
                read = wider
        shape = [length if axis in read else 1 for axis, length in enumerate(grid.shape)]
        index = np.ix_(*map(np.arange, shape))
        other = tuple(axis for axis in range(len(grid.shape)) if axis not in axes)
        admitted = np.ones(self._lengths, np.bool_)
        if own:
            admitted &= np.broadcast_to(meet_all(own, index), shape).any(axis=other)
        return np.argwhere(admitted)

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(len(self._grid.axes[axis]) for axis in self.structural_axes)

    def _ranks(self, structural: Digits) -> NDArray[np.int64]:
        """Return the numbers of sources, the last structural axis fastest."""
        ranks = np.zeros(len(structural), np.int64)
        for column, length in zip(structural.T, self._lengths, strict=True):
            ranks = ranks * length + column
        return ranks


def distinct_rows(rows: Digits) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row of each kind, kinds in the order of their digits, and every row's kind.

    Examples
    --------
    >>> distinct_rows(np.array([[2, 1], [0, 5], [2, 1]]))
    (array([1, 0]), array([1, 0, 1]))
    """
    kinds = firsts = np.zeros(len(rows), np.intp)
    for column in rows.T:
        # ranks of ranks stay below the number of rows, so that no product overflows
        kinds = kinds * (int(column.max()) + 1) + column
        _, firsts, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return firsts if rows.shape[1] else firsts[:1], kinds


def replaced(settings: SettingsT, values: Mapping[str, Any]) -> SettingsT:
    """Return a copy of settings with other values, each of which has been checked on its own."""
    copy = object.__new__(type(settings))
    for spec in settings.parameters():
        value = values.get(spec.name, getattr(settings, spec.name))
        object.__setattr__(copy, spec.name, value)
    return copy
