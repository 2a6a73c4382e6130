"""Single bytes that change in what is stored give an error, or nothing: never other candles."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing

import numpy as np
import pytest
from tests.market_blocks import MINUTE, PERIOD, SERIES, market_block

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.market.spans import Span
from backtest_py.errors import CacheError

FLIPS = 200
BLOCK = market_block(9_000)
PART = Span(PERIOD.start + 8_500 * MINUTE, PERIOD.start + 8_600 * MINUTE)


def check(tier):
    """Return whether the tier noticed: what it gives must be right."""
    noticed = 0
    for wanted, details in ((None, True), (PART, True), (PART, False), (None, False)):
        try:
            block = tier.get(SERIES, PERIOD, wanted, details=details)
        except CacheError:
            noticed += 1
            continue
        if block is None:
            noticed += 1
            continue
        first, last = np.searchsorted(block.candles.open_time, PART)
        whole = BLOCK.candles.within(PART)
        for name in ("open_time", "open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(block.candles, name)[first:last], getattr(whole, name))
        if details:
            assert block.restricted(PART) == BLOCK.restricted(PART)
            if wanted is None:
                assert block == BLOCK
    return noticed > 0


def flips(content, seed):
    """Yield the content with one byte changed, and its end more often than its share."""
    random = np.random.default_rng(seed)
    for turn in range(FLIPS):
        low = max(0, len(content) - 4_000) if turn % 4 == 0 else 0
        at = int(random.integers(low, len(content)))
        changed = bytearray(content)
        changed[at] ^= int(random.integers(1, 256))
        yield bytes(changed)


def test_bytes_of_a_parquet_file(tmp_path):
    archive = Archive(tmp_path)
    archive.put(BLOCK)
    path = next(tmp_path.rglob("*.parquet"))
    noticed = 0
    for changed in flips(path.read_bytes(), 1):
        path.write_bytes(changed)
        noticed += check(archive)
    assert noticed > FLIPS / 2


def test_bytes_of_an_object(bucket, s3_endpoint, monkeypatch):
    client, name = bucket
    archive = Archive(f"s3://{name}", endpoint=s3_endpoint)
    monkeypatch.setattr(archive._files, "attempts", 1)
    archive.put(BLOCK)
    (found,) = client.list_objects_v2(Bucket=name)["Contents"]
    content = client.get_object(Bucket=name, Key=found["Key"])["Body"].read()
    noticed = 0
    for changed in flips(content, 2):
        client.put_object(Bucket=name, Key=found["Key"], Body=changed)
        noticed += check(archive)
    assert noticed > FLIPS / 2


@pytest.mark.filterwarnings("ignore::backtest_py.errors.BacktestWarning")
def test_bytes_of_a_sqlite_file(tmp_path):
    path = tmp_path / "cache.sqlite"
    cache = Database(f"sqlite:///{path}")
    cache.put(BLOCK)
    cache.close()
    content = path.read_bytes()
    noticed = 0
    for changed in flips(content, 3):
        path.write_bytes(changed)
        noticed += check(cache)
        cache.close()
        for left in tmp_path.iterdir():
            left.unlink()
    assert noticed > FLIPS / 2


@pytest.mark.parametrize("column", ["payload", "details"])
def test_bytes_of_a_payload(tmp_path, column):
    path = tmp_path / "cache.sqlite"
    cache = Database(f"sqlite:///{path}")
    cache.put(BLOCK)
    with closing(sqlite3.connect(path)) as connection, warnings.catch_warnings():
        (payload,) = connection.execute(f"select {column} from backtest_py_blocks").fetchone()
        for changed in flips(payload, 4):
            with connection:
                connection.execute(f"update backtest_py_blocks set {column} = ?", (changed,))
            with pytest.raises(CacheError, match="checksum"):
                cache.get(SERIES, PERIOD)
            assert cache.periods() == []  # dropped
            cache.put(BLOCK)
    assert cache.get(SERIES, PERIOD) == BLOCK
