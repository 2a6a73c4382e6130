"""How far an analysis is that takes many runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Counter", "Steps"]


@dataclass(frozen=True, slots=True)
class Steps:
    """How far an analysis is.

    Attributes
    ----------
    done, total : int
        Steps done, and in all: paths of a Monte Carlo, runs of a check.
    seconds : float
        Time since it began.
    seconds_left : float
        Estimate, nan before the first step is done.
    """

    done: int
    total: int
    seconds: float
    seconds_left: float


class Counter:
    """Counts steps and tells a callback, which sees counts that never fall.

    Parameters
    ----------
    total : int
        Steps that are planned.
    callback : callable, optional
        Called with :class:`Steps`.

    Examples
    --------
    >>> seen = []
    >>> counter = Counter(2, seen.append)
    >>> counter.add(1)
    >>> counter.add(5)
    >>> [(now.done, now.total) for now in seen]
    [(1, 2), (2, 2)]
    """

    def __init__(self, total: int, callback: Callable[[Steps], None] | None) -> None:
        self._total, self._callback = total, callback
        self._done = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.monotonic() - self._began

    def add(self, steps: int = 1) -> None:
        """Count steps as done; what goes beyond the plan does not show."""
        self._done = min(self._total, self._done + steps)
        if self._callback is None:
            return
        seconds = self.seconds
        left = seconds / self._done * (self._total - self._done) if self._done else float("nan")
        self._callback(Steps(self._done, self._total, seconds, left))
