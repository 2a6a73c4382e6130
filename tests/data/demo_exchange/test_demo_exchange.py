"""The local exchange answers as the real one documents, counts weight, and can be broken."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
import zipfile
from hashlib import sha256

import numpy as np
import pytest

from backtest_py.data.demo_exchange import (
    FAULTS,
    DemoExchange,
    DemoMarket,
    demo_markets,
    serve,
)
from backtest_py.data.market.intervals import DAY, MINUTE, interval_of
from backtest_py.errors import ConfigError

NOW = 1_740_000_000_123
MIDNIGHT = NOW // DAY * DAY
LISTED = MIDNIGHT - 30 * DAY
HOUR = 60 * MINUTE


@pytest.fixture
def exchange():
    markets = (
        DemoMarket("BTCUSDT", LISTED, NOW, holes=((MIDNIGHT - 2 * HOUR, MIDNIGHT - HOUR),)),
        DemoMarket("OLDUSDT", LISTED, MIDNIGHT - DAY, delisted=True),
    )
    with DemoExchange(markets, lambda: NOW) as started:
        yield started


def ask(exchange, path, method="GET", data=None, **headers):
    request = urllib.request.Request(exchange.url + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def klines(exchange, **query):
    text = "&".join(f"{name}={value}" for name, value in query.items())
    status, _, body = ask(exchange, f"/fapi/v1/klines?{text}")
    return status, json.loads(body)


def test_klines_by_start_end_and_limit(exchange):
    base = {"symbol": "BTCUSDT", "interval": "1m"}
    status, rows = klines(exchange, **base)
    assert (status, len(rows)) == (200, 500)
    assert rows[-1][0] == NOW // MINUTE * MINUTE  # the open candle
    assert rows[-1][6] == rows[-1][0] + MINUTE - 1 > NOW
    start = MIDNIGHT - 3 * DAY
    _, rows = klines(exchange, **base, startTime=start + 1, endTime=start + 3 * MINUTE)
    assert [row[0] - start for row in rows] == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert {type(item) for item in rows[0]} == {int, str}
    assert len(rows[0]) == 12
    assert len(klines(exchange, **base, startTime=start, limit=1_500)[1]) == 1_500
    assert klines(exchange, **base, startTime=1)[1][0][0] == LISTED
    assert klines(exchange, **base, startTime=NOW + HOUR)[1] == []
    _, rows = klines(exchange, **base, endTime=MIDNIGHT - 1, limit=70)
    assert len(rows) == 70
    assert rows[-1][0] == MIDNIGHT - MINUTE
    assert rows[9][0] == MIDNIGHT - 2 * HOUR - MINUTE  # the hole


def test_an_open_candle_changes_until_it_closes():
    clock = [MIDNIGHT + 30_000]
    market = DemoMarket("BTCUSDT", LISTED, MIDNIGHT + DAY)
    rows = []
    for now in (MIDNIGHT + 30_000, MIDNIGHT + HOUR // 2, MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR):
        clock[0] = now
        rows.append(market.rows(interval_of("1h"), MIDNIGHT, MIDNIGHT + HOUR, 1, now)[0])
    assert rows[0] != rows[1] != rows[2] == rows[3]


def test_coarse_candles_are_made_of_the_minutes():
    market = DemoMarket("BTCUSDT", LISTED, NOW)
    hour = market.table(interval_of("1h"), MIDNIGHT, MIDNIGHT + HOUR, 10, NOW)
    minutes = market.table(interval_of("1m"), MIDNIGHT, MIDNIGHT + HOUR, 60, NOW)
    _, opened, high, low, close, volume, _, value, trades, base, quote = minutes
    sums = [int(column.sum()) for column in (volume, value, trades, base, quote)]
    assert [int(column[0]) for column in hour[1:6]] == [
        *(opened[0], high.max(), low.min(), close[-1], sums[0])
    ]
    assert [int(column[0]) for column in hour[7:]] == sums[1:]
    assert np.all(low <= np.minimum(opened, close))
    assert np.all(base <= volume)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", -1102),
        ("?symbol=BTCUSDT", -1102),
        ("?symbol=NOPE&interval=1m", -1121),
        ("?symbol=OLDUSDT&interval=1m", -1121),
        ("?symbol=BTCUSDT&interval=7m", -1120),
        ("?symbol=BTCUSDT&interval=1m&limit=x", -1100),
        ("?symbol=BTCUSDT&interval=1m&limit=1501", -1130),
        ("?symbol=BTCUSDT&interval=1m&limit=0", -1130),
    ],
)
def test_bad_questions(exchange, query, code):
    status, _, body = ask(exchange, f"/fapi/v1/klines{query}")
    assert (status, json.loads(body)["code"]) == (400, code)


def test_other_endpoints(exchange):
    assert json.loads(ask(exchange, "/fapi/v1/time")[2]) == {"serverTime": NOW}
    information = json.loads(ask(exchange, "/fapi/v1/exchangeInfo")[2])
    assert information["rateLimits"][0]["limit"] == 2_400
    assert [each["symbol"] for each in information["symbols"]] == ["BTCUSDT"]
    assert ask(exchange, "/fapi/v1/ping")[2] == b"{}"
    assert ask(exchange, "/else")[0] == 404


@pytest.mark.parametrize(("limit", "weight"), [(99, 1), (100, 2), (499, 2), (500, 5), (1001, 10)])
def test_weight_by_limit(exchange, limit, weight):
    path = f"/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit={limit}"
    for times in (1, 2):
        assert int(ask(exchange, path)[1]["X-MBX-USED-WEIGHT-1M"]) == times * weight
    assert exchange.most_weight == 2 * weight


def test_429_then_418_then_good_again():
    with DemoExchange((), lambda: NOW, limit=3, window=1.0, ban_seconds=1.5) as exchange:
        statuses = [ask(exchange, "/fapi/v1/time")[0] for _ in range(12)]
        assert statuses == [200] * 3 + [429] * 5 + [418] * 4
        _, headers, body = ask(exchange, "/fapi/v1/time")
        assert int(headers["Retry-After"]) == 2
        assert json.loads(body)["code"] == -1003
        time.sleep(1.6)
        assert ask(exchange, "/fapi/v1/time")[0] == 200


def test_archive(exchange):
    folder = "/data/futures/um/daily/klines/BTCUSDT/1h"
    day = str(np.datetime64(MIDNIGHT - 5 * DAY, "ms").astype("M8[D]"))
    _, _, content = ask(exchange, f"{folder}/BTCUSDT-1h-{day}.zip")
    _, _, checksum = ask(exchange, f"{folder}/BTCUSDT-1h-{day}.zip.CHECKSUM")
    assert checksum.decode().split() == [sha256(content).hexdigest(), f"BTCUSDT-1h-{day}.zip"]
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        lines = file.read(f"BTCUSDT-1h-{day}.csv").decode().splitlines()
    assert lines[0].startswith("open_time,open,high,low,close,volume,close_time,quote_volume,")
    assert len(lines) == 25
    rows = klines(
        exchange, symbol="BTCUSDT", interval="1h", startTime=MIDNIGHT - 5 * DAY, limit=24
    )[1]
    assert [line.split(",") for line in lines[1:]] == [list(map(str, row)) for row in rows]
    newest = str(np.datetime64(MIDNIGHT, "ms").astype("M8[D]"))
    for path in (newest, "2001-01-01", "2025", "x", "../../x"):
        assert ask(exchange, f"{folder}/BTCUSDT-1h-{path}.zip")[0] == 404
    assert ask(exchange, f"{folder.replace('BTC', 'NOPE')}/NOPEUSDT-1h-{day}.zip")[0] == 404


def test_old_files_have_no_header_and_months_have_another_name():
    start = 1_640_995_200_000  # 2022
    market = DemoMarket("BTCUSDT", start, start + 200 * DAY)
    with DemoExchange((market,), lambda: NOW) as exchange:
        for month, header in (("2022-04", False), ("2022-05", True)):
            path = f"/data/futures/um/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-{month}.zip"
            with zipfile.ZipFile(io.BytesIO(ask(exchange, path)[2])) as file:
                text = file.read(f"BTCUSDT-1mo-{month}.csv")
            assert text.startswith(b"open_time") == header


def test_faults_by_address(exchange):
    def order(method="POST", origin=None, **fault):
        extra = {} if origin is None else {"Origin": origin}
        return ask(exchange, "/demo/faults", method, json.dumps(fault).encode(), **extra)

    status, _, body = order(name="html", times=1)
    assert status == 200
    assert json.loads(body)["active"] == [{"name": "html", "times": 1, "every": 1}]
    assert set(json.loads(body)["known"]) == set(FAULTS)
    path = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1"
    assert ask(exchange, path)[2].startswith(b"<!doctype html>")
    assert ask(exchange, path)[2].startswith(b"[[")
    for wrong in ({"name": "nope"}, {"name": "html", "times": 0}, {"name": "html", "x": 1}, {}):
        assert order(**wrong)[0] == 400
    assert order(name="html", origin="http://evil.example")[0] == 400
    assert ask(exchange, "/demo/faults", "DELETE", Host="evil.example:80")[0] == 400
    assert json.loads(ask(exchange, "/demo/faults", "DELETE")[2])["active"] == []
    with pytest.raises(ConfigError, match="fault"):
        exchange.fault("nope")


def test_one_connection_serves_many_questions_and_stop_ends_all(exchange):
    before = {*threading.enumerate()}
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", int(exchange.url.rpartition(":")[2]))
    for _ in range(3):
        connection.request("GET", "/fapi/v1/time")
        assert connection.getresponse().read() == b'{"serverTime":1740000000123}'
    opened = {*threading.enumerate()} - before
    assert len(opened) == 1
    exchange.stop()
    assert not any(thread.is_alive() for thread in opened)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", connection.port), timeout=1)
    connection.close()


def test_a_year_of_ten_symbols_is_made_fast():
    began = time.monotonic()
    market = DemoMarket("BTCUSDT", NOW - 365 * DAY, NOW)
    assert len(market.csv_lines(interval_of("1m"), NOW - 365 * DAY, NOW, NOW)) == 525_600
    assert time.monotonic() - began < 15  # about 1 s on an idle machine


def test_the_same_everywhere():
    market = DemoMarket("BTCUSDT", 0, 100 * DAY, seed=3)
    text = "\n".join(market.csv_lines(interval_of("4h"), 0, 100 * DAY, 100 * DAY))
    assert sha256(text.encode()).hexdigest() == PINNED
    assert text != "\n".join(
        DemoMarket("BTCUSDT", 0, 100 * DAY).csv_lines(interval_of("4h"), 0, 100 * DAY, 100 * DAY)
    )


PINNED = "67b39176cfbbc93b2b61ccc3ae2fb5545c0d83d8f7b0e88082099473b7dea083"


def test_serve_ends_with_control_c(monkeypatch):
    seen = []

    def ready(exchange):
        seen.append(json.loads(ask(exchange, "/fapi/v1/exchangeInfo")[2]))
        seen.append(exchange)
        monkeypatch.setattr(threading.Event, "wait", interrupted)

    def interrupted(*_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    serve(0, days=40, faults=["slow"], ready=ready)
    names = {each["symbol"] for each in seen[0]["symbols"]}
    assert {"BTCUSDT", "NEWUSDT", "HOLEUSDT", "1000PEPEUSDT"} <= names
    assert "OLDUSDT" not in names
    with pytest.raises(OSError):
        ask(seen[1], "/fapi/v1/time")
    with pytest.raises(ConfigError, match="fault"):
        serve(0, faults=["nope"])
    with pytest.raises(ConfigError, match="days"):
        serve(0, days=0)
    with DemoExchange(()) as running, pytest.raises(ConfigError, match="port"):
        serve(int(running.url.rpartition(":")[2]))
    assert len(demo_markets(NOW)) == 14
