"""From a shard to its table: what combinations share is worked out once and joined.

A combination is three choices: which bars signal, how a trade that starts at a bar ends, and what
it costs. The signals of a strategy follow from its scores, cut by thresholds; scores are worked
out per distinct set of the other parameters. Trades end as the outcome tables say, one lane for
each set of rules and contract.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.engines.base import atr_for
from backtest_py.errors import ConfigError
from backtest_py.records import METRICS, Intrabar
from backtest_py.strategies.base import Bound
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.sample import SampledGrid
from backtest_py.sweep.tables import coded_column, shard_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import Engine, SweepPlan
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.grid import Grid
    from backtest_py.sweep.shards import Shard

    Exit = tuple[ExitRules, Contract, NDArray[np.float64] | None]

__all__ = ["Evaluator", "SweepJob"]

MAX_SOURCES: Final = 256
"""Sets of scores that are kept together; more are worked out shard by shard."""
CELL_BYTES: Final = 16
"""Bytes of one outcome."""
LANES: Final = 8


@dataclass(frozen=True, slots=True)
class SweepJob:
    """What a sweep asks: all that decides its numbers, but for the engine's build.

    Attributes
    ----------
    bars : Bars
        The market.
    grid : Grid or SampledGrid
        The combinations.
    metrics : MetricSettings
        Settings of the annualised metrics.
    first, last : int
        Signals at bars ``first <= i < last`` count.
    scenarios : bool
        Whether the other way to settle ambiguous bars is computed too.
    """

    bars: Bars
    grid: Grid | SampledGrid
    metrics: MetricSettings
    first: int
    last: int
    scenarios: bool = False

    @property
    def other_scenario(self) -> str:
        """The way to settle ambiguous bars that the rules do not ask for, ``""`` if not wanted."""
        if not self.scenarios:
            return ""
        return Intrabar(1 - self.grid.rules.intrabar_code).name


class Evaluator:
    """Computes shards of one sweep on one engine, and keeps what they share.

    Parameters
    ----------
    job : SweepJob
        What is asked.
    engine : Engine
        Who computes.
    threads : int
        Threads of the engine, 0 for one per processor.
    max_memory : int
        Bytes that outcomes may take; they are worked out in smaller batches to keep it.
    """

    def __init__(
        self, job: SweepJob, engine: Engine, *, threads: int = 0, max_memory: int = 1 << 30
    ) -> None:
        self.job = job
        self.engine = engine
        self.threads = threads
        self.max_memory = max_memory
        self._thresholds = _thresholds(job.grid)
        self.structural_axes = _structural_axes(job.grid)
        self._plan: SweepPlan | None = None
        self._plan_key: object = None
        self._loaded: object = None
        self._places: dict[tuple[int, ...], int] = {}
        self._exits: dict[tuple[range, ...], list[tuple[tuple[int, ...], Exit]]] = {}
        self._done_before = 0
        self._cancelled = False

    @property
    def done(self) -> int:
        """Combinations done so far, those of the running shard included."""
        return self._done_before + (self._plan.done if self._plan is not None else 0)

    def cancel(self) -> None:
        """Make a running evaluation, and every later one, stop with ``SweepCancelled``."""
        self._cancelled = True
        if self._plan is not None:
            self._plan.cancel()

    def evaluate(self, shard: Shard) -> pa.Table:
        """Return the table of one shard."""
        if isinstance(self.job.grid, SampledGrid):
            return self._evaluate_rows(self.job.grid, shard.box[0])
        return self._evaluate_box(self.job.grid, shard.box)

    @property
    def n_candidates(self) -> int:
        """Candidates of the plan that was used last."""
        return self._plan.n_candidates if self._plan is not None else 0

    # boxes

    def _evaluate_box(self, grid: Grid, box: tuple[range, ...]) -> pa.Table:
        mask = grid.box_mask(box).ravel()
        lengths = [len(positions) for positions in box]
        strides = [math.prod(lengths[axis + 1 :]) for axis in range(len(box))]
        metrics = np.empty((2 if self.job.scenarios else 1, len(METRICS), 0))
        keep = np.flatnonzero(mask)
        if len(keep):
            metrics = self._box_metrics(grid, box, strides, mask)
            if len(keep) < len(mask):
                metrics = metrics[:, :, keep]
        digits = [
            box[axis].start + keep // strides[axis] % lengths[axis] for axis in range(len(box))
        ]
        combo_ids = np.zeros(len(keep), np.int64)
        for column, stride in zip(digits, grid.strides, strict=True):
            combo_ids += column * stride
        return self._table(combo_ids, digits, metrics)

    def _box_metrics(
        self, grid: Grid, box: tuple[range, ...], strides: list[int], mask: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the metrics of every combination of a box, in the order of ``combo_id``."""
        exits = self._box_exits(grid, box)
        exit_axes = sorted((*grid.rules_axes, *grid.contract_axes))
        exit_places = np.array(
            [
                sum((digits[axis] - box[axis].start) * strides[axis] for axis in exit_axes)
                for digits, _ in exits
            ],
            np.int64,
        )
        set_digits, set_places = _positions(box, grid.strategy_axes, strides)
        wanted = mask[set_places[:, None] + exit_places].any(axis=1)
        set_digits, set_places = set_digits[:, wanted], set_places[wanted]
        plan = self._box_plan(grid, box)
        sources = np.array(
            [
                self._places[tuple(row)]
                for row in set_digits[[grid.strategy_axes.index(a) for a in self.structural_axes]].T
            ],
            np.uint32,
        )
        order = np.argsort(sources, kind="stable")
        set_digits, set_places, sources = set_digits[:, order], set_places[order], sources[order]
        thresholds = self._cuts(grid, set_digits, grid.strategy_axes)
        out = np.empty((2 if self.job.scenarios else 1, len(METRICS), len(mask)))
        rows = (set_places[:, None] + exit_places).ravel()
        for scenario in range(len(out)):
            values = self._joined(plan, sources, thresholds, exits, box, scenario)
            in_order = len(rows) == len(mask) and bool((rows == np.arange(len(rows))).all())
            if in_order:
                out[scenario] = values
            else:
                out[scenario][:, rows] = values
        return out

    def _joined(
        self,
        plan: SweepPlan,
        sources: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        exits: list[tuple[tuple[int, ...], Exit]],
        box: tuple[range, ...],
        scenario: int,
    ) -> NDArray[np.float64]:
        """Return the metrics of signal sets under all exits, as many exits at a time as fit."""
        job = self.job
        cells = plan.n_candidates * CELL_BYTES
        batch = len(exits)
        if cells * len(exits) > self.max_memory:
            batch = max(LANES, self.max_memory // max(1, cells) // LANES * LANES)
        parts = []
        for start in range(0, len(exits), batch):
            chosen = [exit_ for _, exit_ in exits[start : start + batch]]
            key = (self._plan_key, self._exit_key(box), start, len(chosen), scenario)
            if key != self._loaded:
                plan.load([_settled(exit_, scenario) for exit_ in chosen])
                self._loaded = key
            parts.append(
                plan.evaluate(sources, thresholds, job.metrics, job.first, job.last).reshape(
                    len(METRICS), len(sources), len(chosen)
                )
            )
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return whole.reshape(len(METRICS), -1)

    def _exit_key(self, box: tuple[range, ...]) -> tuple[range, ...]:
        grid = self.job.grid
        return tuple(box[axis] for axis in sorted((*grid.rules_axes, *grid.contract_axes)))

    def _box_exits(
        self, grid: Grid, box: tuple[range, ...]
    ) -> list[tuple[tuple[int, ...], Exit]]:
        """Return the valid exits of a box with their positions, in the order of ``combo_id``."""
        key = self._exit_key(box)
        if key not in self._exits:
            axes = sorted((*grid.rules_axes, *grid.contract_axes))
            digits, _ = _positions(box, axes, [0] * len(box))
            found = []
            for column in digits.T:
                at = [0] * len(box)
                for axis, digit in zip(axes, column, strict=True):
                    at[axis] = int(digit)
                try:
                    found.append((tuple(at), self._exit(grid, at)))
                except ConfigError:  # a combination that the mask leaves out, too
                    continue
            self._exits = {key: found}
        return self._exits[key]

    def _exit(self, grid: Grid | SampledGrid, digits: Sequence[int]) -> Exit:
        rules = grid.rules_at(digits)
        return rules, grid.contract_at(digits), atr_for(self.engine, self.job.bars, rules)

    def _box_plan(self, grid: Grid, box: tuple[range, ...]) -> SweepPlan:
        """Return the plan with the scores of a box, or of the whole grid where that is not much."""
        whole = tuple(range(length) for length in grid.shape)
        if math.prod(len(whole[axis]) for axis in self.structural_axes) <= MAX_SOURCES:
            box = whole
        structural, _ = _positions(box, self.structural_axes, [0] * len(box))
        return self._plan_of(grid, tuple(box[axis] for axis in self.structural_axes), structural.T)

    # rows

    def _evaluate_rows(self, grid: SampledGrid, rows: range) -> pa.Table:
        job = self.job
        digits = grid.digits[rows.start : rows.stop]
        structural = digits[:, list(self.structural_axes)]
        distinct = np.unique(structural, axis=0)
        plan = self._plan_of(grid, rows, distinct)
        sources = np.array([self._places[tuple(row)] for row in structural], np.uint32)
        thresholds = self._cuts(grid, digits.T, range(len(grid.axes)))
        axes = (*grid.rules_axes, *grid.contract_axes)
        exits: dict[bytes, Exit] = {}
        chosen = []
        for row in digits:
            key = row[list(axes)].tobytes()
            if key not in exits:
                exits[key] = self._exit(grid, row.tolist())
            chosen.append(exits[key])
        metrics = np.stack(
            [
                plan.evaluate_each(
                    [_settled(exit_, scenario) for exit_ in chosen],
                    sources,
                    thresholds,
                    job.metrics,
                    job.first,
                    job.last,
                )
                for scenario in range(2 if job.scenarios else 1)
            ]
        )
        combo_ids = np.asarray(grid.combo_ids[rows.start : rows.stop], np.int64)
        return self._table(combo_ids, list(digits.T), metrics)

    # what both share

    def _plan_of(
        self, grid: Grid | SampledGrid, key: object, structural: NDArray[np.integer[Any]]
    ) -> SweepPlan:
        """Return the plan of some sets of structural positions, keeping the last one."""
        if self._plan is not None and key == self._plan_key:
            return self._plan
        strategies = []
        self._places = {}
        for row in structural:
            values = {
                grid.axes[axis].key.partition(".")[2]: grid.axes[axis].values[int(digit)]
                for axis, digit in zip(self.structural_axes, row, strict=True)
            }
            if self._occurs(grid, row, values):
                self._places[tuple(int(digit) for digit in row)] = len(strategies)
                strategies.append(_unchecked(grid.strategy, values))
        if self._plan is not None:
            self._done_before += self._plan.done
        signals = None
        if isinstance(grid.strategy, FunctionStrategy):
            signals = [strategy.compute(self.job.bars) for strategy in strategies]
        self._plan = self.engine.sweep_plan(
            self.job.bars,
            strategies=None if signals else strategies,
            signals=signals,
            loosest=self._loosest(grid),
            threads=self.threads,
        )
        if self._cancelled:
            self._plan.cancel()
        self._plan_key = key
        self._loaded = None
        return self._plan

    def _occurs(
        self, grid: Grid | SampledGrid, row: NDArray[np.integer[Any]], values: dict[str, Any]
    ) -> bool:
        """Tell whether any combination has these structural values: engines refuse impossible ones."""
        try:
            replace(grid.strategy, **values)
        except ConfigError:
            if isinstance(grid, SampledGrid):
                return True
            box = [range(length) for length in grid.shape]
            for axis, digit in zip(self.structural_axes, row, strict=True):
                box[axis] = range(int(digit), int(digit) + 1)
            return bool(grid.box_mask(box).any())
        return True

    def _loosest(self, grid: Grid | SampledGrid) -> list[float]:
        loosest = []
        for threshold, axis, constant in self._thresholds:
            values = [constant] if axis is None else _encoded(grid, axis).tolist()
            loosest.append(max(values) if threshold.bound == Bound.AtMost else min(values))
        return loosest

    def _cuts(
        self, grid: Grid | SampledGrid, digits: NDArray[np.integer[Any]], axes: Sequence[int]
    ) -> NDArray[np.float64]:
        """Return the thresholds of signal sets, row by row; ``digits`` has a row per axis."""
        out = np.empty((digits.shape[1], len(self._thresholds)))
        places = {axis: place for place, axis in enumerate(axes)}
        for column, (_, axis, constant) in enumerate(self._thresholds):
            if axis is None:
                out[:, column] = constant
            else:
                out[:, column] = _encoded(grid, axis)[digits[places[axis]]]
        return out.ravel()

    def _table(
        self,
        combo_ids: NDArray[np.int64],
        digits: Sequence[NDArray[np.integer[Any]]],
        metrics: NDArray[np.float64],
    ) -> pa.Table:
        parameters = {
            axis.key: coded_column(column, axis.values)
            for axis, column in zip(self.job.grid.axes, digits, strict=True)
        }
        other = (self.job.other_scenario, metrics[1]) if self.job.scenarios else None
        return shard_table(combo_ids, parameters, metrics[0], other)


def _settled(exit_: Exit, scenario: int) -> Exit:
    """Return an exit as it is, or with ambiguous bars settled the other way."""
    if scenario == 0:
        return exit_
    rules, contract, atr = exit_
    other = Intrabar(1 - rules.intrabar_code).name
    return _unchecked(rules, {"intrabar": other}), contract, atr


def _unchecked(settings: Any, values: dict[str, Any]) -> Any:
    """Return a copy of settings with other values, each of which has been checked on its own."""
    copy = object.__new__(type(settings))
    for spec in settings.parameters():
        value = values.get(spec.name, getattr(settings, spec.name))
        object.__setattr__(copy, spec.name, value)
    return copy


def _thresholds(grid: Grid | SampledGrid) -> list[tuple[Any, int | None, float]]:
    """Return the strategy's thresholds, each with its axis or its constant value."""
    keys = {axis.key: place for place, axis in enumerate(grid.axes)}
    specs = {spec.name: spec for spec in grid.strategy.parameters()}
    found = []
    for threshold in grid.strategy.thresholds:
        name = threshold.parameter
        constant = specs[name].encode(getattr(grid.strategy, name))
        found.append((threshold, keys.get(f"strategy.{name}"), constant))
    return found


def _structural_axes(grid: Grid | SampledGrid) -> tuple[int, ...]:
    """Return the strategy's axes that are not thresholds."""
    names = {f"strategy.{threshold.parameter}" for threshold in grid.strategy.thresholds}
    return tuple(axis for axis in grid.strategy_axes if grid.axes[axis].key not in names)


def _encoded(grid: Grid | SampledGrid, axis: int) -> NDArray[np.float64]:
    """Return the values of an axis as the engines take them."""
    name = grid.axes[axis].key.partition(".")[2]
    spec = next(spec for spec in grid.strategy.parameters() if spec.name == name)
    return np.array([spec.encode(value) for value in grid.axes[axis].values], np.float64)


def _positions(
    box: Sequence[range], axes: Sequence[int], strides: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of a box on some axes, shape (n_axes, n), and their places in it."""
    lengths = [len(box[axis]) for axis in axes]
    n = math.prod(lengths)
    digits = np.empty((len(axes), n), np.int64)
    places = np.zeros(n, np.int64)
    index = np.arange(n)
    for row, axis in enumerate(axes):
        after = math.prod(lengths[row + 1 :])
        local = index // after % lengths[row]
        digits[row] = box[axis].start + local
        places += local * strides[axis]
    return digits, places


