"""The first tier: objects in memory, the least recently used dropped first."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from backtest_py.data.extras import required
from backtest_py.monitoring import catalogue as metrics
from backtest_py.monitoring.market_data import answered

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["MAX_BYTES", "Memory", "MemoryStatus"]

MAX_BYTES: Final = 1 << 30
"""Bytes that are kept unless more or less are given."""


@dataclass(frozen=True, slots=True)
class MemoryStatus:
    """What the memory holds, and how often it was asked.

    Attributes
    ----------
    entries, n_bytes, max_bytes : int
        Objects kept, their bytes, and the most that are kept.
    hits, misses, evictions : int
        Since it was made.
    """

    entries: int
    n_bytes: int
    max_bytes: int
    hits: int
    misses: int
    evictions: int


class Memory:
    """Immutable objects by key, at most so many bytes of them.

    Safe to use from several threads, and in processes that are forked, which begin with what was
    kept.

    Parameters
    ----------
    max_bytes : int
        Bytes to keep. A larger object is not kept at all.

    Examples
    --------
    >>> memory = Memory(100)
    >>> memory.put("a", "first", 60), memory.put("b", "second", 60)
    (None, None)
    >>> memory.get("a") is None, memory.get("b")
    (True, 'second')
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        cache = required("cachetools").LRUCache
        self._entries: Any = cache(max_bytes, getsizeof=lambda entry: entry[1])
        self._lock = Lock()
        self._hits = self._misses = self._evictions = 0
        with _forking:
            _memories.add(self)

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key, None where there is nothing."""
        began = time.perf_counter()
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                self._misses += 1
            else:
                self._hits += 1
        answered("memory", began, None if found is None else found[1])
        return None if found is None else found[0]

    def put(self, key: Hashable, value: object, n_bytes: int) -> None:
        """Keep an object, in the place of what had its key."""
        with self._lock:
            before = len(self._entries) + (key not in self._entries)
            if n_bytes > self._entries.maxsize:
                self._entries.pop(key, None)
                return
            self._entries[key] = (value, n_bytes)
            evicted = before - len(self._entries)
            self._evictions += evicted
        metrics.PUTS.add("memory")
        metrics.WRITTEN_BYTES.add("memory", amount=n_bytes)
        metrics.DROPS.add("memory", "evicted", amount=evicted)

    def drop(self, key: Hashable) -> None:
        """Forget what is kept under a key."""
        with self._lock:
            dropped = self._entries.pop(key, None) is not None
        metrics.DROPS.add("memory", "withdrawn", amount=dropped)

    def drop_where(self, dropped: Callable[[Any], bool]) -> None:
        """Forget every key for which ``dropped(key)`` is true."""
        with self._lock:
            keys = [key for key in self._entries if dropped(key)]
            for key in keys:
                del self._entries[key]
        metrics.DROPS.add("memory", "withdrawn", amount=len(keys))

    def status(self) -> MemoryStatus:
        """Return what is kept, and how often it was asked."""
        with self._lock:
            return MemoryStatus(
                len(self._entries),
                int(self._entries.currsize),
                int(self._entries.maxsize),
                self._hits,
                self._misses,
                self._evictions,
            )


# A thread may hold a lock while another forks: the child would wait for it for ever. So whoever
# forks takes all of them first.
_forking = Lock()
_memories: WeakSet[Memory] = WeakSet()
_held: list[Memory] = []


def _total(fact: str) -> float:
    """Return the sum of a fact over all memories of this process."""
    with _forking:
        return float(sum(getattr(memory.status(), fact) for memory in _memories))


metrics.MEMORY_BYTES.read_by(lambda: _total("n_bytes"))
metrics.MEMORY_LIMIT_BYTES.read_by(lambda: _total("max_bytes"))
metrics.MEMORY_ENTRIES.read_by(lambda: _total("entries"))


def _hold() -> None:
    _forking.acquire()
    _held.extend(_memories)
    for memory in _held:
        memory._lock.acquire()  # noqa: SLF001 - held across the fork


def _release() -> None:
    while _held:
        _held.pop()._lock.release()  # noqa: SLF001 - as above
    _forking.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
