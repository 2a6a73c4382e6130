"""The verdict of a sweep: its numbers, where it has none, and what the directory keeps of it."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

import backtest_py as bt
from backtest_py import overfitting
from backtest_py.errors import ConfigError
from backtest_py.sweep.compute import block_sums
from backtest_py.sweep.store.manifest import write_manifest
from backtest_py.sweep.store.store import SweepStore

GRID = {
    "strategy.lookback": [5, 10],
    "strategy.min_range_mult": [1.2, 1.6],
    "rules.stop": [0.5, 1.0, 2.0],
}
RULES = bt.ExitRules(close_time="17:00")
COSTS = bt.Contract(tick_size=5, point_value=0.2, fee_per_side=0.25, slippage_ticks=1)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=60)


def swept(bars, grid=None, **how):
    asked = {"rules": RULES, "contract": COSTS, **how}
    return bt.sweep(bars, grid=GRID if grid is None else grid, **asked)


def returns_of_trades(result):
    """Return daily returns from the frame of trades alone."""
    days = result.job.bars.to_frame().index.normalize().unique()
    trades = result.trades
    pnl = trades["pnl"].groupby(trades["exit_time"].dt.normalize()).sum().reindex(days).fillna(0.0)
    before = result.job.contract.initial_capital + pnl.cumsum().shift(1, fill_value=0.0)
    return (pnl / before).to_numpy()


def test_its_numbers_are_those_of_the_statistics(bars, engine):
    sweep = swept(bars, engine=engine)
    found = sweep.verdict()
    table = sweep.table().to_pandas()
    best = table.loc[table["sharpe"].idxmax()]
    returns = np.column_stack([returns_of_trades(sweep.replay(row)) for row in table["combo_id"]])
    moments = overfitting.return_moments(returns[:, int(best["combo_id"])])
    assert found.combo_id == best["combo_id"]
    assert found.sharpe == best["sharpe"]
    assert (found.trials, found.years) == (12, 60 / 252)
    assert found.skew == pytest.approx(moments.skew)
    assert found.kurtosis == pytest.approx(moments.kurtosis)
    assert found.dsr == pytest.approx(
        overfitting.deflated_sharpe(
            best["sharpe"] / math.sqrt(252),
            60,
            n_trials=12,
            variance=table["sharpe"].var() / 252,
            skew=moments.skew,
            kurtosis=moments.kurtosis,
        )
    )
    assert found.pbo == pytest.approx(overfitting.pbo(returns).pbo)
    assert found.plateau == overfitting.GridValues(table["sharpe"], [2, 2, 3]).winner()
    assert found.luck in repr(sweep)
    assert "With 12 trials and 0.2 years" in found.text


def test_both_engines_and_both_places_say_the_same(bars, tmp_path):
    said = [swept(bars, engine=name).verdict() for name in ("numba", "rust")]
    stored = swept(bars, out=tmp_path / "out")
    said += [stored.verdict(), bt.open_sweep(tmp_path / "out").verdict()]
    said += [pickle.loads(pickle.dumps(each)).verdict() for each in (stored, swept(bars))]
    assert len({json.dumps(each.to_mapping()) for each in said}) == 1
    assert stored.manifest["verdict"] == said[0].to_mapping()


def test_other_trials_count(bars):
    sweep = swept(bars)
    alone, more = sweep.verdict(), sweep.verdict(more_trials=1_000)
    assert (alone.trials, more.trials) == (12, 1_012)
    assert more.dsr < alone.dsr
    assert sweep.verdict(trials=500).trials == 500
    with pytest.raises(ConfigError, match="more_trials"):
        sweep.verdict(more_trials=-1)
    assert sweep.verdict(trials=12) == alone
    with pytest.raises(ConfigError, match=r"trials = 11 .* the sweep alone has 12 combinations"):
        sweep.verdict(trials=11)


def test_spa_and_effective_trials_name_their_sample(bars):
    sweep = swept(bars)
    found = sweep.verdict(spa=True, effective_trials=True, n_series=5)
    assert 0.0 <= found.spa <= 1.0
    assert "SPA compares the daily returns of 5 of 12 combinations" in found.text
    every = sweep.verdict(spa=True, effective_trials=True)
    returns = np.column_stack([returns_of_trades(sweep.replay(row)) for row in range(12)])
    assert every.spa == overfitting.spa(returns, seed=0).consistent
    assert every.effective_trials == overfitting.effective_trials(returns).number
    assert "all 12 combinations" in every.text


def test_a_grid_of_one(bars, tmp_path):
    for how in ({}, {"out": tmp_path / "out"}):
        found = swept(bars, {"rules.stop": [1.0]}, **how).verdict()
        assert found.trials == 1
        assert found.dsr == found.psr
        assert math.isnan(found.pbo)
        assert "PBO is not known: fewer than two combinations" in found.text


def test_a_parameter_that_changes_nothing(bars):
    found = swept(bars, {"rules.max_bars": [8_000, 9_000, 10_000]}).verdict()
    assert math.isnan(found.pbo)
    assert "PBO is not known: fewer than two combinations differ enough" in found.text


def test_no_trades_anywhere(bars):
    found = swept(bars, {"strategy.min_range_mult": [1e6, 2e6, 3e6]}).verdict()
    assert found.text.startswith("There is nothing to judge")
    assert "No combination has a Sharpe ratio" in found.text
    assert math.isnan(found.sharpe)
    assert math.isnan(found.dsr)
    assert not found.significant
    assert found.combo_id == -1


def test_every_account_ruined(bars, tmp_path):
    poor = bt.Contract(tick_size=5, point_value=0.2, fee_per_side=500.0, initial_capital=50.0)
    sweep = swept(bars, contract=poor, out=tmp_path / "out")
    assert sweep.table(["ruined"])["ruined"].to_pylist() == [True] * 12
    found = sweep.verdict(spa=True)
    assert "Every account is ruined" in found.text
    assert not found.significant
    assert (found.combo_id, found.trials) == (-1, 12)


def test_a_ruined_row_is_never_the_best(bars):
    sweep = swept(bars, {"contract.initial_capital": [80.0, 10_000.0], "rules.stop": [1.0, 2.0]})
    ruined = set(sweep.table(["combo_id"], where="ruined")["combo_id"].to_pylist())
    assert 0 < len(ruined) < 4
    found = sweep.verdict()
    assert found.combo_id == sweep.top(1)["combo_id"].iloc[0]
    assert found.combo_id not in ruined


def test_few_days_make_few_blocks(bars):
    rows = int(np.searchsorted(bars.day, 5))
    few = bars[:rows]
    assert few.day[-1] == 4
    assert swept(few).blocks.n_blocks == 4
    one = bars[: int(np.searchsorted(bars.day, 1))]
    found = swept(one)
    assert found.blocks is None
    assert "PBO is not known: there are too few days for two blocks" in found.verdict().text


def test_blocks_can_be_others_or_none(bars, tmp_path):
    assert swept(bars, blocks=4).blocks.n_blocks == 4
    sweep = swept(bars, blocks=0, out=tmp_path / "out")
    assert sweep.blocks is None
    assert not (tmp_path / "out" / "blocks").exists()
    assert "the sweep was asked to keep no sums of blocks" in sweep.verdict().text
    for wrong in (3, -2, 22, True, 2.0, "16"):
        with pytest.raises(ConfigError, match="blocks"):
            swept(bars, blocks=wrong)


def interrupted(bars, out, **how):
    """Sweep until the first of three shards is kept."""
    write = SweepStore.write

    def once(store, shard, table):
        if store.done:
            raise KeyboardInterrupt
        write(store, shard, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepStore, "write", once)
        with pytest.raises(KeyboardInterrupt):
            swept(bars, LONG, out=out, **how)


LONG = {"rules.max_bars": range(1, 301), "strategy.lookback": [5, 10]}


def files(out):
    return {
        file.relative_to(out): file.read_bytes()
        for place in ("results", "blocks")
        for file in sorted((out / place).iterdir())
    }


@pytest.mark.parametrize("how", [{"threads": 1}, {"processes": 2}])
def test_a_resumed_sweep_keeps_the_same_bytes(bars, tmp_path, how):
    whole = swept(bars, LONG, out=tmp_path / "whole")
    assert len(whole.blocks) == 600
    interrupted(bars, tmp_path / "out")
    part = bt.open_sweep(tmp_path / "out")
    assert not part.complete
    with pytest.raises(ConfigError, match="not complete"):
        part.verdict()
    for file in (tmp_path / "out" / "blocks").iterdir():  # one that lost its sums is computed again
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    again = swept(bars, LONG, out=tmp_path / "out", resume=True, **how)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert again.verdict() == whole.verdict()
    assert again.manifest["verdict"] == whole.manifest["verdict"]


def test_other_blocks_are_refused_on_resume(bars, tmp_path):
    interrupted(bars, tmp_path / "out", blocks=8)
    with pytest.raises(ConfigError, match="sums of 8 blocks, and blocks asks for the sums of 16"):
        swept(bars, LONG, out=tmp_path / "out", resume=True)
    assert swept(bars, LONG, out=tmp_path / "out", resume=True, blocks=8).blocks.n_blocks == 8


def test_a_directory_that_began_without_blocks_goes_on_without(bars, tmp_path):
    out = tmp_path / "out"
    interrupted(bars, out, blocks=0)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["blocks"], manifest["checksum"]
    write_manifest(out, manifest)
    sweep = swept(bars, LONG, out=out, resume=True)
    assert sweep.complete
    assert sweep.blocks is None
    assert "it keeps no sums" in sweep.verdict().text


def test_a_large_sweep_keeps_a_sample(bars, engine, monkeypatch):
    every = swept(bars, LONG, engine=engine).blocks
    monkeypatch.setattr(block_sums, "KEPT_ROWS", 100)
    monkeypatch.setattr(block_sums, "_LEAST_SETS", 10)
    sweep = swept(bars, LONG, engine=engine)
    some = sweep.blocks
    assert 90 <= len(some) <= 110
    places = np.searchsorted(every.combo_ids, some.combo_ids)
    np.testing.assert_array_equal(some.sums, every.sums[:, places])
    np.testing.assert_array_equal(some.squares, every.squares[:, places])
    assert f"PBO compares {len(some)} of 600 combinations, evenly chosen" in sweep.verdict().text
    assert sweep.verdict().trials == 600


def test_the_sums_are_those_of_the_rows(bars, engine):
    """Sums of all blocks give the Sharpe ratio of every row, whichever way it was computed."""
    sampled = {"sample": bt.Sample(n=9, seed=1)}
    for grid, how in ((GRID, {}), (GRID, sampled), ({"strategy.lookback": [5, 10, 20]}, {})):
        sweep = swept(bars, grid, engine=engine, **how)
        blocks = sweep.blocks
        total, squares, n = (
            part.sum(axis=0) for part in (blocks.sums, blocks.squares, blocks.days)
        )
        sharpe = total / n / np.sqrt((squares - total * total / n) / (n - 1)) * np.sqrt(252)
        expected = sweep.table(["sharpe"])["sharpe"].to_numpy()
        np.testing.assert_allclose(sharpe, expected, rtol=1e-9)


def test_a_function_that_changes_its_mind_is_named(bars, tmp_path):
    calls = []

    def fickle(bars, *, gap: int = 7):
        calls.append(gap)
        side = np.zeros(len(bars), np.int8)
        side[len(calls) :: gap + len(calls)] = 1
        return side

    sweep = swept(bars, {"rules.stop": [1.0, 2.0, 3.0]}, strategy=fickle, out=tmp_path / "out")
    assert "does not give the same signals" in sweep.manifest["verdict"]["reason"]
