"""Where to cut: warm-up, edges of days, right behind signals, and anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest_py._io.random_numbers import splitmix64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from backtest_py.bars import Bars

__all__ = ["cut_points", "drawn"]


def drawn(seed: int, stream: int, count: int, choice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return some of the numbers of ``choice``, which may repeat, the same ones for a seed."""
    if not len(choice):
        return choice
    return choice[(splitmix64(seed, stream, count) % np.uint64(len(choice))).astype(np.int64)]


def cut_points(bars: Bars, signals: NDArray[np.int64], wanted: int, seed: int) -> tuple[int, ...]:
    """Return the bars at which the future begins, sorted.

    Half of them lie right behind signals, where a peek of one bar shows: the first signals of all,
    and some at random. The others lie at the starts of days, one bar later and in the middle of
    them, in the warm-up, and anywhere.
    """
    n_bars = len(bars)
    if n_bars - 1 <= wanted:
        return tuple(range(1, n_bars))
    places = np.arange(1, n_bars)
    starts = np.flatnonzero(np.diff(bars.day)) + 1
    some_starts = drawn(seed, 11, wanted, starts)
    middles = some_starts + 1 + drawn(seed, 12, wanted, np.arange(1, 30))[: len(some_starts)]
    sources: list[Iterator[int]] = [
        iter((signals[:3] + 1).tolist()),
        iter((drawn(seed, 10, 4 * wanted, signals) + 1).tolist()),
        iter([2**power for power in range(n_bars.bit_length())]),
        iter(np.ravel(np.column_stack((some_starts, some_starts + 1, middles))).tolist()),
        iter(drawn(seed, 13, 4 * wanted, places).tolist()),
    ]
    turns = (0, 3, 1, 2, 1, 3, 1, 4)
    chosen: set[int] = set()
    while len(chosen) < wanted and sources:
        before = len(chosen)
        for turn in turns:
            if len(chosen) < wanted:
                _take(sources[turn], chosen, n_bars)
        if len(chosen) == before:
            break
    return tuple(sorted(chosen))


def _take(source: Iterator[int], chosen: set[int], n_bars: int) -> None:
    """Take the next place of a source that is not taken yet, if it has one."""
    for place in source:
        if 1 <= place < n_bars and place not in chosen:
            chosen.add(place)
            return
