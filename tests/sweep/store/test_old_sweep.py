"""A directory that version 0.1.0 wrote, before its code was moved, opens as it did."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import backtest_py as bt

OLD = Path(__file__).parent / "old_sweep"

pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")


@pytest.fixture
def bars():
    return bt.synthetic_bars(n_days=20)


def test_an_old_directory_opens(bars):
    old = bt.open_sweep(OLD, bars=bars)
    assert old.manifest["version"] == "0.1.0"
    assert old.manifest["status"] == "complete"
    now = bt.sweep(bars, grid=GRID, engine="numba")
    assert old.table().equals(now.table())
    assert old.top(3)["combo_id"].tolist() == now.top(3)["combo_id"].tolist()
    row = old.table().to_pylist()[5]
    assert old.replay(5).metrics.total_trades == row["total_trades"] > 0


GRID = {"strategy.lookback": [5, 10], "rules.stop": [1.0, 2.0], "rules.target": [2.0, 3.0]}


def test_a_sweep_of_today_writes_the_same_file(bars, tmp_path):
    bt.sweep(bars, grid=GRID, engine="numba", out=tmp_path)
    name = "results/shard-000000.parquet"
    assert (tmp_path / name).read_bytes() == (OLD / name).read_bytes()


def test_the_commands_read_an_old_directory(bars, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bars.to_frame().to_csv("bars.csv", lineterminator="\n")
    shutil.copytree(OLD, tmp_path / "old")
    best = cli("top", "old", "--json")
    assert best.status == 0, best.err
    assert '"combo_id"' in best.out
    again = cli("replay", "old", 5)
    assert again.status == 0, again.err
