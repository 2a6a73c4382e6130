"""What a made-up market really did, and what a client fetched of it."""

from __future__ import annotations

import numpy as np

from backtest_py.data.market.candles import COLUMNS, Candles, Series
from backtest_py.data.market.intervals import DAY, interval_of
from backtest_py.data.market.spans import Span

NOW = 1_740_000_000_123
MIDNIGHT = NOW // DAY * DAY


def series(interval, symbol="BTCUSDT"):
    return Series.of(symbol, interval)


def truth(market, interval, start, end):
    """Return the candles of a span, straight from the made-up numbers."""
    columns = market.table(interval_of(interval), start, end, 10**6, NOW + 365 * DAY)
    places = [0, 10, 10, 10, 10, 1_000, 0, 10_000, 0, 1_000, 10_000]
    numbers = [
        column / place if place else column for column, place in zip(columns, places, strict=True)
    ]
    del numbers[6]
    return Candles(**dict(zip(COLUMNS, numbers, strict=True)))


class Fetched:
    """What a fetch gave: all candles in order, what is known, and the holes."""

    def __init__(self, blocks):
        self.blocks = sorted(blocks, key=lambda block: block.known[0])
        joined = Candles.joined(block.candles for block in self.blocks)
        order = np.argsort(joined.open_time, kind="stable")
        self.candles = Candles(**{name: getattr(joined, name)[order] for name in COLUMNS})
        self.known = [span for block in self.blocks for span in block.known]
        self.holes = [hole for block in self.blocks for hole in block.holes]


def fetched(client, interval, start, end, symbol="BTCUSDT"):
    return Fetched(client.fetch(series(interval, symbol), Span(start, end)))
