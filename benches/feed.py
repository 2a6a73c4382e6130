"""Market data from each tier, and from the exchange to metrics: `python -m benches.feed`.

Every request of a tier on disk goes through a new feed with an empty memory, whose nearest tier
with the data is the one that is timed. What a tier gives is compared with what came first.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import pytest

import backtest_py as bt
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.memory import Memory
from backtest_py.data.settings import FeedSettings, open_feed
from benches.exchange_process import SYMBOLS, ExchangeProcess
from benches.sweep import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backtest_py.data.feed import Feed

__all__ = ["INTERVALS", "N_CANDLES", "measure"]

YEAR: Final = ("2025-01-01", "2026-01-01")
INTERVALS: Final = {"4h": 2_190, "1m": 525_600}
"""Bars of a year."""
N_CANDLES: Final = 100_000
LATENCY: Final = 0.2
PACKAGES: Final = ("pyarrow", "SQLAlchemy", "cachetools", "httpx2", "filelock", "psycopg")
_numbers = count()
"""Names of new folders."""
_STRATEGY: Final = bt.BarraElefante(min_range_mult=1.5)
_RULES: Final = bt.ExitRules(stop=2.0, target=3.0)
_CONTRACT: Final = bt.Contract(tick_size=0.1, initial_capital=100_000)
_METRICS: Final = bt.MetricSettings(periods_per_year=365)


def measure(*, quick: bool = False, rounds: int = 31) -> dict[str, Any]:
    """Measure everything; ``quick`` does a little of each kind, to see that it works."""
    load = os.getloadavg()[0]
    rounds = 3 if quick else rounds
    with ExitStack() as stack:
        exchange = stack.enter_context(ExchangeProcess())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="backtest-py-bench-")))
        rows = [
            row for interval in INTERVALS for row in tiers(interval, exchange.url, folder, rounds)
        ]
        rows += candles_to_metrics(rounds)
        rows += cold_to_metrics(exchange.url, folder, min(rounds, 9))
        rows += parallel(folder, 1 if quick else 3)
    return {
        "date": str(datetime.now(UTC).date()),
        "facts": facts(load, PACKAGES),
        "rows": rows,
    }


def settings(url: str, folder: Path, **given: Any) -> FeedSettings:
    """Return settings for an exchange of this machine."""
    return FeedSettings(
        data_dir=str(folder), exchange_url=url, bulk_url=url, weight_limit=2_400, **given
    )


def tiers(interval: str, url: str, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time a year of bars from each tier."""
    with ExitStack() as stack:
        warm = stack.enter_context(open_feed(settings=settings(url, folder / "warm")))
        expected = warm.bars("BTCUSDT", interval, *YEAR).content_hash
        servers = _databases(stack, folder, warm)

        def ask(feed: Feed) -> float:
            start = time.perf_counter()
            bars = feed.bars("BTCUSDT", interval, *YEAR)
            seconds = time.perf_counter() - start
            if (len(bars), bars.content_hash) != (INTERVALS[interval], expected):
                raise AssertionError(f"{interval}: a tier gave other bars")
            return seconds

        def from_database(database: Database) -> float:
            return ask(_feed(warm, database=database))

        def promoted() -> float:
            database = Database(f"sqlite:///{folder}/empty-{interval}-{next(_numbers)}.sqlite")
            database.periods()  # its tables are made
            seconds = ask(_feed(warm, database=database, archive=warm.archive))
            database.close()
            return seconds

        def cold() -> float:
            with open_feed(settings=settings(url, folder / f"cold-{next(_numbers)}")) as feed:
                return ask(feed)

        clocks: dict[str, tuple[Callable[[], float], int]] = {
            "memory": (lambda: ask(warm), 10 * rounds),
            **{
                name: (lambda database=database: from_database(database), rounds)
                for name, database in servers.items()
            },
            "archive": (lambda: ask(_feed(warm, archive=warm.archive)), rounds),
            "archive, then kept in SQLite": (promoted, min(rounds, 11)),
            "exchange": (cold, min(rounds, 9) // (3 if interval == "1m" else 1)),
        }
        return [
            _row(f"tier, {interval}", name, clock, times) for name, (clock, times) in clocks.items()
        ]


def _databases(stack: ExitStack, folder: Path, warm: Feed) -> dict[str, Database]:
    """Return the databases that hold what a feed has fetched, PostgreSQL where there is one."""
    found = {"SQLite": warm.database}
    try:
        from tests.services import PostgreSQL

        server = PostgreSQL()
    except (pytest.skip.Exception, ImportError):
        return found
    stack.callback(server.remove)
    found["PostgreSQL"] = Database(server.new_database())
    stack.callback(found["PostgreSQL"].close)
    for series, period in warm.database.periods():
        found["PostgreSQL"].put(warm.database.get(series, period))
    return found


def _feed(warm: Feed, *, database: Any = None, archive: Any = None) -> Feed:
    """Return a feed that remembers nothing, on some of the tiers of another."""
    return type(warm)(
        warm.exchange, memory=Memory(), database=database, archive=archive, locks=warm._locks
    )


def candles_to_metrics(rounds: int) -> list[dict[str, Any]]:
    """Time candles as columns to bars, signals, trades and all metrics."""
    bars = bt.synthetic_bars(n_days=918, bars_per_day=109)[:N_CANDLES]
    columns = [getattr(bars, name).copy() for name in ("time", "open", "high", "low", "close")]
    volume = bars.volume.copy()

    def clock(engine: str) -> float:
        start = time.perf_counter()
        result = _result(bt.Bars(*columns, volume, session_timezone="UTC"), engine)
        seconds = time.perf_counter() - start
        if result.metrics.total_trades < 100:
            raise AssertionError("hardly a trade")
        return seconds

    return [
        _row("candles to metrics", engine, lambda engine=engine: clock(engine), rounds)
        for engine in ("rust", "numba")
    ]


def _result(bars: bt.Bars, engine: str) -> Any:
    return bt.run(bars, _STRATEGY, _RULES, contract=_CONTRACT, metrics=_METRICS, engine=engine)


def cold_to_metrics(url: str, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time a year of 4h bars from the exchange, with nothing kept, to metrics."""

    def clock(engine: str) -> float:
        place = folder / f"metrics-{next(_numbers)}"
        start = time.perf_counter()
        with open_feed(settings=settings(url, place)) as feed:
            _result(feed.bars("ETHUSDT", "4h", *YEAR), engine)
            return time.perf_counter() - start

    return [
        _row("exchange to metrics", engine, lambda engine=engine: clock(engine), rounds)
        for engine in ("rust", "numba")
    ]


def parallel(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time ten symbols at once and one after the other, when every answer takes 200 ms."""
    with ExitStack() as stack:
        exchange = stack.enter_context(ExchangeProcess(LATENCY))

        def feed() -> Feed:
            place = folder / f"many-{next(_numbers)}"
            return stack.enter_context(open_feed(settings=settings(exchange.url, place)))

        def together() -> float:
            fresh = feed()
            start = time.perf_counter()
            found = fresh.bars_many(SYMBOLS, "4h", *YEAR)
            seconds = time.perf_counter() - start
            if [len(bars) for bars in found.values()] != [INTERVALS["4h"]] * len(SYMBOLS):
                raise AssertionError("bars are missing")
            return seconds

        def in_sequence() -> float:
            fresh = feed()
            start = time.perf_counter()
            for symbol in SYMBOLS:
                fresh.bars(symbol, "4h", *YEAR)
            return time.perf_counter() - start

        together()  # the exchange makes up its markets
        clocks = {"at once": together, "one after the other": in_sequence}
        found: dict[str, list[float]] = {name: [] for name in clocks}
        for _ in range(rounds):
            for name, clock in clocks.items():
                found[name].append(clock())
        return [
            {"group": "ten symbols", "who": name, "seconds": seconds}
            for name, seconds in found.items()
        ]


def _row(group: str, who: str, clock: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Return the seconds of some calls after one that fills the caches."""
    clock()
    gc.collect()
    seconds = [clock() for _ in range(rounds)]
    print(f"{group:20} {who:30} min {min(seconds):.6f}", flush=True)
    return {"group": group, "who": who, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="JSON to write")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    report = measure(quick=options.quick)
    options.report.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
