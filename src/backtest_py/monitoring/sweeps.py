"""What sweeps record: in the process that was asked, wherever the shards are computed."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from backtest_py.errors import ConfigError, ParityError
from backtest_py.monitoring import catalogue as metrics
from backtest_py.monitoring.instruments import recording

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["counted", "kept", "progressed", "watched", "with_verdict"]

P = ParamSpec("P")
T = TypeVar("T")
Verdict = TypeVar("Verdict", bound=dict[str, Any])


Shard = TypeVar("Shard")
Rows = TypeVar("Rows", bound="_Rows")


class _Rows(Protocol):
    @property
    def num_rows(self) -> int: ...


class Standing(Protocol):
    """How far a sweep is; see :class:`~backtest_py.sweep.progress.Progress`."""

    @property
    def combos(self) -> int: ...
    @property
    def total_combos(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def total_shards(self) -> int: ...
    @property
    def combos_per_second(self) -> float: ...
    @property
    def seconds_left(self) -> float: ...


def progressed(now: Standing) -> None:
    """Show how far the present sweep is."""
    if recording():
        metrics.SWEEP_DONE.set(now.combos)
        metrics.SWEEP_PLANNED.set(now.total_combos)
        metrics.SWEEP_SHARDS_DONE.set(now.shards)
        metrics.SWEEP_SHARDS_PLANNED.set(now.total_shards)
        metrics.SWEEP_RATE.set(now.combos_per_second)
        metrics.SWEEP_ETA.set(now.seconds_left)


def kept(n_combos: int, n_shards: int = 1) -> None:
    """Count combinations and shards whose results are kept."""
    metrics.SWEEP_COMBINATIONS.add(amount=n_combos)
    metrics.SWEEP_SHARDS.add(amount=n_shards)


def counted(keep: Callable[[Shard, Rows], None]) -> Callable[[Shard, Rows], None]:
    """Count what a function keeps, once it is kept."""

    def keeping(shard: Shard, rows: Rows) -> None:
        keep(shard, rows)
        kept(rows.num_rows)

    return keeping


def watched(sweep: Callable[P, T]) -> Callable[P, T]:
    """Count how each call of a function that sweeps ends."""

    @wraps(sweep)
    def counting(*given: P.args, **named: P.kwargs) -> T:
        metrics.SWEEPS_RUNNING.add(amount=1)
        outcome = "failed"
        try:
            result = sweep(*given, **named)
            outcome = "complete"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        except ConfigError:
            outcome = "refused"
            raise
        except ParityError:
            outcome = "disagreed"
            raise
        finally:
            metrics.SWEEPS_RUNNING.add(amount=-1)
            metrics.SWEEPS.add(outcome)
        return result

    return counting


def with_verdict(gate: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Record the verdict of a function that returns it, or raises where engines disagree."""

    @wraps(gate)
    def recorded(*given: P.args, **named: P.kwargs) -> Verdict:
        try:
            verdict = gate(*given, **named)
        except ParityError:
            _record("disagreed")
            raise
        _record(verdict["verdict"].replace(" ", "_"))
        return verdict

    return recorded


def _record(verdict: str) -> None:
    metrics.GATES.add(verdict)
    for each in metrics.VERDICTS:
        metrics.GATE.set(each == verdict, each)
