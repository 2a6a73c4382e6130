"""What a sweep would do: shared work, time and memory, before anything runs."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.parameters import counted
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.compute.shards import MAX_EXITS, Shard, Shards
from backtest_py.sweep.compute.sources import distinct_rows
from backtest_py.sweep.progress import duration_text
from backtest_py.sweep.space.sample import SampledGrid

if TYPE_CHECKING:
    from backtest_py.engines.base import Engine
    from backtest_py.sweep.compute.evaluator import SweepJob
    from backtest_py.sweep.space.grid import Grid

__all__ = ["Plan"]

PROBE_COMBOS: Final = 4_096
"""Combinations of a box that are computed to estimate the time."""
PROBE_ROWS: Final = 64
"""The same of a sample, where each is worked out on its own."""


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
    conditions : dict of str to int
        Thresholds that cut the scores, and their distinct values.
    exits : int
        Distinct sets of rules and contract: so often a trade is followed from a bar.
    candidates : int
        Bars at which some combination may signal.
    shards : int
        Files.
    saved : float
        Combinations for each pass over bars or trades that is really made.
    seconds : float
        Estimated from a probe.
    memory : int
        Bytes, estimated, beside the bars.
    apart : bool
        Whether each combination follows its own trades, because few signal sets would share the
        outcomes of all candidates.
    """

    combos: int
    signal_sets: int
    score_sets: int
    conditions: dict[str, int]
    exits: int
    candidates: int
    shards: int
    saved: float
    seconds: float
    memory: int
    apart: bool

    @classmethod
    def of(cls, job: SweepJob, engine: Engine, *, threads: int, max_memory: int) -> Plan:
        """Count what is shared, and compute a little of it to estimate time and memory.

        Raises
        ------
        ConfigError
            If ``max_memory`` cannot be kept.
        """
        grid = job.grid
        evaluator = Evaluator(job, engine, threads=threads, max_memory=max_memory)
        probe = _probe(grid)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            n_probed = evaluator.evaluate(probe).num_rows
            seconds.append(time.perf_counter() - began)
        n_combos, shared = job.n_combos, max(0.0, seconds[0] - seconds[1])
        structural = evaluator.sources.structural_axes
        exits = _n_distinct(grid, (*grid.rules_axes, *grid.contract_axes))
        scores = _n_distinct(grid, structural)
        candidates = evaluator.sources.n_candidates
        at_once = min(exits, MAX_EXITS) * job.n_scenarios
        table = 0 if evaluator.apart else engine.sweep_limits.table_bytes(candidates, at_once)
        return cls(
            combos=n_combos,
            signal_sets=_n_distinct(grid, grid.strategy_axes),
            score_sets=scores,
            conditions={
                grid.axes[at].key: len(grid.axes[at])
                for at in grid.strategy_axes
                if at not in structural
            },
            exits=exits,
            candidates=candidates,
            shards=len(Shards(grid)),
            saved=n_combos / (scores + exits),
            seconds=shared * math.ceil(exits / MAX_EXITS) + seconds[1] * n_combos / n_probed,
            memory=min(max_memory, evaluator.table_bytes + table),
            apart=evaluator.apart,
        )

    def explain(self) -> str:
        """Return the plan as text, one line for each fact."""
        values = ", ".join(f"{key} ({count} values)" for key, count in self.conditions.items())
        followed = "as each combination trades them" if self.apart else "each once per exit"
        candidates = "none; combinations are run one by one"
        if self.candidates > 0:
            candidates = f"{self.candidates:,} signals, followed {followed}"
        facts = {
            "Combinations": f"{self.combos:,} in {counted(self.shards, 'shard')}",
            "Signal sets": f"{self.signal_sets:,}, cut from the scores of {self.score_sets:,}",
            "Conditions": values or "none",
            "Exits": f"{counted(self.exits, 'set')} of rules and contract",
            "Candidates": candidates
            if self.candidates
            else "none; combinations are run one by one",
            "Saved work": f"{self.saved:,.1f} combinations per pass over the bars",
            "Time": f"about {duration_text(self.seconds)}, the parity gate apart",
            "Memory": f"about {self.memory / 1e6:,.0f} MB, beside the bars",
        }
        width = max(map(len, facts))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in facts.items())

    def to_mapping(self) -> dict[str, Any]:
        """Return names and numbers, ready for JSON."""
        return asdict(self)


def _n_distinct(grid: Grid | SampledGrid, axes: tuple[int, ...]) -> int:
    """Return how many different positions there are on some axes."""
    if isinstance(grid, SampledGrid):
        return len(distinct_rows(grid.digits[:, list(axes)])[0])
    return math.prod(grid.shape[axis] for axis in axes)


def _probe(grid: Grid | SampledGrid) -> Shard:
    """Return rows in the middle of a sample, or a box around an admitted combination."""
    if isinstance(grid, SampledGrid):
        first = max(0, grid.size // 2 - PROBE_ROWS // 2)
        return Shard(-1, (range(first, min(grid.size, first + PROBE_ROWS)),))
    shards = Shards(grid)
    middle = len(shards) // 2
    for number in itertools.chain(range(middle, len(shards)), range(middle)):
        box = shards[number].box
        mask = grid.box_mask(box)
        if mask.any():
            break
    places = np.flatnonzero(mask)
    centre = np.unravel_index(places[len(places) // 2], mask.shape)
    room, cut = PROBE_COMBOS, list(box)
    exits = sorted((*grid.rules_axes, *grid.contract_axes), reverse=True)
    for axis in (*exits, *reversed(grid.strategy_axes)):
        length = max(1, min(len(box[axis]), room))
        first = min(max(0, int(centre[axis]) - length // 2), len(box[axis]) - length)
        cut[axis] = box[axis][first : first + length]
        room //= length
    return Shard(-1, tuple(cut))
