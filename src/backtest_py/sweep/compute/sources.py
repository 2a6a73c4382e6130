"""Where the signals of a sweep come from: sets of structural parameters, and plans of them.

A parameter is a threshold, which cuts scores, or structural, which shapes them. A source is one
set of structural parameters; all signal sets of a source share its scores.
"""

from __future__ import annotations

import math
from base64 import b64encode
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from backtest_py.errors import EngineError, SweepCancelled
from backtest_py.provenance import signals_hash
from backtest_py.signals import Signals
from backtest_py.strategies.base import Bound
from backtest_py.sweep.space.boxes import distinct_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine, SweepPlan
    from backtest_py.parameters import Settings
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.space.combinations import Combinations

    Digits = NDArray[np.integer[Any]]

__all__ = [
    "HASH_BYTES",
    "SignalSources",
    "distinct_sets",
    "encode_hashes",
    "function_signals",
    "measures_risk",
    "replaced",
    "set_hash",
    "strategy_of",
]

AT_LEAST: Final = 8
"""Sources that are taken together whatever the memory."""
HASH_BYTES: Final = 8
"""Bytes of the hash of one signal set."""
MAX_COMMON: Final = 65_536
"""Sources of which one plan is kept for the whole sweep, if it fits into memory."""

SettingsT = TypeVar("SettingsT", bound="Settings")


class SignalSources:
    """Plans of the sources that signal sets need; the last plan is kept.

    Parameters
    ----------
    grid : Combinations
        The combinations.
    bars : Bars
        The market.
    engine : Engine
        The engine that computes scores.
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
        self, grid: Combinations, bars: Bars, engine: Engine, threads: int, room: int
    ) -> None:
        self._grid, self._bars, self._engine = grid, bars, engine
        self._threads, self._room = threads, room
        cutting, _ = grid.strategy.split_parameters()
        keys = [axis.key for axis in grid.axes]
        self._cutting = tuple(
            (name, keys.index(f"strategy.{name}") if f"strategy.{name}" in keys else None)
            for name in cutting
        )
        self.structural_axes = grid.structural_axes
        self.n_plans = 0
        self._plan: SweepPlan | None = None
        self._key: bytes | None = None
        self._done_before = 0
        self._members: Digits = np.empty((0, 0), np.int64)
        self._hashes: dict[tuple[int, ...], bytes] = {}
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
        """Make running and later calls stop with ``SweepCancelled``."""
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
        self._plan, self._key, self._members = plan, key, members
        self.n_plans += 1
        return plan

    def _built(self, members: Digits) -> SweepPlan:
        strategies, signals = None, None
        if self._grid.strategy.computes_signals:
            signals = [self.signals_at(row) for row in members.tolist()]
        else:
            strategies = [strategy_of(self._grid, row) for row in members.tolist()]
        return self._engine.sweep_plan(
            self._bars,
            strategies=strategies,
            signals=signals,
            loosest=self._loosest,
            threads=self._threads,
        )

    def signals_at(self, digits: Sequence[int]) -> Signals:
        """Return what a user's function gives at a position on every structural axis."""
        self.require_going_on()
        signals = function_signals(self._grid, self._bars, digits)
        self._hashes[_set_key(digits)] = set_hash(signals)
        return signals

    def hashes(self, rows: Digits) -> bytes:
        """Return the hashes of what a user's function gave for the signal sets of some rows.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows, n_axes)
            Positions on every axis of rows that were computed last.

        Returns
        -------
        bytes
            ``HASH_BYTES`` for each distinct set, sets in the order of their digits.
        """
        found = b"".join(self._hashes[_set_key(row)] for row in distinct_sets(self._grid, rows))
        if len(self._hashes) > 2 * MAX_COMMON:  # the plan that is kept alone may be asked again
            kept = map(_set_key, self._members.tolist())
            self._hashes = {key: self._hashes[key] for key in kept}
        return found

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
        members = self._grid.occurring(self.structural_axes)
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
        if self._grid.strategy.computes_signals:
            size = n_bars * (18 if measures_risk(self._grid) else 2)  # here, and the engine's copy
        else:
            probe = self._built(members[[0, n // 2, n - 1]])
            size = probe.n_candidates * (4 + 8 * n_cuts)
        return max(AT_LEAST, self._room // max(1, size))

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(len(self._grid.axes[axis]) for axis in self.structural_axes)

    def _ranks(self, structural: Digits) -> NDArray[np.int64]:
        """Return the numbers of sources, the last structural axis fastest."""
        ranks = np.zeros(len(structural), np.int64)
        for column, length in zip(structural.T, self._lengths, strict=True):
            ranks = ranks * length + column
        return ranks


def measures_risk(grid: Combinations) -> bool:
    """Tell whether some rules of a sweep measure in the risk that a strategy gives."""
    return grid.rules.unit == "strategy" or "rules.unit" in grid.keys


def strategy_of(grid: Combinations, digits: Sequence[int]) -> Strategy:
    """Return the strategy at a position on every structural axis."""
    axes = [grid.axes[axis] for axis in grid.structural_axes]
    values = {axis.name: axis.values[at] for axis, at in zip(axes, digits, strict=True)}
    return replaced(grid.strategy, values)


def function_signals(grid: Combinations, bars: Bars, digits: Sequence[int]) -> Signals:
    """Return what a user's function gives at a position, without risks that nothing measures in."""
    signals = strategy_of(grid, digits).compute(bars)
    if signals is None:
        raise EngineError(f"strategy {grid.strategy.name!r} has no function to compute its signals")
    return signals if measures_risk(grid) else Signals(signals.side)


def distinct_sets(grid: Combinations, rows: Digits) -> list[list[int]]:
    """Return the distinct positions of rows on the structural axes, in the order of digits."""
    structural = rows[:, list(grid.structural_axes)]
    sets: list[list[int]] = structural[distinct_rows(structural)[0]].tolist()
    return sets


def set_hash(signals: Signals) -> bytes:
    """Return a short hash of signals: enough to tell that a function gives others than before."""
    return bytes.fromhex(signals_hash(signals))[:HASH_BYTES]


def encode_hashes(hashes: bytes) -> str:
    """Return hashes of signal sets as text, for a journal."""
    return b64encode(hashes).decode()


def _set_key(digits: Sequence[int]) -> tuple[int, ...]:
    return tuple(digits)


def replaced(settings: SettingsT, values: Mapping[str, Any]) -> SettingsT:
    """Return a copy of settings with other values, each of which has been checked on its own."""
    copy = object.__new__(type(settings))
    for spec in settings.parameters():
        value = values.get(spec.name, getattr(settings, spec.name))
        object.__setattr__(copy, spec.name, value)
    return copy
