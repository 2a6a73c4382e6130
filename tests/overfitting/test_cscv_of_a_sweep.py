"""The block sums of both engines are what CSCV asks for."""

from __future__ import annotations

import numpy as np

import backtest_py as bt
from backtest_py.engines import resolve
from backtest_py.engines.base import atr_for
from backtest_py.metrics.catalogue import METRICS
from backtest_py.overfitting import pbo, pbo_from_blocks
from backtest_py.signals import Signals

N_DAYS = 45
N_BLOCKS = 6


def daily_returns(bars, side, rules, contract):
    """Return the daily returns of a single run, from its trades alone."""
    trades = bt.run_signals(bars, side, rules, contract, engine="numba").trades
    days = bars.to_frame().index.normalize().unique()
    pnl = trades["pnl"].groupby(trades["exit_time"].dt.normalize()).sum().reindex(days)
    before = contract.initial_capital + pnl.fillna(0.0).cumsum().shift(1, fill_value=0.0)
    return (pnl.fillna(0.0) / before).to_numpy()


def test_block_sums_of_a_plan_give_the_pbo_of_daily_returns(engine):
    bars = bt.synthetic_bars(n_days=N_DAYS)
    rng = np.random.default_rng(0)
    sides = [
        rng.choice(np.array([-1, 0, 1], np.int8), len(bars), p=[share / 2, 1 - share, share / 2])
        for share in (0.0, 0.001, 0.01, 0.02, 0.03, 0.05, 0.06, 0.08)
    ]
    rules = bt.ExitRules(stop=1.5, target=2.0, close_time="17:00")
    contract = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.1)
    tool = resolve(engine)[0]
    plan = tool.sweep_plan(
        bars,
        strategies=None,
        signals=[Signals(side, None) for side in sides],
        loosest=[],
        threads=1,
    )
    plan.load([(rules, contract, atr_for(tool, bars, rules))])
    rows = plan.evaluate(
        np.arange(len(sides), dtype=np.uint32),
        np.empty(0),
        bt.MetricSettings(),
        [(0, len(bars))],
        N_BLOCKS,
    )[0]
    blocks = rows[len(METRICS) :]
    found = pbo_from_blocks(blocks[0::3], blocks[1::3], blocks[2::3])
    returns = np.column_stack([daily_returns(bars, side, rules, contract) for side in sides])
    assert returns.shape == (N_DAYS, len(sides))
    expected = pbo(returns, n_blocks=N_BLOCKS)
    np.testing.assert_array_equal(found.chosen, expected.chosen)
    np.testing.assert_allclose(found.logits, expected.logits)
    np.testing.assert_allclose(found.in_sample, expected.in_sample, rtol=1e-9)
    np.testing.assert_allclose(found.out_of_sample, expected.out_of_sample, rtol=1e-9)
    assert len(set(found.chosen)) > 1
    assert 0 not in found.chosen  # it never trades
