"""What a sweep would do: shared work, time and memory, before anything runs."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.notebooks import card, facts
from backtest_py.parameters import counted
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.compute.shards import MAX_EXITS, Shard, Shards
from backtest_py.sweep.progress import duration_text

if TYPE_CHECKING:
    from backtest_py.engines.base import Engine
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["Forecast"]

PROBE_COMBOS: Final = 4_096
"""Combinations of a box that are computed to estimate the time."""
PROBE_ROWS: Final = 64
"""The same of a sample, where each is worked out on its own."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sweep would do.

    Attributes
    ----------
    combos : int
        Combinations that are valid and admitted by ``where``.
    signal_sets : int
        Distinct sets of the strategy's parameters.
    score_sets : int
        Distinct sets of those that are not thresholds; each takes a pass over the bars.
    conditions : dict of str to int
        Thresholds that cut the scores, and their distinct values.
    exits : int
        Distinct sets of rules and contract; under each, trades are followed from the bars.
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
    def of(cls, spec: SweepSpec, engine: Engine, *, threads: int, max_memory: int) -> Forecast:
        """Count what is shared, and compute a little of it to estimate time and memory.

        Raises
        ------
        ConfigError
            If ``max_memory`` cannot be kept.
        """
        grid = spec.grid
        evaluator = Evaluator(spec, engine, threads=threads, max_memory=max_memory)
        shards = Shards(grid)
        probe = Shard(-1, tuple(grid.middle_box(shards.boxes, PROBE_COMBOS, PROBE_ROWS)))
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            n_probed = len(evaluator.numbers(probe).rows.combo_ids)
            seconds.append(time.perf_counter() - began)
        shared = max(0.0, seconds[0] - seconds[1])
        exits, scores = grid.n_distinct(grid.exit_axes), grid.n_distinct(grid.structural_axes)
        candidates = evaluator.sources.n_candidates
        at_once = min(exits, MAX_EXITS) * spec.n_scenarios
        table = 0 if evaluator.apart else engine.sweep_limits.table_bytes(candidates, at_once)
        return cls(
            combos=spec.n_combos,
            signal_sets=grid.n_distinct(grid.strategy_axes),
            score_sets=scores,
            conditions={
                grid.axes[at].key: len(grid.axes[at])
                for at in grid.strategy_axes
                if at not in grid.structural_axes
            },
            exits=exits,
            candidates=candidates,
            shards=len(shards),
            saved=spec.n_combos / (scores + exits),
            seconds=shared * math.ceil(exits / MAX_EXITS) + seconds[1] * spec.n_combos / n_probed,
            memory=min(max_memory, evaluator.table_bytes + table),
            apart=evaluator.apart,
        )

    def explain(self) -> str:
        """Return the plan as text, one line for each fact."""
        told = self._facts()
        width = max(map(len, told))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in told.items())

    def _repr_html_(self) -> str:
        return card("Plan of a sweep", facts(self._facts()))

    def _facts(self) -> dict[str, str]:
        values = ", ".join(
            f"{key} ({counted(count, 'value')})" for key, count in self.conditions.items()
        )
        followed = "as each combination trades them" if self.apart else "each once per exit"
        candidates = "none; combinations are run one by one"
        if self.candidates > 0:
            candidates = f"{counted(self.candidates, 'signal')}, followed {followed}"
        return {
            "Combinations": f"{self.combos:,} in {counted(self.shards, 'shard')}",
            "Signal sets": f"{self.signal_sets:,}, cut from the scores of {self.score_sets:,}",
            "Conditions": values or "none",
            "Exits": f"{counted(self.exits, 'set')} of rules and contract",
            "Candidates": candidates,
            "Saved work": f"{self.saved:,.1f} combinations per pass over the bars",
            "Time": f"about {duration_text(self.seconds)}, the parity gate apart",
            "Memory": f"about {self.memory / 1e6:,.0f} MB, beside the bars",
        }

    def to_mapping(self) -> dict[str, Any]:
        """Return names and numbers, ready for JSON."""
        return asdict(self)
