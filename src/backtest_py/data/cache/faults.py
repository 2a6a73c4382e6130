"""What all tiers do when something fails: rest after a slow failure, start anew in a fork."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from backtest_py.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SLOW_SECONDS", "Forkable", "Rest", "renew_in_forks"]

SLOW_SECONDS: Final = 1.0
"""A failure that took longer is one of waiting, for a lock or for a server without answer."""
REST_SECONDS: Final = 30.0


class Rest:
    """Keeps a tier that only fails after a long wait from being asked again and again.

    Parameters
    ----------
    seconds : float
        How long a tier rests after a slow failure. One that fails at once is asked every time.
    clock : callable, optional
        Seconds that only increase.
    """

    def __init__(
        self, seconds: float = REST_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")
        self._reason = ""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch how long something takes to fail.

        Raises
        ------
        CacheError
            At once while the tier rests; else whatever the block raises.
        """
        began = self._clock()
        if began < self._until:
            raise CacheError(f"{self._reason}; not asked again for {self._until - began:.0f} s")
        try:
            yield
        except CacheError as error:
            now = self._clock()
            if now - began > SLOW_SECONDS:
                self._reason, self._until = str(error), now + self._seconds
            raise


class Forkable(Protocol):
    """Something that holds what a forked process cannot share with its parent."""

    def renew(self) -> None:
        """Let go of what belongs to the parent, in the child."""


_forkable: WeakSet[Forkable] = WeakSet()


def renew_in_forks(holder: Forkable) -> None:
    """Have ``holder.renew()`` called in every process that is forked from this one."""
    _forkable.add(holder)


def _renew_all() -> None:
    for holder in list(_forkable):
        holder.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew_all)
