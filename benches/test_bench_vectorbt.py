"""The nearest peer: vectorbt, on both of its engines, in the same process and in turns."""

from __future__ import annotations

import warnings

import pytest

import backtest_py as bt
from benches.datasets import WORKLOADS, load_market
from benches.timing import clock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vectorbt's imports
    from benches import peer_vectorbt as peer

pytestmark = pytest.mark.filterwarnings("ignore")


def summary(portfolio):
    """Return what is nearest to our trades and metrics."""
    return portfolio.trades.records, portfolio.total_return(), portfolio.max_drawdown()


def test_vectorbt(findings):
    """Same bars, same signals, same stops; what both can express must agree first."""
    bars, work = load_market(peer.MARKET), WORKLOADS[peer.WORKLOAD]
    side, inputs = peer.our_signals(), peer.peer_inputs()

    def full(engine):
        return lambda: bt.run(bars, work.strategy, work.rules, peer.CONTRACT, engine=engine)

    def given(engine):
        return lambda: bt.run_signals(bars, side, work.rules, peer.CONTRACT, engine=engine)

    for engine in ("numba", "rust"):
        found = peer.differences(full("rust")(), peer.from_signals(inputs, engine))
        findings.facts[f"vectorbt_{engine}"] = found

    findings.compare(
        f"vectorbt in turns: {peer.WORKLOAD} on {peer.MARKET}",
        {
            "backtest-py rust, full": clock(full("rust")),
            "backtest-py numba, full": clock(full("numba")),
            "backtest-py rust, signals given": clock(given("rust")),
            "backtest-py numba, signals given": clock(given("numba")),
            "vectorbt rust, from_signals": clock(lambda: peer.from_signals(inputs, "rust")),
            "vectorbt numba, from_signals": clock(lambda: peer.from_signals(inputs, "numba")),
            "vectorbt rust, with trades and two metrics": clock(
                lambda: summary(peer.from_signals(inputs, "rust"))
            ),
            "vectorbt numba, with trades and two metrics": clock(
                lambda: summary(peer.from_signals(inputs, "numba"))
            ),
        },
        rounds=60,
    )
