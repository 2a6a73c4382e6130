"""What it costs a sweep to keep sums of blocks of days, of which PBO is made.

A sweep of the size that users have most (20,000 combinations on 140,000 bars) keeps them for half
of its rows, and a larger one for about as many rows, so that this is where they cost most.
"""

from __future__ import annotations

import pytest

import backtest_py as bt
from benches.report import BLOCKS
from benches.timing import clock

GRID = {
    "strategy.min_range_mult": {"start": 1.0, "stop": 1.9, "step": 0.1},
    "strategy.max_shadow_ratio": [0.2, 0.3, 0.4, 0.5, 0.6],
    "strategy.lookback": [10, 20],
    "rules.stop": {"start": 0.5, "stop": 2.75, "step": 0.25},
    "rules.target": {"start": 0.5, "stop": 5.25, "step": 0.25},
}
RULES = bt.ExitRules(close_time="17:00")
CONTRACT = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=1_300, seed=0)


@pytest.mark.parametrize("engine", list(BLOCKS))
def test_sums_of_blocks(findings, bars, tmp_path, engine):
    """The same sweep, in turns, with sums of 16 blocks and without any.

    On disk a sweep also writes a second file for each shard, and makes its verdict with the PBO of
    some rows. That is a fixed cost of some hundredths of a second, which is published beside it.
    """
    number = iter(range(1_000_000))

    def swept(blocks, **place):
        how = {"rules": RULES, "contract": CONTRACT, "engine": engine, "gate": None}
        return bt.sweep(bars, grid=GRID, blocks=blocks, **how, **place)

    def on_disk(blocks):
        return swept(blocks, out=tmp_path / f"{next(number)}")

    assert len(swept(16).blocks.combo_ids) > 5_000
    assert swept(0).blocks is None
    contenders = {
        "with sums of blocks": clock(lambda: swept(16), repeats=1),
        "without": clock(lambda: swept(0), repeats=1),
        "with sums of blocks, on disk, with its verdict": clock(lambda: on_disk(16), repeats=1),
        "without, on disk": clock(lambda: on_disk(0), repeats=1),
    }
    findings.compare(BLOCKS[engine], contenders, rounds=9)
