"""From a shard to its table: what combinations share is worked out once and joined.

A combination is three choices: which bars signal, how a trade that starts at a bar ends, and what
it costs. The signals of a strategy follow from its scores, cut by thresholds; scores are worked
out per distinct set of the other parameters, called structural. Trades end as the outcome tables
say, one lane for each set of rules and contract, called an exit.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.engines.base import Job, atr_for
from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import Intrabar
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.compute.shards import MAX_ROWS
from backtest_py.sweep.compute.sources import Sources, distinct_rows, replaced
from backtest_py.sweep.space.sample import SampledGrid
from backtest_py.sweep.store.tables import coded_column, shard_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import Engine, SweepPlan
    from backtest_py.rules import ExitRules
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.space.grid import Grid

    Exit = tuple[ExitRules, Contract, NDArray[np.float64] | None]
    Digits = NDArray[np.integer[Any]]
    Computed = tuple[NDArray[np.int64], list[NDArray[np.int32]], NDArray[np.float64]]

__all__ = ["DIRECT_COMBOS", "Evaluator", "SweepJob"]

DIRECT_COMBOS: Final = 2
"""So few combinations are run one by one: a plan looks at all bars, whoever signals."""
TABLES: Final = 6
"""Tables of a shard's metrics that exist at a time: being computed, encoded, written."""
SPARSE: Final = 8
"""Combinations to compute for each that is kept, above which each is worked out on its own."""
APART_COST: Final = 1.5
"""What a trade costs that is followed for one combination alone, by what it costs in the table."""
PROBED: Final = 8
"""Combinations that tell how many trades one makes."""
MIN_RUN: Final = 16
"""Neighbouring signal sets of one source from which on they need not be sorted for speed."""


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
        return Intrabar(1 - Intrabar[self.grid.rules.intrabar]).name

    @property
    def n_combos(self) -> int:
        """Number of combinations that are valid and admitted."""
        return self.grid.size if isinstance(self.grid, SampledGrid) else self.grid.count()

    @property
    def n_scenarios(self) -> int:
        """How often every metric is computed."""
        return 2 if self.scenarios else 1


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
        Bytes to take, beside the bars; outcomes are worked out in smaller batches to keep it.

    Raises
    ------
    ConfigError
        If the tables of one shard, and the average true ranges of all, alone take more.
    """

    def __init__(
        self, job: SweepJob, engine: Engine, *, threads: int = 0, max_memory: int = 1 << 30
    ) -> None:
        self.job = job
        self.engine = engine
        self.threads = threads
        self.max_memory = max_memory
        rows = min(MAX_ROWS, job.grid.size)
        self.table_bytes = TABLES * 8 * len(METRICS) * job.n_scenarios * rows + _range_bytes(job)
        self._room = max_memory - self.table_bytes
        self._require(0)
        self._exits_of: tuple[bytes | None, list[Exit]] = (None, [])
        self._loaded: object = None
        self._rows_done = 0
        self._began, self._share = 0, 0.0
        self._apart: bool | None = None
        self.sources = Sources(job.grid, job.bars, engine, threads, self._room // 4)

    @property
    def apart(self) -> bool:
        """Whether each combination of what was evaluated was followed on its own."""
        return bool(self._apart)

    @property
    def done(self) -> int:
        """Combinations done so far, those of the running shard included."""
        return self._rows_done + int(self._share * (self.sources.done - self._began))

    def cancel(self) -> None:
        """Make a running evaluation, and every later one, stop with ``SweepCancelled``."""
        self.sources.cancel()

    def evaluate(self, shard: Shard) -> pa.Table:
        """Return the table of one shard.

        Raises
        ------
        ConfigError
            If ``max_memory`` cannot be kept.
        SweepCancelled
            If :meth:`cancel` was called.
        """
        return self.work_out(shard)()

    def work_out(self, shard: Shard) -> Callable[[], pa.Table]:
        """Compute one shard, and return what makes its table; errors as :meth:`evaluate`."""
        grid = self.job.grid
        if isinstance(grid, SampledGrid):
            rows = slice(shard.box[0].start, shard.box[0].stop)
            combo_ids, digits = grid.combo_ids[rows], list(grid.digits[rows].T)
            metrics = self._rows_metrics(grid.digits[rows])
        elif grid.size <= DIRECT_COMBOS:
            combo_ids, digits, metrics = self._few(grid)
        else:
            combo_ids, digits, metrics = self._box(grid, shard.box)
        self._rows_done += len(combo_ids)
        self._began, self._share = self.sources.done, 0.0

        def table() -> pa.Table:
            parameters = {
                axis.key: coded_column(column, axis.values)
                for axis, column in zip(grid.axes, digits, strict=True)
            }
            other = (self.job.other_scenario, metrics[1]) if self.job.scenarios else None
            return shard_table(combo_ids, parameters, metrics[0], other)

        return table

    def cross(self, sets: Digits, exits: Digits) -> NDArray[np.float64]:
        """Return the metrics of signal sets under exits, as the shards of a grid compute them.

        Parameters
        ----------
        sets, exits : ndarray of int, shape (n_sets, n_axes) and (n_exits, n_axes)
            Valid positions on every axis, of which sets use those of the strategy and exits the
            others.

        Returns
        -------
        ndarray of float64, shape (n_scenarios, n_metrics, n_sets, n_exits)
        """
        job = self.job
        given = self._exits(exits)
        settled = [
            _settled(exit_, scenario) for scenario in range(job.n_scenarios) for exit_ in given
        ]
        out = np.empty((len(METRICS), len(sets), len(settled)))
        for plan, chosen, sources in self._in_runs(sets):
            cuts = self.sources.thresholds(sets[chosen])
            for batch in self._batches(plan, len(settled)):
                self._load(plan, settled, batch)
                values = plan.evaluate(sources, cuts, job.metrics, [(job.first, job.last)])
                values = values.reshape(len(METRICS), len(sources), -1)
                if values.shape == out.shape and isinstance(chosen, slice):
                    out = values
                else:
                    out[:, chosen, batch] = values
        shape = (len(METRICS), len(sets), job.n_scenarios, len(given))
        return np.moveaxis(out.reshape(shape), 2, 0)

    # boxes

    def _few(self, grid: Grid) -> Computed:
        """Return numbers, digits and metrics of a grid of hardly any combination."""
        combo_ids = np.zeros(1, np.int64)  # a grid of which nothing is left was refused
        if grid.size > 1:
            combo_ids = np.flatnonzero(grid.box_mask(tuple(map(range, grid.shape))))
        digits = grid.digit_rows(combo_ids)
        return combo_ids, list(digits.T.astype(np.int32)), self._directly(digits)

    def _box(self, grid: Grid, box: tuple[range, ...]) -> Computed:
        """Return numbers, digits and metrics of the combinations of a box that are admitted."""
        mask = grid.box_mask(box)
        kept = slice(None) if mask.all() else np.flatnonzero(mask)
        combo_ids = np.zeros((1,) * len(box), np.int64)
        digits = []
        for axis, (positions, stride) in enumerate(zip(box, grid.strides, strict=True)):
            along = [1] * len(box)
            along[axis] = len(positions)
            column = np.arange(positions.start, positions.stop, dtype=np.int32).reshape(along)
            combo_ids = combo_ids + column * np.int64(stride)
            digits.append(np.broadcast_to(column, mask.shape).ravel()[kept])
        combo_ids = combo_ids.ravel()[kept]
        if len(combo_ids) == 0:
            metrics = np.empty((self.job.n_scenarios, len(METRICS), 0))
        elif self._nothing_shared:
            metrics = self._directly(np.stack(digits, axis=1))
        elif self._best_apart(digits):
            metrics = self._rows_metrics(np.stack(digits, axis=1))
        elif isinstance(kept, slice):
            metrics = self._whole_box(grid, box)
        else:
            metrics = self._part_of_box(grid, box, mask.ravel(), kept, digits)
        return combo_ids, digits, metrics

    @property
    def _nothing_shared(self) -> bool:
        """Whether every combination has signals of its own, so that a run of it is all there is."""
        grid = self.job.grid
        own = math.prod(len(grid.axes[axis]) for axis in self.sources.structural_axes)
        return own == grid.size and not isinstance(grid.strategy, FunctionStrategy)

    def _best_apart(self, digits: list[NDArray[np.int32]]) -> bool:
        """Tell whether combinations make fewer trades than the outcome table has to follow.

        The table has the trade of every candidate, but a combination skips the signals that come
        while it holds a position; where few sets share the table, most of it would be for nothing.
        """
        n_rows, grid = len(digits[0]), self.job.grid
        if self._apart is None:
            n_sets = math.prod(len(grid.axes[axis]) for axis in grid.strategy_axes)
            self._apart = False
            if self.sources.shared:
                step = -(-n_rows // PROBED)
                probe = np.stack([column[::step] for column in digits], axis=1)
                trades = self._rows_metrics(probe)[0, METRICS.index("total_trades")].mean()
                self._apart = APART_COST * n_sets * trades < self.sources.n_candidates
        return self.apart

    def _whole_box(self, grid: Grid, box: tuple[range, ...]) -> NDArray[np.float64]:
        """Return the metrics of all combinations of a box, in the order of ``combo_id``."""
        sets, _ = _positions(box, grid.strategy_axes)
        exits, _ = _positions(box, _exit_axes(grid))
        self._share = 1 / self.job.n_scenarios
        metrics = self.cross(sets, exits)
        order = (*grid.strategy_axes, *_exit_axes(grid))
        apart = metrics.reshape(*metrics.shape[:2], *(len(box[axis]) for axis in order))
        back = [2 + order.index(axis) for axis in range(len(order))]
        return apart.transpose(0, 1, *back).reshape(*metrics.shape[:2], -1)

    def _part_of_box(
        self,
        grid: Grid,
        box: tuple[range, ...],
        mask: NDArray[np.bool_],
        kept: NDArray[np.intp],
        digits: list[NDArray[np.int32]],
    ) -> NDArray[np.float64]:
        """Return the metrics of the combinations of a box that are kept, at least one."""
        sets, set_places = _positions(box, grid.strategy_axes)
        exits, exit_places = _positions(box, _exit_axes(grid))
        wanted = mask[set_places[:, None] + exit_places]
        some_sets, some_exits = wanted.any(axis=1), wanted.any(axis=0)
        places = set_places[some_sets][:, None] + exit_places[some_exits]
        if places.size > SPARSE * len(kept):
            return self._rows_metrics(np.stack(digits, axis=1))
        self._share = len(kept) / (self.job.n_scenarios * places.size)
        metrics = self.cross(sets[some_sets], exits[some_exits])
        row_of = np.empty(len(mask), np.int64)
        row_of[places.ravel()] = np.arange(places.size)
        return np.take(metrics.reshape(*metrics.shape[:2], -1), row_of[kept], axis=2)

    # rows

    def _rows_metrics(self, digits: Digits) -> NDArray[np.float64]:
        """Return the metrics of combinations that share nothing, one exit for each."""
        job = self.job
        if job.grid.size <= DIRECT_COMBOS:
            return self._directly(digits)
        firsts, exit_of = distinct_rows(digits[:, list(_exit_axes(job.grid))])
        given = self._exits(digits[firsts])
        self._share = 1 / job.n_scenarios
        out = np.empty((job.n_scenarios, len(METRICS), len(digits)))
        for plan, chosen, sources in self._in_runs(digits):
            cuts = self.sources.thresholds(digits[chosen])
            for scenario in range(job.n_scenarios):
                exits = [_settled(given[each], scenario) for each in exit_of[chosen]]
                out[scenario][:, chosen] = plan.evaluate_each(
                    exits, sources, cuts, job.metrics, [(job.first, job.last)]
                )[0]
        return out

    def _directly(self, digits: Digits) -> NDArray[np.float64]:
        """Run combinations one by one, several at a time."""
        out = np.empty((self.job.n_scenarios, len(METRICS), len(digits)))
        rows = list(enumerate(digits.tolist()))
        if len(rows) <= DIRECT_COMBOS:  # to start threads would take longer
            for row, at in rows:
                self._run(at, out[:, :, row])
            return out
        self._share = 1.0
        with ThreadPoolExecutor(self.threads or cpu_count() or 1) as pool:
            runs = [pool.submit(self._run, at, out[:, :, row]) for row, at in rows]
            try:
                for run in runs:
                    run.result()
                    self.sources.count_one()
            finally:
                pool.shutdown(cancel_futures=True)
        return out

    def _run(self, at: list[int], out: NDArray[np.float64]) -> None:
        """Run one combination in every scenario, and set its metrics."""
        self.sources.require_going_on()
        job, grid = self.job, self.job.grid
        strategy, exit_ = grid.strategy_at(at), (grid.rules_at(at), grid.contract_at(at), None)
        signals = strategy.compute(job.bars) if isinstance(strategy, FunctionStrategy) else None
        for scenario in range(job.n_scenarios):
            rules, contract, _ = _settled(exit_, scenario)
            single = Job(
                job.bars, strategy, signals, rules, contract, job.metrics, job.first, job.last
            )
            out[scenario] = self.engine.run(single).metrics

    # what both share

    def _in_runs(
        self, rows: Digits
    ) -> Iterator[tuple[SweepPlan, slice | NDArray[np.intp], NDArray[np.uint32]]]:
        """Yield plans with the rows that they can do and the sources of these, in long runs."""
        for plan, chosen, sources in self.sources.plans(rows):
            if len(sources) >= MIN_RUN * (1 + np.count_nonzero(np.diff(sources))):
                yield plan, chosen, sources
            else:
                order = np.argsort(sources, kind="stable")
                ordered = order if isinstance(chosen, slice) else chosen[order]
                yield plan, ordered, sources[order]

    def _exits(self, rows: Digits) -> list[Exit]:
        """Return the exits at some positions; shards that come one after another share them."""
        key = rows[:, list(_exit_axes(self.job.grid))].tobytes()
        if self._exits_of[0] != key:
            self._exits_of = (key, [self._exit(row) for row in rows.tolist()])
        return self._exits_of[1]

    def _exit(self, digits: Sequence[int]) -> Exit:
        grid = self.job.grid
        rules = grid.rules_at(digits)
        return rules, grid.contract_at(digits), atr_for(self.engine, self.job.bars, rules)

    def _batches(self, plan: SweepPlan, n_exits: int) -> Iterator[slice]:
        """Yield as many exits at a time as fit into memory."""
        limits = self.engine.sweep_limits
        cells = limits.table_bytes(plan.n_candidates, limits.lanes)
        self._require(cells)
        step = limits.lanes * max(1, self._room * 3 // 4 // max(1, cells))
        for start in range(0, n_exits, step):
            yield slice(start, min(start + step, n_exits))

    def _load(self, plan: SweepPlan, exits: list[Exit], batch: slice) -> None:
        """Have the outcomes of a batch of what ``_exits`` gave last, if they are not there."""
        key = (self.sources.n_plans, self._exits_of[0], batch.start, batch.stop)
        if key != self._loaded:
            plan.load([])  # the old outcomes need not stay until the new ones are complete
            plan.load(exits[batch])
            self._loaded = key

    def _require(self, outcomes: int) -> None:
        """Refuse a sweep that cannot keep ``max_memory``."""
        if self._room * 3 // 4 < outcomes or self._room < 0:
            needed = self.table_bytes + outcomes * 4 // 3
            raise ConfigError(
                f"max_memory = {self.max_memory:,} bytes cannot be kept: tables, average true "
                f"ranges and outcomes of this sweep take at least {needed:,}; give more, or sweep "
                "shorter data"
            )


def _range_bytes(job: SweepJob) -> int:
    """Return what average true ranges take where a sweep varies them; they stay with the bars."""
    axes = {axis.key: len(axis) for axis in job.grid.axes}
    n = axes.get("rules.atr_period", 1) * axes.get("rules.atr_method", 1)
    return 8 * len(job.bars) * n if n > 1 else 0


def _settled(exit_: Exit, scenario: int) -> Exit:
    """Return an exit as it is, or with ambiguous bars settled the other way."""
    if scenario == 0:
        return exit_
    rules, contract, atr = exit_
    return replaced(rules, {"intrabar": Intrabar(1 - Intrabar[rules.intrabar]).name}), contract, atr


def _exit_axes(grid: Grid | SampledGrid) -> tuple[int, ...]:
    """Return the axes of rules and contract, in the order of the grid."""
    return tuple(sorted((*grid.rules_axes, *grid.contract_axes)))


def _positions(
    box: Sequence[range], axes: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return all positions of a box on some axes, and their places in the box.

    Returns
    -------
    digits : ndarray of int32, shape (n, n_axes)
        The axis that varies fastest is the last of ``axes``; on the others a box is at its start.
    places : ndarray of int64, shape (n,)
    """
    lengths = [len(positions) for positions in box]
    n = math.prod(lengths[axis] for axis in axes)
    digits = np.empty((n, len(box)), np.int32)
    digits[:] = [positions.start for positions in box]
    places = np.zeros(n, np.int64)
    after = n
    for axis in axes:
        after //= lengths[axis]
        local = np.arange(n) // after % lengths[axis]
        digits[:, axis] += local
        places += local * math.prod(lengths[axis + 1 :])
    return digits, places
