"""The archive: what comes from it, what does not, and how both fit together."""

from __future__ import annotations

import io
import zipfile

import pytest
from tests.demo_candles import MIDNIGHT, Fetched, fetched, series, truth

from backtest_py.data.demo_exchange import DemoMarket
from backtest_py.data.market.intervals import DAY, MINUTE
from backtest_py.data.market.spans import Span, joined
from backtest_py.data.providers.bulk import candles_of_zip
from backtest_py.errors import DataError

LISTED = MIDNIGHT - 100 * DAY


def zips(exchange):
    return [
        path.split("/klines/")[1] for _, path, _, _ in exchange.requests if path.endswith("zip")
    ]


def source_names(got):
    return {source.name.partition(":")[0] for block in got.blocks for source in block.sources}


def test_months_then_days_then_pages(open_exchange, open_client):
    exchange = open_exchange()
    now = exchange.now()
    start, end = MIDNIGHT - 60 * DAY, MIDNIGHT + (now - MIDNIGHT) // MINUTE * MINUTE
    got = fetched(open_client(exchange), "1m", start, end)
    assert got.candles == truth(exchange.markets["BTCUSDT"], "1m", start, end)
    assert joined(got.known) == [Span(start, end)]
    assert source_names(got) == {"binance-archive", "binance-rest"}
    names = zips(exchange)
    assert "BTCUSDT/1m/BTCUSDT-1m-2025-01.zip" in names
    assert "BTCUSDT/1m/BTCUSDT-1m-2025-02-01.zip" in names
    assert "BTCUSDT/1m/BTCUSDT-1m-2025-02-18.zip" not in names


@pytest.mark.parametrize("interval", ["1h", "4h", "1d"])
def test_a_few_hundred_candles_come_over_rest(open_exchange, open_client, interval):
    exchange = open_exchange()
    got = fetched(open_client(exchange), interval, MIDNIGHT - 70 * DAY, MIDNIGHT)
    assert zips(exchange) == []
    assert source_names(got) == {"binance-rest"}


def test_rows_that_a_file_lacks_come_over_rest(open_exchange, open_client):
    exchange = open_exchange()
    exchange.fault("archive-missing-rows")
    start, end = 1_735_689_600_000, 1_738_368_000_000  # January 2025
    got = fetched(open_client(exchange), "1m", start, end)
    assert got.candles == truth(exchange.markets["BTCUSDT"], "1m", start, end)
    assert (joined(got.known), got.holes) == ([Span(start, end)], [])
    assert source_names(got) == {"binance-archive", "binance-rest"}


def test_a_hole_in_a_file_is_a_hole_only_when_rest_says_so(open_exchange, open_client):
    start, end = 1_735_689_600_000, 1_738_368_000_000
    hole = Span(start + 5 * DAY, start + 5 * DAY + 90 * MINUTE)
    exchange = open_exchange(DemoMarket("BTCUSDT", LISTED, MIDNIGHT, holes=(tuple(hole),)))
    got = fetched(open_client(exchange), "1m", start, end)
    assert joined(each.span for each in got.holes) == [hole]
    assert all("GET /fapi" in each.evidence for each in got.holes)
    assert joined(got.known) == [Span(start, end)]


def test_a_delisted_market_is_found_in_the_archive(open_exchange, open_client):
    market = DemoMarket("OLDUSDT", LISTED, MIDNIGHT - 30 * DAY - MINUTE, delisted=True)
    exchange = open_exchange(market)
    for interval, n_days in (("1m", 40), ("1h", 5), ("1h", 60)):
        start = MIDNIGHT - 90 * DAY
        end = start + n_days * DAY
        got = fetched(open_client(exchange), interval, start, end, symbol="OLDUSDT")
        assert got.candles == truth(market, interval, start, end)
        assert source_names(got) == {"binance-archive"}


def test_nothing_before_the_listing_is_asked_of_the_archive(open_exchange, open_client):
    exchange = open_exchange()
    fetched(open_client(exchange), "1m", LISTED - 200 * DAY, LISTED + 3 * DAY)
    assert len(zips(exchange)) <= 2


def test_what_was_taken_is_not_fetched_again(open_exchange, open_client):
    """An interrupted download keeps the blocks that came, and goes on with the rest."""
    exchange = open_exchange()
    client = open_client(exchange, connections=1)
    series_ = series("1m")
    span = Span(MIDNIGHT - 80 * DAY, MIDNIGHT - 5 * DAY)
    blocks = client.fetch(series_, span)
    taken = [next(blocks), next(blocks)]
    blocks.close()
    exchange.requests.clear()
    from backtest_py.data.market.spans import missing

    rest = missing(span, [known for block in taken for known in block.known])
    taken += client.fetch_many([(series_, each) for each in rest])
    first = {source.name.partition("/")[2] for block in taken[:2] for source in block.sources}
    assert not first & set(zips(exchange))
    assert Fetched(taken).candles == truth(exchange.markets["BTCUSDT"], "1m", *span)


# --- single files

ROW = "1733011200000,1.5,2.25,1.25,1.75,10.5,1733011259999,20.125,3,4.5,8.5,0"
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
NAME = "BTCUSDT-1m-2024-12.zip"


def packed(text, name="BTCUSDT-1m-2024-12.csv", method=zipfile.ZIP_DEFLATED):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as file:
        file.writestr(name, text)
    return sink.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        ROW,
        ROW + "\n",
        f"{HEADER}\n{ROW}\n",
        f"\ufeff{HEADER}\r\n{ROW}\r\n",
        HEADER.upper() + "\n" + ROW,
        f"{ROW}\n".replace("200000,", "200000000,").replace("259999,", "259999999,"),
    ],
)
def test_tables_with_and_without_a_header(text):
    candles = candles_of_zip(packed(text), series("1m"), NAME)
    assert candles.open_time.tolist() == [1_733_011_200_000]
    assert candles.quote_volume.tolist() == [20.125]
    assert (candles.taker_base.tolist(), candles.trades.tolist()) == ([4.5], [3])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1733011259999", "1733011260000"),
        ("1733011200000", "1733011200001"),
        ("1733011200000", "1733011200"),
        ("1733011200000", ""),
        ("1733011200000,", "1733011200000500,"),
        ("2.25", "nan"),
        ("2.25", "inf"),
        ("2.25", ""),
        ("2.25", "1.5x"),
        ("2.25", "1.625"),
        (",1.25", ",1.625"),
        ("10.5", "-10.5"),
        (",3,", ",-3,"),
        (",3,", ",3.5,"),
        ("1.5,", "0,"),
        (",0", ""),
        (",0", ",0,0"),
    ],
)
def test_tables_that_are_refused(old, new):
    candles_of_zip(packed(ROW), series("1m"), NAME)
    with pytest.raises(DataError, match="2024-12"):
        candles_of_zip(packed(ROW.replace(old, new, 1)), series("1m"), NAME)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        packed(ROW)[:-30],
        packed(ROW)[:40] + bytes(8) + packed(ROW)[48:],
        packed(ROW, "other.csv"),
        packed(ROW, method=zipfile.ZIP_LZMA),
        packed(HEADER.replace("high,low", "low,high") + "\n" + ROW),
        packed(b"\0" * 10_000_000),
    ],
    ids=["nothing", "two bytes", "cut", "damaged", "name", "packing", "header", "bomb"],
)
def test_zips_that_are_refused(content):
    with pytest.raises(DataError, match="2024-12"):
        candles_of_zip(content, series("1m"), NAME)


def test_every_cut_of_a_zip_is_refused():
    content = packed(f"{HEADER}\n{ROW}\n")
    for size in range(len(content)):
        with pytest.raises(DataError):
            candles_of_zip(content[:size], series("1m"), NAME)
