"""Looking at a sweep: rankings, fronts, slices, heatmaps, queries, export and replay."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.backtest.job import prepare
from backtest_py.contract import Contract, MetricSettings
from backtest_py.data.source import source_of
from backtest_py.engines import resolve
from backtest_py.errors import BacktestError, ConfigError, DataError
from backtest_py.records import METRICS
from backtest_py.sweep.result.result import SweepResult, open_sweep
from backtest_py.sweep.space.sample import Sample, build_grid
from backtest_py.sweep.store.store import SweepStore
from backtest_py.sweep.store.tables import SMALLER_IS_BETTER, coded_column, shard_table

AXES = {
    "strategy.lookback": [5, 10],
    "strategy.entry_start": ["09:00", "10:30"],
    "rules.unit": ["points", "atr"],
    "rules.stop": [1.0, 0.5, 4.0],
    "rules.target_r": [0.0, 2.0],
    "rules.round_to_tick": [False, True],
}
SPAN = (300, 2500)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=30)


def jobs_of(grid, bars, combo_ids):
    for combo in combo_ids:
        strategy, rules, contract = grid.settings(int(combo))
        signals = strategy.compute(bars)
        job = prepare(bars, strategy, signals, rules, contract, None, None)
        yield type(job)(*(getattr(job, name) for name in job.__slots__[:-2]), *SPAN)


def manifest_of(grid, bars):
    return {
        "identity": {
            "grid": grid.to_mapping(),
            "metrics": MetricSettings().to_mapping(),
            "range": list(SPAN),
            "bars_hash": bars.content_hash,
            "engine": "numba",
        },
        "data": source_of(bars),
    }


def tables_of(grid, bars, combo_ids, n_shards):
    """Run every combination; the rows of one shard lie between those of others."""
    engine, _ = resolve("numba")
    metrics = engine.optimize(list(jobs_of(grid, bars, combo_ids))).T
    tables = []
    for shard in range(n_shards):
        rows = np.arange(shard, len(combo_ids), n_shards)
        values = [grid.values(int(combo)) for combo in combo_ids[rows]]
        columns = {
            axis.key: coded_column(np.array([axis.index(v[axis.key]) for v in values]), axis.values)
            for axis in grid.axes
        }
        tables.append(shard_table(combo_ids[rows], columns, np.ascontiguousarray(metrics[:, rows])))
    return tables


@pytest.fixture(scope="module")
def grid():
    return build_grid(
        bt.BarraElefante(min_volume_mult=0.0), bt.ExitRules(close_time="17:00"), Contract(), AXES
    )


@pytest.fixture(scope="module")
def tables(grid, bars):
    return tables_of(grid, bars, np.arange(grid.size), n_shards=5)


@pytest.fixture(scope="module")
def directory(grid, bars, tables, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep")
    with SweepStore.create(path, manifest_of(grid, bars)) as store:
        for shard, table in enumerate(tables):
            store.write(shard, table)
        store.update({"status": "complete"})
    return path


@pytest.fixture(scope="module", params=["files", "memory"])
def swept(request, directory, grid, bars, tables):
    """The same sweep, from its directory and from tables in memory."""
    if request.param == "files":
        return open_sweep(directory, bars)
    return SweepResult.of_tables(tables, manifest_of(grid, bars), bars=bars)


@pytest.fixture(scope="module")
def frame(tables):
    """All rows by other means: pandas, in the order of combo_id."""
    plain = [table.to_pandas() for table in tables]
    frame = pd.concat(plain).sort_values("combo_id", ignore_index=True)
    for name in ("rules.unit", "strategy.entry_start"):
        frame[name] = frame[name].astype("str")
    for name in ("rules.stop", "rules.target_r"):
        frame[name] = frame[name].astype(float)
    frame["strategy.lookback"] = frame["strategy.lookback"].astype(np.int64)
    return frame


def same(left, right):
    pd.testing.assert_frame_equal(
        left.reset_index(drop=True), right.reset_index(drop=True), check_exact=True
    )


# rows


def test_rows_are_complete_and_sorted(swept, frame, grid):
    same(swept.table().to_pandas(), frame)
    assert len(swept) == swept.n_combos == grid.size == 96
    assert swept.columns == ("combo_id", *AXES, *METRICS)
    assert frame["sharpe"].isna().sum() < 90
    assert frame["total_trades"].nunique() > 5


def test_table_takes_columns_and_conditions(swept, frame):
    table = swept.table(["sharpe", "rules.unit"], where="total_trades > 20 and unit == 'atr'")
    chosen = frame[(frame["total_trades"] > 20) & (frame["rules.unit"] == "atr")]
    same(table.to_pandas(), chosen[["sharpe", "rules.unit"]])
    with pytest.raises(ConfigError, match="unknown column 'sharp'; did you mean 'sharpe'"):
        swept.table(["sharp"])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("strategy.entry_start > '09:15'", lambda f: f["strategy.entry_start"] == "10:30"),
        ("entry_start + 30 <= 570", lambda f: f["strategy.entry_start"] == "09:00"),
        ("rules.stop * 2 < target_r", lambda f: f["rules.stop"] * 2 < f["rules.target_r"]),
        ("not round_to_tick or ruined", lambda f: ~f["rules.round_to_tick"] | f["ruined"]),
        ("combo_id == 1 or combo_id > 94", lambda f: f["combo_id"].isin([1, 95])),
        ("ruined", lambda f: f["ruined"]),
        ("win_rate >= 0.4 and calmar != 0", lambda f: (f["win_rate"] >= 0.4) & (f["calmar"] != 0)),
        ("total_return / max_drawdown > 1", lambda f: f["total_return"] / f["max_drawdown"] > 1),
    ],
)
def test_conditions(swept, frame, where, expected):
    same(swept.table(where=where).to_pandas(), frame[expected(frame)])


@pytest.mark.parametrize("where", ["sharpe", "1", "sharpe >", "nothing > 1", "rules.unit > 1"])
def test_what_is_no_condition(swept, where):
    for method in (swept.table, swept.top, swept.pareto):
        with pytest.raises(ConfigError, match="where = "):
            method(where=where)


# the best


@pytest.mark.parametrize("ascending", [None, True, False])
def test_top_is_what_sorting_gives(swept, frame, ascending):
    for by in (*METRICS, "rules.stop", "rules.round_to_tick", "combo_id"):
        small = by in SMALLER_IS_BETTER if ascending is None else ascending
        ordered = frame.sort_values(list(dict.fromkeys([by, "combo_id"])), ascending=True)
        ordered = ordered.sort_values(by, ascending=small, kind="stable")
        same(swept.top(7, by=by, ascending=ascending), ordered[:7])


def test_top_of_more_rows_than_there_are(swept, frame):
    assert len(swept.top(1000)) == 96
    found = swept.top(1000, by="total_return", where="rules.stop == 4 and total_trades > 0")
    chosen = frame[(frame["rules.stop"] == 4) & (frame["total_trades"] > 0)]
    same(found, chosen.sort_values(["total_return", "combo_id"], ascending=[False, True]))
    nothing = swept.top(where="total_trades < 0")
    assert len(nothing) == 0
    assert tuple(nothing.columns) == swept.columns


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "5"])
def test_top_needs_a_number_of_rows(swept, n):
    with pytest.raises(ConfigError, match=r"n = .* is not allowed; give a whole number"):
        swept.top(n)


def test_top_needs_a_column_of_numbers(swept):
    with pytest.raises(ConfigError, match="unknown column 'sharp'; did you mean 'sharpe'"):
        swept.top(by="sharp")
    with pytest.raises(ConfigError, match=r"rules\.unit holds texts"):
        swept.top(by="rules.unit")


def test_small_is_good_for_losses_alone():
    assert set(METRICS) >= SMALLER_IS_BETTER
    assert {"max_drawdown", "max_drawdown_pct", "gross_loss"} <= SMALLER_IS_BETTER
    # these are negative where they are bad
    assert not {"avg_loss", "worst_trade", "total_return", "sharpe"} & SMALLER_IS_BETTER


def test_worst_case_ranks_by_the_worse_scenario():
    own, other = np.full((39, 4), 1.0), np.full((39, 4), 1.0)
    sharpe, drawdown = METRICS.index("sharpe"), METRICS.index("max_drawdown")
    own[sharpe], other[sharpe] = [3.0, 2.0, 5.0, 1.0], [0.5, 2.5, np.nan, 1.0]
    own[drawdown], other[drawdown] = [3.0, 2.0, 5.0, 1.0], [0.5, 2.5, np.nan, 9.0]
    table = shard_table(np.arange(4), {}, own, ("target_first", other))
    assert table.num_columns == 1 + 2 * 39
    swept = SweepResult.of_tables([table], {"identity": {}})
    assert swept.top(4, worst_case=True)["combo_id"].tolist() == [1, 3, 0, 2]
    found = swept.top(4, by="max_drawdown", worst_case=True)
    assert found["combo_id"].tolist() == [1, 0, 3, 2]
    assert swept.top(4)["combo_id"].tolist() == [2, 0, 1, 3]
    single = SweepResult.of_tables([shard_table(np.arange(4), {}, own)], {"identity": {}})
    with pytest.raises(ConfigError, match="needs both scenarios"):
        single.top(worst_case=True)


def unbeaten(keys):
    """Return the front of rows, one pair at a time."""
    defined = [row for row in range(len(keys)) if not np.isnan(keys[row]).any()]
    return {
        row
        for row in defined
        if not any(
            (keys[rival] <= keys[row]).all() and (keys[rival] < keys[row]).any()
            for rival in defined
        )
    }


def test_pareto(swept, frame):
    found = swept.pareto({"total_return": "max", "total_trades": "min"}, where="total_trades > 0")
    chosen = frame[frame["total_trades"] > 0].reset_index(drop=True)
    keys = chosen[["total_return", "total_trades"]].to_numpy(float) * [-1, 1]
    expected = chosen.loc[sorted(unbeaten(keys))]
    order = ["total_return", "total_trades", "combo_id"]
    same(found, expected.sort_values(order, ascending=[False, True, True]))
    same(swept.pareto(), swept.pareto({"total_return": "max", "max_drawdown": "min"}))
    same(swept.pareto(["sharpe", "calmar"]), swept.pareto({"sharpe": "max", "calmar": "max"}))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ("sharpe", "give at least two"),
        (["sharpe"], "give at least two"),
        ({"sharpe": "max", "calmar": "up"}, "unknown direction 'up'"),
        (["sharpe", "calm"], "unknown column 'calm'"),
        (["sharpe", "rules.unit"], "holds texts"),
    ],
)
def test_pareto_needs_objectives(swept, objectives, message):
    with pytest.raises(ConfigError, match=message):
        swept.pareto(objectives)


# slices and heatmaps


@pytest.mark.parametrize("reduce", ["max", "min", "mean", "median"])
@pytest.mark.parametrize("by", ["sharpe", "total_trades", "profit_factor"])
def test_slice_and_heatmap_are_what_grouping_gives(swept, frame, by, reduce):
    finite = frame.assign(**{by: frame[by].astype(float)})
    grouped = getattr(finite.groupby("rules.stop")[by], reduce)()
    found = swept.slice("rules.stop", by=by, fixed={}, reduce=reduce)
    np.testing.assert_allclose(found, grouped, rtol=1e-12)
    assert found.index.tolist() == [0.5, 1.0, 4.0]
    assert (found.name, found.index.name) == (by, "rules.stop")
    table = finite.pivot_table(
        index="strategy.entry_start",
        columns="rules.stop",
        values=by,
        aggfunc=reduce,
        dropna=False,
    )
    found = swept.heatmap("rules.stop", "strategy.entry_start", by=by, reduce=reduce)
    np.testing.assert_allclose(found, table, rtol=1e-12)
    assert found.columns.tolist() == [0.5, 1.0, 4.0]
    assert found.index.tolist() == ["09:00", "10:30"]


def test_best_is_the_best_of_the_metric(swept, frame):
    for by, best in (("sharpe", "max"), ("max_drawdown", "min")):
        pd.testing.assert_frame_equal(
            swept.heatmap("rules.stop", "rules.unit", by=by),
            swept.heatmap("rules.stop", "rules.unit", by=by, reduce=best),
        )
    # choices keep their order in the grid
    assert swept.heatmap("rules.unit", "rules.stop").columns.tolist() == ["points", "atr"]
    assert swept.slice("rules.round_to_tick").index.tolist() == [False, True]
    assert frame["max_drawdown"].min() == swept.slice("rules.stop", by="max_drawdown").min()


def test_slice_through_the_best(swept, frame):
    best = swept.top(1).iloc[0]
    along = frame[
        np.logical_and.reduce([frame[key] == best[key] for key in AXES if key != "rules.stop"])
    ].sort_values("rules.stop")
    found = swept.slice("rules.stop")
    assert found.tolist() == along["sharpe"].tolist()
    assert found.max() == best["sharpe"]


def test_fixed_values_and_conditions(swept, frame):
    fixed = {"strategy.lookback": 10, "rules.unit": "atr", "rules.round_to_tick": True}
    chosen = frame[
        (frame["strategy.lookback"] == 10)
        & (frame["rules.unit"] == "atr")
        & frame["rules.round_to_tick"]
        & (frame["total_trades"] > 3)
    ]
    found = swept.heatmap(
        "rules.stop", "rules.target_r", fixed=fixed, where="total_trades > 3", reduce="mean"
    )
    expected = chosen.pivot_table(
        index="rules.target_r", columns="rules.stop", values="sharpe", dropna=False
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert swept.heatmap("rules.stop", "rules.target_r", where="sharpe > 1e9").isna().all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "rules.stp"}, "unknown swept parameter 'rules.stp'; did you mean 'rules.stop'"),
        ({"key": "rules.trail"}, "unknown swept parameter"),
        ({"key": "rules.stop", "by": "rules.unit"}, "holds texts"),
        ({"key": "rules.stop", "reduce": "sum"}, "unknown reduction 'sum'"),
        ({"key": "rules.stop", "fixed": "worst"}, 'give a mapping, or "best"'),
        ({"key": "rules.stop", "fixed": {"rules.unit": "ticks"}}, "was not swept; its values are"),
        ({"key": "rules.stop", "fixed": {"rules.trail": 1.0}}, "unknown swept parameter"),
    ],
)
def test_slice_refuses(swept, arguments, message):
    with pytest.raises(ConfigError, match=message):
        swept.slice(**{"fixed": {}} | arguments)


def test_heatmap_needs_two_parameters(swept):
    with pytest.raises(ConfigError, match="give two parameters"):
        swept.heatmap("rules.stop", "rules.stop")


# export and queries


def test_csv_holds_every_bit(swept, frame, tmp_path):
    swept.to_csv(tmp_path / "rows.csv")
    options = pa.csv.ConvertOptions(column_types=swept.table().schema)
    read = pa.csv.read_csv(tmp_path / "rows.csv", convert_options=options).to_pandas()
    same(read.sort_values("combo_id")[frame.columns], frame)
    swept.to_csv(tmp_path / "rows.csv", ["combo_id", "sharpe"], where="combo_id < 2")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_csv_is_whole_or_absent(swept, tmp_path):
    (tmp_path / "rows.csv").write_text("before")
    with pytest.raises(ConfigError, match="unknown column"):
        swept.to_csv(tmp_path / "rows.csv", ["nothing"])
    with pytest.raises(OSError, match="No such file"):
        swept.to_csv(tmp_path / "absent" / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_sql(swept, frame):
    found = swept.sql(
        'SELECT "rules.stop" AS stop, avg(total_trades) AS trades FROM sweep '
        "WHERE ruined = false GROUP BY ALL ORDER BY stop"
    )
    expected = frame[~frame["ruined"]].groupby("rules.stop")["total_trades"].mean()
    np.testing.assert_allclose(found["trades"], expected)
    assert found["stop"].tolist() == expected.index.tolist()


def test_sql_without_duckdb_says_how_to_get_it(swept, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(BacktestError, match=r'pip install "backtest-py\[query\]"'):
        swept.sql("SELECT 1")


# single combinations


def test_every_row_is_replayed_bit_for_bit(swept, frame, grid):
    for combo in range(grid.size):
        result = swept.replay(combo)
        row = frame.iloc[combo]
        for name in METRICS:
            assert np.array_equal(result.metrics[name], row[name], equal_nan=True), name
        assert (result.job.first, result.job.last) == SPAN
        assert result.engine == "numba"
        assert swept.values(combo) == {key: row[key] for key in AXES}
    with pytest.raises(ConfigError, match="combo_id = 96 is not in the grid"):
        swept.replay(96)


def test_replay_reads_the_bars_again(directory, grid, bars, tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bars.to_frame().reset_index().to_csv("bars.csv", index=False)
    read = bt.load_bars("bars.csv")
    assert read.content_hash == bars.content_hash
    with SweepStore.create("sweep", manifest_of(grid, read)) as store:
        store.write(0, tables[0])
    monkeypatch.chdir(directory)
    replayed = open_sweep(tmp_path / "sweep").replay(7)
    assert replayed.metrics == open_sweep(directory, bars).replay(7).metrics
    with (tmp_path / "bars.csv").open("a") as file:
        file.write("2031-01-02 09:00,1,1,1,1,1\n")
    with pytest.raises(DataError, match="not the bars that were swept"):
        open_sweep(tmp_path / "sweep").replay(7)
    (tmp_path / "bars.csv").unlink()
    with pytest.raises(ConfigError, match=r"bars\.csv"):
        open_sweep(tmp_path / "sweep").replay(7)


def test_replay_needs_the_bars_of_the_sweep(directory):
    with pytest.raises(ConfigError, match="came from no file; give them"):
        open_sweep(directory).replay(0)
    with pytest.raises(DataError, match="not the bars that were swept"):
        open_sweep(directory, bt.synthetic_bars(n_days=2))


def test_replay_of_a_users_strategy(bars, tmp_path):
    @bt.register_strategy
    def every_so_often(bars, *, step: int = 40):
        side = np.zeros(len(bars), np.int8)
        side[::step] = 1
        return side

    grid = build_grid(
        every_so_often(),
        bt.ExitRules(),
        Contract(),
        {"strategy.step": [20, 30], "rules.stop": [1, 2]},
    )
    tables = tables_of(grid, bars, np.arange(4), n_shards=1)
    with SweepStore.create(tmp_path, manifest_of(grid, bars)) as store:
        store.write(0, tables[0])
    result = open_sweep(tmp_path, bars).replay(2)
    assert result.metrics.sharpe == open_sweep(tmp_path).table()["sharpe"][2].as_py()


def test_a_sample_is_replayed(bars, tmp_path):
    grid = build_grid(
        bt.BarraElefante(min_volume_mult=0.0),
        bt.ExitRules(),
        Contract(),
        {"rules.stop": {"min": 0.5, "max": 4.0}, "strategy.lookback": [5, 10]},
        Sample(n=20, seed=3),
    )
    tables = tables_of(grid, bars, grid.combo_ids, n_shards=2)
    with SweepStore.create(tmp_path, manifest_of(grid, bars)) as store:
        for shard, table in enumerate(tables):
            store.write(shard, table)
    swept = open_sweep(tmp_path, bars)
    table = swept.table().to_pandas()
    for combo in range(20):
        result = swept.replay(combo)
        assert result.metrics.total_return == table["total_return"][combo]
        assert result.job.rules.stop == table["rules.stop"][combo]
    assert len(swept.slice("rules.stop", fixed={})) == 20
    assert swept.slice("strategy.lookback", fixed={}).index.tolist() == [5, 10]


# directories


def test_a_running_sweep_can_be_opened(grid, bars, tables, tmp_path):
    with SweepStore.create(tmp_path, manifest_of(grid, bars)) as store:
        with pytest.raises(DataError, match="no shard that is done; resume the sweep"):
            open_sweep(tmp_path)
        store.write(3, tables[3])
        assert len(open_sweep(tmp_path)) == tables[3].num_rows
        store.write(4, tables[4][:0])
        store.write(1, tables[1])
        swept = open_sweep(tmp_path)
    assert repr(swept).startswith("sweep of barra_elefante, running: 38 combinations of strategy.")
    ids = sorted([*tables[3]["combo_id"].to_pylist(), *tables[1]["combo_id"].to_pylist()])
    assert swept.table(["combo_id"])["combo_id"].to_pylist() == ids


def test_what_is_no_sweep(tmp_path, bars):
    with pytest.raises(ConfigError, match="holds no sweep"):
        open_sweep(tmp_path)
    bt.run(bars, "barra_elefante", engine="numba").save(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds no sweep: manifest\.json is of something else"):
        open_sweep(tmp_path / "run")


def test_damage_is_noticed_where_it_is_read(grid, bars, tables, tmp_path):
    with SweepStore.create(tmp_path, manifest_of(grid, bars)) as store:
        for shard, table in enumerate(tables):
            store.write(shard, table)
    swept = open_sweep(tmp_path)
    file = tmp_path / "results" / "shard-000002.parquet"
    whole = file.read_bytes()
    column = pq.ParquetFile(file).metadata.row_group(0).column(swept.columns.index("sharpe"))
    at = column.data_page_offset + column.total_compressed_size - 3
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for read in (swept.top, swept.table, lambda: swept.to_csv(tmp_path / "rows.csv")):
        with pytest.raises(DataError, match=r"is damaged: .*; resume the sweep"):
            read()
    assert not (tmp_path / "rows.csv").exists()
    assert swept.table(["calmar"]).num_rows == 96  # its pages are whole
    file.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"shard-000002\.parquet is missing or has not the"):
        open_sweep(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match="is damaged"):
        swept.top()
