"""Sweeps of bars on which no edge can exist, and of bars with one that was planted.

The base are real bars. Their null models are those of :func:`backtest_py.monte_carlo`. Costs are
left out, and blocks are short, for two reasons that docs/overfitting.md explains:

* With costs, combinations that trade less are really better, on any half of the days.
* Blocks are drawn with replacement, so that what happened inside a long one happens on many days:
  the luck of the base is then a truth of the bars that are made of it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.engines import resolve

# prices of a null model are on no tick grid, and nothing here hangs on one
pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")

SEEDS = 20
BLOCK = 5
GRID = {
    "strategy.min_range_mult": [1.2, 1.5, 2.0],
    "strategy.lookback": [5, 10, 20, 40],
    "rules.stop": [1.0, 1.5, 2.0, 3.0],
    "rules.target": [1.0, 2.0, 3.0],
}


@cache
def base():
    folder = os.environ.get("BACKTEST_PY_SHARED")
    if not folder:
        pytest.skip("BACKTEST_PY_SHARED names no folder with the shared files")
    return bt.load_bars(Path(folder) / "data" / "WIN_M5_2023H1.csv")


def directions(seed):
    bars = base()
    tossed = resolve("rust")[0].monte_carlo(
        "shuffle_directions", bars.open, bars.high, bars.low, bars.close, seed, 0
    )
    return bars.with_prices(tossed, bars.volume)


def blocks(seed, length=BLOCK):
    bars = base()
    order = np.argsort(bars.minute, kind="stable").astype(np.int64)
    minutes = bars.minute[order]
    first = np.searchsorted(minutes, bars.minute, "left").astype(np.int64)
    size = np.searchsorted(minutes, bars.minute, "right").astype(np.int64) - first
    columns = (bars.open, bars.high, bars.low, bars.close)
    prices, source = resolve("rust")[0].monte_carlo(
        "bootstrap_bars", *columns, order, first, size, length, seed, 0
    )
    return bars.with_prices(prices, bars.volume[source])


def planted(seed, share=0.75, bars_after=12, least=1.5):
    """Return tossed bars that, after a wide bar, mostly go on in its direction."""
    bars = directions(seed)
    rng = np.random.default_rng(seed)
    before = np.append(bars.open[0], bars.close[:-1])
    moves = [column / before for column in (bars.open, bars.high, bars.low, bars.close)]
    body = bars.close - bars.open
    sizes = bars.high - bars.low
    totals = np.cumsum(np.insert(sizes, 0, 0.0))
    means = np.full(len(bars), np.inf)
    means[20:] = (totals[20:-1] - totals[:-21]) / 20
    wide = np.flatnonzero(sizes > least * means)
    sign, until = 0.0, -1
    flips = np.zeros(len(bars), np.bool_)
    starts = set(wide.tolist())
    for row in range(len(bars)):
        up = moves[3][row] > 1.0
        if row <= until and rng.random() < share:
            flips[row] = up != (sign > 0.0)
        if row in starts and row > until:
            sign, until = np.sign(body[row]), row + bars_after
    opens, highs, lows, closes = moves
    turned = [
        np.where(flips, 1.0 / opens, opens),
        np.where(flips, 1.0 / lows, highs),
        np.where(flips, 1.0 / highs, lows),
        np.where(flips, 1.0 / closes, closes),
    ]
    level = bars.open[0] * np.cumprod(np.insert(turned[3], 0, 1.0))[:-1]
    return bars.with_prices([column * level for column in turned], bars.volume)


def judged(bars, engine="rust"):
    sweep = bt.sweep(
        bars,
        grid=GRID,
        rules=bt.ExitRules(close_time="17:00"),
        contract=bt.Contract(tick_size=5, point_value=0.2, initial_capital=100_000),
        engine=engine,
    )
    return sweep.verdict()


@pytest.mark.parametrize("null", [directions, blocks])
def test_without_structure_nothing_is_found(null):
    found = [judged(null(seed)) for seed in range(SEEDS)]
    rates = np.array([each.pbo for each in found])
    error = rates.std(ddof=1) / np.sqrt(SEEDS)
    assert 0.02 < error < 0.07  # the seeds are 20 tries and not one
    assert abs(rates.mean() - 0.5) < 2.0 * error
    assert sum(each.dsr >= 0.95 for each in found) <= 2
    assert sum(each.significant for each in found) <= 2


def test_a_planted_edge_is_found(engine):
    found = [judged(planted(seed), engine) for seed in range(5)]
    for each in found:
        assert each.pbo < 0.1
        assert each.dsr >= 0.95
        assert each.significant
        assert each.text.startswith("The best result is more than luck alone would show")


def test_long_blocks_repeat_the_luck_of_their_base():
    """Why the blocks above are short: what is inside a long one comes back, so choosing helps."""
    rates = [[judged(blocks(seed, length)).pbo for seed in range(SEEDS)] for length in (1, 100)]
    short, long = np.mean(rates, axis=1)
    assert abs(short - 0.5) < 0.1
    assert long < short - 0.1
