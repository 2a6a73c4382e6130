"""Certificates: the same candles and sources give the same hash, anything else another one."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from tests.market_blocks import MINUTE, PERIOD, SERIES, market_block

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.market.blocks import Hole, Source, period_of
from backtest_py.data.market.candles import COLUMNS, Candles
from backtest_py.data.market.certificates import certificate_of, part_of
from backtest_py.data.market.differences import as_table
from backtest_py.data.market.findings import BARS, broken_rules
from backtest_py.data.market.spans import Span

BLOCK = market_block(5_000)
SPAN = BLOCK.known[0]


def certified(block, wanted=None):
    return certificate_of(block.series, [part_of(block, wanted)])


def with_column(block, name, row, value):
    columns = {each: getattr(block.candles, each).copy() for each in COLUMNS}
    columns[name][row] = value
    return replace(block, candles=Candles(**columns))


def test_what_a_certificate_says():
    block = BLOCK
    flat = dict.fromkeys(("open", "high", "low"), block.candles.close[7])
    for name, value in {**flat, "volume": 0.0}.items():
        block = with_column(block, name, 7, value)
    found = certified(block).to_dict()
    assert (found["rows"], found["expected_rows"], found["missing"]) == (4_997, 5_000, 3)
    assert found["holes"] == [Span(PERIOD.start + 100 * MINUTE, PERIOD.start + 103 * MINUTE)]
    assert (found["zero_volume"], found["flat"], found["duplicates"]) == (1, 1, 0)
    assert found["broken_rules"] == {}
    assert found["sources"] == [(SPAN, "test", "abc")]
    assert found["first_gaps"] == [
        {"from": "2023-11-01 01:40:00", "to": "2023-11-01 01:43:00", "evidence": "page at 7"}
    ]
    assert found["fetched"] == ["1970-01-01 00:00:00", "1970-01-01 00:00:00"]


def test_the_hash_is_that_of_a_text_anybody_can_make():
    certificate = certified(BLOCK)
    content = json.loads(certificate.text)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert certificate.hash == sha256(text.encode()).hexdigest()
    candles = sha256(f"bars|{len(BLOCK.candles)}".encode())
    for name in BARS:
        candles.update(getattr(BLOCK.candles, name).tobytes())
    assert content["candles"] == [[PERIOD.start, 4_997, candles.hexdigest()]]


def test_what_is_hashed_and_what_is_only_shown():
    original = certified(BLOCK).hash
    (source,) = BLOCK.sources
    (hole,) = BLOCK.holes
    shown = [
        replace(BLOCK, sources=(source._replace(fetched_at=99),)),
        replace(BLOCK, holes=(Hole(hole.span, "another page, later"),)),
        replace(  # the same source in two fetches
            BLOCK,
            sources=(
                Source(Span(SPAN.start, SPAN.start + MINUTE), "test", "abc", 1),
                Source(Span(SPAN.start + MINUTE, SPAN.end), "test", "abc", 2),
            ),
        ),
    ]
    assert {certified(block).hash for block in shown} == {original}
    hashed = [
        replace(BLOCK, sources=(source._replace(checksum="abd"),)),
        replace(BLOCK, sources=(source._replace(name="other"),)),
        *(with_column(BLOCK, name, 9, getattr(BLOCK.candles, name)[10]) for name in BARS[1:]),
        BLOCK.without(Span(SPAN.end - MINUTE, SPAN.end)),
    ]
    hashes = {certified(block).hash for block in hashed}
    assert len(hashes) == len(hashed)
    assert original not in hashes


@pytest.mark.parametrize(("start", "end"), [(0, 5_000), (0, 4_000), (90, 101), (102, 4_999)])
def test_a_part_has_the_certificate_of_a_block_that_knows_no_more(start, end):
    wanted = Span(PERIOD.start + start * MINUTE, PERIOD.start + end * MINUTE)
    smaller = BLOCK.restricted(wanted)
    assert certified(BLOCK, wanted).hash == certified(smaller).hash
    assert certified(BLOCK, wanted).n_expected == end - start


def test_every_tier_keeps_what_was_found(tmp_path):
    expected = certified(BLOCK)
    for tier in (Database(f"sqlite:///{tmp_path}/x.sqlite"), Archive(tmp_path / "archive")):
        tier.put(BLOCK)
        found = tier.get(SERIES, PERIOD)
        assert found.candles._findings == BLOCK.candles.examined()  # read, not computed anew
        assert certified(found) == expected
        wanted = Span(PERIOD.start, PERIOD.start + 60 * MINUTE)
        part = tier.get(SERIES, PERIOD, wanted)
        assert certified(part, wanted).hash == certified(BLOCK, wanted).hash


def test_broken_rules_are_counted():
    block = with_column(BLOCK, "high", slice(3, 6), 1.0)
    block = with_column(block, "volume", 8, -1.0)
    block = with_column(block, "close", 11, np.nan)
    assert certified(block).broken == {
        "has a negative amount": 1,
        "has a number that is not finite": 1,
        "has a price above its high": 3,
        "has a price below its low": 3,
    }
    other = with_column(BLOCK, "taker_quote", 0, -1.0)
    assert certified(other).broken == {}  # bars do not take it
    rules = {rule for rule, rows in broken_rules(as_table(other.candles)) if rows.any()}
    assert rules == {"has a negative amount"}


def test_several_blocks_are_one_certificate_in_order_of_time():
    after = period_of(SERIES, PERIOD.end)
    second = market_block(300, SERIES, after, seed=2)
    one = certificate_of(SERIES, [part_of(BLOCK), part_of(second)])
    assert one.hash == certificate_of(SERIES, [part_of(second), part_of(BLOCK)]).hash
    assert one.n_rows == 4_997 + 297
    assert len(one.content()["candles"]) == 2
