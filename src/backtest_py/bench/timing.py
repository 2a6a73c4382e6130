"""Clocks and memory: contenders timed in turns, so that a busy machine slows all of them."""

from __future__ import annotations

import gc
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from backtest_py.bench.cases import Case
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["MAX_IN_MEMORY", "SweptOnce", "in_turns", "peak_memory", "timed", "timed_sweep"]

MAX_IN_MEMORY: Final = 1_000_000
"""Combinations beyond which a sweep writes its results to a temporary directory."""


def peak_memory(call: Callable[[], object]) -> int | None:
    """Return the highest resident memory of this process during a call, in bytes.

    Linux only, where the peak can be reset; None elsewhere.
    """
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        call()
        return None
    call()
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))
    return 1024 * int(found.group(1)) if found else None


class SweptOnce:
    """A sweep whose result is there within ``with``; its files, if any, are deleted afterwards."""

    def __init__(self, case: Case, engine: str, threads: int, peaks: dict[str, int | None]) -> None:
        self._arguments = case, engine, threads
        self._peaks = peaks
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> SweepResult:
        case, engine, threads = self._arguments
        found: list[SweepResult] = []
        out = None
        if case.n_combos > MAX_IN_MEMORY:
            self._folder = tempfile.TemporaryDirectory(prefix="backtest-py-bench-")
            out = str(Path(self._folder.name) / "sweep")

        def call() -> None:
            found.append(case.sweep(engine, threads=threads, out=out))

        try:
            self._peaks[engine] = peak_memory(call)
        except BaseException:
            self.__exit__()
            raise
        return found[0]

    def __exit__(self, *exception: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """Return a clock of a call, in seconds."""

    def seconds() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return seconds


def timed_sweep(case: Case, engine: str, threads: int) -> Callable[[], float]:
    """Return a clock of a whole sweep, in seconds; deleting its files does not count."""

    def seconds() -> float:
        if case.n_combos <= MAX_IN_MEMORY:
            return timed(lambda: case.sweep(engine, threads=threads))()
        with tempfile.TemporaryDirectory(prefix="backtest-py-bench-") as folder:
            out = str(Path(folder) / "sweep")
            return timed(lambda: case.sweep(engine, threads=threads, out=out))()

    return seconds


def in_turns(calls: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Time every contender once in each round; each round starts with another one."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for name in _order(list(calls), rounds):
        gc.collect()
        samples[name].append(calls[name]())
    return samples


def _order(names: Sequence[str], rounds: int) -> Iterator[str]:
    for turn in range(rounds):
        first = turn % len(names)
        yield from (*names[first:], *names[:first])
