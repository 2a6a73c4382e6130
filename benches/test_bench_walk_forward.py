"""Walk-forward: 13 windows of 20,000 combinations on 140,000 bars, and ten markets of 1,000.

The first round passes the parity gate where there is one; later ones reuse its verdict.
"""

from __future__ import annotations

import pytest

import backtest_py as bt

RULES = bt.ExitRules(close_time="17:00")
CONTRACT = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1)
LENGTHS = {"train_days": 252, "test_days": 81}
ONE = {
    "strategy.min_range_mult": {"start": 1.0, "stop": 1.9, "step": 0.1},
    "strategy.max_shadow_ratio": [0.2, 0.3, 0.4, 0.5, 0.6],
    "strategy.lookback": [10, 20],
    "rules.stop": {"start": 0.5, "stop": 2.75, "step": 0.25},
    "rules.target": {"start": 0.5, "stop": 5.25, "step": 0.25},
}
MANY = {
    "strategy.min_range_mult": {"start": 1.0, "stop": 1.9, "step": 0.1},
    "rules.stop": {"start": 0.5, "stop": 2.75, "step": 0.25},
    "rules.target": {"start": 0.5, "stop": 2.75, "step": 0.25},
}
MOST_SECONDS = {"one": 3.0, "many": 5.0}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def markets():
    return {f"M{seed}": bt.synthetic_bars(n_days=1_300, seed=seed) for seed in range(10)}


def walked(bars, grid, **options):
    return bt.walk_forward(bars, grid=grid, rules=RULES, contract=CONTRACT, **LENGTHS, **options)


@pytest.mark.parametrize("plateau", [False, True], ids=["best row", "best plateau"])
def test_one_market(benchmark, findings, markets, plateau):
    """13 windows of 20,000 combinations on 140,000 bars."""
    benchmark.group = "walk-forward of 13 windows, 20,000 combinations"
    benchmark.extra_info["contender"] = "rust"
    wf = benchmark.pedantic(
        walked,
        (markets["M0"], ONE),
        {"engine": "rust", "plateau": plateau},
        rounds=1 if findings.quick else 5,
    )
    assert len(wf) == 13
    assert (wf.windows.combo_id >= 0).all()
    if not findings.quick:
        assert benchmark.stats.stats.median < MOST_SECONDS["one"]


@pytest.mark.parametrize("engine", ["rust", "numba"])
def test_ten_markets(benchmark, findings, markets, engine):
    """13 windows of 1,000 combinations on 140,000 bars of each; Numba starts its processes."""
    benchmark.group = "walk-forwards of 10 markets, 13 windows, 1,000 combinations"
    benchmark.extra_info["contender"] = engine
    walks = benchmark.pedantic(
        walked, (markets, MANY), {"engine": engine}, rounds=1 if findings.quick else 3
    )
    assert [len(wf) for wf in walks.values()] == [13] * 10
    if not findings.quick and engine == "rust":
        assert benchmark.stats.stats.median < MOST_SECONDS["many"]
