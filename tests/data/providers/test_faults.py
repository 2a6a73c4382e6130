"""Every fault of exchange and archive: right candles or a typed error, never wrong data."""

from __future__ import annotations

import threading
import time

import pytest
from tests.demo_candles import MIDNIGHT, NOW, fetched, series, truth

from backtest_py.data.demo_exchange import FAULTS, DemoMarket
from backtest_py.data.market.intervals import DAY, MINUTE
from backtest_py.data.market.spans import Span, joined
from backtest_py.data.providers import transport
from backtest_py.errors import BacktestWarning, ConfigError, ExchangeError

LISTED = MIDNIGHT - 100 * DAY
START = MIDNIGHT - DAY
HARMLESS = {"wrong-type", "short-page", "slow"}
ON_PAGES = [name for name, fault in FAULTS.items() if fault.stage in {"answer", "rows"}]
ON_ARCHIVE = [name for name in FAULTS if name not in {*ON_PAGES, "rewritten"}]


def wanted(exchange, start=START, end=MIDNIGHT, interval="15m"):
    return truth(exchange.markets["BTCUSDT"], interval, start, end)


@pytest.mark.parametrize("name", [n for n in ON_PAGES if "418" not in n])
def test_a_fault_that_passes_is_survived(open_exchange, open_client, name):
    exchange = open_exchange()
    exchange.fault(name, times=1)
    client = open_client(exchange)
    if name == "redirect":
        with pytest.raises(ExchangeError, match="another address"):
            fetched(client, "15m", START, MIDNIGHT)
    got = fetched(client, "15m", START, MIDNIGHT)
    assert got.candles == wanted(exchange)
    assert got.holes == []


@pytest.mark.parametrize("name", [n for n in ON_PAGES if n not in {*HARMLESS, "empty-page"}])
def test_a_fault_that_stays_is_an_error(open_exchange, open_client, monkeypatch, name):
    monkeypatch.setattr(transport, "MAX_ASKED_WAIT", 1.5)  # 418 with Retry-After 2 is too long
    if name in {"status-429", "status-429-bare"}:
        monkeypatch.setattr(transport.Unusable, "attempts", 2)
    exchange = open_exchange()
    exchange.fault(name)
    began = time.monotonic()
    with pytest.raises(ExchangeError, match=r"(127\.0\.0\.1|binance)"):
        fetched(open_client(exchange), "15m", START, MIDNIGHT)
    assert time.monotonic() - began < 15
    assert len(exchange.requests) <= 3 + transport.ATTEMPTS


@pytest.mark.parametrize("name", ["wrong-type", "short-page"])
def test_what_looks_odd_and_is_right_is_taken(open_exchange, open_client, name):
    exchange = open_exchange()
    exchange.fault(name)
    got = fetched(open_client(exchange), "15m", START, MIDNIGHT)
    assert (got.candles, got.holes) == (wanted(exchange), [])


def test_an_empty_page_leaves_a_span_unknown(open_exchange, open_client):
    exchange = open_exchange()
    exchange.fault("empty-page")
    got = fetched(open_client(exchange, use_bulk=False), "15m", START, MIDNIGHT)
    assert (got.known, got.holes) == ([], [])


def test_a_storm_of_503_is_survived(open_exchange, open_client):
    exchange = open_exchange()
    exchange.fault("status-503", every=3)
    end = START + 499 * MINUTE * 20
    exchange.markets["BTCUSDT"] = DemoMarket("BTCUSDT", LISTED, MIDNIGHT + 10 * DAY)
    exchange.now = lambda: MIDNIGHT + 10 * DAY
    got = fetched(open_client(exchange, use_bulk=False), "1m", START, end)
    assert got.candles == wanted(exchange, START, end, "1m")


def test_retry_after_holds_everybody_back(open_exchange, open_client):
    exchange = open_exchange()
    first, second = open_client(exchange), open_client(exchange)
    first.server_time()
    exchange.fault("status-429", times=1)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(fetched(first, "15m", START, MIDNIGHT)))
    thread.start()
    while second._budget.paused() == 0:
        time.sleep(0.01)
    held = time.monotonic()
    assert fetched(second, "15m", START, MIDNIGHT).candles == wanted(exchange)
    thread.join()
    assert answers[0].candles == wanted(exchange)
    sent = [at for at, *_ in exchange.requests if at > held]
    assert min(sent) - held > 0.9


def test_a_long_ban_stops_everybody_at_once(open_exchange, open_client):
    exchange = open_exchange()
    exchange.fault("status-418-long", times=1)
    with pytest.raises(ExchangeError, match=r"wait 86,400 s \(status 418, code -1003"):
        fetched(open_client(exchange), "15m", START, MIDNIGHT)
    sent = len(exchange.requests)
    with pytest.raises(ExchangeError, match="asked this address to wait"):
        fetched(open_client(exchange), "15m", START, MIDNIGHT)
    assert len(exchange.requests) == sent


def test_a_short_ban_is_waited_for(open_exchange, open_client):
    exchange = open_exchange()
    exchange.fault("status-418", times=1)
    began = time.monotonic()
    assert fetched(open_client(exchange), "15m", START, MIDNIGHT).candles == wanted(exchange)
    assert time.monotonic() - began > 1.9


def test_nobody_listens(open_exchange, open_client):
    exchange = open_exchange()
    exchange.stop()
    with pytest.raises(ExchangeError, match="no usable answer in 4 attempts"):
        open_client(exchange).server_time()


@pytest.mark.parametrize("address", ["ftp://host", "http://", "", "host:80", "http://h/?a=1"])
def test_addresses_that_are_none(tmp_path, address):
    with pytest.raises(ConfigError, match="address of an exchange"):
        transport.Transport(address, None)


def test_no_error_shows_a_password(tmp_path):
    client = transport.Transport("http://user:hunter2@127.0.0.1:9/base", None)
    with pytest.raises(ExchangeError) as caught:
        client.file("/x")
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__} {client!r}"


# --- the archive: a month of 1m candles, which REST then completes


MONTH = Span(1_733_011_200_000, 1_735_689_600_000)  # December 2024
TAKEN = {"microseconds", "archive-cut", "no-months"}
REFUSED = {"no-archive": "status 503", "bad-checksum": "SHA-256", "two-members": "2 files",
           "other-member": "not 'BTCUSDT", "zip-bomb": "unpacks to", "zip-cut": "no zip",
           "archive-doubled-rows": "not after", "archive-no-table": "table"}  # fmt: skip


def bulk_exchange(open_exchange):
    return open_exchange(DemoMarket("BTCUSDT", MONTH.start - DAY, MONTH.end + DAY))


@pytest.mark.parametrize("name", ON_ARCHIVE)
def test_faults_of_the_archive(open_exchange, open_client, name, recwarn):
    exchange = bulk_exchange(open_exchange)
    exchange.fault(name, times=1 if name == "archive-cut" else None)
    span = Span(MONTH.start + 2 * DAY, MONTH.start + 5 * DAY)
    if name in REFUSED:
        with pytest.warns(BacktestWarning, match=REFUSED[name]):
            got = fetched(open_client(exchange), "1m", *span)
    else:
        got = fetched(open_client(exchange), "1m", *span)
    assert got.candles == wanted(exchange, *span, "1m")
    assert (joined(got.known), got.holes) == ([span], [])
    archived = [s for b in got.blocks for s in b.sources if s.name.startswith("binance-archive")]
    assert bool(archived) == (name in TAKEN or name == "archive-missing-rows")
    assert all(len(source.checksum) == 64 for source in archived)


def test_bytes_per_second_do_not_matter_but_time_does(open_exchange, open_client, monkeypatch):
    monkeypatch.setattr(transport, "ANSWER_SECONDS", 0.0)
    exchange = open_exchange()
    with pytest.raises(ExchangeError, match="no end of the answer"):
        open_client(exchange).server_time()


def test_too_large_an_answer(open_exchange, open_client, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BODY", 10)
    with pytest.raises(ExchangeError, match="more than 10 bytes"):
        open_client(open_exchange()).server_time()


def test_a_series_reaches_the_address_only_checked():
    for name in ("../../x", "a/b", "BTC\0", "'; DROP TABLE", "CON", "A" * 10_000):
        with pytest.raises(ConfigError):
            series("1h", name)
    assert NOW > LISTED


def test_metrics_are_told_what_happened(open_exchange, open_client):
    told = []
    exchange = open_exchange()
    exchange.fault("status-503", times=2)
    exchange.fault("body-cut", times=1, every=3)
    fetched(open_client(exchange, tell=lambda *event: told.append(event)), "15m", START, MIDNIGHT)
    assert [label for name, label, *_ in told if name == "retry"] == [
        *("503", "503", "RemoteProtocolError")
    ]
    labels = [label for name, label, *_ in told if name == "request"]
    assert labels == ["200", "200", "503", "503", "RemoteProtocolError", "200"]
    weights = [amount for name, _, amount, _ in told if name == "weight"]
    assert sum(weights) == sum(r[3] for r in exchange.requests)
    assert all(seconds >= 0 for _, _, seconds, _ in told)
