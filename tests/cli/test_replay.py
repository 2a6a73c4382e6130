"""From a row of a sweep to files: configuration, inputs for MetaTrader, spreadsheets, pictures."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt

GRID = """
[sweep.grid]
"strategy.min_range_mult" = [0.5, 1.0, 1.5]
"strategy.lookback" = { start = 5, stop = 15, step = 5 }
"strategy.entry_start" = ["09:00", "10:00"]
"strategy.confirm_breakout" = [false, true]
"rules.stop" = [1.0, 2.0, 4.0]
"rules.target_r" = [0, 1.5]
"""
CONTRACT = """
[contract]
tick_size = 5
point_value = 0.2
fee_per_side = 0.25
slippage_ticks = 1
"""
DATA = """
[data]
path = "bars.csv"
timezone = "UTC"
session_timezone = "America/Sao_Paulo"
empty = "drop"
[range]
start = "2019-01-10"
end = "2019-02-05 11:00"
[rules]
close_time = "15:00"
[metrics]
periods_per_year = 250
"""


def market(folder):
    """Write bars in UTC, some of which are empty: nothing traded in them."""
    frame = bt.synthetic_bars(n_days=40).to_frame()
    frame.index = frame.index + pd.Timedelta(hours=3)
    frame.iloc[100:103, :4] = np.nan
    frame.iloc[100:103, 4] = 0
    frame.to_csv(folder / "bars.csv", lineterminator="\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with a sweep that is complete."""
    folder = tmp_path_factory.mktemp("replay")
    market(folder)
    (folder / "sweep.toml").write_text(DATA + CONTRACT + GRID, encoding="utf-8")
    bt.Config.load(folder / "sweep.toml").run_sweep(out=folder / "out", engine="rust")
    return folder


@pytest.fixture(scope="module")
def swept(folder):
    return bt.open_sweep(folder / "out")


class TestWhichRow:
    def test_a_place_in_a_ranking_names_the_row(self, cli, folder, swept):
        best = swept.top(3, by="total_return")["combo_id"].tolist()
        printed = cli("replay", folder / "out", "--by", "total_return", "--rank", 3, "--json").out
        assert json.loads(printed)["combo_id"] == best[2]
        printed = cli("replay", folder / "out", "--by", "total_return", "--json").out
        assert json.loads(printed)["combo_id"] == best[0]
        printed = cli("replay", folder / "out", "--rank", 2, "--json").out
        assert json.loads(printed)["combo_id"] == swept.top(2)["combo_id"].tolist()[1]
        assert swept.replay(by="total_return", rank=3).metrics == swept.replay(best[2]).metrics

    def test_arithmetic_and_own_metrics_rank_as_they_do_in_top(self, cli, folder, swept):
        ratio = "total_return / total_trades"
        best = swept.top(2, by=ratio)["combo_id"].tolist()
        printed = cli("replay", folder / "out", "--by", ratio, "--rank", 2, "--json").out
        assert json.loads(printed)["combo_id"] == best[1]
        own = bt.ColumnMetric(lambda c: c["total_return"] / c["total_trades"], name="mean")
        assert swept.replay(by=own, rank=2).metrics == swept.replay(best[1]).metrics

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ((), "no row is named"),
            ((3, "--by", "sharpe"), "give one of the two"),
            (("--rank", 0), "at least 1"),
            (("--rank", 1_000), "has 216 rows"),
            (("--by", "sharp"), "did you mean 'sharpe'?"),
            ((216,), "216"),
        ],
    )
    def test_what_names_no_row_is_refused(self, cli, folder, given, words):
        outcome = cli("replay", folder / "out", *given)
        assert (outcome.status, outcome.out) == (2, "")
        assert words in outcome.err


class TestConfiguration:
    @pytest.mark.parametrize("combo_id", [0, 77, 140, 215])
    def test_it_runs_the_row_again_bit_for_bit(
        self, cli, folder, swept, tmp_path, combo_id, engine
    ):
        file = tmp_path / "row.toml"
        assert cli("replay", folder / "out", combo_id, "--toml", file).status == 0
        row, again = swept.replay(combo_id), bt.Config.load(file).backtest(engine=engine)
        assert again.metrics == row.metrics
        pd.testing.assert_frame_equal(again.trades, row.trades, check_exact=True)
        assert again.provenance.config_hash == row.provenance.config_hash
        printed = json.loads(cli("run", file, "--engine", engine, "--json").out)
        assert printed["metrics"] == row.metrics.to_mapping()
        assert printed["provenance"]["bars_hash"] == swept.manifest["identity"]["bars_hash"]

    def test_another_range_is_that_of_the_configuration(self, cli, folder, swept, tmp_path):
        file = tmp_path / "row.toml"
        given = ("2019-02-05 11:00", "2019-02-20")
        outcome = cli("replay", folder / "out", 77, "--range", *given, "--toml", file, "--json")
        printed = json.loads(outcome.out)
        bars = swept.replay(0).job.bars
        values = swept.grid.settings(77)
        direct = bt.run(bars, *values, metrics=bt.MetricSettings(periods_per_year=250), range=given)
        assert printed["metrics"] == direct.metrics.to_mapping()
        assert direct.metrics.total_trades > 0
        assert bt.Config.load(file).backtest().metrics == direct.metrics
        assert swept.replay(77, range=given).metrics == direct.metrics
        assert swept.replay(77, range=("2019-02-05 11:00", None)).job.last == len(bars)

    def test_an_open_end_is_an_empty_text(self, cli, folder):
        outcome = cli("replay", folder / "out", 77, "--range", "2019-02-06", "", "--json")
        assert json.loads(outcome.out)["configuration"]["range"]["end"] == ""

    def test_a_range_without_bars_is_refused(self, cli, folder):
        outcome = cli("replay", folder / "out", 77, "--range", "2031-01-01", "2031-02-01")
        assert outcome.status == 2
        assert "holds no bar" in outcome.err

    def test_a_plain_run_writes_itself_too(self, folder, tmp_path):
        result = bt.Config.load(folder / "sweep.toml").backtest(engine="numba")
        text = result.to_toml(tmp_path / "again.toml")
        assert (tmp_path / "again.toml").read_text(encoding="utf-8") == text
        assert tomllib.loads(text)["run"] == {"engine": "numba"}
        again = bt.Config.load(tmp_path / "again.toml").backtest()
        assert again.metrics == result.metrics
        assert again.provenance.config_hash == result.provenance.config_hash

    def test_bars_of_no_file_are_refused(self):
        bars = bt.synthetic_bars(n_days=10)
        with pytest.raises(bt.ConfigError, match="came from no file"):
            bt.run(bars, "barra_elefante").to_toml()
        swept = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]})
        with pytest.raises(bt.ConfigError, match="came from no file"):
            swept.replay(1).to_toml()

    def test_a_part_of_a_file_is_refused(self, folder):
        bars = bt.load_bars(folder / "bars.csv", timezone="UTC", empty="drop")
        with pytest.raises(bt.ConfigError, match="does not hold these bars"):
            bt.run(bars[500:], "barra_elefante").to_toml()

    def test_a_file_that_has_changed_is_refused(self, tmp_path):
        market(tmp_path)
        bars = bt.load_bars(tmp_path / "bars.csv", empty="drop")
        result = bt.run(bars, "barra_elefante")
        lines = (tmp_path / "bars.csv").read_text().splitlines()
        (tmp_path / "bars.csv").write_text("\n".join(lines[:-1]) + "\n")
        with pytest.raises(bt.ConfigError, match="does not hold these bars"):
            result.to_toml()
        (tmp_path / "bars.csv").unlink()
        with pytest.raises(bt.ConfigError, match="cannot be read again"):
            result.to_toml()

    def test_code_of_the_users_is_refused(self, folder, tmp_path):
        def every_tenth(bars, *, step: int = 10):
            side = np.zeros(len(bars), np.int8)
            side[::step] = 1
            return side

        bars = bt.load_bars(folder / "bars.csv", timezone="UTC", empty="drop")
        swept = bt.sweep(bars, every_tenth, grid={"strategy.step": [5, 10]})
        with pytest.raises(bt.ConfigError, match="'every_tenth' is your own code"):
            swept.replay(1).to_toml(tmp_path / "row.toml")
        assert not (tmp_path / "row.toml").exists()
        side = every_tenth(bars)
        with pytest.raises(bt.ConfigError, match="signals of your own"):
            bt.run_signals(bars, side).to_toml()

    def test_a_clock_that_shows_a_time_twice_is_no_range(self, tmp_path):
        """Sao Paulo's summer time ended on 18 February 2018: 23:00 to 24:00 came twice."""
        times = pd.date_range("2018-02-17 20:00", periods=100, freq="10min", tz="UTC")
        price = 100 + np.arange(100) % 7
        frame = pd.DataFrame(
            {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 5},
            index=times.rename("time"),
        )
        frame.to_parquet(tmp_path / "bars.parquet")
        zone = {"session_timezone": "America/Sao_Paulo"}
        bars = bt.load_bars(tmp_path / "bars.parquet", **zone)
        wall = [bars.time_text(row) for row in range(len(bars))]
        twice = next(row for row in range(1, 100) if wall[row] in wall[:row])
        # bar `twice` is the second of its time, at which no text can start a range
        result = bt.run(bars, "barra_elefante", metrics=bt.MetricSettings(periods_per_year=365))
        job = replace(result.job, first=twice)
        moved = bt.BacktestResult(job, result.output, result._engine, "asked for")
        with pytest.raises(bt.ConfigError, match="twice"):
            moved.to_toml()

    def test_names_in_a_foreign_manifest_stay_names(self):
        evil = 'x = 1\n[run]\nengine = "numba"\n#"'
        source = {"source": "binance", "symbol": evil, "feed": {evil: evil}, evil: evil}
        swept = bt.sweep(bt.synthetic_bars(n_days=5), grid={"rules.stop": [1.0]}, source=source)
        read = tomllib.loads(swept.replay(0).to_toml())
        assert read["data"] == {"source": "binance", "symbol": evil}
        assert read["feed"] == {evil: evil}
        assert read["run"] == {"engine": swept.manifest["identity"]["engine"]}


class TestInputs:
    def test_metatrader_reads_the_row(self, cli, folder, swept, tmp_path):
        file = tmp_path / "row.set"
        assert cli("replay", folder / "out", 77, "--set", file).status == 0
        content = file.read_bytes()
        assert content.startswith(b"\xff\xfe")
        text = content.decode("utf-16")
        assert text.count("\r\n") == text.count("\n") == len(text.splitlines())
        inputs = dict(line.split("=") for line in text.splitlines() if not line.startswith(";"))
        values = swept.values(77)
        stop = values["rules.stop"]
        assert inputs["min_range_mult"] == f"{values['strategy.min_range_mult']}||0.5||0.5||1.5||N"
        assert inputs["lookback"] == f"{values['strategy.lookback']}||5||5||15||N"
        assert inputs["entry_start"] == values["strategy.entry_start"]
        truth = str(values["strategy.confirm_breakout"]).lower()
        assert inputs["confirm_breakout"] == f"{truth}||false||0||true||N"
        assert inputs["stop"] == f"{stop}||{stop}||0||{stop}||N", "1, 2, 4 have no even step"
        assert inputs["target_r"].endswith("||0.0||1.5||1.5||N")
        assert inputs["close_time"] == "15:00"
        assert inputs["quantity"].startswith("1.0||")
        assert "fee_per_side" not in inputs
        assert "initial_capital" not in inputs

    def test_the_expert_advisor_has_names_of_its_own(self, swept, tmp_path):
        swept.to_set(3, tmp_path / "row.set", names={"rules.stop": "InpStop"})
        text = (tmp_path / "row.set").read_text(encoding="utf-16")
        assert "\nInpStop=" in text
        assert "\nstop=" not in text

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            ({"rules.stopp": "x"}, "did you mean 'rules.stop'?"),
            ({"rules.stop": "a=b"}, "letters, digits"),
            ({"rules.stop": "lookback"}, "two inputs"),
        ],
    )
    def test_names_that_do_not_fit_are_refused(self, swept, tmp_path, names, words):
        with pytest.raises(bt.ConfigError, match=re.escape(words)):
            swept.to_set(3, tmp_path / "row.set", names=names)
        assert not (tmp_path / "row.set").exists()

    def test_small_steps_are_written_without_an_exponent(self, tmp_path):
        grid = {"contract.fee_rate": [0.00001, 0.00002, 0.00003]}
        bt.sweep(bt.synthetic_bars(n_days=5), grid=grid).to_set(1, tmp_path / "row.set")
        text = (tmp_path / "row.set").read_text(encoding="utf-16")
        assert "fee_rate=0.00002||0.00001||0.00001||0.00003||N" in text


def test_all_files_at_once(cli, folder, swept, tmp_path):
    names = ("row.toml", "row.set", "row.png", "row.csv")
    toml, inputs, image, csv = (tmp_path / name for name in names)
    outcome = cli(
        "replay", folder / "out", "--by", "sharpe", "--toml", toml, "--set", inputs,
        "--plot", image, "--csv", csv, "--locale", "pt-BR", "--out", tmp_path / "files",
    )  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    for name in names:
        assert f"Wrote {tmp_path / name}" in outcome.out.replace("\n", "")
        assert (tmp_path / name).stat().st_size > 0
    kept = pd.read_parquet(tmp_path / "files" / "trades.parquet")
    read = pd.read_csv(csv, sep=";", decimal=",", encoding="utf-8-sig")
    pd.testing.assert_series_equal(read["pnl"], kept["pnl"], check_exact=True)


def test_a_bad_image_is_refused_before_anything_is_written(cli, folder, tmp_path):
    outcome = cli("replay", folder / "out", 1, "--toml", tmp_path / "a", "--plot", tmp_path / "b.x")
    assert outcome.status == 2
    assert list(tmp_path.iterdir()) == []
