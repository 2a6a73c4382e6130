"""What a sweep would do: shared work, time and memory, before anything runs."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_py.sweep.evaluate import CELL_BYTES, Evaluator
from backtest_py.sweep.grid import Grid
from backtest_py.sweep.sample import SampledGrid
from backtest_py.sweep.shards import MAX_ROWS, Shard, Shards

if TYPE_CHECKING:
    from backtest_py.engines.base import Engine
    from backtest_py.sweep.evaluate import SweepJob

__all__ = ["Plan"]

PROBE_COMBOS: Final = 4_096
"""Combinations that are computed to estimate the time, from the middle of the grid."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep would do.

    Attributes
    ----------
    combos : int
        Combinations that are valid and admitted by ``where``.
    signal_sets : int
        Distinct sets of the strategy's parameters.
    score_sets : int
        Distinct sets of those that are not thresholds: so often bars are looked at.
    thresholds : dict of str to int
        Conditions that cut the scores, and their distinct values.
    exits : int
        Distinct sets of rules and contract: so often a trade is followed from a bar.
    candidates : int
        Bars at which any combination may signal.
    shards : int
        Files.
    backtests_saved : float
        Combinations per pass over the bars that is really made.
    seconds : float
        Estimated from a probe.
    memory : int
        Bytes, estimated.
    """

    combos: int
    signal_sets: int
    score_sets: int
    thresholds: dict[str, int]
    exits: int
    candidates: int
    shards: int
    backtests_saved: float
    seconds: float
    memory: int

    @classmethod
    def of(cls, job: SweepJob, engine: Engine, *, threads: int, max_memory: int) -> Plan:
        """Count what is shared, and compute a little of it to estimate time and memory."""
        grid = job.grid
        evaluator = Evaluator(job, engine, threads=threads, max_memory=max_memory)
        began = time.perf_counter()
        probe = _probe(grid)
        rows = evaluator.evaluate(probe).num_rows
        first = time.perf_counter() - began
        began = time.perf_counter()
        evaluator.evaluate(probe)
        again = time.perf_counter() - began
        combos = grid.count() if isinstance(grid, Grid) else grid.size
        per_combo = again / max(1, rows)
        exits = _n_distinct(grid, (*grid.rules_axes, *grid.contract_axes))
        score_sets = _n_distinct(grid, evaluator.structural_axes)
        candidates = evaluator.n_candidates
        outcomes = min(max_memory, candidates * CELL_BYTES * min(exits, 128))
        return cls(
            combos=combos,
            signal_sets=_n_distinct(grid, grid.strategy_axes),
            score_sets=score_sets,
            thresholds={
                grid.axes[axis].key: len(grid.axes[axis])
                for axis in grid.strategy_axes
                if axis not in evaluator.structural_axes
            },
            exits=exits,
            candidates=candidates,
            shards=len(Shards(grid)),
            backtests_saved=combos / max(1, score_sets + exits),
            seconds=max(0.0, first - again) + per_combo * combos,
            memory=outcomes + 4 * 39 * 8 * min(combos, MAX_ROWS),
        )

    def explain(self) -> str:
        """Return the plan as text."""
        cuts = ", ".join(f"{key} ({count})" for key, count in self.thresholds.items()) or "none"
        lines = [
            ("combinations", f"{self.combos:,} in {self.shards:,} shards"),
            ("signal sets", f"{self.signal_sets:,}, cut from {self.score_sets:,} sets of scores"),
            ("conditions", cuts),
            ("exits", f"{self.exits:,} sets of rules and contract"),
            ("candidates", f"{self.candidates:,} bars whose trades are followed once per exit"),
            ("saved work", f"{self.backtests_saved:,.0f} combinations per pass over the bars"),
            ("time", f"about {self.seconds:,.1f} s"),
            ("memory", f"about {self.memory / 1e6:,.0f} MB"),
        ]
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)

    def to_mapping(self) -> dict[str, Any]:
        """Return names and numbers, ready for JSON."""
        return asdict(self)


def _n_distinct(grid: Grid | SampledGrid, axes: tuple[int, ...]) -> int:
    """Return how many different positions there are on some axes."""
    if isinstance(grid, SampledGrid):
        return len({row[list(axes)].tobytes() for row in grid.digits})
    return math.prod(grid.shape[axis] for axis in axes)


def _probe(grid: Grid | SampledGrid) -> Shard:
    """Return a small box in the middle of the grid, or rows in the middle of a sample."""
    if isinstance(grid, SampledGrid):
        middle = max(0, grid.size // 2 - 32)
        return Shard(-1, (range(middle, min(grid.size, middle + 64)),))
    room = PROBE_COMBOS
    box = [range(0)] * len(grid.axes)
    exits = (*grid.rules_axes, *grid.contract_axes)
    for axis in (*sorted(exits, reverse=True), *reversed(grid.strategy_axes)):
        length = max(1, min(grid.shape[axis], room))
        middle = (grid.shape[axis] - length) // 2
        box[axis] = range(middle, middle + length)
        room //= length
    return Shard(-1, tuple(box))
