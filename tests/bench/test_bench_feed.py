"""Benchmarks of market data: a little of each kind, the page that comes out, and the bounds."""

from __future__ import annotations

import copy

import pytest
from benches import feed_report
from benches.feed import measure

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def report():
    return measure(quick=True)


def test_every_tier_gives_a_year_of_bars_in_time(report):
    seconds = feed_report.seconds_of(report)
    for (interval, tier), bound in feed_report.BOUNDS.items():
        assert min(seconds[f"tier, {interval}", tier]) < bound
    for engine in ("rust", "numba"):
        assert min(seconds["candles to metrics", engine]) < feed_report.RUN
        assert min(seconds["exchange to metrics", engine]) < feed_report.COLD


def test_symbols_are_fetched_at_the_same_time(report):
    seconds = feed_report.seconds_of(report)
    sequence, together = (
        seconds["ten symbols", "one after the other"],
        seconds["ten symbols", "at once"],
    )
    assert min(sequence) > feed_report.TIMES * min(together)


def test_the_page_and_a_bound_that_is_missed(report, tmp_path):
    page = feed_report.render(report)
    assert "| SQLite |" in page
    assert "| archive |" in page
    verdicts = feed_report.verdicts_of(report)
    assert len(verdicts) == len(feed_report.BOUNDS) + 5
    slow = copy.deepcopy(report)
    for row in slow["rows"]:
        if (row["group"], row["who"]) == ("tier, 1m", "SQLite"):
            row["seconds"] = [0.061] * 3
    (missed,) = (it for it in feed_report.verdicts_of(slow) if "1m bars from SQLite" in it.what)
    assert not missed.holds
    assert missed.word == "**missed**"
    assert "**missed**" in feed_report.render(slow)
