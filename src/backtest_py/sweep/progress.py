"""How far a sweep is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest_py.monitoring.instruments import recording
from backtest_py.monitoring.sweeps import progressed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Meter", "Progress", "duration_text"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is.

    Attributes
    ----------
    combos, total_combos : int
        Combinations done, those of earlier runs included, and in all.
    shards, total_shards : int
        Shards done, and in all.
    seconds : float
        Time since the first shard of this run began.
    combos_per_second : float
        Of this run.
    seconds_left : float
        Estimate, nan before the first combination.
    """

    combos: int
    total_combos: int
    shards: int
    total_shards: int
    seconds: float
    combos_per_second: float
    seconds_left: float


class Meter:
    """Counts what is done and tells a callback, which sees counts that never fall.

    Parameters
    ----------
    total_combos, total_shards : int
        What there is to do in all.
    done : mapping of int to int
        Rows of the shards that earlier runs did.
    callback : callable, optional
        Called with a :class:`Progress`.
    """

    def __init__(
        self,
        total_combos: int,
        total_shards: int,
        done: Mapping[int, int],
        callback: Callable[[Progress], None] | None,
    ) -> None:
        self._totals = total_combos, total_shards
        self._shards = len(done)
        self._finished = self._before = self._shown = sum(done.values())
        self._callback = callback
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the first shard of this run began."""
        return time.monotonic() - self._began

    def finish(self, rows: int) -> None:
        """Count a shard as done; :meth:`tell` says so."""
        self._finished += rows
        self._shards += 1

    def tell(self, computed: int) -> None:
        """Tell the callback; ``computed`` combinations of this run may not be written yet."""
        if self._callback is None and not recording():
            return
        total, n_shards = self._totals
        self._shown = min(total, max(self._shown, self._finished, self._before + computed))
        seconds, combos = self.seconds, self._shown - self._before
        rate = combos / seconds if seconds > 0 else 0.0
        now = Progress(
            combos=self._shown,
            total_combos=total,
            shards=self._shards,
            total_shards=n_shards,
            seconds=seconds,
            combos_per_second=rate,
            seconds_left=(total - self._shown) / rate if rate > 0 else float("nan"),
        )
        progressed(now)
        if self._callback is not None:
            self._callback(now)


def duration_text(seconds: float) -> str:
    """Format a duration for people.

    Examples
    --------
    >>> duration_text(0.35), duration_text(192.0), duration_text(20_000.0), duration_text(864_000.0)
    ('0.3 s', '3.2 min', '5.6 h', '10.0 days')
    """
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:,.1f} days"
