"""Results from hand-made engine outputs: every number here is worked out by hand."""

from __future__ import annotations

import copy
import csv
import json
import math
import pickle
import sys
import threading
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest_py.backtest.result import TABLES, TRADE_COLUMNS, BacktestResult, Metrics
from backtest_py.backtest.run import run
from backtest_py.bars import Bars
from backtest_py.contract import Contract, MetricSettings
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.engines.base import EngineOutput, Job
from backtest_py.engines.layouts import TRADE_DTYPE
from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import COUNT_METRICS, METRICS
from backtest_py.provenance import canonical_json, configuration
from backtest_py.rules import ExitRules, Reason
from backtest_py.signals import Signals
from backtest_py.strategies import BarraElefante

ENGINES = ("numba", "rust")
ENGINE = SimpleNamespace(name="rust", build={"version": "0.1.0", "profile": "release"})
HOUR = 3_600_000_000_000
NANOSECONDS = {"signal_time", "entry_time", "exit_time"}

# Hourly bars from Tuesday 31 January 2023 20:00 UTC, which is 17:00 in São Paulo.
START = int(np.datetime64("2023-01-31T20:00", "ns").astype(np.int64))
N_BARS = 60

# Five trades: pnl 100, -50, 0, 30, -20.
TRADES = {
    "signal_bar": [0, 3, 9, 20, 40],
    "entry_bar": [1, 4, 10, 21, 41],
    "exit_bar": [2, 8, 12, 30, 59],
    "side": [1, -1, 1, 1, -1],
    "entry_price": [100.0, 101.0, 102.0, 103.0, 104.0],
    "exit_price": [200.0, 151.0, 102.0, 133.0, 124.0],
    "stop_price": [90.0, math.inf, -math.inf, 95.0, 120.0],
    "target_price": [math.inf, 50.0, 150.0, 140.0, -math.inf],
    "points": [100.0, -50.0, 0.0, 30.0, -20.0],
    "pnl": [100.0, -50.0, 0.0, 30.0, -20.0],
    "fees": [0.0, 0.0, 0.0, 0.0, 0.0],
    "mae": [-1.0, -50.0, 0.0, -2.0, -20.0],
    "mfe": [100.0, 0.0, 3.0, 30.0, 0.1 + 0.2],
    "reason": [2, 0, 5, 2, 6],
    "ambiguous": [False, True, False, False, False],
}


def make_bars(*, timezone="UTC", session_timezone="America/Sao_Paulo", n_bars=N_BARS):
    time = START + HOUR * np.arange(n_bars, dtype=np.int64)
    price = np.full(n_bars, 100.0)
    return Bars(
        time.view("datetime64[ns]"),
        price,
        price + 1.0,
        price - 1.0,
        price,
        np.ones(n_bars),
        timezone=timezone,
        session_timezone=session_timezone,
    )


def make_output(trades=TRADES, **metrics):
    columns = {name: np.array(trades[name], dtype) for name, dtype in TRADE_DTYPE.items()}
    vector = np.zeros(len(METRICS))
    for name, value in metrics.items():
        vector[METRICS.index(name)] = value
    return EngineOutput(trades=columns, metrics=vector)


def make_result(bars=None, trades=TRADES, *, first=0, last=None, strategy=None, **metrics):
    bars = make_bars() if bars is None else bars
    job = Job(
        bars=bars,
        strategy=strategy or BarraElefante(),
        signals=None,
        rules=ExitRules(),
        contract=Contract(initial_capital=1000.0),
        metrics=MetricSettings(),
        first=first,
        last=len(bars) if last is None else last,
    )
    return BacktestResult(job, make_output(trades, **metrics), ENGINE, "fastest available")


NO_TRADES = {name: [] for name in TRADES}


class TestMetrics:
    def test_names_are_keys_and_attributes(self):
        metrics = make_result(sharpe=1.25, total_trades=5).metrics
        assert metrics["sharpe"] == metrics.sharpe == 1.25
        assert list(metrics) == list(METRICS)
        assert dict(metrics)["total_trades"] == 5
        assert "sharpe" in dir(metrics)

    def test_counts_are_int_flags_bool_and_the_rest_float(self):
        metrics = make_result().metrics
        kinds = {name: type(value) for name, value in metrics.items()}
        assert kinds.pop("ruined") is bool
        assert {name for name, kind in kinds.items() if kind is int} == COUNT_METRICS
        assert {kind for name, kind in kinds.items() if name not in COUNT_METRICS} == {float}

    def test_they_cannot_be_changed(self):
        metrics = make_result().metrics
        with pytest.raises(AttributeError, match="cannot be changed"):
            metrics.sharpe = 3.0
        with pytest.raises(AttributeError, match="cannot be changed"):
            del metrics.sharpe
        with pytest.raises(TypeError):
            metrics["sharpe"] = 3.0

    def test_the_engine_cannot_change_them_afterwards(self):
        vector = np.zeros(len(METRICS))
        metrics = Metrics(vector)
        vector[:] = 7.0
        assert metrics.total_return == 0.0

    def test_an_unknown_name_gets_a_hint(self):
        metrics = make_result().metrics
        with pytest.raises(KeyError, match="did you mean 'sharpe'"):
            metrics["sharp"]
        with pytest.raises(AttributeError, match="did you mean 'sharpe'"):
            _ = metrics.sharp

    def test_equality_is_bit_for_bit_and_knows_nan(self):
        nan = make_result(sharpe=math.nan).metrics
        assert nan == make_result(sharpe=math.nan).metrics
        assert hash(nan) == hash(make_result(sharpe=math.nan).metrics)
        assert nan != make_result(sharpe=0.0).metrics
        assert make_result(sharpe=0.0).metrics != make_result(sharpe=-0.0).metrics
        assert make_result(sharpe=1.0).metrics != make_result(sharpe=math.nextafter(1, 2)).metrics

    def test_they_travel_to_other_processes(self):
        metrics = make_result(sharpe=math.nan, total_trades=5).metrics
        assert pickle.loads(pickle.dumps(metrics)) == metrics

    def test_json_has_names_and_texts_for_what_is_no_number(self):
        mapping = make_result(
            sharpe=math.nan, profit_factor=math.inf, calmar=-math.inf, ruined=1.0
        ).metrics.to_mapping()
        assert mapping["sharpe"] == "nan"
        assert mapping["profit_factor"] == "inf"
        assert mapping["calmar"] == "-inf"
        assert mapping["ruined"] is True
        assert list(mapping) == list(METRICS)

    def test_a_vector_of_the_wrong_length_is_refused(self):
        with pytest.raises(ValueError, match=r"shape \(3,\) instead of \(39,\)"):
            Metrics(np.zeros(3))


class TestTrades:
    def test_columns_and_types(self):
        trades = make_result().trades
        assert tuple(trades.columns) == TRADE_COLUMNS
        kinds = {name: str(trades[name].dtype) for name in TRADE_COLUMNS}
        assert kinds.pop("side") == "int8"
        assert kinds.pop("ambiguous") == "bool"
        assert {kinds.pop(name) for name in NANOSECONDS} == {"datetime64[ns, UTC]"}
        assert pd.api.types.is_string_dtype(trades["reason"])
        kinds.pop("reason")
        whole = {kinds.pop(name) for name in ("signal_bar", "entry_bar", "exit_bar", "bars_held")}
        assert whole == {"int64"}
        assert set(kinds.values()) == {"float64"}

    def test_values(self):
        trades = make_result().trades
        assert trades["bars_held"].tolist() == [1, 4, 2, 9, 18]
        assert trades["reason"].tolist() == [
            "take_profit",
            "stop_loss",
            "max_bars",
            "take_profit",
            "end_of_data",
        ]
        assert trades["entry_time"][0] == pd.Timestamp("2023-01-31T21:00", tz="UTC")
        assert trades["signal_time"][4] == pd.Timestamp("2023-02-02T12:00", tz="UTC")
        for name in ("entry_price", "stop_price", "target_price", "pnl", "mfe"):
            assert trades[name].tolist() == TRADES[name]

    def test_times_have_no_zone_where_the_bars_have_none(self):
        result = make_result(make_bars(timezone="", session_timezone=""))
        assert str(result.trades["exit_time"].dtype) == "datetime64[ns]"
        assert result.trades_arrow.schema.field("exit_time").type == pa.timestamp("ns")
        assert result.equity.index.tz is None
        assert result.trades["entry_time"][0] == pd.Timestamp("2023-01-31T21:00")

    def test_without_a_trade_the_columns_keep_their_types(self):
        some, none = make_result(), make_result(trades=NO_TRADES)
        assert len(none) == len(none.trades) == none.trades_arrow.num_rows == 0
        assert none.trades.dtypes.equals(some.trades.dtypes)
        assert none.trades_arrow.schema == some.trades_arrow.schema

    def test_arrow_has_the_layout_of_the_file(self):
        table = make_result().trades_arrow
        assert table.column_names == list(TRADE_COLUMNS)
        types = {field.name: field.type for field in table.schema}
        assert types["signal_bar"] == types["bars_held"] == pa.int64()
        assert types["side"] == pa.int8()
        assert types["reason"] == pa.string()
        assert types["ambiguous"] == pa.bool_()
        assert types["exit_time"] == pa.timestamp("ns", tz="UTC")
        assert types["stop_price"] == pa.float64()

    def test_arrow_and_the_frame_agree(self):
        result = make_result()
        pd.testing.assert_frame_equal(
            result.trades_arrow.to_pandas(), result.trades, check_dtype=False
        )

    def test_csv_reads_back_bit_for_bit(self, tmp_path):
        result = make_result()
        result.to_csv(tmp_path / "trades.csv")
        with (tmp_path / "trades.csv").open(newline="", encoding="utf-8") as file:
            names, *rows = csv.reader(file)
        assert names == list(TRADE_COLUMNS)
        read = dict(zip(names, zip(*rows, strict=True), strict=True))
        for name in ("mfe", "stop_price", "target_price", "pnl"):
            assert [float(text) for text in read[name]] == result.columns[name].tolist()
        assert pd.to_datetime(read["exit_time"]).tolist() == result.trades["exit_time"].tolist()

    def test_the_columns_of_the_engine_cannot_be_changed(self):
        result = make_result()
        with pytest.raises(ValueError, match="read-only"):
            result.columns["pnl"][0] = 1e9
        with pytest.raises(TypeError):
            result.columns["pnl"] = np.zeros(5)

    def test_changing_the_frame_changes_nothing_else(self):
        result = make_result()
        trades = result.trades
        trades.loc[0, "pnl"] = 1e9
        assert result.trades["pnl"][0] == 100.0
        assert result.columns["pnl"][0] == 100.0
        assert result.equity.iloc[0] == 1100.0
        assert result.trades_arrow["pnl"][0].as_py() == 100.0

    def test_the_metrics_of_the_engine_cannot_be_changed(self):
        result = make_result()
        with pytest.raises(ValueError, match="read-only"):
            result.output.metrics[0] = 1.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            result.columns["pnl"].flags.writeable = True


class TestEquity:
    def test_it_moves_by_each_pnl_at_its_exit(self):
        equity = make_result().equity
        assert equity.tolist() == [1100.0, 1050.0, 1050.0, 1080.0, 1060.0]
        assert equity.name == "equity"
        assert equity.index.name == "exit_time"
        assert equity.index[0] == pd.Timestamp("2023-01-31T22:00", tz="UTC")
        assert equity.index.is_monotonic_increasing

    def test_the_balance_begins_with_the_capital(self):
        assert make_result().balance.tolist() == [1000.0, 1100.0, 1050.0, 1050.0, 1080.0, 1060.0]
        assert make_result(trades=NO_TRADES).balance.tolist() == [1000.0]
        assert len(make_result(trades=NO_TRADES).equity) == 0

    def test_it_adds_up_one_trade_after_the_other(self):
        pnl = [0.1] * 5
        result = make_result(trades={**TRADES, "pnl": pnl})
        total = 1000.0
        for value in pnl:
            total += value
        assert result.equity.iloc[-1] == total


class TestTables:
    def test_side(self):
        table = make_result().table("side")
        assert table.index.tolist() == ["long", "short"]
        assert table["trades"].tolist() == [3, 2]
        assert table["wins"].tolist() == [2, 0]
        assert table["win_rate"].tolist() == [2 / 3, 0.0]
        assert table["pnl"].tolist() == [130.0, -70.0]
        assert table["avg_pnl"].tolist() == [130.0 / 3, -35.0]
        assert table["profit_factor"].tolist() == [math.inf, 0.0]

    def test_reason_keeps_the_order_of_the_reasons(self):
        table = make_result().table("reason")
        assert table.index.tolist() == ["stop_loss", "take_profit", "max_bars", "end_of_data"]
        assert table["pnl"].tolist() == [-50.0, 130.0, 0.0, -20.0]
        assert math.isnan(table["profit_factor"]["max_bars"])

    def test_month_is_that_of_the_exit_on_the_clock_of_the_session(self):
        # The first exit is at 22:00 UTC on 31 January. São Paulo is three hours behind, so the
        # trade that exits at 04:00 UTC on 1 February is one of February there too.
        table = make_result().table("month")
        assert table.index.tolist() == ["2023-01", "2023-02"]
        assert table["pnl"].tolist() == [100.0, -40.0]
        early = {**TRADES, "exit_bar": [2, 6, 12, 30, 59]}  # 02:00 UTC is 23:00 in São Paulo
        assert make_result(trades=early).table("month")["pnl"].tolist() == [50.0, 10.0]

    def test_hour_is_that_of_the_entry_on_the_clock_of_the_session(self):
        table = make_result().table("hour")
        # entries at 21:00, 00:00, 06:00, 17:00 and 13:00 UTC
        assert table.index.tolist() == [3, 10, 14, 18, 21]
        assert table["pnl"].tolist() == [0.0, -20.0, 30.0, 100.0, -50.0]

    def test_weekday_is_that_of_the_entry_on_the_clock_of_the_session(self):
        table = make_result().table("weekday")
        # 00:00 UTC on Wednesday is 21:00 on Tuesday in São Paulo
        assert table.index.tolist() == ["Tuesday", "Wednesday", "Thursday"]
        assert table["trades"].tolist() == [2, 2, 1]

    @pytest.mark.parametrize("by", TABLES)
    def test_every_table_holds_every_trade(self, by):
        table = make_result().table(by)
        assert table["trades"].sum() == 5
        assert table["wins"].sum() == 2
        assert table["pnl"].sum() == 60.0
        assert table.index.name == by

    @pytest.mark.parametrize("by", TABLES)
    def test_without_a_trade_a_table_is_empty(self, by):
        assert len(make_result(trades=NO_TRADES).table(by)) == 0

    def test_an_unknown_table_is_named(self):
        with pytest.raises(ConfigError, match="unknown table 'months'; did you mean 'month'"):
            make_result().table("months")


class TestSave:
    def test_three_files_and_nothing_else(self, tmp_path):
        target = make_result().save(tmp_path / "runs" / "one")
        assert sorted(path.name for path in target.iterdir()) == [
            "manifest.json",
            "metrics.json",
            "trades.parquet",
        ]

    def test_the_trades_read_back(self, tmp_path):
        result = make_result()
        table = pq.read_table(result.save(tmp_path) / "trades.parquet")
        assert table.equals(result.trades_arrow)

    def test_metrics_are_strict_json(self, tmp_path):
        result = make_result(sharpe=math.nan, profit_factor=math.inf, calmar=-math.inf)
        text = (result.save(tmp_path) / "metrics.json").read_text(encoding="utf-8")
        read = json.loads(text, parse_constant=pytest.fail)
        assert list(read) == list(METRICS)
        assert (read["sharpe"], read["profit_factor"], read["calmar"]) == ("nan", "inf", "-inf")

    def test_the_manifest_says_what_ran_and_what_was_written(self, tmp_path):
        result = make_result(first=5, last=50)
        target = result.save(tmp_path)
        manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["configuration"]["strategy"]["name"] == "barra_elefante"
        assert manifest["configuration"]["range"] == {
            "start": "2023-02-01T01:00:00Z",
            "end": "2023-02-02T22:00:00Z",
        }
        assert manifest["provenance"]["engine"] == "rust"
        assert manifest["provenance"]["reason"] == "fastest available"
        assert manifest["provenance"]["bars_hash"] == result.job.bars.content_hash
        assert manifest["bars"] == {
            "path": "",
            "n_bars": N_BARS,
            "first": "2023-01-31T20:00:00Z",
            "last": "2023-02-03T07:00:00Z",
            "timezone": "UTC",
            "session_timezone": "America/Sao_Paulo",
        }
        import hashlib

        for name in ("trades.parquet", "metrics.json"):
            digest = hashlib.sha256((target / name).read_bytes()).hexdigest()
            assert manifest["files"][name] == digest

    def test_saving_twice_gives_the_same_bytes(self, tmp_path):
        one, two = make_result().save(tmp_path / "1"), make_result().save(tmp_path / "2")
        for name in ("trades.parquet", "metrics.json", "manifest.json"):
            assert (one / name).read_bytes() == (two / name).read_bytes()

    def test_a_failure_leaves_the_old_files_whole(self, tmp_path, monkeypatch):
        target = make_result().save(tmp_path)
        before = {path.name: path.read_bytes() for path in target.iterdir()}

        def full(_fd):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            make_result(total_return=5.0).save(tmp_path)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == before

    def test_a_file_in_the_place_of_the_directory_is_refused(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(ConfigError, match="a file stands there"):
            make_result().save(tmp_path / "taken")
        with pytest.raises(ConfigError, match="a file stands there"):
            make_result().save(tmp_path / "taken" / "deeper")

    @pytest.mark.parametrize("text", ['{"kind": "sweep"}', "[1]", "no JSON"])
    def test_a_manifest_of_something_else_is_not_replaced(self, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ConfigError, match=r"manifest\.json is a manifest of .*no run; give"):
            make_result().save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
        assert (tmp_path / "manifest.json").read_text() == text

    def test_several_threads_may_save_to_one_place(self, tmp_path):
        threads = [threading.Thread(target=make_result().save, args=(tmp_path,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(tmp_path.iterdir())) == 3


class TestProvenance:
    def test_it_names_engine_versions_and_hashes(self):
        provenance = make_result().provenance
        assert provenance.engine == "rust"
        assert provenance.build == ENGINE.build
        assert provenance.versions["python"] == ".".join(map(str, sys.version_info[:3]))
        assert provenance.versions["numpy"] == np.__version__
        assert len(provenance.bars_hash) == len(provenance.config_hash) == 64
        assert provenance.semantics_version == 1
        assert provenance.machine

    def test_it_is_worked_out_once_and_only_when_asked(self, monkeypatch):
        result = make_result()
        calls = []
        monkeypatch.setattr(
            "backtest_py.provenance.canonical_json", lambda _: calls.append(1) or ""
        )
        assert calls == []
        assert result.provenance is result.provenance
        assert calls == [1]

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
    def test_it_travels_with_the_result(self, copied):
        result = make_result()
        found = copied(result)
        assert found.provenance == result.provenance
        assert copied(result.provenance) == result.provenance
        assert (found.engine, found.reason) == (result.engine, result.reason)
        assert found.metrics == result.metrics
        assert found.manifest() == result.manifest()
        pd.testing.assert_frame_equal(found.trades, result.trades)
        with pytest.raises(TypeError):
            found.provenance.build["version"] = "2"

    def test_joblib_brings_results_from_processes(self):
        bars = synthetic_bars(n_days=10)
        jobs = [joblib.delayed(run)(bars, "barra_elefante", engine=name) for name in ENGINES]
        numba, rust = joblib.Parallel(n_jobs=2)(jobs)
        assert numba.metrics == rust.metrics == run(bars, "barra_elefante").metrics
        assert (numba.engine, rust.provenance.engine) == ENGINES

    def test_the_configuration_hash_changes_with_every_part(self):
        base = make_result().job
        other = {
            "strategy": BarraElefante(lookback=21),
            "rules": ExitRules(stop=2.5),
            "contract": Contract(initial_capital=1001.0),
            "metrics": MetricSettings(periods_per_year=365),
            "first": 1,
            "last": N_BARS - 1,
            "signals": Signals(np.zeros(N_BARS, np.int8)),
        }
        texts = {canonical_json(configuration(base))}
        for name, value in other.items():
            job = Job(**{field: getattr(base, field) for field in base.__slots__} | {name: value})
            texts.add(canonical_json(configuration(job)))
        assert len(texts) == 1 + len(other)

    def test_it_does_not_change_with_the_length_of_open_data(self):
        short = make_result(make_bars(n_bars=60), first=5)
        long = make_result(make_bars(n_bars=90), first=5)
        assert short.provenance.config_hash == long.provenance.config_hash
        assert short.provenance.bars_hash != long.provenance.bars_hash

    def test_signals_of_the_users_own_are_hashed(self):
        base = make_result().job
        jobs = [
            Job(
                base.bars,
                None,
                Signals(np.array(side, np.int8), risk),
                base.rules,
                base.contract,
                base.metrics,
                0,
                N_BARS,
            )
            for side, risk in (
                ([0] * N_BARS, None),
                ([1] * N_BARS, None),
                ([0] * N_BARS, np.ones(N_BARS)),
            )
        ]
        described = [configuration(job)["strategy"] for job in jobs]
        assert {item["name"] for item in described} == {"signals"}
        assert len({item["signals_hash"] for item in described}) == 3


class TestText:
    def test_repr_names_the_run_and_its_outcome(self):
        result = make_result(
            total_trades=5, win_rate=0.4, total_return=60.0, total_return_pct=6.0, sharpe=math.nan
        )
        text = repr(result)
        assert "barra_elefante on 60 bars from 2023-01-31 to 2023-02-03" in text
        assert "engine rust: fastest available" in text
        assert "5 trades, win rate 0.4" in text
        assert "total return 60 (6 %)" in text
        assert "sharpe nan" in text
        assert "ruined" not in text
        assert "ruined" in repr(make_result(ruined=1.0))

    def test_html_holds_every_metric(self):
        html = make_result()._repr_html_()
        assert html.count("<tr>") == len(METRICS)
        assert html.startswith("<h4>barra_elefante")

    def test_metrics_print_one_to_a_line(self):
        lines = repr(make_result(total_return=-1719.826).metrics).splitlines()
        assert [line.split()[0] for line in lines] == list(METRICS)
        assert "-1,719.83" in lines[METRICS.index("total_return")]


def test_reasons_of_the_trades_are_the_reasons_of_the_metrics():
    assert {f"exits_{reason.name}" for reason in Reason} <= set(METRICS)
