"""Blocks of market data for tests."""

from __future__ import annotations

import numpy as np

from backtest_py.data.market.blocks import Block, Hole, Source, period_of
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.spans import Span

MINUTE = 60_000
SERIES = Series.of("1000PEPEUSDT", "1m")
PERIOD = period_of(SERIES, 1_700_000_000_000)


def valid_candles(times, seed=0):
    """Return candles that open at some times, as rounded as those of an exchange."""
    random = np.random.default_rng(seed)
    n = len(times)
    close = np.round(1_000 + np.cumsum(random.normal(0, 0.5, n)), 2)
    opens = np.concatenate([close[:1], close[:-1]])
    volume = np.round(random.exponential(50, n), 3)
    taken = np.round(volume * random.random(n), 3)
    return Candles(
        times,
        opens,
        np.maximum(opens, close) + np.round(random.exponential(1, n), 2),
        np.minimum(opens, close) - np.round(random.exponential(1, n), 2),
        close,
        volume,
        np.round(volume * close, 5),
        random.integers(1, 3_000, n),
        taken,
        np.round(taken * close, 5),
    )


def market_block(n=20_000, series=SERIES, period=PERIOD, seed=0, hole=(100, 103)):
    """Return a block that knows the first n candles of its period, but for a hole in them."""
    times = series.interval.opens(*period)[:n]
    span = Span(int(times[0]), series.interval.after(int(times[-1])))
    kept = np.ones(len(times), np.bool_)
    kept[slice(*hole)] = False
    lacking = times[~kept]
    holes = (
        (Hole(Span(int(lacking[0]), series.interval.after(int(lacking[-1]))), "page at 7"),)
        if len(lacking)
        else ()
    )
    source = Source(span, "test", "abc", 5)
    return Block(series, period, (span,), valid_candles(times[kept], seed), holes, (source,))
