"""One process of the load test: threads that ask one feed, and hold every answer to the truth.

A worker knows nothing of the faults and the damage around it. It may be refused with an error of
the package's own tree; it may not get a bar that the exchange does not have, nor miss one.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import json
import random
import re
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import psutil
import pyarrow as pa

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.memory import Memory
from backtest_py.data.demo_exchange import DemoMarket
from backtest_py.data.feed import Feed
from backtest_py.data.market.intervals import DAY, interval_of
from backtest_py.data.providers.binance import Binance
from backtest_py.errors import BacktestError, ConfigError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backtest_py.bars import Bars

__all__ = ["BASE", "LISTED", "PHASES", "Plan", "Truth", "markets", "open_tiers", "work"]

BASE: Final = int(np.datetime64("2025-03-05T09:17:23.456", "ms").astype(np.int64))
"""What the exchange's clock says at the beginning."""
LISTED: Final = BASE // DAY * DAY - 100 * DAY
PHASES: Final = ("cold", "warm", "L1 full", "TTL passed", "end")
LARGE, SMALL = 64 << 20, 1 << 20
"""Bytes of the first tier, and from the phase on in which it is full."""
STUCK_SECONDS: Final = 150.0
"""No request takes longer: waits for request weight take a minute, retries less."""
_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "HOLEUSDT")
_DAYS: Final = {"1m": 2, "5m": 6, "15m": 20, "1h": 60, "4h": 90, "1d": 95}
"""Intervals, and the most days of a request."""
_POPULAR: Final = {"cold": 1.0, "warm": 0.95, "L1 full": 0.6, "TTL passed": 0.6, "end": 1.0}
"""How many requests are among those that all processes repeat."""
_KINDS: Final = {"bars": 70, "async": 10, "chunks": 8, "many": 6, "open": 3, "early": 1, "bad": 2}
"""Requests of each kind, in a hundred."""
_COLUMNS: Final = ("open", "high", "low", "close", "volume")


class Plan(NamedTuple):
    """What a worker is told."""

    number: int
    seed: int
    n_threads: int
    folder: str
    url: str
    weight_limit: int


class Request(NamedTuple):
    """A span of one series, in milliseconds."""

    symbol: str
    interval: str
    start: int
    end: int


def markets() -> tuple[DemoMarket, ...]:
    """Return the markets of exchange and truth; one of them stood still for a while."""
    still = BASE // DAY * DAY - 30 * DAY
    return tuple(
        DemoMarket(
            symbol,
            LISTED,
            BASE + 60 * DAY,
            holes=((still, still + DAY // 7),) if symbol == "HOLEUSDT" else (),
        )
        for symbol in _SYMBOLS
    )


class Truth:
    """All candles of all markets, straight from the made-up numbers."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], dict[str, Any]] = {}
        for market in markets():
            for interval in _DAYS:
                table = market.table(
                    interval_of(interval), LISTED, market.until, 10**7, market.until + DAY
                )
                prices = dict(zip(_COLUMNS, (column / 10 for column in table[1:5]), strict=False))
                self._tables[market.symbol, interval] = {
                    "time": table[0],
                    **prices,
                    "volume": table[5] / 1_000,
                }

    def table(self, asked: Request) -> dict[str, Any]:
        """Return the columns of bars of a whole series."""
        return self._tables[asked.symbol, asked.interval]

    def wrong(self, asked: Request, *pieces: Bars) -> str:
        """Return what is wrong with bars, "" where nothing is."""
        table = self.table(asked)
        first, last = np.searchsorted(table["time"], (asked.start, asked.end))
        times = np.concatenate([bars.time for bars in pieces])
        if not np.array_equal(times, table["time"][first:last] * 1_000_000):
            return f"{asked}: {len(times)} bars at other times than the exchange's {last - first}"
        for name in _COLUMNS:
            values = np.concatenate([getattr(bars, name) for bars in pieces])
            if not np.array_equal(values, table[name][first:last]):
                return f"{asked}: another {name}"
        return ""


class _Watched:
    """A tier or the exchange that notes, by thread, that it gave something."""

    def __init__(self, real: Any, name: str, given: Callable[[str], None]) -> None:
        self._real, self._watch, self._given = real, name, given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get(self, *arguments: Any, **named: Any) -> Any:
        """Ask the real one."""
        found = self._real.get(*arguments, **named)
        if found is not None:
            self._given(self._watch)
        return found

    def fetch_many(self, *arguments: Any, **named: Any) -> Any:
        """Ask the real one."""
        for found in self._real.fetch_many(*arguments, **named):
            self._given(self._watch)
            yield found


def open_tiers(plan: Plan, now: Callable[[], int]) -> Feed:
    """Open a feed on the folder that all workers share, with an injected clock."""
    folder = Path(plan.folder)
    return Feed(
        Binance(
            folder / "exchange",
            exchange_url=plan.url,
            bulk_url=plan.url,
            weight_limit=plan.weight_limit,
        ),
        memory=Memory(LARGE),
        database=Database(f"sqlite:///{folder}/market.sqlite", clock=lambda: now() / 1000),
        archive=Archive(folder / "archive"),
        locks=folder / "locks",
        workers=1 + (plan.number == 0),
    )


class _Worker:
    """Threads on one feed, and what they saw."""

    def __init__(self, plan: Plan, clock: Any, phase: Any) -> None:
        self.plan = plan
        self.truth = Truth()
        self.phase = phase
        self.now: Callable[[], int] = lambda: int(clock.value)
        self.feed: Any = open_tiers(plan, self.now)
        self._local = threading.local()
        self._watch()
        self._lock = threading.Lock()
        self.served: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()
        self.failures: list[str] = []
        self.began: dict[int, tuple[float, Any]] = {}
        shared = random.Random(plan.seed)  # the same in all processes
        self.popular = [self._request(shared, recent=turn % 4 == 0) for turn in range(24)]

    def _watch(self) -> None:
        feed = self.feed
        feed.exchange = _Watched(feed.exchange, "exchange", self._given)
        feed.memory = _Watched(feed.memory, "memory", self._given)
        tiers = feed.tiers
        tiers.database = _Watched(tiers.database, "database", self._given)
        tiers.archive = _Watched(tiers.archive, "archive", self._given)

    def _given(self, name: str) -> None:
        if hasattr(self._local, "tiers"):
            self._local.tiers.add(name)

    def _request(self, dice: random.Random, *, recent: bool = False) -> Request:
        interval = dice.choice(list(_DAYS))
        step = interval_of(interval).ms
        today = self.now() // step * step
        length = dice.randint(1, _DAYS[interval] * DAY // step) * step
        end = today if recent else dice.randrange(LISTED + length, today + 1, step)
        return Request(dice.choice(_SYMBOLS), interval, max(end - length, LISTED), end)

    def one(self, dice: random.Random) -> None:
        """Ask once, and judge what comes."""
        phase = PHASES[self.phase.value]
        popular = _POPULAR[phase]
        asked = (
            dice.choice(self.popular)
            if dice.random() < popular
            else self._request(dice, recent=dice.random() < 0.3)
        )
        kind = dice.choices(list(_KINDS), list(_KINDS.values()))[0]
        self._local.tiers = set()
        start = time.perf_counter()
        self.began[threading.get_ident()] = (time.monotonic(), (kind, asked))
        try:
            problem = getattr(self, f"_ask_{kind}")(asked)
            outcome = ""
        except BacktestError as error:
            problem, outcome = "", type(error).__name__
        except Exception as error:  # noqa: BLE001 - what must not happen is reported
            problem = f"{kind} {asked}: {type(error).__name__}: {error}"
            outcome = type(error).__name__
        finally:
            self.began.pop(threading.get_ident(), None)
        took = time.perf_counter() - start
        order = ("exchange", "archive", "database", "memory")
        tier = next((name for name in order if name in self._local.tiers), "others")
        with self._lock:
            if problem:
                self.failures.append(problem)
            if outcome:
                self.errors[f"{kind}: {outcome}"] += 1
            else:
                self.served[phase, tier] += 1
                if kind in {"bars", "async", "open"}:
                    self.seconds.setdefault(tier, []).append(took)

    # each kind of request returns what is wrong with the answer, "" where nothing is

    def _ask_bars(self, asked: Request) -> str:
        return self.truth.wrong(asked, self.feed.bars(*asked))

    def _ask_async(self, asked: Request) -> str:
        found = asyncio.run(self.feed.bars_async(*asked))
        return self.truth.wrong(asked, found)

    def _ask_chunks(self, asked: Request) -> str:
        return self.truth.wrong(asked, *self.feed.chunks(*asked))

    def _ask_many(self, asked: Request) -> str:
        symbols = _SYMBOLS[:3]
        found = self.feed.bars_many(symbols, *asked[1:])
        problems = (self.truth.wrong(asked._replace(symbol=name), found[name]) for name in symbols)
        return next((problem for problem in problems if problem), "")

    def _ask_open(self, asked: Request) -> str:
        """Ask for the candle that is open as well: it must not come."""
        interval = interval_of(asked.interval)
        beyond = asked._replace(end=interval.after(interval.after(self.now())))
        try:
            bars = self.feed.bars(*beyond)
        except MissingDataError:
            return ""
        last = int(bars.time[-1]) // 1_000_000
        closed = interval.after(last) <= self.now()  # the clock may have moved on meanwhile
        return self.truth.wrong(beyond, bars) if closed else f"{beyond}: an open candle came"

    def _ask_early(self, asked: Request) -> str:
        try:
            self.feed.bars(*asked._replace(start=LISTED - 3 * DAY))
        except MissingDataError:
            return ""
        return f"{asked}: bars from before the listing"

    def _ask_bad(self, asked: Request) -> str:
        for symbol in ("../../x", "'; DROP TABLE", "CON"):
            try:
                self.feed.bars(*asked._replace(symbol=symbol))
            except ConfigError:
                continue
            return f"symbol {symbol!r} was taken"
        return ""

    def run(self) -> None:
        """Ask until the last phase."""

        def loop(number: int) -> None:
            dice = random.Random(f"{self.plan.seed}-{self.plan.number}-{number}")
            while PHASES[self.phase.value] != "end":
                self.one(dice)

        def count(message: Any, category: Any, *_: Any, **__: Any) -> None:
            with self._lock:
                self.warned[f"{category.__name__}: {_kind_of(str(message))}"] += 1

        warnings.simplefilter("always")
        warnings.showwarning = count
        threads = [
            threading.Thread(target=loop, args=(number,), daemon=True)
            for number in range(self.plan.n_threads)
        ]
        for thread in threads:
            thread.start()
        seen = self.phase.value
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.1)
            if self.phase.value != seen:
                seen = self.phase.value
                if PHASES[seen] == "L1 full":
                    self.feed.memory = _Watched(Memory(SMALL), "memory", self._given)
            if self._stuck():
                return

    def _stuck(self) -> bool:
        """Tell whether a request takes for ever, and where all threads stand then."""
        for began, what in list(self.began.values()):
            if time.monotonic() - began > STUCK_SECONDS:
                path = Path(self.plan.folder).parent / f"stacks-{self.plan.number}.txt"
                with path.open("w") as file:
                    faulthandler.dump_traceback(file)
                stacks = path.read_text()[-6_000:]
                self.failures.append(f"{what} takes more than {STUCK_SECONDS:.0f} s:\n{stacks}")
                return True
        return False

    def memory_status(self) -> tuple[int, int]:
        """Return entries that were dropped to make room, and bytes that are kept."""
        status = self.feed.memory.status()
        return status.evictions, status.n_bytes


def _give_back() -> None:
    """Give memory that nobody uses back to the system, so that what remains is in use."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def _possessions(process: psutil.Process) -> dict[str, int]:
    """Return what a process holds; Arrow has threads of its own, which stay."""
    return {
        "threads": threading.active_count(),
        "files": process.num_fds(),
        "rss": process.memory_info().rss,
        "objects": sys.getallocatedblocks(),
    }


def _kind_of(message: str) -> str:
    """Return what a warning is about, without the names in it."""
    for mark in ("the block was dropped", "locked", "not asked again", "damaged", "the hash",
                 "is not used", "cannot be used", "cannot be read", "holds no block",
                 "other end of the file", "row groups"):  # fmt: skip
        if mark in message:
            return mark
    return re.sub(r"\S*/\S*", "…", message)[:60]


def work(plan: Plan, clock: Any, phase: Any, ready: Any, out: str) -> None:
    """Do the work of one process, once all are ready, and write what it saw as JSON."""
    faulthandler.enable()
    me = psutil.Process()
    worker = _Worker(plan, clock, phase)
    gc.collect()
    before = _possessions(me)
    curve: list[list[float]] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(0.5):
            threads, files = me.num_threads(), me.num_fds()
            curve.append(
                [phase.value, me.memory_info().rss, threads, files, sys.getallocatedblocks()]
            )

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    ready.wait(STUCK_SECONDS)
    worker.run()
    stop.set()
    sampler.join()
    evictions, _ = worker.memory_status()
    worker.feed.close()
    worker.feed.memory = Memory(0)
    time.sleep(1.0)  # threads of the exchange's client end with their last request
    _give_back()
    report = {
        "served": [[*key, count] for key, count in worker.served.items()],
        "seconds": worker.seconds,
        "errors": worker.errors,
        "warnings": worker.warned,
        "failures": worker.failures,
        "evictions": evictions,
        "before": before,
        "after": _possessions(me),
        "curve": curve,
    }
    Path(out).write_text(json.dumps(report), encoding="utf-8")
