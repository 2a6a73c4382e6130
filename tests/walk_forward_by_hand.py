"""A walk-forward as a plain loop over ``run(range=...)``, which shares no code with ours."""

from __future__ import annotations

import itertools
import math
import os
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

import backtest_py as bt

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
CONTRACT = bt.Contract(
    tick_size=5, point_value=0.2, fee_per_side=0.25, slippage_ticks=1, initial_capital=10_000
)
CLOSE = bt.ExitRules(close_time="17:00")
OVERNIGHT = bt.ExitRules()
GRID = {
    "strategy.min_range_mult": [1.0, 1.5, 2.0],
    "strategy.lookback": [5, 20],
    "rules.stop": [1.0, 2.0],
    "rules.target": [1.0, 3.0],
}


def market(name):
    """Return bars of a market by name, and rules and contract that suit it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        if name == "index":
            return bt.load_bars(Path(SHARED) / "data" / "WIN_M5_2023H1.csv"), CLOSE, CONTRACT
        if name == "coin":
            bars = bt.load_bars(Path(SHARED) / "data" / "BTCUSDT_30m_2021-2023H1.parquet")[:4_000]
            return bars, OVERNIGHT, bt.Contract(tick_size=0.1, fee_rate=0.0004, quantity=0.01)
    bars = bt.synthetic_bars(n_days=60, bars_per_day=40)
    return bars, CLOSE if name == "session" else OVERNIGHT, replace(CONTRACT, tick_size=1.0)


MARKETS = ("session", "overnight", *(("index", "coin") if SHARED else ()))


def combinations(grid):
    """Yield the values of every combination in the order of ``combo_id``."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def settings(values, rules, contract):
    """Return strategy, rules and contract of a combination."""
    parts = {"strategy": {}, "rules": {}, "contract": {}}
    for key, value in values.items():
        section, _, name = key.partition(".")
        parts[section][name] = value
    return (
        bt.BarraElefante(**parts["strategy"]),
        replace(rules, **parts["rules"]),
        replace(contract, **parts["contract"]),
    )


def days_of(bars):
    """Return the midnights of the trading days, and the one after the last."""
    stamps = pd.to_datetime(bars.wall)
    days = sorted({stamp.date() for stamp in stamps})
    midnights = [pd.Timestamp(day).to_pydatetime() for day in days]
    return [*midnights, midnights[-1] + timedelta(days=1)]


def walk_by_hand(
    bars,
    grid,
    rules,
    contract,
    *,
    train,
    test,
    gap=0,
    anchored=False,
    by="sharpe",
    small=False,
    min_trades=30,
    engine="rust",
):
    """Return rows (train range, test range, combo_id, both results) and the stitched trades."""
    days = days_of(bars)
    n_days = len(days) - 1
    rows, busy = [], None
    start = 0
    while start + train + gap < n_days:
        first, last = 0 if anchored else start, start + train
        span = (days[first], days[last])
        chosen, best, kept = -1, math.nan, None
        for combo_id, values in enumerate(combinations(grid)):
            strategy, own_rules, own_contract = settings(values, rules, contract)
            result = bt.run(bars, strategy, own_rules, own_contract, range=span, engine=engine)
            metrics = result.metrics
            value = metrics[by]
            if metrics.ruined or metrics.total_trades < min_trades or math.isnan(value):
                continue
            if chosen < 0 or (value < best if small else value > best):
                chosen, best, kept = combo_id, value, result
        begin = days[last + gap]
        end = days[min(last + gap + test, n_days)]
        tested = None
        if chosen >= 0:
            if busy is not None and busy > begin:
                begin = min(busy, end)
            if begin < end:
                values = list(combinations(grid))[chosen]
                strategy, own_rules, own_contract = settings(values, rules, contract)
                tested = bt.run(
                    bars, strategy, own_rules, own_contract, range=(begin, end), engine=engine
                )
                if len(tested):
                    exit_bar = int(tested.columns["exit_bar"][-1])
                    busy = pd.Timestamp(bars.wall[exit_bar]).to_pydatetime()
        rows.append((span, (begin, end), chosen, kept, tested))
        start += test
    return rows


def assert_same_walk(wf, rows, grid):
    """Assert that windows and trades are those of a loop, to the bit."""
    windows = wf.windows
    assert len(windows) == len(rows)
    listed = list(combinations(grid))
    for (_, row), (train, test, chosen, kept, tested) in zip(windows.iterrows(), rows, strict=True):
        assert (row.train_start, row.train_end) == tuple(map(pd.Timestamp, train))
        assert (row.test_start, row.test_end) == tuple(map(pd.Timestamp, test))
        assert row.combo_id == chosen
        if chosen < 0:
            assert all(pd.isna(row[key]) for key in grid)
            assert math.isnan(row.train_sharpe)
            assert row.test_total_trades == 0
            continue
        assert {key: row[key] for key in grid} == listed[chosen]
        for prefix, result in (("train", kept), ("test", tested)):
            if result is None:
                assert row[f"{prefix}_total_trades"] == 0
                continue
            found = np.array([row[f"{prefix}_{name}"] for name in result.metrics], np.float64)
            expected = np.array(list(result.metrics.values()), np.float64)
            np.testing.assert_array_equal(found, expected)
    frames = [tested.trades for *_, tested in rows if tested is not None]
    if frames:
        expected = pd.concat(frames, ignore_index=True)
        pd.testing.assert_frame_equal(wf.trades, expected, check_exact=True)
