"""From a shard to its numbers: what combinations share is worked out once and joined.

A combination is three choices: which bars signal, how a trade that starts at a bar ends, and what
it costs. The signals of a strategy follow from its scores, cut by thresholds; scores are worked
out per distinct set of the other parameters, called structural. Trades end as the outcome tables
say, one lane for each set of rules and contract, called an exit.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from os import cpu_count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.backtest.daily import returns_by_day
from backtest_py.engines.base import Job, atr_for
from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import Intrabar
from backtest_py.sweep.compute.block_sums import (
    KEPT_ROWS,
    BlockSample,
    BlockSums,
    block_sums,
    parts_of,
)
from backtest_py.sweep.compute.shards import most_rows
from backtest_py.sweep.compute.sources import SignalSources, encode_hashes, replaced
from backtest_py.sweep.compute.tabulate import Numbers, metrics_of_first_range
from backtest_py.sweep.space.boxes import box_positions, distinct_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.contract import Contract
    from backtest_py.engines.base import Engine, EngineOutput, SweepPlan
    from backtest_py.rules import ExitRules
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.compute.tabulate import Tabulate
    from backtest_py.sweep.space.combinations import BoxRows
    from backtest_py.sweep.spec import SweepSpec

    Exit = tuple[ExitRules, Contract, NDArray[np.float64] | None]
    Digits = NDArray[np.integer[Any]]

__all__ = ["DIRECT_COMBOS", "Evaluator", "Path", "possible_paths"]

DIRECT_COMBOS: Final = 2
"""Up to so many combinations are run one by one: making a plan costs a pass over all bars."""
TABLES: Final = 6
"""Tables of a shard that may exist at once: being computed, encoded and written."""
SPARSE: Final = 8
"""Combinations of a box per admitted one, above which each admitted one is computed alone."""
APART_COST: Final = 1.5
"""Cost of following a trade for one combination alone, relative to its cost in the table."""
PROBED: Final = 8
"""Combinations that are tried to estimate the number of trades."""
MIN_RUN: Final = 16
"""Signal sets of one source in a row, above which sorting gains no speed."""


class Path(Enum):
    """How the combinations of a shard are computed; the bits are the same in every way."""

    TABLES = "outcome tables"
    """Signal sets are joined with the outcomes of every candidate under every exit."""
    APART = "combinations apart"
    """An engine's plan follows the trades of each combination for itself."""
    DIRECT = "single runs"
    """Each combination is a plain run."""


def possible_paths(spec: SweepSpec) -> tuple[Path, ...]:
    """Return every path that a shard of a sweep may take; :class:`Evaluator` takes no other."""
    grid = spec.grid
    if spec.is_plain and grid.size <= DIRECT_COMBOS:
        return (Path.DIRECT,)
    if not grid.crosses:
        return (Path.APART,)
    n_sources = math.prod(len(grid.axes[axis]) for axis in grid.structural_axes)
    # where every combination has signals of its own, a run of it is all there is to do
    if spec.is_plain and n_sources == grid.size and not grid.strategy.computes_signals:
        return (Path.DIRECT,)
    return (Path.TABLES, Path.APART)


class _Crossing(NamedTuple):
    """The part of a box that its combinations span.

    Attributes
    ----------
    sets, exits : ndarray of int32, shape (n_sets, n_axes) and (n_exits, n_axes)
        Positions that some combination has.
    places : ndarray of int64, shape (n_sets, n_exits)
        Places of their crossings in the box.
    """

    sets: NDArray[np.int32]
    exits: NDArray[np.int32]
    places: NDArray[np.int64]


class Evaluator:
    """Computes shards of one sweep on one engine, and keeps what they share.

    Parameters
    ----------
    spec : SweepSpec
        What is asked.
    engine : Engine
        The engine that computes.
    threads : int
        Threads of the engine, 0 for one per processor.
    max_memory : int
        Bytes to take, beside the bars; outcomes are worked out in smaller batches to keep it.
    tabulate : callable
        Makes the table of a shard; by default it has the metrics of the first range.

    Raises
    ------
    ConfigError
        If the tables of one shard, and the average true ranges of all, alone take more.
    """

    def __init__(
        self,
        spec: SweepSpec,
        engine: Engine,
        *,
        threads: int = 0,
        max_memory: int = 1 << 30,
        tabulate: Tabulate | None = None,
    ) -> None:
        self.spec = spec
        self.tabulate = metrics_of_first_range if tabulate is None else tabulate
        self.paths = possible_paths(spec)
        self.engine = engine
        self.threads = threads
        self.max_memory = max_memory
        rows = min(most_rows(len(spec.ranges)), spec.grid.size)
        self._sample = BlockSample.of(spec)
        self.table_bytes = TABLES * 8 * spec.n_values * rows + _range_bytes(spec)
        if self._sample is not None:
            self.table_bytes += TABLES * 8 * 3 * self._sample.n_blocks * min(rows, KEPT_ROWS)
        self._room = max_memory - self.table_bytes
        self._require(0)
        self._exits_of: tuple[bytes | None, list[Exit]] = (None, [])
        self._loaded: object = None
        self._rows_done = 0
        self._began, self._share = 0, 0.0
        self._best_apart: bool | None = None
        self.sources = SignalSources(spec.grid, spec.bars, engine, threads, self._room // 4)

    @property
    def apart(self) -> bool:
        """Whether each combination of what was evaluated was followed on its own."""
        return self.paths == (Path.APART,) or bool(self._best_apart)

    @property
    def done(self) -> int:
        """Combinations done so far, those of the running shard included."""
        return self._rows_done + int(self._share * (self.sources.done - self._began))

    def cancel(self) -> None:
        """Make a running evaluation, and every later one, stop with ``SweepCancelled``."""
        self.sources.cancel()

    def evaluate(self, shard: Shard) -> pa.Table:
        """Return the table of one shard, as ``tabulate`` makes it.

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
        spec, found = self.spec, self.numbers(shard)
        hashes = ""
        if spec.grid.strategy.computes_signals and len(found.rows.combo_ids) > 0:
            hashes = encode_hashes(self.sources.hashes(found.rows.matrix))
        return lambda: self.tabulate(spec, found, hashes)

    def numbers(self, shard: Shard) -> Numbers:
        """Return the metrics of one shard's combinations in every range, and the sums of blocks.

        Raises
        ------
        ConfigError, SweepCancelled
            As :meth:`evaluate`.
        EngineError
            If a range has fewer days than blocks.
        """
        rows = self.spec.grid.box_rows(shard.box)
        sums = None
        if self._sample is not None and len(rows.combo_ids):
            sums = BlockSums(self._sample, self._sample.takes(rows, shard.box))
        values = self._values(shard.box, rows, sums) if len(rows.combo_ids) else self._empty(0)
        self._rows_done += len(rows.combo_ids)
        self._began, self._share = self.sources.done, 0.0
        return Numbers(rows, values, None if sums is None else sums.of(rows.combo_ids))

    def values_by(
        self,
        path: Path,
        digits: Digits,
        combo_ids: NDArray[np.int64] | None = None,
        sums: BlockSums | None = None,
    ) -> NDArray[np.float64]:
        """Return the numbers of some combinations, computed in one way.

        Parameters
        ----------
        path : Path
            The way, one of :func:`possible_paths`.
        digits : ndarray of int, shape (n, n_axes)
            Valid positions on every axis.
        combo_ids, sums : optional
            Numbers of the combinations, and what takes their sums of blocks, where they are not
            joined with tables.

        Returns
        -------
        ndarray of float64, shape (n_scenarios, n_ranges, n_numbers, n)
        """
        if path is Path.DIRECT:
            return self._directly(digits, combo_ids, sums)
        if path is Path.APART:
            return self._each(digits, combo_ids, sums)
        grid = self.spec.grid
        sets, set_of = distinct_rows(digits[:, list(grid.strategy_axes)])
        exits, exit_of = distinct_rows(digits[:, list(grid.exit_axes)])
        return self.cross(digits[sets], digits[exits])[..., set_of, exit_of]

    # which way

    def _values(
        self, box: tuple[range, ...], rows: BoxRows, sums: BlockSums | None
    ) -> NDArray[np.float64]:
        """Return the numbers of the combinations of a box, at least one, in the best way."""
        crossing = None
        if rows.places is not None and Path.TABLES in self.paths:
            crossing = self._crossing(box, rows.places)
        path = self._path(rows, crossing)
        if path is not Path.TABLES:
            return self.values_by(path, rows.matrix, rows.combo_ids, sums)
        if crossing is None:
            return self._whole_box(box, sums)
        return self._part_of_box(box, rows, crossing, sums)

    def _path(self, rows: BoxRows, crossing: _Crossing | None) -> Path:
        """Choose the way for the combinations of a box."""
        if len(self.paths) == 1:
            return self.paths[0]
        sparse = crossing is not None and crossing.places.size > SPARSE * len(rows.combo_ids)
        return Path.APART if self._is_best_apart(rows) or sparse else Path.TABLES

    def _is_best_apart(self, rows: BoxRows) -> bool:
        """Tell whether combinations make fewer trades than the outcome table has to follow.

        The table has the trade of every candidate, but a combination skips the signals that come
        while it holds a position; where few sets share the table, most of it would be for nothing.
        One shard decides for all.
        """
        if self._best_apart is None:
            self._best_apart = False
            if self.sources.shared:
                step = -(-len(rows.combo_ids) // PROBED)
                probe = self._each(rows.matrix[::step])
                trades = probe[0, 0, METRICS.index("total_trades")].mean()
                n_sets = self.spec.grid.n_distinct(self.spec.grid.strategy_axes)
                self._best_apart = APART_COST * n_sets * trades < self.sources.n_candidates
        return self._best_apart

    # by outcome tables

    def cross(
        self, sets: Digits, exits: Digits, sums: BlockSums | None = None
    ) -> NDArray[np.float64]:
        """Return the numbers of signal sets under exits, as the shards of a grid compute them.

        Parameters
        ----------
        sets, exits : ndarray of int, shape (n_sets, n_axes) and (n_exits, n_axes)
            Valid positions on every axis, of which sets use those of the strategy and exits the
            others.
        sums : BlockSums, optional
            Takes the sums of blocks.

        Returns
        -------
        ndarray of float64, shape (n_scenarios, n_ranges, n_numbers, n_sets, n_exits)
        """
        spec = self.spec
        given = self._exits(exits)
        settled = [
            _settled(exit_, scenario) for scenario in range(spec.n_scenarios) for exit_ in given
        ]
        out = np.empty((len(spec.ranges), spec.n_numbers, len(sets), len(settled)))
        for plan, chosen, sources in self._in_runs(sets):
            cuts = self.sources.thresholds(sets[chosen])
            for batch in self._batches(plan, len(settled)):
                self._load(plan, settled, batch)
                for part, n_blocks in self._parts(sets[chosen], sums):
                    values = plan.evaluate(
                        sources[part],
                        cuts.reshape(len(sources), -1)[part].ravel(),
                        spec.metrics,
                        spec.ranges,
                        n_blocks,
                    )
                    values = values.reshape(*values.shape[:2], -1, batch.stop - batch.start)
                    if sums is not None and n_blocks:
                        some = exits[batch.start : batch.stop]  # of the rules' own scenario
                        ids = self._ids_of(sets[chosen][part], some)
                        kept = values[0, spec.n_numbers :, :, : len(some)]
                        sums.add(ids, kept.reshape(len(kept), -1))
                        values = values[:, : spec.n_numbers]
                    if values.shape == out.shape and isinstance(chosen, slice):
                        out = values
                    elif isinstance(chosen, slice) and isinstance(part, slice):
                        out[:, :, :, batch] = values
                    else:
                        out[:, :, np.arange(len(sets))[chosen][part], batch] = values
        shape = (*out.shape[:3], spec.n_scenarios, len(given))
        return np.moveaxis(out.reshape(shape), 3, 0)

    def _parts(
        self, sets: Digits, sums: BlockSums | None
    ) -> Iterator[tuple[slice | NDArray[np.intp], int]]:
        """Yield which of some signal sets are evaluated together, and with how many blocks."""
        taken = np.zeros(0, np.bool_)
        if sums is not None and sums.taken.any():
            taken = sums.sample.takes_sets(sets)
        yield from parts_of(taken, self.spec.n_blocks, sums)

    def _ids_of(self, sets: Digits, exits: Digits) -> NDArray[np.int64]:
        """Return the numbers of the crossings of signal sets with exits, exits beside each other.

        Shape (n_sets*n_exits,).
        """
        grid = self.spec.grid
        lengths = [len(axis) for axis in grid.axes]
        strides = np.array([math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))])
        at, on = list(grid.strategy_axes), list(grid.exit_axes)
        ids: NDArray[np.int64] = np.add.outer(
            sets[:, at] @ strides[at], exits[:, on] @ strides[on]
        ).ravel()
        return ids

    def _whole_box(self, box: tuple[range, ...], sums: BlockSums | None) -> NDArray[np.float64]:
        """Return the numbers of all combinations of a box, in the order of ``combo_id``."""
        grid = self.spec.grid
        sets, _ = box_positions(box, grid.strategy_axes)
        exits, _ = box_positions(box, grid.exit_axes)
        self._share = 1 / self.spec.n_scenarios
        values = self.cross(sets, exits, sums)
        order = (*grid.strategy_axes, *grid.exit_axes)
        apart = values.reshape(*values.shape[:3], *(len(box[axis]) for axis in order))
        back = [3 + order.index(axis) for axis in range(len(order))]
        return apart.transpose(0, 1, 2, *back).reshape(*values.shape[:3], -1)

    def _crossing(self, box: tuple[range, ...], kept: NDArray[np.intp]) -> _Crossing:
        """Return the signal sets and exits of the combinations at some places of a box."""
        grid = self.spec.grid
        mask = np.zeros(math.prod(map(len, box)), np.bool_)
        mask[kept] = True
        sets, set_places = box_positions(box, grid.strategy_axes)
        exits, exit_places = box_positions(box, grid.exit_axes)
        wanted = mask[set_places[:, None] + exit_places]
        some_sets, some_exits = wanted.any(axis=1), wanted.any(axis=0)
        places = set_places[some_sets][:, None] + exit_places[some_exits]
        return _Crossing(sets[some_sets], exits[some_exits], places)

    def _part_of_box(
        self,
        box: tuple[range, ...],
        rows: BoxRows,
        crossing: _Crossing,
        sums: BlockSums | None,
    ) -> NDArray[np.float64]:
        """Return the numbers of the combinations of a box that are admitted."""
        places = crossing.places
        self._share = len(rows.combo_ids) / (self.spec.n_scenarios * places.size)
        values = self.cross(crossing.sets, crossing.exits, sums)
        row_of = np.empty(math.prod(map(len, box)), np.int64)
        row_of[places.ravel()] = np.arange(places.size)
        return np.take(values.reshape(*values.shape[:3], -1), row_of[rows.places], axis=3)

    # one by one

    def _each(
        self,
        digits: Digits,
        combo_ids: NDArray[np.int64] | None = None,
        sums: BlockSums | None = None,
    ) -> NDArray[np.float64]:
        """Return the numbers of combinations that share nothing, one exit for each."""
        spec = self.spec
        firsts, exit_of = distinct_rows(digits[:, list(spec.grid.exit_axes)])
        given = self._exits(digits[firsts])
        self._share = 1 / spec.n_scenarios
        out = self._empty(len(digits))
        for plan, chosen, sources in self._in_runs(digits):
            taken = np.zeros(0, np.bool_) if sums is None else sums.taken[chosen]
            for part, n_blocks in parts_of(taken, spec.n_blocks, sums):
                rows = np.arange(len(digits))[chosen][part]
                cuts = self.sources.thresholds(digits[rows])
                for scenario in range(spec.n_scenarios):
                    exits = [_settled(given[each], scenario) for each in exit_of[rows]]
                    values = plan.evaluate_each(
                        exits, sources[part], cuts, spec.metrics, spec.ranges, n_blocks
                    )
                    out[scenario][:, :, rows] = values[:, : spec.n_numbers]
                    if sums is not None and combo_ids is not None and n_blocks and not scenario:
                        sums.add(combo_ids[rows], values[0, spec.n_numbers :])
        return out

    def _directly(
        self,
        digits: Digits,
        combo_ids: NDArray[np.int64] | None = None,
        sums: BlockSums | None = None,
    ) -> NDArray[np.float64]:
        """Run combinations one by one, several at a time."""
        out = self._empty(len(digits))
        rows = list(enumerate(digits.tolist()))
        kept: dict[int, NDArray[np.float64]] = {}

        def run(row: int, at: list[int]) -> None:
            found = self._run(at, out[:, 0, :, row])
            if sums is not None and sums.taken[row]:
                kept[row] = self._sums_of(found, at, sums.sample.n_blocks)

        if len(rows) <= DIRECT_COMBOS:  # starting threads would take longer
            for row, at in rows:
                run(row, at)
        else:
            self._share = 1.0
            with ThreadPoolExecutor(self.threads or cpu_count() or 1) as pool:
                runs = [pool.submit(run, row, at) for row, at in rows]
                try:
                    for each in runs:
                        each.result()
                        self.sources.count_one()
                finally:
                    pool.shutdown(cancel_futures=True)
        if sums is not None and combo_ids is not None and kept:
            sums.add(combo_ids[list(kept)], np.stack(list(kept.values()), axis=1))
        return out

    def _sums_of(self, found: EngineOutput, at: list[int], n_blocks: int) -> NDArray[np.float64]:
        """Return the sums of blocks of a run, as a plan gives them, shape (3*n_blocks,)."""
        first, last = self.spec.ranges[0]
        day = self.spec.bars.day
        returns = returns_by_day(
            found.trades["pnl"],
            day[found.trades["exit_bar"]] - day[first],
            int(found.metrics[METRICS.index("days")]),
            self.spec.grid.contract_at(at).initial_capital,
        )
        return block_sums(returns, int(day[last - 1] - day[first]) + 1, n_blocks)

    def _run(self, at: list[int], out: NDArray[np.float64]) -> EngineOutput:
        """Run one combination in every scenario, set its metrics, and return the first run."""
        self.sources.require_going_on()
        spec, grid = self.spec, self.spec.grid
        strategy, exit_ = grid.strategy_at(at), (grid.rules_at(at), grid.contract_at(at), None)
        signals = None
        if strategy.computes_signals:
            signals = self.sources.signals_at([at[axis] for axis in grid.structural_axes])
        first, last = spec.ranges[0]
        found: list[EngineOutput] = []
        for scenario in range(spec.n_scenarios):
            rules, contract, _ = _settled(exit_, scenario)
            single = Job(spec.bars, strategy, signals, rules, contract, spec.metrics, first, last)
            found.append(self.engine.run(single))
            out[scenario] = found[-1].metrics
        return found[0]

    def _empty(self, n: int) -> NDArray[np.float64]:
        """Return room for the numbers of so many combinations."""
        spec = self.spec
        return np.empty((spec.n_scenarios, len(spec.ranges), spec.n_numbers, n))

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
        key = rows[:, list(self.spec.grid.exit_axes)].tobytes()
        if self._exits_of[0] != key:
            self._exits_of = (key, [self._exit(row) for row in rows.tolist()])
        return self._exits_of[1]

    def _exit(self, digits: Sequence[int]) -> Exit:
        grid = self.spec.grid
        rules = grid.rules_at(digits)
        return rules, grid.contract_at(digits), atr_for(self.engine, self.spec.bars, rules)

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


def _range_bytes(spec: SweepSpec) -> int:
    """Return what average true ranges take where a sweep varies them; they stay with the bars."""
    axes = {axis.key: len(axis) for axis in spec.grid.axes}
    n = axes.get("rules.atr_period", 1) * axes.get("rules.atr_method", 1)
    return 8 * len(spec.bars) * n if n > 1 else 0


def _settled(exit_: Exit, scenario: int) -> Exit:
    """Return an exit as it is, or with ambiguous bars settled the other way."""
    if scenario == 0:
        return exit_
    rules, contract, atr = exit_
    return replaced(rules, {"intrabar": Intrabar(1 - Intrabar[rules.intrabar]).name}), contract, atr
