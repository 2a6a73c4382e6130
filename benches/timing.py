"""Clocks for what is to be compared: interleaved, so that a slow phase of the machine hits all.

pytest-benchmark times one thing after the other. A ratio between two of its medians takes in
whatever else the machine did in between; the ratios that must hold come from here.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

__all__ = ["ROOT", "Child", "Clock", "clock", "clock_command", "interleave"]

ROOT: Final = Path(__file__).resolve().parent.parent

Clock = Callable[[], int]
"""Does its work and returns nanoseconds."""


def clock(call: Callable[[], object], repeats: int = 3) -> Clock:
    """Return a clock of the median of some calls in a row, after one that fills the caches."""

    def timed() -> int:
        call()
        samples = []
        for _ in range(repeats):
            start = time.perf_counter_ns()
            call()
            samples.append(time.perf_counter_ns() - start)
        return sorted(samples)[repeats // 2]

    return timed


def clock_command(*arguments: str, **environment: str) -> Clock:
    """Return a clock of a whole Python process, from its start to its end.

    Modules are kept as bytecode, as in any installation, whatever the environment here says.
    """

    def timed() -> int:
        start = time.perf_counter_ns()
        subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter_ns() - start

    return timed


class Child:
    """A process that times a full backtest on request: its environment is set before it starts."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.child"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()

    def __call__(self) -> int:
        """Have the child time one run."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the child has no pipes")
        process.stdin.write("\n")
        process.stdin.flush()
        return int(json.loads(process.stdout.readline()))


def interleave(clocks: Mapping[str, Clock], rounds: int) -> dict[str, list[int]]:
    """Ask each clock once a round, each round starting with another one.

    Garbage is collected between the turns: what one contender leaves behind, memory that cannot
    be used again included, is not held against itself or the next.

    Returns
    -------
    dict of str to list of int
        Nanoseconds by clock and round; element ``k`` of all lists belongs to one round.
    """
    names = list(clocks)
    samples: dict[str, list[int]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    try:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                samples[name].append(clocks[name]())
                gc.collect()
    finally:
        gc.unfreeze()
    return samples
