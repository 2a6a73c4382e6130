"""The feed: complete closed bars from the nearest tier, each range fetched once, or an error."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.exporting import export_series
from backtest_py.data.importing import import_files
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.errors import ConfigError, MissingDataError

DAY = 86_400_000
NOW = 1_740_000_000_123
HOLE = (NOW // DAY * DAY - 40 * DAY, NOW // DAY * DAY - 40 * DAY + 3 * 3_600_000)
SPAN = ("2024-12-01", "2025-02-01")


@pytest.fixture(scope="module")
def exchange():
    markets = tuple(
        DemoMarket(name, NOW - 120 * DAY, NOW, holes=(HOLE,)) for name in ("BTCUSDT", "ETHUSDT")
    )
    with DemoExchange(markets, lambda: NOW) as running:
        yield running


@pytest.fixture
def settings(exchange, tmp_path):
    return FeedSettings(
        data_dir=str(tmp_path), exchange_url=exchange.url, bulk_url=exchange.url, weight_limit=2_400
    )


def requests_of(exchange):
    return len(exchange.requests)


def test_bars_come_from_the_nearest_tier(exchange, settings):
    with open_feed(settings=settings) as feed:
        first = feed.bars("BTCUSDT", "1h", *SPAN)
        before = requests_of(exchange)
        assert feed.bars("BTCUSDT", "1h", *SPAN) is first
        assert feed.bars("BTCUSDT", "1h", "2024-12-05", "2025-01-20").close.size < len(first)
    with open_feed(settings=settings) as feed:
        again = feed.bars("BTCUSDT", "1h", *SPAN)
        assert again.content_hash == first.content_hash
        feed.tiers.database = None
        feed.memory.drop_where(lambda _: True)
        assert feed.bars("BTCUSDT", "1h", *SPAN).content_hash == first.content_hash
    assert requests_of(exchange) == before
    # the exchange stood still for three hours: no candle is invented
    expected = (np.datetime64(SPAN[1]) - np.datetime64(SPAN[0])).astype(int) * 24
    inside = np.datetime64(SPAN[0], "ms").astype(int) <= HOLE[0]
    assert len(first) == expected - (3 if inside else 0)


def test_only_what_is_missing_is_fetched(exchange, settings):
    with open_feed(settings=settings) as feed:
        feed.bars("BTCUSDT", "1h", "2024-12-10", "2024-12-20")
        seen = requests_of(exchange)
        feed.bars("BTCUSDT", "1h", "2024-12-08", "2024-12-20")
    starts = [
        int(query["startTime"])
        for _, path, query, _ in list(exchange.requests)[seen:]
        if path.endswith("klines")
    ]
    assert starts
    assert max(starts) < np.datetime64("2024-12-10", "ms").astype(int)


def test_an_open_candle_and_one_before_the_listing_are_refused(settings):
    with open_feed(settings=settings) as feed:
        with pytest.raises(MissingDataError, match="not closed yet"):
            feed.bars("BTCUSDT", "4h", "2025-02-01", "2025-03-01")
        with pytest.raises(MissingDataError, match="nothing before"):
            feed.bars("BTCUSDT", "4h", "2020-01-01", "2025-01-01")
        with pytest.raises(MissingDataError, match="symbol 'NOSUCH'"):
            feed.bars("NOSUCH", "4h", "2025-01-01", "2025-01-02")
        with pytest.raises(ConfigError, match="symbol"):
            feed.bars("../../x", "4h", "2025-01-01", "2025-01-02")


def test_threads_that_want_one_range_fetch_it_once(exchange, settings):
    with open_feed(settings=settings) as feed:
        before = requests_of(exchange)
        barrier = threading.Barrier(8)

        def ask(_):
            barrier.wait()
            return feed.bars("ETHUSDT", "1h", *SPAN).content_hash

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(8)))) == 1
        klines = [
            r[2]["startTime"] for r in list(exchange.requests)[before:] if "startTime" in r[2]
        ]
        confirmed = [start for start in klines if klines.count(start) > 2]
        assert not confirmed


def test_many_symbols_chunks_and_the_asynchronous_twin(settings):
    with open_feed(settings=settings) as feed:
        many = feed.bars_many(["BTCUSDT", "ETHUSDT"], "15m", *SPAN)
        assert list(many) == ["BTCUSDT", "ETHUSDT"]
        pieces = list(feed.chunks("BTCUSDT", "15m", *SPAN))
        assert len(pieces) == 2
        joined = np.concatenate([piece.close for piece in pieces])
        assert np.array_equal(joined, many["BTCUSDT"].close)
        awaited = asyncio.run(feed.bars_async("ETHUSDT", "15m", *SPAN))
        assert awaited is many["ETHUSDT"]
        result = bt.run(
            many["BTCUSDT"],
            "moving_average_cross",
            contract=bt.Contract(tick_size=0.1),
            metrics=bt.MetricSettings(periods_per_year=365),
        )
        assert result.metrics.total_trades > 0


@pytest.mark.parametrize("interval", ["3d", "1w"])
@pytest.mark.parametrize("end", ["2025-01-06", "2025-02-03"])
def test_candles_that_lie_across_the_edge_of_a_year(exchange, settings, tmp_path, interval, end):
    days = {"3d": 3, "1w": 7}[interval]
    first = np.datetime64("1970-01-05" if interval == "1w" else "1970-01-01")
    expected = [
        day
        for day in np.arange(np.datetime64("2024-11-04"), np.datetime64(end))
        if (day - first).astype(int) % days == 0
    ]
    with open_feed(settings=settings) as feed:
        bars = feed.bars("BTCUSDT", interval, "2024-11-04", end)
        assert bars.time.astype("M8[ns]").astype("M8[D]").tolist() == np.array(expected).tolist()
        pieces = list(feed.chunks("BTCUSDT", interval, "2024-11-04", end))
        assert np.array_equal(np.concatenate([piece.close for piece in pieces]), bars.close)
        certificate = feed.certificate("BTCUSDT", interval, "2024-11-04", end)
        assert (certificate.n_rows, certificate.n_expected) == (len(expected), len(expected))
    before = requests_of(exchange)
    with open_feed(settings=settings) as feed:
        feed.bars("BTCUSDT", interval, "2024-11-04", end)
        export_series(feed, "BTCUSDT", interval, tmp_path / "bars.parquet")
    elsewhere = FeedSettings(data_dir=str(tmp_path / "other"), exchange_url=exchange.url)
    with open_feed(settings=elsewhere) as feed:
        (found,) = import_files(feed, [tmp_path / "bars.parquet"], "BTCUSDT", interval)
        assert (found.n_new, found.gaps) == (len(expected), [])
        again = feed.bars("BTCUSDT", interval, "2024-11-04", end)
        assert again.content_hash == bars.content_hash
    assert requests_of(exchange) == before


def test_a_month_without_a_candle_gives_no_piece(tmp_path):
    hole = tuple(np.array(["2024-12-01", "2025-01-01"], "M8[ms]").astype(int).tolist())
    market = DemoMarket("BTCUSDT", NOW - 120 * DAY, NOW, holes=(hole,))
    with DemoExchange((market,), lambda: NOW) as exchange:
        settings = FeedSettings(
            data_dir=str(tmp_path), exchange_url=exchange.url, bulk_url=exchange.url
        )
        with open_feed(settings=settings) as feed:
            whole = feed.bars("BTCUSDT", "30m", "2024-11-15", "2025-01-15")
            pieces = list(feed.chunks("BTCUSDT", "30m", "2024-11-15", "2025-01-15"))
            assert [len(piece) for piece in pieces] == [16 * 48, 14 * 48]
            assert np.array_equal(np.concatenate([each.close for each in pieces]), whole.close)
            with pytest.raises(MissingDataError, match="no candle in the whole span"):
                list(feed.chunks("BTCUSDT", "30m", "2024-12-05", "2024-12-15"))


def test_settings_environment_over_toml_over_profile(tmp_path):
    environment = {"BACKTEST_PY_PROFILE": "staging", "BACKTEST_PY_DATA_DIR": str(tmp_path)}
    found = FeedSettings.of("", {"workers": 3, "data_dir": "elsewhere"}, environment=environment)
    assert (found.workers, found.data_dir, found.memory_bytes) == (3, str(tmp_path), 2 << 30)
    with pytest.raises(ConfigError, match="BACKTEST_PY_DATABASE_URL"):
        FeedSettings.of("production", environment={})
    with pytest.raises(ConfigError, match="profile"):
        FeedSettings.of("fast", environment={})


def test_a_password_is_never_shown(tmp_path):
    url = "postgresql+psycopg://user:canary-7@127.0.0.1:1/none"
    found = FeedSettings.of("", environment={"BACKTEST_PY_DATABASE_URL": url})
    assert "canary-7" not in repr(found)
    with pytest.raises(ConfigError) as refused:
        FeedSettings.of("", {"database_url": url}, environment={})
    assert "canary-7" not in str(refused.value)


def test_commands(cli, exchange, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BACKTEST_PY_EXCHANGE_URL", exchange.url)
    monkeypatch.setenv("BACKTEST_PY_BULK_URL", exchange.url)
    arguments = ("--interval", "4h", "--start", "2025-01-01", "--end", "2025-02-01", "--json")
    fetched = cli("data", "fetch", "BTCUSDT", "ETHUSDT", *arguments)
    assert fetched.status == 0, fetched.err
    assert [row["bars"] for row in json.loads(fetched.out)] == [31 * 6, 31 * 6] or fetched.out
    status = cli("data", "status", "--json")
    assert {row["symbol"] for row in json.loads(status.out)} == {"BTCUSDT", "ETHUSDT"}
    assert cli("data", "sweep").status == 0
    assert cli("data", "fetch", "X/Y", *arguments).status == 2
