"""The benchmark of sweeps does what it says: a little of each kind; `make bench-sweep` does all."""

from __future__ import annotations

import pytest

from benches.sweep import measure

pytestmark = pytest.mark.timeout(600)


def test_a_little_of_each_kind():
    """Everything agrees and is timed."""
    report = measure(quick=True)
    groups = {row["group"] for row in report["rows"]}
    assert {"size", "others", "bars", "threads", "levels"} <= groups
    for row in report["rows"]:
        assert min(row["seconds"]) > 0
        assert row["trades"] > 0
    assert all(run["rows"] == run["size"] for run in report["shell"])
