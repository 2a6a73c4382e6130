"""What every executor takes, gives and promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from backtest_py.engines import resolve
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.store.shard_file import Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import pyarrow as pa

    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.compute.tabulate import Tabulate
    from backtest_py.sweep.spec import SweepSpec

    ShardRows: TypeAlias = pa.Table | Packed
    Computed: TypeAlias = Generator[tuple[Shard, ShardRows], None, None]

__all__ = ["POLL_SECONDS", "Executor", "ShardTask"]

POLL_SECONDS: Final = 0.1
"""How often an executor that waits reports progress, and so lets a signal be noticed."""


class Executor(Protocol):
    """Computes shards somewhere: in this thread, in processes, on a cluster.

    Where shards are computed, and in which order they come back, never changes a byte of them.
    """

    def compute(self, shards: Iterable[Shard], report: Callable[[int | None], None]) -> Computed:
        """Yield each shard with its rows as soon as it is computed, in any order.

        Shards are taken from the iterable as there is room for them, so that a slow consumer
        is not flooded. When the generator ends or is closed, for whatever reason, it leaves no
        process, file or descriptor behind, and a thread only until its engine notices.

        Parameters
        ----------
        shards : iterable of Shard
            What to compute.
        report : callable
            Called from the thread that iterates, at least every ``POLL_SECONDS`` while it waits,
            with the combinations computed so far, those of unfinished shards included; None where
            these are not known. What it raises ends the work.
        """
        ...


@dataclass(frozen=True)
class ShardTask:
    """One sweep as any process can work on it; with a shard it is a unit of work.

    Attributes
    ----------
    spec : SweepSpec
        What is swept.
    engine : str
        Name of the engine, which uses one thread.
    max_memory : int
        Bytes that it may take, beside the bars.
    packed : bool
        Whether the rows are wanted as the bytes of the shard's file instead of as a table.
    tabulate : callable, optional
        Makes the tables; see :class:`~backtest_py.sweep.compute.evaluator.Evaluator`.
    """

    spec: SweepSpec
    engine: str
    max_memory: int
    packed: bool
    tabulate: Tabulate | None = None

    def evaluator(self) -> Evaluator:
        """Return what computes the shards; what they share is kept in it."""
        engine, _ = resolve(self.engine)
        return Evaluator(
            self.spec, engine, threads=1, max_memory=self.max_memory, tabulate=self.tabulate
        )

    def rows(self, table: pa.Table) -> ShardRows:
        """Return a shard's table in the form that is wanted."""
        return Packed.of(table) if self.packed else table
