"""One backtest on several markets: each result is that of a single run, in order, or none is."""

from __future__ import annotations

import json
import pickle
import threading
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.backtest.many import run_many

MARKETS = {
    name: bt.synthetic_bars(n_days=20, seed=seed) for name, seed in (("B", 1), ("A", 2), ("C", 3))
}
RULES = bt.ExitRules(stop=1.5, target=3.0, close_time="17:00")
CONTRACTS = {
    name: bt.Contract(tick_size=5, point_value=value)
    for name, value in (("A", 0.2), ("B", 1.0), ("C", 5.0))
}


def test_every_result_is_that_of_a_run(engine):
    results = bt.run_many(MARKETS, bt.BarraElefante(lookback=5), RULES, CONTRACTS, engine=engine)
    assert list(results) == ["B", "A", "C"]
    assert len(results) == 3
    for name, result in results.items():
        alone = bt.run(
            MARKETS[name], bt.BarraElefante(lookback=5), RULES, CONTRACTS[name], engine=engine
        )
        assert result.metrics == alone.metrics
        assert result.trades.equals(alone.trades)
        assert result.provenance == alone.provenance


def test_both_engines_and_any_number_of_threads_give_the_same_table():
    tables = [
        bt.run_many(
            MARKETS,
            "moving_average_cross",
            RULES,
            CONTRACTS["A"],
            engine=engine,
            threads=threads,
            range=("2019-01-05", None),
        ).table
        for engine in ("numba", "rust")
        for threads in (0, 1, 3)
    ]
    for table in tables[1:]:
        assert table.equals(tables[0])
    assert tables[0].index.tolist() == ["B", "A", "C"]
    assert tables[0]["total_trades"].dtype == np.int64
    assert tables[0]["ruined"].dtype == bool


def test_the_table_has_where_bars_come_from_and_every_metric():
    results = bt.run_many(MARKETS, "barra_elefante", RULES, CONTRACTS)
    assert list(results.table.columns[:7]) == [
        "source",
        "symbol",
        "interval",
        "certificate",
        "n_bars",
        "first",
        "last",
    ]
    assert list(results.table.columns[7:]) == list(results["A"].metrics)
    assert results.table.loc["A", "sharpe"] == results["A"].metrics.sharpe
    assert repr(results).startswith("results of 3 markets\n  B: ")
    assert list(pickle.loads(pickle.dumps(results))) == ["B", "A", "C"]


def test_a_function_is_called_for_one_market_after_the_other():
    threads = []

    def strategy(bars):
        threads.append((threading.current_thread(), len(bars)))
        return np.zeros(len(bars), np.int8)

    bt.run_many(MARKETS, strategy, RULES)
    assert threads == [(threading.main_thread(), len(bars)) for bars in MARKETS.values()]


class TestWhereOneFails:
    def test_the_error_is_of_its_kind_and_names_the_market(self):
        empty = bt.Bars.from_frame(MARKETS["A"].to_frame().drop(columns="volume"))
        with pytest.raises(bt.ConfigError, match=r"^A: strategy\.min_volume_mult = 1\.0 needs"):
            bt.run_many({**MARKETS, "A": empty}, "barra_elefante", RULES)

    def test_an_error_of_a_function_says_of_which_market(self):
        def strategy(bars):
            if bars is MARKETS["C"]:
                raise RuntimeError("no")
            return np.zeros(len(bars), np.int8)

        with pytest.raises((RuntimeError, bt.BacktestError)) as caught:
            bt.run_many(MARKETS, strategy, RULES)
        notes = getattr(caught.value, "__notes__", [])
        assert "C" in f"{caught.value} {notes}"

    def test_a_warning_names_the_market(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bt.run_many(MARKETS, "barra_elefante", RULES, bt.Contract(tick_size=7))
        texts = [str(each.message) for each in caught]
        assert [text[:3] for text in texts] == ["B: ", "A: ", "C: "]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"bars": MARKETS["A"]}, r"bars is Bars, no mapping"),
            ({"bars": {}}, "holds no market"),
            ({"bars": {"A": 5}}, r"bars\['A'\] is int, not bt\.Bars"),
            ({"bars": {1: MARKETS["A"]}}, "name 1, which is no text"),
            ({"contract": {"A": CONTRACTS["A"]}}, "contract has none for 'B'"),
            ({"contract": {**CONTRACTS, "D": CONTRACTS["A"]}}, "contract names 'D'"),
            ({"contract": {**CONTRACTS, "A": 5}}, r"contract\['A'\] is int"),
            ({"contract": RULES}, "the rules come first, then the contract"),
            ({"threads": -1}, "threads = -1"),
            ({"engine": "cuda"}, "cuda"),
            ({"range": ("2030-01-01", None)}, "B: the range from 2030-01-01"),
        ],
    )
    def test_arguments_that_are_not_allowed(self, arguments, message):
        given = {"bars": MARKETS, "strategy": "barra_elefante", "rules": RULES, **arguments}
        with pytest.raises(bt.ConfigError, match=message):
            run_many(**given)


class TestSaving:
    @pytest.fixture
    def results(self):
        return bt.run_many(MARKETS, "barra_elefante", RULES, CONTRACTS)

    def test_a_folder_for_each_and_a_table(self, results, tmp_path):
        out = results.save(tmp_path / "out")
        assert sorted(path.name for path in out.iterdir()) == [
            "A",
            "B",
            "C",
            "manifest.json",
            "results.json",
            "results.parquet",
        ]
        rows = pq.read_table(out / "results.parquet").to_pylist()
        assert [row["market"] for row in rows] == ["B", "A", "C"]
        printed = json.loads((out / "results.json").read_text())
        for row in rows:
            name = row["market"]
            metrics = json.loads((out / name / "metrics.json").read_text())
            assert {key: printed[name][key] for key in metrics} == metrics
            assert row["total_return"] == results[name].metrics.total_return
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["kind"] == "runs"
        assert manifest["markets"]["A"]["provenance"]["bars_hash"] == MARKETS["A"].content_hash
        assert set(manifest["files"]) == {"results.json", "results.parquet"}
        results.save(out)  # the same files are replaced

    def test_nothing_is_written_over_something_else(self, results, tmp_path):
        (tmp_path / "C").mkdir()
        (tmp_path / "C" / "manifest.json").write_text('{"kind": "sweep"}')
        with pytest.raises(bt.ConfigError, match=r"C/manifest\.json is a manifest of kind 'sweep'"):
            results.save(tmp_path)
        (tmp_path / "manifest.json").write_text('{"kind": "run"}')
        with pytest.raises(bt.ConfigError, match="not of runs on several markets"):
            results.save(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["C", "manifest.json"]

    @pytest.mark.parametrize("name", ["../x", "a/b", "CON", "", "x" * 100])
    def test_a_name_that_no_folder_may_have(self, tmp_path, name):
        markets = {name: MARKETS["A"]}
        with pytest.raises(bt.ConfigError, match=r"^the folder of market|^bars holds the name"):
            bt.run_many(markets, "barra_elefante", RULES).save(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_written_where_a_file_stands_in_the_way_of_one_market(
        self, results, tmp_path
    ):
        (tmp_path / list(results)[-1]).write_text("")
        with pytest.raises(bt.ConfigError, match="a file stands there"):
            results.save(tmp_path)
        assert [path for path in tmp_path.rglob("*.*") if path.is_file()] == []

    def test_where_a_file_stands(self, results, tmp_path):
        (tmp_path / "out").write_text("")
        with pytest.raises(bt.ConfigError, match="a file stands there"):
            results.save(tmp_path / "out")
