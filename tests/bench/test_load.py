"""A short load test: faults, damage and simulated days; then what its checks would find."""

from __future__ import annotations

import copy

import pytest
from benches import load_report
from benches.load_feed import measure, problems_of

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def found():
    return measure(12.0, processes=2, window=6.0)


def test_nothing_that_must_not_be(found):
    assert found["problems"] == []
    served = sum(count for worker in found["workers"] for *_, count in worker["served"])
    assert served > 50
    assert found["weight"]["most"] > 0
    assert sum(found["damage"].values()) > 3
    assert sum(found["faults"].values()) > 3
    assert found["end"]["blocks"]["archive: sound"] > 0


def test_the_page_shows_hit_rates_and_latency(found):
    page = load_report.render(found)
    for text in ("| cold |", "| TTL passed |", "| p50 | p99 |", "Damage: "):
        assert text in page


CHANGES = {
    "a wrong bar": lambda it: it["workers"][0]["failures"].append("another close"),
    "a wrong block": lambda it: it["end"]["wrong"].append("a block with another open"),
    "too much weight": lambda it: it["weight"].update(most=it["weight"]["limit"] + 1),
    "a process that hangs": lambda it: it["hung"].append(1),
    "a process that died": lambda it: it.update(silent=1),
    "threads": lambda it: it["workers"][1]["after"].update(threads=9),
    "open files": lambda it: it["workers"][1]["after"].update(files=999),
    "memory": lambda it: it["workers"][1]["after"].update(rss=1 << 40),
    "objects": lambda it: it["workers"][1]["after"].update(objects=1 << 40),
    "temporary files": lambda it: it["end"]["left"].append("archive/x.tmp"),
    "a log that grows": lambda it: it.update(largest_wal=1 << 40),
    "a memory that is never full": lambda it: [w.update(evictions=0) for w in it["workers"]],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_problem_is_told(found, change):
    other = copy.deepcopy(found)
    change(other)
    assert len(problems_of(other)) == len(problems_of(found)) + 1
