"""Plateaus of a sweep: against a walk through its rows, by names, in rankings, as columns."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import backtest_py as bt
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.result.result import SweepResult
from backtest_py.sweep.store.store import SweepStore
from backtest_py.sweep.store.tables import coded_column, shard_table

AXES = {
    "strategy.lookback": [20, 5, 10],
    "strategy.entry_start": ["09:00", ""],
    "rules.stop": [0.5, 1.0, 2.0, 4.0],
}
SIZES = [len(values) for values in AXES.values()]
SIZE = math.prod(SIZES)


def manifest_of(axes=None):
    given = AXES if axes is None else axes
    grid = {"axes": [{"key": key, "values": values} for key, values in given.items()]}
    return {"identity": {"grid": grid, "bars_hash": "5f0c"}, "n_bars": 1, "n_combos": SIZE}


def rows_of(combo_ids, metrics, other=None):
    """Return a table of rows whose metrics are 0 but for some."""
    columns = np.zeros((len(METRICS), len(combo_ids)))
    for name, values in metrics.items():
        columns[METRICS.index(name)] = values
    digits = np.unravel_index(combo_ids, SIZES)
    parameters = {
        key: coded_column(digit, values)
        for digit, (key, values) in zip(digits, AXES.items(), strict=True)
    }
    return shard_table(combo_ids, parameters, columns, other)


def some_metrics(n, seed=1):
    rng = np.random.default_rng(seed)
    sharpe = rng.normal(size=n).round(1)
    sharpe[::7] = np.nan
    return {
        "sharpe": sharpe,
        "max_drawdown": rng.uniform(1.0, 9.0, n).round(1),
        "total_trades": rng.integers(0, 100, n),
        "ruined": rng.random(n) < 0.15,
    }


def swept(combo_ids=None, seed=1, axes=None):
    ids = np.arange(SIZE) if combo_ids is None else np.asarray(combo_ids)
    return SweepResult.of_tables([rows_of(ids, some_metrics(len(ids), seed))], manifest_of(axes))


def plainly(frame, by, *, small):
    """Return worst, median, score and number of neighbours, by walking through the rows."""
    sign = -1.0 if small else 1.0
    places = {}
    for row in frame.to_dict("records"):
        digits = tuple(values.index(row[key]) for key, values in AXES.items())
        value = row[by]
        places[digits] = -math.inf if math.isnan(value) or row["ruined"] else sign * value
    found = []
    for digits, own in places.items():
        steps = [
            (*digits[:axis], digits[axis] + step, *digits[axis + 1 :])
            for axis, step in itertools.product(range(len(digits)), (-1, 1))
        ]
        around = sorted(places[step] for step in steps if step in places)
        shown = [around[0], statistics.median(around)] if around else [math.nan, math.nan]
        if around and math.isinf(around[(len(around) - 1) // 2]):
            shown[1] = -math.inf
        score = min(own, around[0]) if around else math.nan
        clear = [math.nan if math.isinf(value) else sign * value for value in (*shown, score)]
        found.append([*clear, len(around)])
    return np.array(found)


def columns_of(frame):
    names = ["plateau_worst", "plateau_median", "plateau_score", "n_neighbours"]
    return frame[names].to_numpy(np.float64)


@pytest.mark.parametrize("by", ["sharpe", "max_drawdown", "total_trades"])
@pytest.mark.parametrize("ids", [range(SIZE), range(20), [0, 1, 2, 5, 9, 10, 11, 13, 17, 23]])
def test_they_are_those_of_a_walk_through_the_rows(by, ids):
    sweep = swept(ids)
    found = sweep.plateaus(by)
    rows = sweep.table().to_pandas()
    np.testing.assert_array_equal(columns_of(found), plainly(rows, by, small=by == "max_drawdown"))
    assert list(found.columns) == [
        "combo_id", *AXES, by,
        "plateau_worst", "plateau_median", "plateau_score", "n_neighbours", "ruined",
    ]  # fmt: skip
    assert found["ruined"].any()
    assert found[by][found["ruined"]].isna().all()
    assert found["strategy.entry_start"].tolist() == rows["strategy.entry_start"].tolist()


@pytest.mark.parametrize("engine", ["rust", "numba"])
def test_a_real_sweep_has_them(engine):
    grid = {"rules.stop": [1.0, 1.5, 2.0, 2.5], "strategy.lookback": [5, 10, 20]}
    bars = bt.synthetic_bars(n_days=40)
    sweep = bt.sweep(bars, grid=grid, where="stop < 2.5 or lookback < 20", engine=engine)
    found = sweep.plateaus("total_return").set_index("combo_id")
    assert len(found) == 11
    money = found["total_return"]
    around = money[[1, 3, 5, 7]]
    assert found["plateau_worst"][4] == around.min()
    assert found["plateau_median"][4] == around.median()
    assert found["n_neighbours"].tolist() == [2, 3, 2, 3, 4, 3, 3, 4, 2, 2, 2]


def test_top_ranks_by_the_score():
    sweep = swept()
    frame = sweep.plateaus().set_index("combo_id")
    for ascending in (None, True):
        best = sweep.top(SIZE, plateau=True, ascending=ascending)
        if ascending is None:
            keys = -frame["plateau_score"][best["combo_id"]].to_numpy()
            at = list(best.columns).index("sharpe")
            assert list(best.columns[at + 1 : at + 3]) == ["plateau_worst", "plateau_median"]
            for name in ("plateau_worst", "plateau_median"):
                np.testing.assert_array_equal(best[name], frame[name][best["combo_id"]])
            numbers = ~np.isnan(keys)
            assert (np.diff(keys[numbers]) >= 0).all()
            assert numbers.any()
            assert not numbers[int(numbers.sum()) :].any()
        flags = best["ruined"].to_numpy()
        assert flags.any()
        assert (np.diff(flags.astype(int)) >= 0).all(), "ruined accounts come last"
    assert (
        sweep.top(3, plateau=True)["combo_id"].tolist()
        == (sweep.top(SIZE, plateau=True)["combo_id"].tolist()[:3])
    )


def test_what_a_condition_leaves_out_is_still_a_neighbour():
    sweep = swept()
    whole = sweep.top(SIZE, plateau=True).set_index("combo_id")
    some = sweep.top(SIZE, plateau=True, where="rules.stop < 2", min_trades=20)
    assert 0 < len(some) < SIZE
    assert (some["rules.stop"] < 2).all()
    assert (some["total_trades"] >= 20).all()
    kept = whole.index[(whole["rules.stop"] < 2) & (whole["total_trades"] >= 20)]
    assert some["combo_id"].tolist() == kept.tolist()
    pd.testing.assert_series_equal(
        some.set_index("combo_id")["plateau_worst"], whole["plateau_worst"][some["combo_id"]]
    )


def test_the_worst_case_of_both_scenarios():
    rng = np.random.default_rng(3)
    other = np.zeros((len(METRICS), SIZE))
    other[METRICS.index("sharpe")] = rng.normal(size=SIZE)
    table = rows_of(np.arange(SIZE), some_metrics(SIZE), ("target_first", other))
    sweep = SweepResult.of_tables([table], manifest_of())
    frame = table.to_pandas()
    worse = np.minimum(frame["sharpe"], frame["sharpe_target_first"]).where(frame["sharpe"].notna())
    alone = SweepResult.of_tables(
        [rows_of(np.arange(SIZE), {**some_metrics(SIZE), "sharpe": worse})], manifest_of()
    )
    found = sweep.top(SIZE, plateau=True, worst_case=True)
    expected = alone.top(SIZE, plateau=True)
    assert found["combo_id"].tolist() == expected["combo_id"].tolist()
    np.testing.assert_array_equal(found["plateau_median"], expected["plateau_median"])


def test_own_metrics_have_plateaus():
    sweep = swept()

    def double(columns):
        return 2.0 * columns["sharpe"]

    found, plain = sweep.plateaus(double), sweep.plateaus()
    np.testing.assert_array_equal(found["plateau_worst"], 2.0 * plain["plateau_worst"])
    best = sweep.top(5, by=double, plateau=True)
    assert best["combo_id"].tolist() == sweep.top(5, plateau=True)["combo_id"].tolist()
    at = list(best.columns).index("double")
    assert list(best.columns[at : at + 3]) == ["double", "plateau_worst", "plateau_median"]
    np.testing.assert_array_equal(best["double"], 2.0 * best["sharpe"])
    small = bt.ColumnMetric(lambda c: -c["sharpe"], "loss", smaller_is_better=True)
    found = sweep.top(SIZE, by=small, plateau=True)["combo_id"].tolist()
    assert found == sweep.top(SIZE, plateau=True)["combo_id"].tolist()
    with pytest.raises(bt.ConfigError, match="TradeMetric is known of replayed ones only"):
        sweep.top(5, by=bt.TradeMetric(lambda result: 1.0), plateau=True)


def test_the_report_says_where_the_best_row_stands():
    sharpe = np.full(SIZE, 0.5)
    sharpe[0] = 3.0  # a lonely peak in a corner
    for row in (10, 14, 15, 18, 11, 9):
        sharpe[row] = 2.0
    rows = rows_of(np.arange(SIZE), {"sharpe": sharpe, "total_trades": 50})
    sweep = SweepResult.of_tables([rows], manifest_of())
    report = sweep.plateau_report()
    assert report.best_row.combo_id == 0
    assert report.best_row.parameters == {
        "strategy.lookback": 20, "strategy.entry_start": "09:00", "rules.stop": 0.5,
    }  # fmt: skip
    assert (report.best_row.metric, report.best_row.worst, report.best_row.n_neighbours) == (
        3.0, 0.5, 3,
    )  # fmt: skip
    assert report.edges == ("strategy.lookback", "rules.stop")
    assert [(step.key, step.start, step.end, step.metric) for step in report.cliffs] == [
        ("strategy.lookback", 20, 5, 0.5),
        ("strategy.entry_start", "09:00", "", 0.5),
        ("rules.stop", 0.5, 1.0, 0.5),
    ]
    top = sweep.top(1, plateau=True)
    assert report.best_plateau.combo_id == top["combo_id"].iloc[0]
    assert "Best row by sharpe: combination 0 with 3.00 (strategy.lookback = 20" in report.text
    assert "Cliffs: 3 of 3 neighbours of the best row lose more than half" in report.text
    assert "rules.stop 0.5 to 1 leaves 0.50" in report.text
    assert "Edge of the grid: the best row has strategy.lookback = 20, rules.stop = 0.5" in str(
        report
    )
    assert set(report.explained) == set(AXES)
    assert list(report.explained) == list(sweep.sensitivity().index)


def test_the_report_looks_for_the_best_among_those_that_meet_a_condition():
    sweep = swept()
    report = sweep.plateau_report(where="rules.stop >= 1", min_trades=30)
    best = sweep.top(1, where="rules.stop >= 1", min_trades=30)
    assert report.best_row.combo_id == best["combo_id"].iloc[0]
    assert report.best_row.metric == best["sharpe"].iloc[0]
    plateau = sweep.top(1, plateau=True, where="rules.stop >= 1", min_trades=30)
    assert report.best_plateau.combo_id == plateau["combo_id"].iloc[0]
    assert report.best_plateau.worst == plateau["plateau_worst"].iloc[0]
    nothing = sweep.plateau_report(where="total_trades > 1e9")
    assert nothing.best_row is None
    assert "No row has a sharpe that is defined" in nothing.text


def test_sensitivity_names_parameters_and_values():
    effect = {20: 0.0, 5: 5.0, 10: 1.0}
    digits = np.unravel_index(np.arange(SIZE), SIZES)
    lookbacks = np.array(AXES["strategy.lookback"])[digits[0]]
    sharpe = np.array([effect[each] for each in lookbacks]) + 0.1 * digits[2]
    rows = rows_of(np.arange(SIZE), {"sharpe": sharpe, "max_drawdown": sharpe})
    found = SweepResult.of_tables([rows], manifest_of()).sensitivity()
    assert found.index.tolist() == ["strategy.lookback", "rules.stop", "strategy.entry_start"]
    assert found.index.name == "parameter"
    first = found.loc["strategy.lookback"]
    assert first["explained"] > 0.99
    assert (first["best_value"], first["worst_value"], first["n_values"]) == (5, 20, 3)
    assert first["best_mean"] == pytest.approx(5.15)
    assert first["range_of_means"] == pytest.approx(5.0)
    assert found["explained"]["strategy.entry_start"] == pytest.approx(0.0)
    frame = SweepResult.of_tables([rows], manifest_of()).sensitivity("max_drawdown")
    assert frame["best_value"]["strategy.lookback"] == 20, "a small drawdown is good"


class TestEdges:
    def test_every_account_is_ruined(self):
        metrics = {**some_metrics(SIZE), "ruined": True}
        sweep = SweepResult.of_tables([rows_of(np.arange(SIZE), metrics)], manifest_of())
        found = sweep.plateaus()
        assert found[["plateau_worst", "plateau_score"]].isna().all(axis=None)
        assert sweep.top(5, plateau=True)["combo_id"].tolist() == [0, 1, 2, 3, 4]
        assert sweep.plateau_report().best_row is None
        assert sweep.sensitivity()["explained"].isna().all()

    def test_no_metric_is_defined(self):
        metrics = {"sharpe": np.nan}
        sweep = SweepResult.of_tables([rows_of(np.arange(SIZE), metrics)], manifest_of())
        assert sweep.plateaus()["plateau_score"].isna().all()
        assert "No row has a sharpe that is defined" in str(sweep.plateau_report())

    def test_a_grid_of_one(self):
        bars = bt.synthetic_bars(n_days=30)
        for grid in ({"rules.stop": [2.0]}, {}):
            sweep = bt.sweep(bars, grid=grid)
            found = sweep.plateaus("total_return")
            assert found["n_neighbours"].tolist() == [0]
            assert found["plateau_worst"].isna().all()
            assert len(sweep.top(plateau=True)) == 1
            report = sweep.plateau_report("total_return")
            assert report.best_row.n_neighbours == 0
            assert report.best_plateau is None
            assert "it has no neighbour" in report.text
            assert sweep.sensitivity("total_return").index.tolist() == list(grid)

    def test_a_sample_with_neighbours(self):
        bars, grid = bt.synthetic_bars(n_days=30), {"rules.stop": list(np.arange(1, 41) / 10)}
        sweep = bt.sweep(bars, grid=grid, sample=bt.Sample(n=30, seed=1))
        found = sweep.plateaus("total_return")
        ids = set(found["combo_id"])
        expected = [(each - 1 in ids) + (each + 1 in ids) for each in found["combo_id"]]
        assert found["n_neighbours"].tolist() == expected

    def test_a_sample_without_neighbours_is_refused(self):
        bars = bt.synthetic_bars(n_days=30)
        grid = {"rules.stop": {"start": 0.001, "stop": 5, "step": 0.001}}
        sweep = bt.sweep(bars, grid=grid, sample=bt.Sample(n=5, seed=1))
        for ask in (sweep.plateaus, sweep.plateau_report, lambda: sweep.top(plateau=True)):
            with pytest.raises(bt.ConfigError, match="no two of the 5 rows are neighbours in the"):
                ask()
        assert len(sweep.sensitivity("total_return")) == 1

    def test_a_continuous_range_is_refused(self):
        bars = bt.synthetic_bars(n_days=30)
        sweep = bt.sweep(
            bars, grid={"rules.stop": {"min": 0.5, "max": 3.0}}, sample=bt.Sample(n=20)
        )
        for ask in (sweep.plateaus, sweep.sensitivity, lambda: sweep.top(plateau=True)):
            with pytest.raises(bt.ConfigError, match=r"rules\.stop was drawn from a continuous"):
                ask()

    @pytest.mark.parametrize("by", ["rules.stop", "combo_id", "strategy.entry_start", "sharp", 7])
    def test_what_is_no_metric_is_refused(self, by):
        with pytest.raises(bt.ConfigError, match=r"no metric|texts|did you mean|by = 7"):
            swept().plateaus(by)


@pytest.fixture
def on_disk(tmp_path):
    """A complete sweep on disk, in three shards whose rows interleave."""
    table = rows_of(np.arange(SIZE), some_metrics(SIZE))
    with SweepStore.create(tmp_path / "out", {**manifest_of(), "n_shards": 3}) as store:
        for shard in range(3):
            store.write(shard, table.take(pa.array(np.arange(shard, SIZE, 3))))
        store.update({"status": "complete"})
    return tmp_path / "out"


STORED = ["plateau_sharpe_worst", "plateau_sharpe_median", "plateau_sharpe_score"]


class TestStored:
    def test_they_are_columns_from_then_on(self, on_disk):
        before = {file: file.read_bytes() for file in on_disk.rglob("*.parquet")}
        plain = bt.open_sweep(on_disk)
        kept = plain.store_plateaus()
        for sweep in (kept, bt.open_sweep(on_disk), swept().store_plateaus()):
            assert list(sweep.columns) == [*plain.columns, *STORED]
            frame = sweep.table(["combo_id", *STORED]).to_pandas()
            np.testing.assert_array_equal(
                frame[STORED].to_numpy(),
                plain.plateaus()[["plateau_worst", "plateau_median", "plateau_score"]].to_numpy(),
            )
            top = sweep.top(SIZE, by="plateau_sharpe_score")
            assert top["combo_id"].tolist() == plain.top(SIZE, plateau=True)["combo_id"].tolist()
            where = "plateau_sharpe_median > 0 and rules.stop < 4"
            found = sweep.table(["combo_id"], where=where)["combo_id"].to_pylist()
            whole = sweep.table().to_pandas()
            mask = (whole["plateau_sharpe_median"] > 0) & (whole["rules.stop"] < 4)
            assert found == whole["combo_id"][mask].tolist()
            assert 0 < len(found) < SIZE
            ranked = sweep.top(SIZE, where=where)
            assert sorted(ranked["combo_id"]) == found
            assert sweep.pareto(["plateau_sharpe_worst", "max_drawdown"]).shape[0] > 0
            cells = sweep.heatmap("rules.stop", "strategy.lookback", by="plateau_sharpe_worst")
            assert cells.max(axis=None) == whole["plateau_sharpe_worst"][~whole["ruined"]].max()
        assert all(file.read_bytes() == content for file, content in before.items())

    def test_a_small_drawdown_is_good_in_its_plateau_too(self, on_disk):
        sweep = bt.open_sweep(on_disk).store_plateaus("max_drawdown")
        top = sweep.top(SIZE, by="plateau_max_drawdown_score", where="not ruined")
        values = top["plateau_max_drawdown_score"].dropna()
        assert (values.diff().dropna() >= 0).all()

    def test_csv_and_queries_show_them(self, on_disk, tmp_path):
        sweep = bt.open_sweep(on_disk).store_plateaus()
        sweep.to_csv(tmp_path / "all.csv", where="plateau_sharpe_worst < 0")
        found = pd.read_csv(tmp_path / "all.csv")
        assert (found["plateau_sharpe_worst"] < 0).all()
        count = sweep.sql("SELECT count(*) AS n FROM sweep WHERE plateau_sharpe_worst < 0")
        assert count["n"].iloc[0] == len(found) > 0
        assert list(sweep.sql("SELECT * FROM sweep LIMIT 1").columns) == list(sweep.columns)

    def test_several_metrics_and_storing_again(self, on_disk):
        sweep = bt.open_sweep(on_disk).store_plateaus().store_plateaus("max_drawdown")
        sweep = sweep.store_plateaus()
        assert sorted(sweep.columns[-6:]) == sorted(
            [*STORED, *(name.replace("sharpe", "max_drawdown") for name in STORED)]
        )
        assert len(sweep.table(where="plateau_sharpe_worst < plateau_max_drawdown_worst")) > 0

    def test_the_sweep_can_still_be_resumed(self, on_disk):
        bt.open_sweep(on_disk).store_plateaus()
        with SweepStore.resume(on_disk, {**manifest_of(), "n_shards": 3}) as store:
            assert len(store.done) == 3
            assert store.damaged == []
            store.update({"status": "complete"})
        assert STORED[0] in bt.open_sweep(on_disk).columns

    def test_an_incomplete_sweep_stores_nothing(self, tmp_path):
        table = rows_of(np.arange(6), some_metrics(6))
        with SweepStore.create(tmp_path / "out", {**manifest_of(), "n_shards": 2}) as store:
            store.write(0, table)
        sweep = bt.open_sweep(tmp_path / "out")
        with pytest.raises(bt.ConfigError, match="6 of 24 combinations are done"):
            sweep.store_plateaus()
        assert not list((tmp_path / "out").glob("added-*"))
        with pytest.warns(bt.BacktestWarning, match="6 of 24 combinations are done"):
            assert sweep.plateaus()["n_neighbours"].tolist() == [2, 3, 2, 1, 2, 2]
        with pytest.warns(bt.BacktestWarning, match="6 of 24"):
            sweep.sensitivity()

    def test_columns_of_another_sweep_are_left_out(self, on_disk, tmp_path):
        bt.open_sweep(on_disk).store_plateaus()
        other = tmp_path / "other"
        manifest = {**manifest_of(), "n_shards": 1}
        manifest["identity"] = {**manifest["identity"], "bars_hash": "other"}
        with SweepStore.create(other, manifest) as store:
            store.write(0, rows_of(np.arange(SIZE), some_metrics(SIZE, seed=9)))
            store.update({"status": "complete"})
        stored = (on_disk / "added-plateau_sharpe.parquet").read_bytes()
        (other / "added-plateau_sharpe.parquet").write_bytes(stored)
        with pytest.warns(bt.BacktestWarning, match="left out: it is of another sweep"):
            assert STORED[0] not in bt.open_sweep(other).columns

    @pytest.mark.parametrize("damage", ["cut", "empty", "directory", "no parquet"])
    def test_a_damaged_file_is_left_out_with_a_warning(self, on_disk, damage):
        bt.open_sweep(on_disk).store_plateaus()
        file = on_disk / "added-plateau_sharpe.parquet"
        content = file.read_bytes()
        file.unlink()
        if damage == "directory":
            file.mkdir()
        else:
            file.write_bytes({"cut": content[:-20], "empty": b"", "no parquet": b"x" * 500}[damage])
        with pytest.warns(bt.BacktestWarning, match=r"added-plateau_sharpe.parquet is left out"):
            sweep = bt.open_sweep(on_disk)
        assert len(sweep.top(5)) == 5

    def test_a_flipped_bit_is_found_where_it_is_read(self, on_disk):
        bt.open_sweep(on_disk).store_plateaus()
        file = on_disk / "added-plateau_sharpe.parquet"
        content = bytearray(file.read_bytes())
        content[200] ^= 1
        file.write_bytes(content)
        sweep = bt.open_sweep(on_disk)
        with pytest.raises(bt.DataError, match="damaged"):
            sweep.top(5, by=STORED[0])
        assert len(sweep.table(["sharpe"])) == SIZE

    @pytest.mark.parametrize("by", ["sharp", "total_return / max_drawdown", len, None])
    def test_what_cannot_be_stored_is_refused(self, on_disk, by):
        with pytest.raises(bt.ConfigError, match=r"unknown column|cannot be stored"):
            bt.open_sweep(on_disk).store_plateaus(by)
