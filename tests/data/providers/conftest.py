"""A local exchange and a client of it, both with a clock that stands still."""

from __future__ import annotations

import pytest
from tests.demo_candles import MIDNIGHT, NOW

from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.market.intervals import DAY
from backtest_py.data.providers import transport
from backtest_py.data.providers.binance import Binance


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(transport, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(transport, "LIMITED_SECONDS", 0.3)


@pytest.fixture
def open_exchange():
    """Return a function that starts an exchange; all are stopped at the end."""
    opened = []

    def start(*markets, now=NOW, **settings):
        markets = markets or (DemoMarket("BTCUSDT", MIDNIGHT - 100 * DAY, MIDNIGHT + DAY),)
        opened.append(DemoExchange(markets, now if callable(now) else lambda: now, **settings))
        return opened[-1].start()

    yield start
    for exchange in opened:
        exchange.stop()


@pytest.fixture
def open_client(tmp_path):
    """Return a function that makes a client of an exchange; all are closed at the end."""
    opened = []

    def make(exchange, **settings):
        urls = {"exchange_url": exchange.url, "bulk_url": exchange.url}
        opened.append(Binance(tmp_path / "data", **{**urls, **settings}))
        return opened[-1]

    yield make
    for client in opened:
        client.close()
