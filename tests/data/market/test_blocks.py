"""Blocks: what is known stays consistent, whatever is added or taken away."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_py.data.market.blocks import Block, Hole, Source, period_of, periods
from backtest_py.data.market.candles import COLUMNS, Candles, Series
from backtest_py.data.market.intervals import INTERVALS
from backtest_py.data.market.spans import Span, joined, missing
from backtest_py.errors import DataError

SERIES = Series.of("BTCUSDT", "1m")
MINUTE = 60_000
PERIOD = period_of(SERIES, 0)


def candles_at(minutes, value=1.0):
    times = np.array(sorted(minutes), np.int64) * MINUTE
    columns = {name: np.full(len(times), value).astype(kind) for name, kind in COLUMNS.items()}
    return Candles(**{**columns, "open_time": times})


def block_of(start, end, absent=(), value=1.0):
    span = Span(start * MINUTE, end * MINUTE)
    holes = tuple(Hole(Span(m * MINUTE, (m + 1) * MINUTE), "page") for m in sorted(absent))
    return Block(
        SERIES,
        PERIOD,
        (span,),
        candles_at(set(range(start, end)) - set(absent), value),
        holes,
        (Source(span, "test", "", 0),),
    )


def test_a_missing_candle_needs_a_hole():
    span = Span(0, 3 * MINUTE)
    with pytest.raises(DataError, match="1 candles are missing, and holes excuse 0"):
        Block(SERIES, PERIOD, (span,), candles_at({0, 2}))
    assert len(block_of(0, 3, absent=(1,)).candles) == 2


def test_a_candle_outside_of_what_is_known_is_refused():
    with pytest.raises(DataError, match="outside of what is known"):
        Block(SERIES, PERIOD, (Span(0, MINUTE),), candles_at({0, 1}))


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 10), st.sets(st.integers(0, 60), max_size=5)),
        max_size=6,
    ),
    st.tuples(st.integers(0, 50), st.integers(0, 20)),
)
def test_blocks_know_what_was_put_in_last(parts, taken):
    block = Block.nothing(SERIES, PERIOD)
    oracle = {}
    for value, (start, length, absent) in enumerate(parts):
        inside = absent & set(range(start, start + length))
        block = block.replaced_by(block_of(start, start + length, inside, float(value)))
        for minute in range(start, start + length):
            oracle[minute] = None if minute in inside else float(value)
    cut = Span(taken[0] * MINUTE, (taken[0] + taken[1]) * MINUTE)
    block = block.without(cut)
    oracle = {m: v for m, v in oracle.items() if not cut.start <= m * MINUTE < cut.end}
    found = dict(zip((block.candles.open_time // MINUTE).tolist(), block.candles.open, strict=True))
    assert found == {m: v for m, v in oracle.items() if v is not None}
    known = {m for span in block.known for m in range(span.start // MINUTE, span.end // MINUTE)}
    assert known == set(oracle)
    assert sum(span.end - span.start for span in block.missing(PERIOD)) == (
        PERIOD.end - PERIOD.start - MINUTE * len(known)
    )


@pytest.mark.parametrize("name", INTERVALS)
def test_candles_tile_time(name):
    interval = INTERVALS[name]
    opens = interval.opens(1_600_000_000_000, 1_640_000_000_000)
    assert all(interval.after(int(a)) == b for a, b in pairwise(opens))
    assert interval.floor(int(opens[3])) == opens[3] == interval.ceil(int(opens[3]))
    assert interval.floor(int(opens[3]) - 1) == opens[2]
    assert interval.ceil(int(opens[3]) + 1) == opens[4]


def test_periods_are_months_or_years():
    wanted = Span(1_600_000_000_000, 1_640_000_000_000)
    for name in ("1m", "1h"):
        found = list(periods(Series.of("X", name), wanted))
        assert joined(found) == [Span(found[0].start, found[-1].end)]
        assert missing(wanted, found) == []
        assert len(found) == {"1m": 16, "1h": 2}[name]
