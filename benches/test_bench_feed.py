"""Market data: a year of bars from each tier, when no tier above has them."""

from __future__ import annotations

import numpy as np
import pytest

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.memory import Memory
from backtest_py.data.feed import Feed
from backtest_py.data.market.blocks import Block, Source, periods
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.spans import Span

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
        np.round(np.maximum(opens, close) + random.exponential(5, n), 1),
        np.round(np.minimum(opens, close) - random.exponential(5, n), 1),
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
        None,  # nobody is asked
        memory=Memory() if tier == "memory" else Memory(0),
        database=database if tier == "database" else None,
        archive=archive if tier != "database" else None,
        locks=folder / "locks",
    )
    benchmark.group = f"One year of {interval} bars"
    benchmark.extra_info["contender"] = tier
    bars = benchmark(feed.bars, "BTCUSDT", interval, *YEAR)
    assert len(bars) == N_BARS[interval]
