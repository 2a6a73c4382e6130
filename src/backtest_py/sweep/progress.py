"""How far a sweep is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.notebooks import display_in_notebook
from backtest_py.monitoring.sweeps import progressed
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Meter", "NotebookBar", "Progress", "duration_text"]

_QUICK: Final = 0.5
"""Seconds of a sweep for which no bar is worth showing."""


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


class NotebookBar:
    """A bar in the cell of a notebook, from the second half second of a sweep on.

    Elsewhere it shows nothing. A sweep that is given no ``progress`` has one.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = False

    def __call__(self, now: Progress) -> None:
        """Show how far the sweep is."""
        if now.seconds < _QUICK and not self._shown:
            return
        left = duration_text(now.seconds_left) if now.combos_per_second else "?"
        done = now.combos == now.total_combos
        text = (
            f"{now.combos:,} of {counted(now.total_combos, 'combination')}, "
            f"{now.combos_per_second:,.0f} a second, "
            + (f"done in {duration_text(now.seconds)}" if done else f"{left} left")
        )
        html = f'<progress value="{now.combos}" max="{now.total_combos}"></progress> {text}'
        if not self._shown:
            self._shown = True
            self._handle = display_in_notebook(html)
        elif self._handle is not None:
            self._handle.update(_Shown(html))


class _Shown:
    """HTML as a notebook takes it."""

    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html


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
        self._callback = NotebookBar() if callback is None else callback
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
