"""The feed against an exchange that somebody else wrote from the documents, put in its place by
the environment: every bar is one of its closed candles, whatever its manners.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tests.data.providers.second_exchange import (
    DAY,
    LENGTHS,
    MINUTE,
    Answer,
    Market,
    SecondExchange,
    said,
)

import backtest_py as bt
from backtest_py.data.providers import transport
from backtest_py.data.settings import open_feed
from backtest_py.errors import ExchangeError, MissingDataError

NOW = 1_740_000_000_123
MIDNIGHT = NOW // DAY * DAY
LISTED = MIDNIGHT - 400 * DAY + 3 * 3_600_000 + 7 * MINUTE
HOLE = (MIDNIGHT - 5 * DAY + 5 * MINUTE, MIDNIGHT - 5 * DAY + 9 * 3_600_000)
MARKETS = {
    "BTCUSDT": Market(1, LISTED, NOW + DAY, holes=(HOLE,)),
    "1000PEPEUSDT": Market(2, MIDNIGHT - 100 * DAY, NOW + DAY),
}
MANNERS = {
    "as it is": {},
    "plain": {"chunked": False, "packed": False, "absent": 404, "monthly": True,
              "sums": "{0}  {1}\n", "table_header": True},
    "microseconds, connections closed": {"closing": True, "micro": True, "digits": 2,
                                         "sums": "{0}  another.zip\n"},
    "no files": {"files": False, "limits": (("REQUEST_WEIGHT", "MINUTE", 1, 6_000),
                                            ("RAW_REQUESTS", "MINUTE", 5, 61_000))},
}  # fmt: skip
DAYS = {"1m": 8, "5m": 12, "4h": 390, "1d": 390}


@pytest.fixture
def put_in_place(tmp_path, monkeypatch):
    """Return a function that starts an exchange and points the environment to it."""
    started = []

    def start(markets=None, now=lambda: NOW, **manners):
        exchange = SecondExchange(markets or MARKETS, now, **manners)
        started.append(exchange.__enter__())
        monkeypatch.setenv("BACKTEST_PY_EXCHANGE_URL", exchange.url)
        monkeypatch.setenv("BACKTEST_PY_BULK_URL", exchange.url)
        monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path / "data"))
        return exchange

    yield start
    for exchange in started:
        exchange.__exit__()


def same(bars, truth):
    return all(
        np.array_equal(np.asarray(getattr(bars, name)).view(np.int64), column.view(np.int64))
        for name, column in truth.items()
    )


@pytest.mark.parametrize("manners", MANNERS)
def test_bars_are_its_closed_candles_cold_and_warm(put_in_place, manners):
    exchange = put_in_place(**MANNERS[manners])
    spans = {
        interval: (MIDNIGHT - days * DAY, NOW // (LENGTHS[interval] * MINUTE) * LENGTHS[interval]
                   * MINUTE)
        for interval, days in DAYS.items()
    }  # fmt: skip
    with open_feed() as feed:
        for interval, span in spans.items():
            bars = feed.bars("BTCUSDT", interval, *span)
            assert same(bars, exchange.bars("BTCUSDT", interval, *span))
    asked = len(exchange.requests)
    with open_feed() as feed:
        for interval, span in spans.items():
            bars = feed.bars("BTCUSDT", interval, *span)
            assert same(bars, exchange.bars("BTCUSDT", interval, *span))
        pieces = list(feed.chunks("BTCUSDT", "5m", *spans["5m"]))
        joined = np.concatenate([piece.close for piece in pieces])
        assert np.array_equal(joined, exchange.bars("BTCUSDT", "5m", *spans["5m"])["close"])
    assert len(exchange.requests) == asked
    assert exchange.refused == 0


def test_several_symbols_by_every_door(put_in_place, cli, tmp_path):
    exchange = put_in_place()
    span = (MIDNIGHT - 90 * DAY, MIDNIGHT)
    with open_feed() as feed:
        many = feed.bars_many(list(MARKETS), "1h", *span)
        awaited = asyncio.run(feed.bars_async("1000PEPEUSDT", "1h", *span))
    assert awaited is many["1000PEPEUSDT"]
    for symbol, bars in many.items():
        assert same(bars, exchange.bars(symbol, "1h", *span))
    texts = [str(np.datetime64(each, "ms")) for each in span]
    fetched = cli(
        *("data", "fetch", *MARKETS, "--interval", "4h"),
        *("--start", texts[0], "--end", texts[1], "--json"),
    )
    assert (fetched.status, fetched.err) == (0, "")
    rows = {row["symbol"]: row["bars"] for row in json.loads(fetched.out)}
    assert rows == {s: len(exchange.bars(s, "4h", *span)["time"]) for s in MARKETS}


def test_before_the_listing_and_after_the_last_close(put_in_place):
    exchange = put_in_place()
    with open_feed() as feed:
        with pytest.raises(MissingDataError, match=r"nothing before 2024-01-1\d .*:07:00"):
            feed.bars("BTCUSDT", "5m", LISTED - DAY, LISTED + DAY)
        start = -(-LISTED // 300_000) * 300_000
        bars = feed.bars("BTCUSDT", "5m", start, start + DAY)
        assert same(bars, exchange.bars("BTCUSDT", "5m", start, start + DAY))
        with pytest.raises(MissingDataError, match="not closed yet"):
            feed.bars("BTCUSDT", "4h", MIDNIGHT - DAY, NOW + 1)
        with pytest.raises(MissingDataError, match="symbol 'NOSUCHUSDT'"):
            feed.bars("NOSUCHUSDT", "1m", MIDNIGHT - 300 * DAY, MIDNIGHT)
    assert len(exchange.paths("NOSUCHUSDT")) < 150  # a wrong name does not cost thousands


@pytest.mark.parametrize("ahead", [-400, 400])
def test_its_clock_decides_what_is_closed(put_in_place, ahead):
    """Up to now, while time goes on, by a clock that is minutes from the machine's."""
    skew = int(time.time()) * 1_000 - NOW
    exchange = put_in_place(now=lambda: int((time.time() + ahead) * 1_000) - skew, ahead=ahead)
    with open_feed() as feed:
        end = exchange.now() // MINUTE * MINUTE
        bars = feed.bars("BTCUSDT", "1m", end - 700 * MINUTE, end)
        assert same(bars, exchange.bars("BTCUSDT", "1m", end - 700 * MINUTE, end))
        with pytest.raises(MissingDataError, match="not closed yet"):
            feed.bars("BTCUSDT", "1m", end - 700 * MINUTE, end + 2 * MINUTE)


# what it refuses


def limited_twice(exchange, seconds=1):
    left = [None, None]

    def answer(path, _query):
        return exchange.limited(seconds) if "klines" in path and left and not left.pop() else None

    return answer


@pytest.mark.parametrize(("retry_after", "at_least"), [("seconds", 2), ("date", 1.5), ("", 0.15)])
def test_429_in_every_wording(put_in_place, monkeypatch, retry_after, at_least):
    monkeypatch.setattr(transport, "LIMITED_SECONDS", 0.05)
    exchange = put_in_place(retry_after=retry_after, ahead=3_600.0)
    exchange.plan.append(limited_twice(exchange))
    span = (MIDNIGHT - DAY, MIDNIGHT)
    began = time.monotonic()
    with open_feed() as feed:
        assert same(feed.bars("BTCUSDT", "4h", *span), exchange.bars("BTCUSDT", "4h", *span))
    assert at_least <= time.monotonic() - began < at_least + 6


def test_a_ban_of_two_minutes_is_an_error_at_once_and_keeps_all_silent(put_in_place):
    exchange = put_in_place()
    span = (MIDNIGHT - 3 * DAY, MIDNIGHT)
    with open_feed() as feed:
        kept = feed.bars("1000PEPEUSDT", "4h", *span)
        ban = said(418, -1003, "Way too many requests; IP banned until 1740000120000.")
        ban.headers["Retry-After"] = "120"
        exchange.plan.append(lambda *_: ban)
        began, asked = time.monotonic(), len(exchange.requests)
        for _ in range(3):
            with pytest.raises(ExchangeError, match="wait"):
                feed.bars("BTCUSDT", "4h", *span)
        assert time.monotonic() - began < 5
        assert len(exchange.requests) == asked + 1
        assert feed.bars("1000PEPEUSDT", "4h", *span) is kept


STRANGE = {
    "503 in words": Answer(503, b"Unknown error, please check your request or try again later.",
                           "text/plain"),
    "503 in JSON": said(503, -1001, "Internal error; unable to process your request."),
    "a page of a firewall": Answer(200, b"<!DOCTYPE html><html>Attention required</html>",
                                   "text/html"),
    "nothing": Answer(200, b""),
    "null": Answer(200, b"null"),
    "an error with 200": said(200, -1000, "An unknown error occurred."),
    "504": Answer(504, b"<html>Gateway Timeout</html>", "text/html"),
    "not a number": Answer(200, b"[[1740000000000,NaN,1,1,1,1,1740000059999,1,1,1,1,0]]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_answers_pass_or_are_an_error(put_in_place, monkeypatch, kind):
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(transport, "LONGEST_WAIT", 0.02)
    exchange = put_in_place()
    left = [STRANGE[kind]] * 3
    exchange.plan.append(lambda path, _: left.pop() if left and "klines" in path else None)
    span = (MIDNIGHT - DAY, MIDNIGHT)
    with open_feed() as feed:
        assert same(feed.bars("BTCUSDT", "4h", *span), exchange.bars("BTCUSDT", "4h", *span))
        exchange.plan.append(lambda path, _: STRANGE[kind] if path.startswith("/fapi") else None)
        with pytest.raises(ExchangeError, match="no usable answer in 8 attempts"):
            feed.bars("1000PEPEUSDT", "4h", *span)
        exchange.plan.clear()
        symbol = "1000PEPEUSDT"
        assert same(feed.bars(symbol, "4h", *span), exchange.bars(symbol, "4h", *span))


@pytest.mark.parametrize("where", ["http://127.0.0.1:9/fapi/v1/klines", "/fapi/v2/klines"])
def test_redirects_are_refused(put_in_place, where):
    exchange = put_in_place()
    answer = Answer(302, b"", "text/html", {"Location": where})
    exchange.plan.append(lambda path, _: answer if "klines" in path else None)
    with open_feed() as feed, pytest.raises(ExchangeError, match="leads to another address"):
        feed.bars("BTCUSDT", "4h", MIDNIGHT - DAY, MIDNIGHT)
    assert not exchange.paths("v2")


# its weight


def test_four_processes_never_use_more_than_it_allows(put_in_place, tmp_path):
    """Each with a folder of its own, so that nothing but the count of weight is shared."""
    names = [f"N{n}USDT" for n in range(4)]
    markets = {name: Market(n, MIDNIGHT - 6 * DAY, MIDNIGHT + DAY) for n, name in enumerate(names)}
    limits = (("ORDERS", "SECOND", 10, 300), ("REQUEST_WEIGHT", "SECOND", 3, 50))
    exchange = put_in_place(
        markets, limits=limits, header="X-Mbx-Used-Weight-3s", files=False, latency=0.01
    )
    start, end = (str(np.datetime64(MIDNIGHT - n * DAY, "ms")) for n in (5, 0))
    asked = ("--interval", "1m", "--start", start, "--end", end, "--json")
    code = "import sys; from backtest_py.cli import main; sys.exit(main(sys.argv[1:]))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, "data", "fetch", name, *asked],
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "BACKTEST_PY_DATA_DIR": str(tmp_path / name),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )
        for name in names
    ]
    found = [json.loads(process.communicate(timeout=120)[0])[0]["bars"] for process in started]
    assert found == [5 * 1_440] * 4
    assert exchange.refused == 0
    assert exchange.most["calendar"] <= exchange.most["sliding"] <= 50
    assert exchange.most["sliding"] > 30


def test_threads_of_one_process_too(put_in_place):
    limits = (("REQUEST_WEIGHT", "SECOND", 1, 12),)
    exchange = put_in_place(limits=limits, header="x-mbx-used-weight-1s", files=False)
    span = (MIDNIGHT - 11 * DAY, MIDNIGHT - 6 * DAY)
    with open_feed() as feed:
        threads = [
            threading.Thread(target=feed.bars, args=(symbol, "1m", *span)) for symbol in MARKETS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for symbol in MARKETS:
            assert same(feed.bars(symbol, "1m", *span), exchange.bars(symbol, "1m", *span))
    assert (exchange.refused, exchange.most["sliding"] <= 12) == (0, True)


def test_from_the_exchange_to_metrics(put_in_place):
    exchange = put_in_place(latency=0.02)
    with open_feed() as feed:
        began = time.monotonic()
        bars = feed.bars("BTCUSDT", "4h", MIDNIGHT - 366 * DAY, MIDNIGHT - DAY)
        result = bt.run(
            bars,
            "moving_average_cross",
            contract=bt.Contract(tick_size=0.01),
            metrics=bt.MetricSettings(periods_per_year=365),
        )
    assert result.metrics.total_trades > 0
    assert time.monotonic() - began < 2
    assert len(exchange.paths("klines")) <= 8
