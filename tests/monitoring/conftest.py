"""What tests of monitoring share: a page that begins with zeros, and a market to fetch."""

from __future__ import annotations

import numpy as np
import pytest
from tests.monitoring.pages import Page

from backtest_py.data import feed
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.settings import FeedSettings
from backtest_py.monitoring import serve_metrics
from backtest_py.monitoring.catalogue import METRICS

DAY = 86_400_000
NOW = 1_740_000_000_123
HOLE_START = int(np.datetime64("2025-01-10T05:00", "ms").astype(int))


@pytest.fixture
def zeros():
    """Let all metrics begin with zero, also for the test that comes next."""
    for metric in METRICS:
        metric.clear()
    yield
    for metric in METRICS:
        metric.clear()


@pytest.fixture
def page(zeros):
    """Give the page of metrics while it is served."""
    with serve_metrics() as server:
        yield Page(server)


@pytest.fixture
def exchange():
    hole = (HOLE_START, HOLE_START + 3 * 3_600_000)
    market = DemoMarket("BTCUSDT", NOW - 120 * DAY, NOW, holes=(hole,))
    with DemoExchange((market,), lambda: NOW) as running:
        yield running


@pytest.fixture
def settings(exchange, tmp_path, monkeypatch):
    # on a slow machine nothing is written half-way, so that writes can be counted
    monkeypatch.setattr(feed, "KEEP_SECONDS", 600.0)
    return FeedSettings(
        data_dir=str(tmp_path), exchange_url=exchange.url, bulk_url=exchange.url, weight_limit=2_400
    )
