"""From blocks to bars: the same bars as from one piece, whatever the blocks and threads are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tests.market_blocks import valid_candles

from backtest_py import Bars
from backtest_py.data.market import gathering
from backtest_py.data.market.blocks import Block, Hole, period_of, periods
from backtest_py.data.market.candles import COLUMNS, Candles, Series
from backtest_py.data.market.gathering import gathered_bars
from backtest_py.data.market.spans import Span
from backtest_py.errors import CacheError, DataError, MissingDataError

START = int(np.datetime64("2023-11-20", "ms").astype(np.int64))
END = int(np.datetime64("2024-02-07T11:00", "ms").astype(np.int64))


def blocks_of(series, wanted, absent=()):
    """Return candles of a span, and a function that gives them as blocks."""
    times = series.interval.opens(*wanted)
    kept = np.ones(len(times), np.bool_)
    kept[list(absent)] = False
    candles = valid_candles(times[kept])

    def known(period):
        span = Span(max(period.start, wanted.start), min(period.end, wanted.end))
        holes = tuple(
            Hole(Span(int(time), series.interval.after(int(time))), "page")
            for time in times[~kept]
            if span.start <= time < span.end
        )
        return Block(series, period, (span,), candles.within(span), holes)

    return candles, known


def plain_bars(candles, zone="UTC"):
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    return Bars(candles.open_time * 1_000_000, *columns, session_timezone=zone)


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "America/New_York"])
@pytest.mark.parametrize("interval", ["1m", "5m", "4h", "3d", "1w", "1M"])
@pytest.mark.parametrize("few", [0, 10**9])
def test_bars_are_those_of_all_candles_in_one_piece(interval, zone, few, monkeypatch):
    monkeypatch.setattr(gathering, "FEW", few)
    series = Series.of("BTCUSDT", interval)
    wanted = Span(series.interval.ceil(START), series.interval.ceil(END))
    n = series.interval.count(*wanted)
    for absent in ((), (0,), (n - 1,), (1,) if n > 2 else ()):
        candles, known = blocks_of(series, wanted, absent)
        if not len(candles):
            continue
        bars = gathered_bars(series, wanted, known, session_timezone=zone, workers=3)
        other = plain_bars(candles, zone)
        assert bars.content_hash == other.content_hash
        assert bars.session_timezone == zone
        assert (bars.minute == other.minute).all()
        assert (bars.day == other.day).all()
        assert bars.time_text(0) == other.time_text(0)


def test_columns_cannot_be_written():
    series = Series.of("BTCUSDT", "1h")
    candles, known = blocks_of(series, Span(START, END))
    bars = gathered_bars(series, Span(START, END), known)
    for name in ("time", "open", "high", "low", "close", "volume", "minute", "day"):
        column = getattr(bars, name)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            column.flags.writeable = True
    for name in COLUMNS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(candles, name)[0] = 1


def test_a_span_without_any_candle():
    series = Series.of("BTCUSDT", "1h")
    wanted = Span(START, START + 3 * 3_600_000)
    _, known = blocks_of(series, wanted, absent=(0, 1, 2))
    with pytest.raises(MissingDataError, match="no candle in the whole span"):
        gathered_bars(series, wanted, known)


def test_candles_that_break_a_rule_of_bars_are_refused():
    series = Series.of("BTCUSDT", "1h")
    wanted = Span(START, START + 3 * 3_600_000)
    candles, _ = blocks_of(series, wanted)
    columns = {name: getattr(candles, name).copy() for name in COLUMNS}
    columns["high"][1] = columns["low"][1] - 1
    block = Block(series, period_of(series, START), (wanted,), Candles(**columns))
    with pytest.raises(DataError, match=r"BTCUSDT 1h: high\[1\].*is below low"):
        gathered_bars(series, wanted, lambda _: block)


def test_the_first_fault_ends_it(monkeypatch):
    monkeypatch.setattr(gathering, "FEW", 0)
    series = Series.of("BTCUSDT", "1m")
    wanted = Span(0, 40 * 365 * 86_400_000)
    asked, lock = [], threading.Lock()

    def known(period):
        with lock:
            asked.append(period)
        raise CacheError("out of order")

    with pytest.raises(CacheError, match="out of order"):
        gathered_bars(series, wanted, known, workers=2)
    assert len(asked) < len(list(periods(series, wanted)))
