"""Locks that survive a fork: in a child none is held by a thread that is gone.

A forked child has the memory of its parent, but of its threads only the one that forked. A lock
that another thread held stays locked for good, and what that thread was doing stays unfinished.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - see below, where the hooks are registered
import logging  # noqa: F401 - likewise
import os
import sys
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["NO_FORK", "FreshLock", "generation", "hold_while_forking"]


class _Lock(Protocol):
    def acquire(self) -> Any: ...
    def release(self) -> Any: ...


NO_FORK: Final = RLock()
"""Held while something must not be left half done, such as an import: a fork waits for it."""

_held: Final[list[_Lock]] = []
_fresh: Final[WeakSet[FreshLock]] = WeakSet()
_generation = 0


class FreshLock:
    """A re-entrant lock that is free in a forked child if another thread held it.

    For work that may be repeated: the child cannot know how far the other thread came.

    Examples
    --------
    >>> lock = FreshLock()
    >>> with lock:
    ...     print("one thread at a time")
    one thread at a time
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = RLock()
        _fresh.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Replace the lock if a thread that is gone holds it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = RLock()


def generation() -> int:
    """Return how many times this process was forked from the one that imported the package."""
    return _generation


def hold_while_forking(lock: _Lock) -> None:
    """Let every later fork wait until it has the lock; parent and child then open it.

    A thread that holds the lock must not wait for ``NO_FORK``, which a fork takes first.
    """
    with NO_FORK:
        _held.append(lock)


def _before_fork() -> None:
    # one hook for all locks: one that is registered while a fork waits would be released alone
    NO_FORK.acquire()
    for lock in _held:
        lock.acquire()


def _after_fork() -> None:
    for lock in reversed(_held):
        lock.release()
    NO_FORK.release()


def _after_fork_in_child() -> None:
    global _generation  # noqa: PLW0603 - one number for the process
    _after_fork()
    _generation += 1
    for lock in list(_fresh):
        lock.renew()
    if sys.version_info < (3, 12):
        _renew_cached_properties()


def _renew_cached_properties() -> None:
    """Renew the locks that cached properties have before Python 3.12, one for all instances."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != __name__.partition(".")[0]:
            continue
        for kind in list(vars(module).values()):
            if isinstance(kind, type):
                for each in vars(kind).values():
                    if isinstance(each, cached_property):
                        each.lock = RLock()  # type: ignore[attr-defined]


# The hooks that are registered last run first. Those of `logging` and of thread pools take locks
# that a thread may want while it holds ours, as where it imports numba, so they must run after
# ours: both modules are imported above.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )
