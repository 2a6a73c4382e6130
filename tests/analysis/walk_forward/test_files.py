"""The files of a walk-forward: saved, opened again, resumed after a kill, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from tests.walk_forward_by_hand import CLOSE, CONTRACT, GRID

import backtest_py as bt

pytestmark = pytest.mark.timeout(120)

FILES = ("windows.parquet", "trades.parquet", "daily.parquet", "metrics.json")
QUESTION = """
import os, signal, sys
import backtest_py as bt
bars = bt.synthetic_bars(n_days=50, bars_per_day=40)
grid = {"rules.max_bars": list(range(1, 301)), "strategy.lookback": [5, 10]}
options = {
    "rules": bt.ExitRules(stop=1.0, target=2.0, close_time="17:00"),
    "train_days": 20, "test_days": 10, "min_trades": 5,
}
"""
KILLED = """
def kill(progress):
    if progress.shards >= 1:
        os.kill(os.getpid(), signal.SIGKILL)
bt.walk_forward(bars, grid=grid, **options, **eval(sys.argv[1]), progress=kill)
"""


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=50, bars_per_day=40)


def walk(bars, **options):
    options = {"train_days": 20, "test_days": 10, "min_trades": 5, "contract": CONTRACT, **options}
    return bt.walk_forward(bars, grid=GRID, rules=CLOSE, **options)


def assert_same(left, right):
    pd.testing.assert_frame_equal(left.windows, right.windows, check_exact=True)
    pd.testing.assert_frame_equal(left.trades, right.trades, check_exact=True)
    pd.testing.assert_series_equal(left.equity, right.equity, check_exact=True)
    pd.testing.assert_frame_equal(left.drift, right.drift, check_exact=True)
    assert left.metrics == right.metrics
    assert repr(left) == repr(right)


@pytest.mark.parametrize("min_trades", [5, 40, 10_000])
def test_what_is_saved_comes_back(bars, tmp_path, min_trades, engine):
    """Also where some windows, or all, have no choice."""
    wf = walk(bars, min_trades=min_trades, engine=engine)
    again = bt.open_walk_forward(wf.save(tmp_path / "saved"))
    assert_same(again, wf)
    out = walk(bars, min_trades=min_trades, engine=engine, out=tmp_path / "out")
    assert_same(out, wf)
    assert_same(bt.open_walk_forward(tmp_path / "out"), wf)
    for name in FILES:
        saved, written = ((tmp_path / where / name).read_bytes() for where in ("saved", "out"))
        assert saved == written
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["kind"] == "walk_forward"
    assert manifest["status"] == "complete"
    assert manifest["identity"]["engine"] == engine
    assert manifest["identity"]["choice"]["min_trades"] == min_trades
    wf.save(tmp_path / "saved")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize(
    "options",
    [
        {"engine": "rust"},
        {"engine": "rust", "plateau": True},
        {"engine": "numba", "processes": 2},
    ],
    ids=str,
)
def test_after_a_kill_it_goes_on_to_the_same_bytes(tmp_path, options):
    known = {}
    exec(QUESTION, known)
    how = {**options, "out": str(tmp_path / "killed")}
    command = [sys.executable, "-c", QUESTION + KILLED, repr(how)]
    ended = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    done = list((tmp_path / "killed" / "results").glob("shard-*.parquet"))
    assert 1 <= len(done) < 3
    assert not (tmp_path / "killed" / "windows.parquet").exists()
    with pytest.raises(bt.ConfigError, match="running, not complete"):
        bt.open_walk_forward(tmp_path / "killed")
    with pytest.raises(bt.ConfigError, match="--resume"):
        bt.walk_forward(known["bars"], grid=known["grid"], **known["options"], **how)
    before = {file: file.stat().st_mtime_ns for file in done}
    resumed = bt.walk_forward(
        known["bars"], grid=known["grid"], **known["options"], **how, resume=True
    )
    assert {file: file.stat().st_mtime_ns for file in done} == before
    how["out"] = str(tmp_path / "whole")
    whole = bt.walk_forward(known["bars"], grid=known["grid"], **known["options"], **how)
    assert_same(resumed, whole)
    for name in FILES:
        left, right = ((tmp_path / where / name).read_bytes() for where in ("killed", "whole"))
        assert left == right


def test_another_question_is_refused(bars, tmp_path):
    walk(bars, out=tmp_path)
    same = walk(bars, out=tmp_path, resume=True)
    assert_same(same, bt.open_walk_forward(tmp_path))
    for options, words in (
        ({"train_days": 21}, "train_days was 20, now 21"),
        ({"min_trades": 6}, "min_trades was 5, now 6"),
        ({"choose": "calmar"}, 'choose was "sharpe", now "calmar"'),
        ({"choose": lambda columns: columns["sharpe"]}, "choose"),
        ({"plateau": True}, "plateau"),
        ({"embargo_days": 1}, "embargo_days was 0, now 1"),
        ({"engine": "numba"}, "engine"),
        ({"contract": bt.Contract()}, "contract"),
    ):
        with pytest.raises(bt.ConfigError, match="holds another") as caught:
            walk(bars, out=tmp_path, resume=True, **options)
        assert words in str(caught.value)
    with pytest.raises(bt.ConfigError, match=r"holds the results of a walk-forward; continue it"):
        walk(bars, out=tmp_path)
    assert_same(same, bt.open_walk_forward(tmp_path))


def test_damage_is_found(bars, tmp_path):
    wf = walk(bars, out=tmp_path)
    for name in FILES:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-1] + b"x")
        with pytest.raises(bt.DataError, match=f"{name} is damaged"):
            bt.open_walk_forward(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(bt.DataError, match=f"{name} cannot be read"):
            bt.open_walk_forward(tmp_path)
        assert_same(walk(bars, out=tmp_path, resume=True), wf)
        assert (tmp_path / name).read_bytes() == content
    shard = next((tmp_path / "results").glob("*.parquet"))
    shard.write_bytes(b"nothing")
    assert_same(walk(bars, out=tmp_path, resume=True), wf)


def test_directories_of_others_are_left_alone(bars, tmp_path):
    wf = walk(bars, out=tmp_path / "walk")
    bt.sweep(bars, grid=GRID, rules=CLOSE, contract=CONTRACT, out=tmp_path / "sweep")
    bt.run(bars, "barra_elefante", CLOSE, CONTRACT).save(tmp_path / "run")
    for name in ("sweep", "run"):
        before = (tmp_path / name / "manifest.json").read_bytes()
        for refused in (
            wf.save,
            lambda path: walk(bars, out=path),
            lambda path: walk(bars, out=path, resume=True),
            bt.open_walk_forward,
        ):
            with pytest.raises(bt.ConfigError, match="something else"):
                refused(tmp_path / name)
        assert (tmp_path / name / "manifest.json").read_bytes() == before
    with pytest.raises(bt.ConfigError, match="something else"):
        bt.open_sweep(tmp_path / "walk")
    with pytest.raises(bt.ConfigError, match="something else"):
        bt.sweep(bars, grid=GRID, rules=CLOSE, out=tmp_path / "walk", resume=True)
    with pytest.raises(bt.ConfigError, match="walk_forward"):
        bt.run(bars, "barra_elefante", CLOSE, CONTRACT).save(tmp_path / "walk")
    with pytest.raises(bt.ConfigError, match="missing"):
        bt.open_walk_forward(tmp_path / "nowhere")
    assert_same(bt.open_walk_forward(tmp_path / "walk"), wf)


def test_a_function_that_gives_other_signals_is_refused(bars, tmp_path):
    state = {"shift": 0}

    def moving(given, *, every: int = 3):
        import numpy as np

        return np.where((np.arange(len(given)) + state["shift"]) % every == 0, 1, 0)

    options = {
        "grid": {"strategy.every": [3, 4, 5], "rules.stop": [1.0, 2.0]},
        "rules": CLOSE,
        "train_days": 20,
        "test_days": 10,
        "out": tmp_path,
    }
    bt.walk_forward(bars, moving, **options)
    bt.walk_forward(bars, moving, **options, resume=True)
    state["shift"] = 1
    with pytest.raises(bt.ConfigError, match="signals was"):
        bt.walk_forward(bars, moving, **options, resume=True)


def test_several_markets_have_a_folder_each(bars, tmp_path):
    markets = {"A": bars, "B": bt.synthetic_bars(n_days=45, bars_per_day=40, seed=3)}
    walks = walk(markets, out=tmp_path, engine="rust")
    for name, each in walks.items():
        assert_same(bt.open_walk_forward(tmp_path / name), each)
    table = pd.read_parquet(tmp_path / "results.parquet").set_index("market")
    assert table.sharpe.to_dict() == walks.table.sharpe.to_dict()
    assert json.loads((tmp_path / "results.json").read_text())["A"]["windows"] == 3
    again = walk(markets, out=tmp_path, engine="rust", resume=True)
    assert again["B"].metrics == walks["B"].metrics
    walks.save(tmp_path / "saved")
    assert_same(bt.open_walk_forward(tmp_path / "saved" / "B"), walks["B"])
    with pytest.raises(bt.ConfigError, match="folder of market"):
        walk({"../A": bars}, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_stop_leaves_what_can_be_continued(bars, tmp_path):
    """An interruption in the middle is remembered as one."""

    def stop(_):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        walk(bars, out=tmp_path, progress=stop)
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "interrupted"
    with pytest.raises(bt.ConfigError, match="interrupted, not complete"):
        bt.open_walk_forward(tmp_path)
    assert_same(walk(bars, out=tmp_path, resume=True), walk(bars))
