"""Numbers of the exchange: every text is the float64 nearest to it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.demo_candles import series

from backtest_py.data.market.candles import COLUMNS
from backtest_py.data.providers.klines import candles_of_csv, candles_of_rows
from backtest_py.errors import DataError

AT = 1_740_000_000_000
decimals = st.decimals(min_value="1e-12", max_value="1e15", allow_nan=False, places=12).map(
    lambda number: f"{number:f}"
)
amounts = st.lists(decimals, min_size=4, max_size=4)


def row(at=AT, **changes):
    named = {
        "open": "1.5", "high": "2", "low": "1", "close": "1.25", "volume": "10",
        "closes": at + 59_999, "quote": "15", "trades": 3, "base": "4", "value": "6", "rest": "0",
        **changes,
    }  # fmt: skip
    return [at, *named.values()]


@settings(max_examples=300, deadline=None)
@given(low=decimals, amounts=amounts, trades=st.integers(0, 2**53 + 1))
def test_texts_become_the_nearest_number(low, amounts, trades):
    names = ("volume", "quote", "base", "value")
    prices = dict.fromkeys(("open", "high", "low", "close"), low)
    line = row(**prices, **dict(zip(names, amounts, strict=True)), trades=trades)
    for candles in (
        candles_of_rows([line], series("1m"), 1),
        candles_of_csv(",".join(map(str, line)).encode(), series("1m")),
    ):
        assert [float(text) for text in amounts] == [
            float(getattr(candles, name)[0])
            for name in ("volume", "quote_volume", "taker_base", "taker_quote")
        ]
        assert candles.open[0] == candles.high[0] == candles.low[0] == float(low)
        assert candles.trades[0] == trades


@pytest.mark.parametrize(
    "change",
    [
        {"open": "1_5"}, {"open": " 1.5"}, {"open": "0x1p0"}, {"open": "inf"}, {"open": "1,5"},
        {"open": None}, {"open": True}, {"open": []}, {"open": ""}, {"open": "1.5\n1.5"},
        {"open": "-1.5"}, {"open": "1e999"}, {"open": "٣"}, {"high": "1.4"}, {"low": "1.3"},
        {"volume": "-1"}, {"base": "-0.1"}, {"trades": -1}, {"trades": 3.5}, {"trades": "3"},
        {"closes": AT + 60_000}, {"closes": None}, {"trades": 2**63},
    ],
)  # fmt: skip
def test_rows_that_are_no_candles(change):
    candles_of_rows([row()], series("1m"), 1)
    with pytest.raises(DataError):
        candles_of_rows([row(**change)], series("1m"), 1)


@pytest.mark.parametrize(
    "found",
    [
        *(None, {}, "[]", 3, [3], [[]], [row()[:10]], [row(), row()], [row(AT + 60_000), row()]),
        *([row(AT + 1)], [row(0)], [row(AT * 1000)]),
        [row(), row(AT + 60_000), row(AT + 120_000)],
    ],
)
def test_pages_that_are_none(found):
    with pytest.raises(DataError):
        candles_of_rows(found, series("1m"), 2)


def test_an_empty_page_is_one():
    candles = candles_of_rows([], series("1m"), 1)
    assert all(len(getattr(candles, name)) == 0 for name in COLUMNS)
