"""What was fetched is added to what is known, or takes its place where history was rewritten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.market_blocks import MINUTE, PERIOD, SERIES, market_block

from backtest_py.data.market.blocks import Hole, Source
from backtest_py.data.market.candles import COLUMNS, Candles
from backtest_py.data.market.spans import Span, joined
from backtest_py.data.rewrites import Journal, Merging, Rewrite

AT = (SERIES, PERIOD)
WHOLE = market_block(1_000, hole=(0, 0))


def minutes(start, end):
    return Span(PERIOD.start + start * MINUTE, PERIOD.start + end * MINUTE)


def part(start, end, *, source=("rest", "", 9), block=WHOLE):
    span = minutes(start, end)
    return replace(block.restricted(span), sources=(Source(span, *source),))


def changed(block, rows, name="volume", value=0.5):
    columns = {each: getattr(block.candles, each).copy() for each in COLUMNS}
    columns[name][rows] = value
    return replace(block, candles=Candles(**columns))


def taken(known, *fetched):
    blocks = {AT: known}
    merging = Merging(blocks)
    for each in fetched:
        merging.take(each)
    return blocks[AT], merging


def test_only_what_is_not_known_is_added():
    known = part(0, 500, source=("rest", "", 1))
    block, merging = taken(known, part(400, 700), part(690, 800))
    assert (block.known, merging.rewrites) == ((minutes(0, 800),), [])
    assert block.candles == part(0, 800).candles
    assert [source.fetched_at for source in block.sources] == [1, 9, 9]
    assert merging.doubted() == []


def test_nothing_changes_where_nothing_is_new():
    known = part(0, 500, source=("rest", "", 1))
    block, merging = taken(known, part(100, 200))
    assert block is known
    assert (merging.changed, merging.rewrites) == (set(), [])
    assert merging.told == [minutes(100, 200)]


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "open_time"])
def test_another_value_replaces_all_that_was_fetched(name):
    known = part(0, 500, source=("rest", "", 1))
    fetched = changed(part(300, 700), [5, 7], name)
    block, merging = taken(known, fetched)
    (rewrite,) = merging.rewrites
    assert (rewrite.span, rewrite.n_changed) == (minutes(300, 500), 2)
    assert rewrite.old == known.candles.within(rewrite.span).content_hash()
    assert rewrite.new == fetched.candles.within(rewrite.span).content_hash()
    assert block.candles.within(minutes(300, 700)) == fetched.candles
    assert block.candles.within(minutes(0, 300)) == part(0, 300).candles
    assert [source.span for source in block.sources] == [minutes(0, 300), minutes(300, 700)]


def test_a_hole_that_is_filled_and_a_candle_that_is_gone():
    span, hole = minutes(0, 500), minutes(100, 103)
    lacking = part(0, 500, source=("rest", "", 1))
    candles = Candles.joined(
        lacking.candles.within(s) for s in (minutes(0, 100), minutes(103, 500))
    )
    lacking = replace(lacking, candles=candles, holes=(Hole(hole, "page"),))
    filled, merging = taken(lacking, part(0, 500))
    assert (filled.holes, merging.rewrites[0].n_changed) == ((), 3)
    assert filled.candles == WHOLE.candles.within(span)
    gone, merging = taken(part(0, 500), lacking)
    assert (len(gone.holes), merging.rewrites[0].n_changed) == (1, 3)


def test_what_came_from_a_file_that_is_another_one_is_doubted():
    old = ("file", "a" * 64, 1)
    known = part(0, 300, source=old).replaced_by(part(300, 400, source=("rest", "", 1)))
    known = known.replaced_by(part(400, 450, source=old))
    _, merging = taken(known, part(500, 700, source=("file", "b" * 64, 9)))
    assert merging.rewrites == []  # nothing is fetched of it yet
    assert merging.doubted() == [(SERIES, minutes(0, 300)), (SERIES, minutes(400, 450))]
    merging.take(part(0, 300, source=("file", "b" * 64, 9)))
    (rewrite,) = merging.rewrites
    assert (rewrite.n_changed, rewrite.old) == (0, rewrite.new)
    assert (rewrite.old_checksum, rewrite.new_checksum) == ("a" * 64, "b" * 64)
    assert merging.doubted() == [(SERIES, minutes(400, 450))]


def test_random_fetches_leave_what_the_last_one_said():
    random = np.random.default_rng(5)
    for _ in range(30):
        block, merging = part(200, 400), None
        values = {}
        for _ in range(6):
            start, length = (int(each) for each in random.integers(1, 400, 2))
            rows = slice(*np.sort(random.integers(0, length, 2)).tolist())
            fetched = changed(part(start, start + length), rows, value=float(random.integers(9)))
            before, (block, merging) = block, taken(block, fetched)
            same = before.differs_from(fetched) == []
            assert same == (merging.rewrites == [])
            values |= dict(zip(fetched.candles.open_time, fetched.candles.volume, strict=True))
        for time, volume in zip(block.candles.open_time, block.candles.volume, strict=True):
            assert values.get(time, volume) == volume
        assert joined(block.known) == list(block.known)
        assert joined(source.span for source in block.sources) == list(block.known)


def entry(span, fetched_at):
    return Rewrite(SERIES, span, 1, "a" * 64, "b" * 64, "", "", fetched_at)


def test_the_journal_tells_all_that_read_it(tmp_path):
    one, other = (Journal(tmp_path / "x" / "rewritten.jsonl") for _ in range(2))
    marks = {one.generation(SERIES)}
    for fetched_at in (5, 7):
        one.add([entry(minutes(0, 9), fetched_at)])
        marks.add(other.generation(SERIES))
    assert len(marks) == 3
    assert other.entries() == [entry(minutes(0, 9), 5), entry(minutes(0, 9), 7)]
    assert [path.name for path in (tmp_path / "x").glob("*.jsonl*")]


def test_what_is_older_than_a_rewrite_is_not_believed(tmp_path):
    journal = Journal(tmp_path / "rewritten.jsonl")
    journal.add([entry(minutes(100, 200), 7)])
    old, new = part(0, 300, source=("rest", "", 6)), part(0, 300, source=("rest", "", 7))
    assert journal.fresh(new) is new
    assert journal.fresh(old).known == (minutes(0, 100), minutes(200, 300))
    small = journal.fresh(old.restricted(minutes(120, 130)))
    assert small.known == ()


def test_the_journal_forgets_the_oldest(tmp_path, monkeypatch):
    monkeypatch.setattr("backtest_py.data.rewrites.MOST_ENTRIES", 3)
    journal = Journal(tmp_path / "rewritten.jsonl")
    for fetched_at in range(5):
        journal.add([entry(minutes(0, 9), fetched_at)])
    assert [each.fetched_at for each in journal.entries()] == [2, 3, 4]
