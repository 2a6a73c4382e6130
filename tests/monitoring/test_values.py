"""Known traffic gives known numbers on the page, read over HTTP."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pytest
from tests.monitoring.pages import ROW, promtool
from tests.services import free_port

from backtest_py.data.cache.database import TTL_SECONDS, Database
from backtest_py.data.cache.memory import Memory
from backtest_py.data.providers import transport
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.data.verification import verify
from backtest_py.errors import BacktestWarning, ExchangeError

SPAN = ("2025-01-01", "2025-02-01")
CANDLES = 31 * 24 - 3


def fetch(feed, symbol="BTCUSDT", interval="1h", span=SPAN):
    return feed.bars(symbol, interval, *span)


def endpoints(exchange):
    """Return how often each kind of question reached the server."""
    names = {"klines": "klines", "exchangeInfo": "exchange_info", "time": "time"}
    return Counter(names[path.rpartition("/")[2]] for _, path, *_ in exchange.requests)


def test_cold_warm_and_from_the_database(page, exchange, settings):
    with open_feed(settings=settings) as feed:
        bars = fetch(feed)
        assert len(bars) == CANDLES
        assert page.risen("cache_hits") == {"_total,exchange": 1}
        assert page.risen("cache_misses") == {
            "_total,memory": 1,
            "_total,database": 1,
            "_total,archive": 1,
        }
        assert page.risen("cache_puts") == {
            "_total,memory": 1,
            "_total,database": 1,
            "_total,archive": 1,
        }
        assert page.risen("cache_written_bytes") == {
            "_total,memory": 64 * CANDLES,
            "_total,database": ROW * CANDLES,
            "_total,archive": ROW * CANDLES,
        }
        assert page.risen("cache_read_bytes") == {"_total,exchange": ROW * CANDLES}
        assert page.value("cache_read_seconds_count", tier="exchange") == 1
        assert page.value("cache_write_seconds_count", tier="archive") == 1
        assert page.value("data_candles_total", exchange="binance") == CANDLES
        assert page.value("data_holes_total") == 1
        assert page.value("data_hole_candles_total") == 3
        assert page.value("cache_memory_bytes") == 64 * CANDLES
        assert page.value("cache_memory_entries") == 1
        assert page.value("cache_memory_limit_bytes") == settings.memory_bytes
        assert fetch(feed) is bars
        assert page.risen("cache_hits") == {"_total,exchange": 1, "_total,memory": 1}
        assert page.value("cache_read_seconds_count", tier="memory") == 2
    with open_feed(settings=settings) as feed:
        assert fetch(feed).content_hash == bars.content_hash
    assert page.risen("cache_hits") == {
        "_total,exchange": 1,
        "_total,memory": 1,
        "_total,database": 1,
    }
    assert page.risen("cache_misses")["_total,memory"] == 2
    assert page.risen("cache_read_bytes") == {
        "_total,exchange": ROW * CANDLES,
        "_total,memory": 64 * CANDLES,
        "_total,database": ROW * CANDLES,
    }
    assert page.risen("cache_degradations") == page.risen("cache_corruptions") == {}
    promtool("check", "metrics", given=page.text())


def test_requests_and_weight_are_those_that_the_server_saw(page, exchange, settings):
    with open_feed(settings=settings) as feed:
        fetch(feed)
    asked = endpoints(exchange)
    assert asked["klines"] > 2
    for endpoint, n_asked in asked.items():
        ok = page.value("exchange_requests_total", endpoint=endpoint, result="ok")
        assert ok == n_asked, endpoint
        assert page.value("exchange_request_seconds_count", endpoint=endpoint) == n_asked
    assert page.value("exchange_requests_total") == asked.total()
    weight = sum(request[3] for request in exchange.requests)
    assert page.value("exchange_weight_total", exchange="binance") == weight
    assert 0 < page.value("exchange_weight_used") <= weight
    assert page.value("exchange_weight_limit") == 2_400
    assert page.value("exchange_weight_wait_seconds_count") == asked.total()
    assert page.value("exchange_received_bytes_total", endpoint="klines") > 100 * CANDLES
    assert page.value("exchange_retries_total") == 0


@pytest.mark.parametrize(
    ("fault", "times", "result"),
    [
        ("status-503", 2, "server_error"),
        ("status-429", 1, "rate_limited"),
        ("body-cut", 1, "cut"),
        ("html", 1, "unusable"),
        ("doubled-times", 1, "unusable"),
    ],
)
def test_a_fault_is_counted_by_what_it_was(page, exchange, settings, fault, times, result):
    exchange.fault(fault, times=times)
    with open_feed(settings=settings) as feed:
        assert len(fetch(feed)) == CANDLES
    assert page.value("exchange_retries_total") == times
    assert page.value("exchange_retries_total", result=result) == times
    assert page.value("exchange_requests_total", result=result, endpoint="klines") == times
    everything = page.value("exchange_requests_total")
    assert page.value("exchange_requests_total", result="ok") == everything - times
    assert everything == len(exchange.requests)


@pytest.mark.parametrize(
    ("fault", "result"), [("status-418-long", "banned"), ("redirect", "redirected")]
)
def test_a_request_that_is_given_up(page, exchange, settings, fault, result):
    exchange.fault(fault)
    with open_feed(settings=settings) as feed, pytest.raises(ExchangeError):
        fetch(feed, span=("2025-01-01", "2025-01-05"))
    assert page.value("exchange_requests_total", result=result) == 1
    assert page.value("exchange_retries_total") == 0
    assert page.risen("cache_hits") == {}
    assert page.risen("cache_misses") == {
        "_total,memory": 1,
        "_total,database": 1,
        "_total,archive": 1,
    }


def test_nobody_answers(page, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    url = f"http://127.0.0.1:{free_port()}"
    settings = FeedSettings(data_dir=str(tmp_path), exchange_url=url, bulk_url=url)
    with open_feed(settings=settings) as feed, pytest.raises(ExchangeError):
        fetch(feed)
    assert page.value("exchange_requests_total", result="unreachable") == 4
    assert page.value("exchange_retries_total", result="unreachable") == 3


def test_the_archive_of_the_exchange_and_its_fallback(page, exchange, settings):
    span = ("2024-12-01", "2025-01-01")
    with open_feed(settings=settings) as feed:
        fetch(feed, interval="15m", span=span)
        for endpoint in ("archive", "checksum"):
            assert page.value("exchange_requests_total", endpoint=endpoint, result="ok") == 1
        assert page.value("exchange_fallbacks_total") == 0
        exchange.fault("two-members")
        with pytest.warns(BacktestWarning, match="archive"):
            fetch(feed, interval="5m", span=span)
    assert page.risen("exchange_fallbacks") == {"_total,binance,damaged": 1}


def test_a_damaged_block_in_each_tier(page, settings, tmp_path):
    with open_feed(settings=settings) as feed:
        fetch(feed)
    with sqlite3.connect(tmp_path / "market.sqlite") as database:
        database.execute("update backtest_py_blocks set payload = x'00'")
    database.close()
    with open_feed(settings=settings) as feed, pytest.warns(BacktestWarning, match="dropped"):
        fetch(feed)
    assert page.risen("cache_corruptions") == {"_total,block,database": 1}
    assert page.risen("cache_drops") == {"_total,damaged,database": 1}
    assert page.risen("cache_degradations") == {"_total,damaged,database": 1}
    assert page.risen("cache_hits") == {"_total,exchange": 1, "_total,archive": 1}
    assert page.value("cache_puts_total", tier="database") == 2
    (file,) = (tmp_path / "archive").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-4])
    with open_feed(settings=settings) as feed:
        feed.tiers.database = None
        with pytest.warns(BacktestWarning, match="the next tier is asked"):
            fetch(feed)
    assert page.value("cache_corruptions_total", tier="archive", reason="block") >= 1
    assert page.value("cache_degradations_total", tier="archive", reason="damaged") >= 1
    assert page.value("cache_hits_total", tier="exchange") == 2


def test_a_database_that_is_none_and_an_archive_that_cannot_be_written(page, settings, tmp_path):
    (tmp_path / "market.sqlite").write_bytes(b"no database" * 1000)
    (tmp_path / "archive").write_bytes(b"no folder")
    with open_feed(settings=settings) as feed, pytest.warns(BacktestWarning):
        assert len(fetch(feed)) == CANDLES
    assert page.value("cache_corruptions_total", tier="database", reason="file") == 1
    assert page.value("cache_degradations_total", tier="archive", reason="unwritable") == 1
    assert page.value("cache_puts_total", tier="archive") == 0


def test_history_that_is_rewritten(page, exchange, settings):
    span = ("2024-12-20", "2025-01-20")  # two years, so two blocks
    with open_feed(settings=settings) as feed:
        fetch(feed, span=span)
        assert page.risen("data_rewritten") == {}
        exchange.fault("rewritten")
        found = verify(feed, ask_exchange=True)
    assert len({each.span for each in found.rewrites}) == 2
    assert page.risen("data_rewritten") == {"_blocks_total,binance": 2}
    assert page.value("cache_drops_total", tier="memory", reason="withdrawn") == 1


def test_what_is_dropped_and_why(page, settings, tmp_path):
    with open_feed(settings=settings) as feed:
        fetch(feed)
        feed.memory.drop_where(lambda _: True)
    later = Database(
        f"sqlite:///{tmp_path / 'market.sqlite'}", clock=lambda: 2 * TTL_SECONDS + 4_000_000_000
    )
    assert later.sweep() == 1
    later.close()
    memory = Memory(100)
    for name in "abc":
        memory.put(name, name, 60)
    memory.put("large", "kept nowhere", 101)
    memory.drop("c")
    memory.drop("c")
    assert page.risen("cache_drops") == {
        "_total,memory,withdrawn": 2,
        "_total,database,expired": 1,
        "_total,evicted,memory": 2,
    }
    assert page.value("cache_puts_total", tier="memory") == 4


def test_no_label_tells_a_symbol_or_a_parameter(page, settings):
    with open_feed(settings=settings) as feed:
        fetch(feed)
    text = page.text()
    assert "BTCUSDT" not in text
    assert "1h" not in text
    assert len(text) < 100_000
