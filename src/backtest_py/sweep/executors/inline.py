"""The executor for a handful of combinations: this very thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backtest_py.sweep.compute.evaluator import Evaluator
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.executors.base import Computed

__all__ = ["InlineExecutor"]


class InlineExecutor:
    """Computes shards in the calling thread, where starting another would take longer."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def compute(self, shards: Iterable[Shard], report: Callable[[int | None], None]) -> Computed:
        """Compute one shard after the other; see :class:`~.base.Executor`."""
        for shard in shards:
            yield shard, self._evaluator.evaluate(shard)
            report(self._evaluator.done)
