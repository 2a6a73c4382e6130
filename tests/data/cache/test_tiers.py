"""Every tier gives back the block that was put in, to everybody who asks at the same time."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.market_blocks import PERIOD, SERIES, market_block

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.market.blocks import Block, period_of
from backtest_py.data.market.candles import COLUMNS, Candles, Series
from backtest_py.data.market.spans import Span
from backtest_py.errors import CacheError


@pytest.fixture(params=["sqlite", "postgres", "folder", "s3"])
def make_tier(request, tmp_path):
    """Return a function that opens the same tier every time."""
    if request.param == "sqlite":
        return lambda: Database(f"sqlite:///{tmp_path}/deep/er/cache.sqlite")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").new_database()
        return lambda: Database(url)
    if request.param == "folder":
        return lambda: Archive(tmp_path / "archive")
    _, bucket = request.getfixturevalue("bucket")
    endpoint = request.getfixturevalue("s3_endpoint")
    return lambda: Archive(f"s3://{bucket}/some/prefix", endpoint=endpoint)


def test_a_block_comes_back_as_it_was(make_tier):
    tier = make_tier()
    block = market_block()
    assert tier.get(SERIES, PERIOD) is None
    tier.drop(SERIES, PERIOD)  # which is not there
    tier.put(block)
    assert tier.get(SERIES, PERIOD) == block
    longer = market_block(30_000, seed=1)
    tier.put(longer)
    assert tier.get(SERIES, PERIOD) == longer == make_tier().get(SERIES, PERIOD)
    tier.drop(SERIES, PERIOD)
    assert tier.get(SERIES, PERIOD) is None


def test_a_tier_lists_what_it_keeps(make_tier):
    tier = make_tier()
    assert tier.periods() == []
    assert tier.n_bytes() == 0
    names = [("WIN$N", "1M"), ("BTCUSDT", "4h"), ("BTCUSDT", "1m"), ("1000PEPEUSDT", "1d")]
    for symbol, interval in names:
        series = Series.of(symbol, interval)
        tier.put(market_block(5, series, period_of(series, 1_700_000_000_000), hole=(1, 2)))
    found = tier.periods()
    order = [("1000PEPEUSDT", "1d"), ("BTCUSDT", "1m"), ("BTCUSDT", "4h"), ("WIN$N", "1M")]
    assert [(series.symbol, series.interval.name) for series, _ in found] == order
    assert all(tier.get(series, period).period == period for series, period in found)
    assert tier.n_bytes() > 1_000
    assert tier.entries().keys() == set(found)
    assert all(tier.look(*at) == tier.get(*at) for at in found)


def test_a_block_without_candles_is_kept(make_tier):
    hole = market_block(10, hole=(0, 10))
    assert len(hole.candles) == 0
    nothing = Block(SERIES, PERIOD, (), Candles.empty())
    tier = make_tier()
    for block in (hole, nothing):
        tier.put(block)
        assert tier.get(SERIES, PERIOD, PERIOD) == block


def test_threads_read_and_write_at_the_same_time(make_tier):
    tier = make_tier()
    blocks = [market_block(1_000 + n, seed=n) for n in range(4)]
    tier.put(blocks[0])

    def work(number):
        tier.put(blocks[number % 4])
        return tier.get(SERIES, PERIOD) in blocks

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))


def _write(tier, seed, barrier, n):
    block = market_block(2_000, seed=seed)
    barrier.wait(30)
    for _ in range(n):
        tier.put(block)
        tier.get(SERIES, PERIOD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_two_forked_writers_of_one_key_and_their_parent(make_tier):
    tier = make_tier()
    tier.put(market_block(2_000, seed=1))  # opened before the fork
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    writers = [
        context.Process(target=_write, args=(tier, seed, barrier, 10), daemon=True)
        for seed in (1, 2)
    ]
    for writer in writers:
        writer.start()
    _write(tier, 3, barrier, 10)
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert tier.get(SERIES, PERIOD) in [market_block(2_000, seed=seed) for seed in (1, 2, 3)]
    assert len(tier.periods()) == 1


def test_symbols_are_filed_under_their_own_names(make_tier):
    tier = make_tier()
    blocks = {}
    for symbol in ("WIN$N", "A.B", "A-B", "A_B", "@X", "X" * 32):
        series = Series.of(symbol, "1m")
        blocks[series] = market_block(3, series, hole=(1, 2), seed=len(blocks))
        tier.put(blocks[series])
    for series, block in blocks.items():
        assert tier.get(series, PERIOD) == block


def test_sqlite_and_postgresql_keep_the_same_bytes(postgres, tmp_path):
    from sqlalchemy import select

    stored = []
    for url in (f"sqlite:///{tmp_path}/cache.sqlite", postgres.new_database()):
        database = Database(url, clock=lambda: 1_800_000_000.0)
        for symbol, interval in (("BTCUSDT", "1m"), ("WIN$N", "1M"), ("BTCUSDT", "4h")):
            series = Series.of(symbol, interval)
            period = period_of(series, 1_700_000_000_000)
            database.put(market_block(9_000, series, period, hole=(2, 3)))
            database.get(series, period)
        with database._using("DEFERRED") as connection:
            rows = connection.execute(select(database._blocks)).all()
        stored.append(sorted(tuple(row) for row in rows))
        assert all(isinstance(row.payload, bytes) for row in rows)
        database.close()
    assert stored[0] == stored[1]


def test_an_address_is_read_and_never_written(tmp_path):
    from tests.services import web_server

    block = market_block()
    Archive(tmp_path).put(block)
    with web_server(tmp_path) as address:
        archive = Archive(f"{address}/")
        assert archive.read_only
        assert archive.get(SERIES, PERIOD) == block
        assert archive.get(Series.of("BTCUSDT", "1m"), PERIOD) is None
        for refused in (
            lambda: archive.put(block),
            lambda: archive.drop(SERIES, PERIOD),
            archive.periods,
        ):
            with pytest.raises(CacheError, match=r"never written|cannot be listed"):
                refused()


def test_only_a_part_of_a_block_is_asked_for(make_tier):
    """A tier may give more than was asked for, never less or other."""
    tier = make_tier()
    block = market_block(hole=(8_190, 8_200))
    tier.put(block)
    for start, end in ((0, 1), (8_191, 8_193), (8_000, 9_000), (19_999, 20_000), (20_000, 20_001)):
        wanted = Span(PERIOD.start + start * 60_000, PERIOD.start + end * 60_000)
        part = tier.get(SERIES, PERIOD, wanted)
        assert part.missing(wanted) == block.missing(wanted)
        assert part.restricted(wanted) == block.restricted(wanted)


def test_details_are_unpacked_when_they_are_asked_for():
    import pickle

    from backtest_py.data.cache.encoding import decode, encode

    block = market_block()
    candles = decode(encode(block), SERIES, PERIOD).candles
    assert candles._load is not None
    with pytest.raises(AttributeError):
        object.__getattribute__(candles, "trades")
    assert (candles.trades == block.candles.trades).all()
    assert not candles.taker_quote.flags.writeable
    assert candles == block.candles
    with pytest.raises(AttributeError):
        candles.nonsense  # noqa: B018
    part = decode(encode(block), SERIES, PERIOD).candles.rows(5, 9)
    assert part == block.candles.rows(5, 9) == pickle.loads(pickle.dumps(part))


def test_bars_alone_are_the_same_and_cannot_be_stored(make_tier):
    """The columns of bars are read without the rest, whatever part is asked for."""
    tier = make_tier()
    block = market_block(hole=(8_190, 8_200))
    tier.put(block)
    for start, end in ((0, 20_000), (0, 1), (8_191, 8_193), (8_150, 9_000), (19_999, 20_000)):
        wanted = Span(PERIOD.start + start * 60_000, PERIOD.start + end * 60_000)
        part = tier.get(SERIES, PERIOD, wanted, details=False)
        assert part.missing(wanted) == []
        (known,) = part.known
        whole = block.restricted(known)
        for name in ("open_time", "open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(part.candles, name), getattr(whole.candles, name))
            assert not getattr(part.candles, name).flags.writeable
        assert (part.holes, part.sources) == (whole.holes, whole.sources)
        with pytest.raises(CacheError, match="only the columns of bars"):
            part.candles.trades  # noqa: B018
        with pytest.raises(CacheError, match="only the columns of bars"):
            tier.put(part)
    assert tier.get(SERIES, PERIOD) == block


ODD = {
    "decimals": [1.1, 60_123.4, 0.0, 1e-8],
    "whole": [1.0, 2.0, 3e9, 0.0],
    "many digits": [0.1 + 0.2, 1 / 3, 2.0, 5e-324],
    "late": [1.5] * 99 + [1.123],
    "large": [1e300, 1.0, 2.0**53, -(2.0**53)],
    "minus zero": [-0.0, 0.0, 1.5, -1.5],
    "no number": [np.nan, np.inf, -np.inf, 1.0],
    "none": [],
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_every_number_comes_back_with_its_bits(values, tmp_path):
    values = np.array(values, np.float64)
    times = SERIES.interval.opens(*PERIOD)[: len(values)]
    columns = dict.fromkeys(COLUMNS, values) | {"open_time": times, "trades": times % 1_000_003}
    known = (Span(int(times[0]), int(times[-1]) + 60_000),) if len(times) else ()
    block = Block(SERIES, PERIOD, known, Candles(**columns))
    database = Database(f"sqlite:///{tmp_path}/cache.sqlite")
    for tier in (database, Archive(tmp_path / "archive")):
        tier.put(block)
        assert tier.get(SERIES, PERIOD) == block
    database.close()
