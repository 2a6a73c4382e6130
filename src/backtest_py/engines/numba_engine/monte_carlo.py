"""Random paths: trades in another order, and bars on which nothing is to be found.

Mirrors ``engine_rust/src/monte_carlo.rs``. Every random number is word ``draw & 3`` of the
Philox4x32-10 block whose counter is (``draw >> 2``, ``attempt``, path) and whose key is the seed,
so that it depends on nothing but seed, path and place. Threads take whole paths. Words are uint64
below 2**32: Numba would make a float of a signed and an unsigned integer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "bootstrap_bars",
    "choose_bars",
    "delays",
    "random_word",
    "resample_paths",
    "shuffle_directions",
]

OBSERVED = 0
"""The trades as they were."""
BOOTSTRAP = 1
"""Trades drawn one by one, with replacement."""
BLOCK = 2
"""Runs of neighbours drawn with replacement; the first trade follows the last."""
SHUFFLE = 3
"""The same trades in another order."""
SKIP = 4
"""Each trade left out with a probability."""
NOISE = 5
"""Each trade with costs of its own on top."""

N_NUMBERS = 6
"""Numbers of a path: trades, final equity, total, the largest drawdown in money and in percent,
the longest losing streak."""

CHUNK = 64
"""Paths that a thread takes at once."""

ROUNDS = 10
MULTIPLIER_0 = np.uint64(0xD2511F53)
MULTIPLIER_1 = np.uint64(0xCD9E8D57)
WEYL_0 = np.uint64(0x9E3779B9)
WEYL_1 = np.uint64(0xBB67AE85)
MASK = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


class Resampling(NamedTuple):
    """What a path is made of; the fields of the struct in Rust."""

    kind: int
    pnl: NDArray[np.float64]
    costs: NDArray[np.float64]
    block_length: int
    skip_below: np.uint64
    capital: float
    compound: bool
    marks: NDArray[np.int64]
    seed: np.uint64


def check(asked: Resampling) -> None:
    """Refuse what would read out of bounds or never end."""
    n = len(asked.pnl)
    if not OBSERVED <= asked.kind <= NOISE:
        raise EngineError(f"kind = {asked.kind} is not a known code")
    if n > 0xFFFFFFFF // 4:
        raise EngineError(f"the number of trades = {n} is not allowed; give fewer than a billion")
    if asked.kind == BLOCK and asked.block_length <= 0:
        raise EngineError("block_length = 0 is not allowed; give a number above 0")
    if asked.kind == NOISE and len(asked.costs) != 3 * n:
        raise EngineError(
            f"the number of costs = {len(asked.costs)} is not allowed; give three for each trade"
        )


@kernel(allocates=False)
def philox(c0, c1, c2, c3, k0, k1):
    """Return a block of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC11)."""
    for _ in range(ROUNDS):
        p0 = MULTIPLIER_0 * c0
        p1 = MULTIPLIER_1 * c2
        c0 = (p1 >> HALF) ^ c1 ^ k0
        c2 = (p0 >> HALF) ^ c3 ^ k1
        c1 = p1 & MASK
        c3 = p0 & MASK
        k0 = (k0 + WEYL_0) & MASK
        k1 = (k1 + WEYL_1) & MASK
    return c0, c1, c2, c3


@kernel(allocates=False)
def word_at(seed, path, draw, attempt):
    """Return the word of one draw of a path."""
    w0, w1, w2, w3 = philox(
        (draw >> np.uint64(2)) & MASK,
        attempt,
        path & MASK,
        path >> HALF,
        seed & MASK,
        seed >> HALF,
    )
    place = draw & np.uint64(3)
    if place < np.uint64(2):
        return w0 if place == np.uint64(0) else w1
    return w2 if place == np.uint64(2) else w3


@kernel(allocates=False)
def fill_words(words, seed, path):
    """Fill with the words of a path's first draws."""
    n = len(words)
    k0, k1 = seed & MASK, seed >> HALF
    c2, c3 = path & MASK, path >> HALF
    for block in range(n >> 2):
        w0, w1, w2, w3 = philox(np.uint64(block), np.uint64(0), c2, c3, k0, k1)
        words[4 * block] = w0
        words[4 * block + 1] = w1
        words[4 * block + 2] = w2
        words[4 * block + 3] = w3
    for draw in range(n & ~3, n):
        words[draw] = word_at(seed, path, np.uint64(draw), np.uint64(0))


@kernel(allocates=False)
def bounded(word, bound, seed, path, draw):
    """Return a whole number from 0 to below ``bound``, each as likely (Lemire 2019).

    The draw is made again, as its next attempt, where the word is one of those that some numbers
    would have more of.
    """
    limit = np.uint64(bound)
    product = np.uint64(word) * limit
    if product & MASK < limit:
        surplus = (np.uint64(0x100000000) - limit) % limit
        attempt = np.uint64(0)
        while product & MASK < surplus:
            attempt += np.uint64(1)
            product = word_at(seed, path, np.uint64(draw), attempt) * limit
    return np.int64(product >> HALF)


@kernel(allocates=False)
def unit(word):
    """Return a number from 0 to below 1."""
    return np.float64(word) * (1.0 / 4294967296.0)


def n_words(asked: Resampling) -> int:
    """Return how many words the paths of a kind draw at most."""
    n = len(asked.pnl)
    if asked.kind == OBSERVED:
        return 0
    if asked.kind == BLOCK:
        return -(-n // asked.block_length)
    return 3 * n if asked.kind == NOISE else n


@kernel(allocates=False)
def make_steps(asked, path, words, steps):
    """Make the results of a path's trades, and return how many there are."""
    pnl, seed, costs = asked.pnl, asked.seed, asked.costs
    n = len(pnl)
    fill_words(words, seed, path)
    if asked.kind == BOOTSTRAP:
        for draw in range(n):
            steps[draw] = pnl[bounded(words[draw], n, seed, path, draw)]
        return n
    if asked.kind == BLOCK:
        for draw in range(len(words)):
            taken = bounded(words[draw], n, seed, path, draw)
            first = draw * asked.block_length
            for place in range(first, min(first + asked.block_length, n)):
                steps[place] = pnl[taken]
                taken = taken + 1 if taken + 1 < n else 0
        return n
    if asked.kind == SKIP:
        kept = 0
        for i in range(n):
            steps[kept] = pnl[i]
            kept += np.uint64(words[i]) >= asked.skip_below
        return kept
    if asked.kind == NOISE:
        for i in range(n):
            steps[i] = (
                pnl[i]
                - unit(words[3 * i]) * costs[i]
                - unit(words[3 * i + 1]) * costs[n + i]
                - unit(words[3 * i + 2]) * costs[2 * n + i]
            )
        return n
    for i in range(n):
        steps[i] = pnl[i]
    for draw in range(len(words)):  # none where the trades stay as they were
        left = n - draw
        other = bounded(words[draw], left, seed, path, draw)
        steps[left - 1], steps[other] = steps[other], steps[left - 1]
    return n


@kernel(allocates=False)
def walk(steps, kept, capital, compound, marks, numbers, equity_at):
    """Walk through the trades of a path: its numbers, and the equity at the marks."""
    equity = peak = capital
    total = drawdown = ratio = 0.0
    trades = losses = longest = 0
    n_marks = len(equity_at)
    for mark in range(n_marks + 1):
        stop = min(marks[mark], kept) if mark < n_marks else kept
        while trades < stop and not equity <= 0.0:  # nan, after an overflow, is no ruin
            step = steps[trades]
            gain = equity * (step / capital) if compound else step
            trades += 1
            total += gain
            equity += gain
            peak = equity if equity > peak else peak
            below = peak - equity
            drawdown = below if below > drawdown else drawdown
            share = below / peak
            ratio = share if share > ratio else ratio
            losses = losses + 1 if gain < 0.0 else 0
            longest = losses if losses > longest else longest
        if mark < n_marks:
            equity_at[mark] = equity
    numbers[0] = trades
    numbers[1] = equity
    numbers[2] = total
    numbers[3] = drawdown
    numbers[4] = 100.0 * ratio
    numbers[5] = longest


@kernel
def some_paths(asked, words_each, first, numbers, equity):
    """Make paths and walk through them: the numbers of neighbouring paths, and their equity.

    ``equity`` may have rows for the first paths alone.
    """
    words = np.empty(words_each, np.uint32)
    steps = np.empty(len(asked.pnl))
    none = np.empty(0)
    for place in range(len(numbers)):
        kept = make_steps(asked, first + np.uint64(place), words, steps)
        row = equity[place] if place < len(equity) else none
        walk(steps, kept, asked.capital, asked.compound, asked.marks, numbers[place], row)


def resample_paths(
    kind: int,
    pnl: NDArray[np.float64],
    costs: NDArray[np.float64],
    block_length: int,
    skip_below: int,
    capital: float,
    compound: bool,  # noqa: FBT001 - as in Rust
    marks: NDArray[np.int64],
    seed: int,
    first_path: int,
    n_paths: int,
    n_kept: int,
    threads: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the numbers of paths, a row each, and the equity of the first ``n_kept`` at the marks.

    Raises
    ------
    EngineError
        If the resampling cannot be made.
    """
    asked = Resampling(
        kind,
        pnl,
        costs,
        block_length,
        np.uint64(skip_below),
        float(capital),
        bool(compound),
        marks,
        np.uint64(seed),
    )
    check(asked)
    numbers = np.empty((n_paths, N_NUMBERS))
    equity = np.empty((min(n_kept, n_paths), len(marks)))
    some = some_paths.dispatcher

    def task(start: int) -> None:
        stop = start + CHUNK
        first = np.uint64(first_path + start)
        some(asked, n_words(asked), first, numbers[start:stop], equity[start:stop])

    starts = range(0, n_paths, CHUNK)
    threads = min(threads or _processors(), len(starts))
    if threads < 2:
        for start in starts:
            task(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, starts))
    return numbers, equity


def _processors() -> int:
    from joblib import cpu_count  # noqa: PLC0415 - knows affinity and containers, takes its time

    return int(cpu_count())


def random_word(seed: int, path: int, draw: int, attempt: int) -> int:
    """Return the word of one draw of a path."""
    return int(word_at(np.uint64(seed), np.uint64(path), np.uint64(draw), np.uint64(attempt)))


def choose_bars(bars: NDArray[np.int64], count: int, seed: int, path: int) -> NDArray[np.int64]:
    """Return ``count`` different elements, drawn without replacement, in the order of the draws.

    Raises
    ------
    EngineError
        If there are not so many.
    """
    if count > len(bars):
        raise EngineError(f"count = {count} is not allowed; give at most one for each element")
    chosen: NDArray[np.int64] = draw_bars(bars, count, np.uint64(seed), np.uint64(path))
    return chosen


@kernel
def draw_bars(bars, count, seed, path):
    """Swap each drawn element to the front of those that are left."""
    words = np.empty(count, np.uint32)
    fill_words(words, seed, path)
    left = bars.copy()
    for draw in range(count):
        other = draw + bounded(words[draw], len(left) - draw, seed, path, draw)
        left[draw], left[other] = left[other], left[draw]
    return left[:count].copy()


def delays(most: int, count: int, seed: int, path: int) -> NDArray[np.int64]:
    """Return ``count`` whole numbers from 0 to ``most``, each as likely."""
    drawn: NDArray[np.int64] = draw_delays(most, count, np.uint64(seed), np.uint64(path))
    return drawn


@kernel
def draw_delays(most, count, seed, path):
    """Draw one number after the other."""
    words = np.empty(count, np.uint32)
    fill_words(words, seed, path)
    drawn = np.empty(count, np.int64)
    for draw in range(count):
        drawn[draw] = bounded(words[draw], most + 1, seed, path, draw)
    return drawn


class Prices(NamedTuple):
    """Prices of bars, above 0."""

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]


@kernel
def chain(prices, source, down):
    """Chain bars: bar ``t`` moves as bar ``source[t]`` did, turned upside down where ``down[t]``.

    A move is a ratio, so that prices stay above 0: the open to the close before it, the rest of the
    bar to its open.
    """
    n = len(source)
    new = np.empty((4, n))
    before = prices.open[0]
    for t in range(n):
        s = source[t]
        first, high, low, close = prices.open[s], prices.high[s], prices.low[s], prices.close[s]
        last = prices.close[s - 1] if s > 0 else first
        if down[t]:
            opened = before * (last / first)
            highest = opened * (first / low)
            lowest = opened * (first / high)
            closed = opened * (first / close)
        else:
            opened = before * (first / last)
            highest = opened * (high / first)
            lowest = opened * (low / first)
            closed = opened * (close / first)
        new[0, t], new[1, t], new[2, t], new[3, t] = opened, highest, lowest, closed
        before = closed
    return new


def shuffle_directions(
    open: NDArray[np.float64],  # noqa: A002 - the column's name
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    seed: int,
    path: int,
) -> list[NDArray[np.float64]]:
    """Turn each bar upside down with probability one half."""
    down = flips(len(open), np.uint64(seed), np.uint64(path))
    return [*chain(Prices(open, high, low, close), np.arange(len(open)), down)]


@kernel
def flips(n, seed, path):
    """Return the first bit of each word."""
    words = np.empty(n, np.uint32)
    fill_words(words, seed, path)
    down = np.empty(n, np.bool_)
    for t in range(n):
        down[t] = words[t] >> np.uint32(31) == np.uint32(1)
    return down


class Clock(NamedTuple):
    """The bars at each time of day: those of ``t`` are ``order[first[t] : first[t] + size[t]]``."""

    order: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]


def bootstrap_bars(
    open: NDArray[np.float64],  # noqa: A002 - the column's name
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    block_length: int,
    seed: int,
    path: int,
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Chain blocks of bars, each begun at a bar of the same time of day.

    The first bar follows the last. Also returns which bar each was.

    Raises
    ------
    EngineError
        If blocks are empty.
    """
    if block_length <= 0:
        raise EngineError("block_length = 0 is not allowed; give a number above 0")
    clock = Clock(order, first, size)
    source = sources(clock, block_length, np.uint64(seed), np.uint64(path))
    down = np.zeros(len(open), np.bool_)
    return [*chain(Prices(open, high, low, close), source, down)], source


@kernel
def sources(clock, block_length, seed, path):
    """Return the bars that blocks take."""
    n = len(clock.order)
    words = np.empty(-(-n // block_length), np.uint32)
    fill_words(words, seed, path)
    source = np.empty(n, np.int64)
    for draw in range(len(words)):
        t = draw * block_length
        place = bounded(words[draw], clock.size[t], seed, path, draw)
        start = clock.order[clock.first[t] + place]
        for offset in range(min(block_length, n - t)):
            source[t + offset] = (start + offset) % n
    return source
