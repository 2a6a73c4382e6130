"""Results of sweeps travel: to other processes, into copies, with rows, bars and grid."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed

import backtest_py as bt

GRID = {"strategy.lookback": [5, 10, 20], "rules.stop": [1.0, 2.0], "rules.unit": ["atr", "points"]}


@pytest.fixture(scope="module", params=["memory", "memory, by shards", "disk", "opened", "sample"])
def swept(request, tmp_path_factory):
    bars = bt.synthetic_bars(n_days=20)
    options = {"grid": GRID, "rules": bt.ExitRules(close_time="17:00")}
    if request.param == "sample":
        options["sample"] = bt.Sample(n=6, seed=2)
    if request.param == "memory, by shards":
        options["progress"] = lambda _: None
    if request.param in {"memory", "memory, by shards", "sample"}:
        return bt.sweep(bars, **options)
    out = tmp_path_factory.mktemp("sweep") / "out"
    result = bt.sweep(bars, out=out, **options)
    return bt.open_sweep(out, bars) if request.param == "opened" else result


def looked_at(result):
    """What another process finds: the best rows, and the trades of the best."""
    best = result.top(4)
    return best, result.replay(int(best["combo_id"].iloc[0])).trades, result.columns, len(result)


def assert_same(left, right):
    for one, other in zip(left[:2], right[:2], strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert left[2:] == right[2:]


def test_copies_are_the_same(swept):
    expected = looked_at(swept)
    assert len(expected[1]) > 0
    for travelled in (
        *(pickle.loads(pickle.dumps(swept, protocol)) for protocol in (2, pickle.HIGHEST_PROTOCOL)),
        copy.copy(swept),
        copy.deepcopy(swept),
        pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(swept)))),
    ):
        assert_same(looked_at(travelled), expected)
        assert travelled.manifest == swept.manifest
        assert travelled.complete
        assert travelled.grid == swept.grid
        pd.testing.assert_series_equal(travelled.slice("rules.stop"), swept.slice("rules.stop"))


def test_it_can_be_pickled_before_anyone_looked():
    bars = bt.synthetic_bars(n_days=10)
    result = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]})
    travelled = pickle.loads(pickle.dumps(result))
    assert travelled.table().equals(result.table())
    assert travelled.replay(1).job.bars.content_hash == bars.content_hash


def test_other_processes_look_at_it(swept):
    expected = looked_at(swept)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert_same(pool.apply(looked_at, (swept,)), expected)
    for found in Parallel(2)(delayed(looked_at)(swept) for _ in range(2)):
        assert_same(found, expected)


def test_a_pickle_is_not_larger_than_its_rows():
    bars = bt.synthetic_bars(n_days=3)
    grid = {"rules.stop": list(np.arange(1, 101) / 10), "strategy.lookback": list(range(2, 32))}
    result = bt.sweep(bars, grid=grid)
    size = result.table().nbytes
    assert size > 900_000
    assert len(pickle.dumps(result)) < 1.1 * size + 100_000


def test_a_users_own_strategy_travels():
    result = bt.sweep(
        bt.synthetic_bars(n_days=10), strategy=every_so_often, grid={"strategy.step": [20, 30]}
    )
    travelled = copy.deepcopy(result)
    assert travelled.replay(1).metrics == result.replay(1).metrics
    assert pickle.loads(pickle.dumps(result)).replay(0).metrics == result.replay(0).metrics


def every_so_often(bars, *, step: int = 40):
    side = np.zeros(len(bars), np.int8)
    side[::step] = 1
    return side


def test_a_directory_that_is_gone_is_named(tmp_path):
    result = bt.sweep(
        bt.synthetic_bars(n_days=5), grid={"rules.stop": [1.0, 2.0]}, out=tmp_path / "out"
    )
    content = pickle.dumps(result)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    with pytest.raises(bt.ConfigError, match="holds no sweep"):
        pickle.loads(content)


def test_the_directory_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bt.sweep(bt.synthetic_bars(n_days=5), grid={"rules.stop": [1.0, 2.0]}, out="out")
    content = pickle.dumps(result)
    monkeypatch.chdir("/")
    assert len(pickle.loads(content)) == 2
