"""Ruined accounts rank behind all others, in every view of a sweep and on both engines."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt
from backtest_py.records import METRICS
from backtest_py.sweep.result.result import SweepResult
from backtest_py.sweep.store.tables import SMALLER_IS_BETTER, shard_table

GRID = {
    "strategy.min_range_mult": [0.5, 1.0, 1e9],
    "rules.stop": [1.0, 2.0, 0.5],
    "contract.point_value": [0.2, 20.0, 100.0],
    "contract.initial_capital": [3_000.0, 20_000.0],
}
SETTINGS = {"rules": bt.ExitRules(close_time="17:00"), "contract": bt.Contract(tick_size=5)}


@pytest.fixture(scope="module", params=["rust", "numba"])
def swept(request):
    """A sweep with sound rows, rows without a trade, and ruined ones, some with a good Sharpe."""
    return bt.sweep(bt.synthetic_bars(n_days=30), grid=GRID, engine=request.param, **SETTINGS)


@pytest.fixture(scope="module")
def frame(swept):
    frame = swept.table().to_pandas()
    assert frame["sharpe"][frame["ruined"]].max() > 1.0, "a ruined account looks good"
    assert (frame["ruined"] & frame["sharpe"].isna()).any()
    assert (~frame["ruined"] & frame["sharpe"].isna()).any()
    return frame


def same(left, right):
    pd.testing.assert_frame_equal(
        left.reset_index(drop=True), right.reset_index(drop=True), check_exact=True
    )


@pytest.mark.parametrize("ascending", [None, True, False])
def test_numbers_then_undefined_then_ruined(swept, frame, ascending):
    for by in (*METRICS, *GRID, "combo_id"):
        small = by in SMALLER_IS_BETTER if ascending is None else ascending
        ordered = frame.sort_values("combo_id").sort_values(by, ascending=small, kind="stable")
        ordered = ordered.sort_values("ruined", kind="stable")
        same(swept.top(len(frame), by=by, ascending=ascending), ordered)
        same(swept.top(5, by=by, ascending=ascending), ordered[:5])


def test_a_condition_finds_ruined_accounts(swept, frame):
    ruined = frame[frame["ruined"]]
    found = swept.top(100, where="ruined")
    assert found["combo_id"].tolist() == (
        ruined.sort_values(["sharpe", "combo_id"], ascending=[False, True])["combo_id"].tolist()
    )
    assert not swept.top(100, where="not ruined")["ruined"].any()
    assert len(swept.pareto(where="ruined")) > 0
    assert swept.heatmap("rules.stop", "contract.point_value", where="ruined").max(axis=None) == (
        ruined["sharpe"].max()
    )


def test_no_ruined_account_is_on_the_front(swept, frame):
    front = swept.pareto({"sharpe": "max", "total_trades": "min"})
    assert len(front) > 0
    assert not front["ruined"].any()
    sound = frame[~frame["ruined"]]
    table = SweepResult.of_tables([as_table(sound)], {"identity": {}})
    same(front, table.pareto({"sharpe": "max", "total_trades": "min"}))


def as_table(frame):
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)


@pytest.mark.parametrize("by", ["sharpe", "max_drawdown", "total_trades"])
def test_the_best_of_a_cell_is_no_ruined_account(swept, frame, by):
    x, y = "contract.point_value", "contract.initial_capital"
    sound = frame[~frame["ruined"]]
    best = "min" if by in SMALLER_IS_BETTER else "max"
    expected = sound.pivot_table(index=y, columns=x, values=by, aggfunc=best, dropna=False)
    expected = expected.reindex(index=GRID[y], columns=GRID[x])
    found = swept.heatmap(x, y, by=by)
    np.testing.assert_array_equal(found, expected)
    everything = frame.pivot_table(index=y, columns=x, values=by, aggfunc="max", dropna=False)
    np.testing.assert_array_equal(swept.heatmap(x, y, by=by, reduce="max"), everything)
    # where all are ruined there is nothing to recommend
    fixed = {"strategy.min_range_mult": 0.5, "rules.stop": 0.5}
    chosen = frame[(frame["strategy.min_range_mult"] == 0.5) & (frame["rules.stop"] == 0.5)]
    found = swept.heatmap(x, y, by=by, fixed=fixed)
    assert chosen["ruined"].any()
    for row in chosen.itertuples(index=False):
        value = found.loc[row[chosen.columns.get_loc(y)], row[chosen.columns.get_loc(x)]]
        assert np.isnan(value) == (row.ruined or np.isnan(getattr(row, by)))


def test_a_slice_goes_through_an_account_that_survives(swept, frame):
    best = frame[~frame["ruined"]].sort_values("sharpe", ascending=False).iloc[0]
    found = swept.slice("rules.stop")
    assert found.max() == best["sharpe"]
    assert found[best["rules.stop"]] == best["sharpe"]


def test_the_other_scenario_has_ruins_of_its_own():
    own, other = np.zeros((39, 4)), np.zeros((39, 4))
    sharpe, ruined = METRICS.index("sharpe"), METRICS.index("ruined")
    own[sharpe], other[sharpe] = [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 3.0]
    own[ruined], other[ruined] = [0, 1, 0, 0], [0, 0, 1, 0]
    table = shard_table(np.arange(4), {}, own, ("target_first", other))
    swept = SweepResult.of_tables([table], {"identity": {}})
    assert swept.top(4)["combo_id"].tolist() == [0, 2, 3, 1]
    assert swept.top(4, by="sharpe_target_first")["combo_id"].tolist() == [3, 0, 2, 1]
    assert swept.top(4, worst_case=True)["combo_id"].tolist() == [0, 3, 1, 2]


def test_a_drawdown_of_the_other_scenario_is_good_if_small():
    own, other = np.zeros((39, 3)), np.zeros((39, 3))
    other[METRICS.index("max_drawdown")] = [3.0, 1.0, 2.0]
    table = shard_table(np.arange(3), {}, own, ("target_first", other))
    swept = SweepResult.of_tables([table], {"identity": {}})
    assert swept.top(3, by="max_drawdown_target_first")["combo_id"].tolist() == [1, 2, 0]


@pytest.fixture
def on_disk(cli, tmp_path, write_toml):
    bars = bt.synthetic_bars(n_days=30)
    bars.to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    grid = "\n".join(f'"{key}" = {values}' for key, values in GRID.items())
    config = write_toml(
        f"[rules]\nclose_time = '17:00'\n[contract]\ntick_size = 5\n[sweep.grid]\n{grid}\n"
    )
    outcome = cli("sweep", config, "--out", tmp_path / "out")
    assert (outcome.status, outcome.err) == (0, "")
    return tmp_path / "out", outcome.out


def test_the_commands_say_who_is_ruined(cli, on_disk, frame):
    out, printed = on_disk
    n_ruined = int(frame["ruined"].sum())
    assert f"Ruined {n_ruined} of them" in " ".join(printed.split())
    best = cli("top", out, "-n", 5).out
    assert "ruined" not in best
    found = cli("top", out, "-n", 54).out
    assert "ruined" in found
    assert "yes" in found
    assert "ruined" in cli("top", out, "--by", "ruined", "-n", 3).out
    rows = json.loads(cli("top", out, "-n", 54, "--json").out)["rows"]
    flags = [row["ruined"] for row in rows]
    assert flags == sorted(flags)
    rows = json.loads(cli("top", out, "--where", "ruined", "--json").out)["rows"]
    assert rows
    assert all(row["ruined"] for row in rows)
