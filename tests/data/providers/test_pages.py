"""What pages of the exchange mean: closed candles, listing, holes, and what is not known."""

from __future__ import annotations

import pytest
from tests.demo_candles import MIDNIGHT, NOW, Fetched, fetched, series, truth

from backtest_py.data.demo_exchange import DemoMarket
from backtest_py.data.market.intervals import DAY, INTERVALS, MINUTE
from backtest_py.data.market.spans import Span, joined
from backtest_py.errors import ExchangeError, MissingDataError

HOUR = 60 * MINUTE
LISTED = MIDNIGHT - 100 * DAY


def limits(exchange):
    return [int(query["limit"]) for _, path, query, _ in exchange.requests if "klines" in path]


def weight(exchange):
    return sum(request[3] for request in exchange.requests)


@pytest.mark.parametrize("name", INTERVALS)
def test_every_interval_comes_with_all_its_columns(open_exchange, open_client, name):
    exchange = open_exchange()
    interval = INTERVALS[name]
    start = interval.ceil(MIDNIGHT - (1 if 0 < interval.ms < DAY else 60) * DAY)
    end = interval.floor(MIDNIGHT)
    got = fetched(open_client(exchange, use_bulk=False), name, start, end)
    assert len(got.candles) > 1 or name == "1M"
    assert got.candles == truth(exchange.markets["BTCUSDT"], name, start, end)
    assert joined(got.known) == [Span(start, end)]


def test_an_open_candle_is_never_given(open_exchange, open_client):
    clock = [MIDNIGHT + HOUR]
    exchange = open_exchange(now=lambda: clock[0])
    client = open_client(exchange)
    for now, n_candles in (
        (MIDNIGHT + HOUR - 1, 0),
        (MIDNIGHT + HOUR, 1),
        (MIDNIGHT + 2 * HOUR - 1, 1),
        (MIDNIGHT + 2 * HOUR, 2),
    ):
        clock[0] = now
        got = fetched(client, "1h", MIDNIGHT, MIDNIGHT + 12 * HOUR)
        assert len(got.candles) == n_candles
        assert got.candles == truth(
            exchange.markets["BTCUSDT"], "1h", MIDNIGHT, MIDNIGHT + n_candles * HOUR
        )
        assert joined(got.known) == (
            [Span(MIDNIGHT, MIDNIGHT + n_candles * HOUR)] * bool(n_candles)
        )


@pytest.mark.parametrize(
    ("n_candles", "sizes"),
    [
        (1, [1]),
        (99, [99]),
        (100, [100]),
        (499, [499]),
        (500, [499, 1]),
        (598, [499, 99]),
        (998, [499, 499]),
    ],
)
def test_pages_weigh_as_little_as_they_can(open_exchange, open_client, n_candles, sizes):
    exchange = open_exchange()
    start = MIDNIGHT - 998 * MINUTE
    got = fetched(open_client(exchange), "1m", start, start + n_candles * MINUTE)
    assert len(got.candles) == n_candles
    assert sorted(limits(exchange)) == sorted(sizes)
    assert weight(exchange) == 2 + sum(1 if size < 100 else 2 for size in sizes)


def test_before_the_listing_nothing_is_known_and_nothing_is_a_hole(open_exchange, open_client):
    exchange = open_exchange()
    for days in (2, 200):  # one page, and several
        got = fetched(open_client(exchange), "1h", LISTED - days * DAY, LISTED + DAY)
        assert got.holes == []
        assert joined(got.known) == [Span(LISTED, LISTED + DAY)]
    got = fetched(open_client(exchange), "1h", LISTED - 3 * DAY, LISTED - DAY)
    assert got.blocks == []
    assert open_client(exchange).listed_at("BTCUSDT") == LISTED


HOLES = {
    "in the middle of a page": (MIDNIGHT - 5 * DAY, MIDNIGHT - 5 * DAY + 3 * HOUR),
    "at the start of what is wanted": (MIDNIGHT - 11 * DAY, MIDNIGHT - 10 * DAY + 2 * HOUR),
    "at its end": (MIDNIGHT - 2 * HOUR, MIDNIGHT),
    "longer than all of it": (MIDNIGHT - 20 * DAY, MIDNIGHT + HOUR // 4),
    "at the edge of two pages": (
        MIDNIGHT - 10 * DAY + 498 * HOUR // 4,
        MIDNIGHT - 10 * DAY + 503 * HOUR // 4,
    ),
    "for one candle": (MIDNIGHT - DAY, MIDNIGHT - DAY + HOUR // 4),
}


@pytest.mark.parametrize("where", HOLES)
def test_a_hole_comes_with_two_answers_as_evidence(open_exchange, open_client, where):
    start = MIDNIGHT - 10 * DAY
    market = DemoMarket("BTCUSDT", LISTED, NOW, holes=(HOLES[where],))
    exchange = open_exchange(market)
    got = fetched(open_client(exchange, use_bulk=False), "15m", start, MIDNIGHT)
    assert joined(got.known) == [Span(start, MIDNIGHT)]
    hole = Span(max(start, HOLES[where][0]), min(MIDNIGHT, HOLES[where][1]))
    assert joined(hole.span for hole in got.holes) == [hole]
    assert got.candles == truth(market, "15m", start, MIDNIGHT)
    for each in got.holes:
        assert (
            each.evidence.count("GET /fapi/v1/klines?symbol=BTCUSDT&interval=15m&startTime=") == 2
        )


def test_several_holes_in_a_page(open_exchange, open_client):
    at = MIDNIGHT - 2 * DAY
    holes = tuple((at + n * 3 * HOUR, at + n * 3 * HOUR + n * HOUR) for n in (0, 1, 2))
    market = DemoMarket("BTCUSDT", LISTED, NOW, holes=holes)
    got = fetched(open_client(open_exchange(market)), "1h", at - DAY, MIDNIGHT)
    assert [tuple(hole.span) for hole in got.holes] == list(holes[1:])
    assert got.candles == truth(market, "1h", at - DAY, MIDNIGHT)


def test_after_the_last_trade_nothing_is_known(open_exchange, open_client):
    ended = MIDNIGHT - 3 * DAY
    exchange = open_exchange(DemoMarket("BTCUSDT", LISTED, ended - MINUTE))
    got = fetched(open_client(exchange), "1h", ended - DAY, MIDNIGHT)
    assert (joined(got.known), got.holes) == ([Span(ended - DAY, ended)], [])
    assert fetched(open_client(exchange), "1h", ended + DAY, MIDNIGHT).blocks == []


def test_an_unknown_symbol(open_exchange, open_client):
    exchange = open_exchange()
    client = open_client(exchange)
    assert fetched(client, "1h", MIDNIGHT - DAY, MIDNIGHT, symbol="NOPEUSDT").blocks == []
    with pytest.raises(MissingDataError, match=r"'NOPEUSDT'.*delisted"):
        client.listed_at("NOPEUSDT")


def test_a_page_that_says_something_else_when_asked_again(open_exchange, open_client):
    exchange = open_exchange()
    exchange.fault("missing-row", times=1)
    got = fetched(open_client(exchange), "1h", MIDNIGHT - DAY, MIDNIGHT)
    assert got.candles == truth(exchange.markets["BTCUSDT"], "1h", MIDNIGHT - DAY, MIDNIGHT)
    assert got.holes == []

    exchange.fault("missing-row")
    with pytest.raises(ExchangeError, match="differently every time"):
        fetched(open_client(exchange), "1h", MIDNIGHT - DAY, MIDNIGHT)


def test_several_series_come_in_parallel(open_exchange, open_client):
    import time

    names = [f"N{n}USDT" for n in range(10)]
    markets = [DemoMarket(name, LISTED, MIDNIGHT + DAY) for name in names]
    exchange = open_exchange(*markets, latency=0.2)
    client = open_client(exchange)
    span = Span(MIDNIGHT - 40 * DAY, MIDNIGHT)

    began = time.monotonic()
    one_by_one = [Fetched(client.fetch(series("4h", name), span)).candles for name in names]
    in_sequence = time.monotonic() - began

    told = []
    began = time.monotonic()
    blocks = list(
        client.fetch_many([(series("4h", name), span) for name in names], progress=told.append)
    )
    assert time.monotonic() - began < in_sequence / 3
    by_name = {name: [b for b in blocks if b.series.symbol == name] for name in names}
    assert [Fetched(by_name[name]).candles for name in names] == one_by_one
    assert sum(told) == sum(map(len, one_by_one)) == 2_400


def test_the_budget_is_read_from_the_exchange_once_an_hour(open_exchange, open_client):
    exchange = open_exchange(limit=77)
    for _ in range(2):  # a second client stands for a second process
        fetched(open_client(exchange), "1h", MIDNIGHT - DAY, MIDNIGHT)
    asked = [path for _, path, _, _ in exchange.requests]
    assert asked.count("/fapi/v1/exchangeInfo") == 1
    assert [tuple(rule) for rule in open_client(exchange)._budget.rules(60)] == [(77, 60_000)]


@pytest.mark.parametrize(
    "information",
    [{}, {"rateLimits": None}, {"rateLimits": [3, {}, {"rateLimitType": "REQUEST_WEIGHT"}]}],
)
def test_without_stated_limits_the_documented_one_holds(open_exchange, open_client, information):
    from backtest_py.data.demo_exchange.reply import json_reply

    exchange = open_exchange()
    exchange.faults.append(
        lambda path, _, reply: json_reply(information) if "exchangeInfo" in path else reply
    )
    assert len(fetched(open_client(exchange), "1h", MIDNIGHT - DAY, MIDNIGHT).candles) == 24
    assert [tuple(rule) for rule in open_client(exchange)._budget.rules(60)] == [(2_400, 60_000)]


def test_a_candle_from_before_the_first_one_is_not_believed(open_exchange, open_client):
    exchange = open_exchange()
    client = open_client(exchange, use_bulk=False)
    end = LISTED + 20 * HOUR
    for start in (LISTED - 3 * DAY, LISTED - HOUR):
        exchange.fault("overlap", times=1)
        got = fetched(client, "1h", start, end)
        assert joined(got.known) == [Span(LISTED, end)]
        assert got.candles == truth(exchange.markets["BTCUSDT"], "1h", LISTED, end)
        exchange.clear_faults()
    exchange.fault("overlap")
    with pytest.raises(ExchangeError, match="differently every time"):
        fetched(client, "1h", LISTED - 3 * DAY, end)
