"""Market data: a year of bars from each tier, when no tier above has them."""

from __future__ import annotations

import time
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.memory import Memory
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.feed import Feed
from backtest_py.data.market.blocks import Block, Source, periods
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.spans import Span
from backtest_py.data.settings import FeedSettings, open_feed

pytestmark = pytest.mark.benchmark(warmup=True, warmup_iterations=2, min_rounds=30, max_time=2.0)

YEAR = ("2025-01-01", "2026-01-01")
N_BARS = {"4h": 2_190, "1m": 525_600}


def candles_at(times, random):
    """Return candles as rounded as those of an exchange."""
    n = len(times)
    close = np.round(60_000 + np.cumsum(random.normal(0, 5, n)), 1)
    opens = np.concatenate([close[:1], close[:-1]])
    volume = np.round(random.exponential(50, n), 3)
    taken = np.round(volume * random.random(n), 3)
    return Candles(
        times,
        opens,
        np.maximum(opens, close) + np.round(random.exponential(5, n), 1),
        np.minimum(opens, close) - np.round(random.exponential(5, n), 1),
        close,
        volume,
        np.round(volume * close, 5),
        random.integers(1, 3_000, n),
        taken,
        np.round(taken * close, 5),
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return a database and an archive that hold the year at each interval."""
    folder = tmp_path_factory.mktemp("tiers")
    database = Database(f"sqlite:///{folder}/cache.sqlite")
    archive = Archive(folder / "archive")
    edges = np.array(YEAR, "M8[ms]").astype(np.int64)
    random = np.random.default_rng(0)
    for interval in N_BARS:
        series = Series.of("BTCUSDT", interval)
        for period in periods(series, Span(*edges.tolist())):
            candles = candles_at(series.interval.opens(*period), random)
            source = Source(period, "bulk", "", 0)
            block = Block(series, period, (period,), candles, (), (source,))
            database.put(block)
            archive.put(block)
    yield folder, database, archive
    database.close()


@pytest.mark.parametrize("interval", N_BARS)
@pytest.mark.parametrize("tier", ["memory", "database", "archive"])
def test_a_year_of_bars(benchmark, places, tier, interval):
    """Bars as a backtest takes them: read, checked, with their clocks."""
    folder, database, archive = places
    feed = Feed(
        SimpleNamespace(name="nobody"),  # is asked
        memory=Memory() if tier == "memory" else Memory(0),
        database=database if tier == "database" else None,
        archive=archive if tier != "database" else None,
        locks=folder / "locks",
    )
    benchmark.group = f"One year of {interval} bars"
    benchmark.extra_info["contender"] = tier
    bars = benchmark(feed.bars, "BTCUSDT", interval, *YEAR)
    assert len(bars) == N_BARS[interval]


NOW = int(np.datetime64("2026-02-22T12:00", "ms").astype(np.int64))
SYMBOLS = tuple(f"N{n}USDT" for n in range(10))
DAY = 86_400_000


@pytest.fixture(scope="module")
def exchange():
    """Return a local exchange whose candles are made already."""
    markets = tuple(DemoMarket(name, NOW - 500 * DAY, NOW) for name in SYMBOLS)
    for market in markets:
        market.prepare()
    with DemoExchange(markets, lambda: NOW) as running:
        yield running


@pytest.fixture
def new_feed(exchange, tmp_path):
    """Return a function that opens a feed of which no tier knows anything."""
    numbers = count()

    def opened():
        folder = str(tmp_path / str(next(numbers)))
        return open_feed(
            settings=FeedSettings(
                data_dir=folder,
                exchange_url=exchange.url,
                bulk_url=exchange.url,
                weight_limit=2_400,
            )
        )

    return opened


@pytest.mark.benchmark(warmup=False, min_rounds=5, max_time=2.0)
def test_a_year_cold_to_metrics(benchmark, exchange, new_feed):
    """One year of 4h bars, which nobody has but the exchange: to metrics in less than 2 s."""

    def cold():
        with new_feed() as feed:
            bars = feed.bars(SYMBOLS[0], "4h", *YEAR)
        return bt.run(
            bars,
            "moving_average_cross",
            contract=bt.Contract(tick_size=0.1),
            metrics=bt.MetricSettings(periods_per_year=365),
            engine="rust",
        )

    benchmark.group = "One year of 4h bars, from the exchange to metrics"
    benchmark.extra_info["contender"] = "exchange"
    cold()  # imports are those of any run
    began = time.perf_counter()
    result = benchmark(cold)
    seconds = benchmark.stats.stats.median if benchmark.stats else time.perf_counter() - began
    assert result.metrics.total_trades > 0
    assert seconds < 2


@pytest.mark.benchmark(warmup=False, min_rounds=1, max_time=0.1)
def test_ten_symbols_at_once(benchmark, exchange, new_feed, monkeypatch):
    """At least 3 times as fast as one after the other, where every answer takes 200 ms."""
    monkeypatch.setattr(exchange, "latency", 0.2)
    with new_feed() as feed:
        began = time.perf_counter()
        alone = {symbol: feed.bars(symbol, "4h", *YEAR) for symbol in SYMBOLS}
        in_sequence = time.perf_counter() - began

    def at_once():
        with new_feed() as feed:
            return feed.bars_many(SYMBOLS, "4h", *YEAR)

    benchmark.group = "Ten symbols, one year of 4h bars, 200 ms an answer"
    benchmark.extra_info["contender"] = "at once"
    benchmark.extra_info["in_sequence_seconds"] = in_sequence
    began = time.perf_counter()
    many = benchmark(at_once)
    seconds = benchmark.stats.stats.median if benchmark.stats else time.perf_counter() - began
    assert {name: bars.content_hash for name, bars in many.items()} == {
        name: bars.content_hash for name, bars in alone.items()
    }
    assert in_sequence / seconds > 3, f"{in_sequence:.2f} s, and {seconds:.2f} s at once"
