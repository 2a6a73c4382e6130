"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.records import METRICS

RUN = [sys.executable, "-m", "backtest_py"]


def spawn(*arguments, **environment):
    return subprocess.run(
        [*RUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=120,
    )


@pytest.fixture
def market(tmp_path):
    """Write a month of bars and return their path."""
    frame = bt.synthetic_bars(n_days=40).to_frame()
    frame.to_csv(tmp_path / "bars.csv", lineterminator="\n")
    return tmp_path / "bars.csv"


@pytest.fixture
def config(market, write_toml):
    return write_toml(
        """
[rules]
close_time = "17:00"
[contract]
tick_size = 5
point_value = 0.2
slippage_ticks = 1
"""
    )


class TestRun:
    def test_it_prints_every_metric_in_a_table(self, cli, config, engine):
        outcome = cli("run", config, "--engine", engine)
        assert outcome.status == 0
        assert outcome.err == ""
        for words in (
            "bars.csv: 4,360, 2019-01-02 09:00 to",
            "barra_elefante",
            f"{engine}: engine='{engine}' was asked for",
            "Return",
            "Profit factor",
            "Win rate",
            "Sharpe",
            "Max drawdown",
            "Session close",
            "Ruined",
        ):
            assert words in outcome.out

    def test_no_line_is_wider_than_a_terminal(self, cli, config):
        outcome = cli("run", config, "--by", "month", "--by", "reason")
        assert max(map(len, outcome.out.splitlines())) <= 80

    def test_both_engines_print_the_same_numbers(self, cli, config):
        numba, rust = (
            json.loads(cli("run", config, "--engine", name, "--json").out)
            for name in ("numba", "rust")
        )
        assert numba.pop("provenance")["engine"] == "numba"
        assert rust.pop("provenance")["engine"] == "rust"
        assert numba == rust
        assert numba["metrics"]["total_trades"] > 0

    def test_json_is_all_there_is_on_standard_output(self, cli, config):
        outcome = cli("run", config, "--json", "--out", config.parent / "out")
        printed = json.loads(outcome.out)
        assert list(printed["metrics"]) == list(METRICS)
        assert printed["kind"] == "run"
        assert printed["configuration"]["rules"]["close_time"] == "17:00"
        assert len(printed["provenance"]["bars_hash"]) == 64

    def test_json_of_no_trade_is_strict(self, cli, config):
        config.write_text(f"{config.read_text()}[strategy.params]\nmin_range_mult = 1e9\n")
        printed = cli("run", config, "--json").out
        metrics = json.loads(printed, parse_constant=pytest.fail)["metrics"]
        assert metrics["total_trades"] == 0
        assert metrics["sharpe"] == "nan"

    def test_huge_amounts_still_fit(self, cli, config):
        config.write_text(config.read_text().replace("point_value = 0.2", "point_value = 1e200"))
        outcome = cli("run", config)
        assert outcome.status == 0
        assert max(map(len, outcome.out.splitlines())) <= 80
        assert "e+20" in outcome.out

    def test_out_writes_the_files(self, cli, config, tmp_path):
        out = tmp_path / "runs" / "one"
        outcome = cli("run", config, "--out", out)
        assert outcome.status == 0
        assert str(out) in outcome.out.replace("\n", "")
        metrics = json.loads((out / "metrics.json").read_text())
        manifest = json.loads((out / "manifest.json").read_text())
        trades = pq.read_table(out / "trades.parquet")
        assert trades.num_rows == metrics["total_trades"] > 0
        assert manifest["bars"]["n_bars"] == 4360
        assert sorted(path.name for path in out.iterdir()) == [
            "manifest.json",
            "metrics.json",
            "trades.parquet",
        ]

    def test_the_manifest_names_the_data_as_the_configuration_does(
        self, cli, config, market, write_toml, tmp_path, monkeypatch
    ):
        (tmp_path / "data").mkdir()
        market.rename(tmp_path / "data" / "bars.csv")
        monkeypatch.chdir(tmp_path.parent)
        for given in ("data/bars.csv", (tmp_path / "data" / "bars.csv").as_posix()):
            printed = json.loads(cli("run", write_toml("", data=given), "--json").out)
            assert printed["bars"]["path"] == given

    def test_parameters_are_printed_as_toml_writes_them(self, cli, config):
        printed = " ".join(cli("run", config).out.split())
        assert 'entry_start = "00:00", entry_end = "23:59", confirm_breakout = false)' in printed

    def test_the_files_equal_those_of_python(self, cli, config, tmp_path):
        cli("run", config, "--out", tmp_path / "cli", "--engine", "rust")
        bt.Config.load(config).backtest(engine="rust").save(tmp_path / "python")
        for name in ("trades.parquet", "metrics.json", "manifest.json"):
            assert (tmp_path / "cli" / name).read_bytes() == (
                tmp_path / "python" / name
            ).read_bytes()

    def test_out_at_a_file_is_wrong_usage(self, cli, config, market):
        outcome = cli("run", config, "--out", market)
        assert outcome.status == 2
        assert "a file stands there" in outcome.err

    def test_a_full_disk_is_a_failed_run(self, cli, config, tmp_path, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.fsync", full)
        outcome = cli("run", config, "--out", tmp_path / "out")
        assert outcome.status == 1
        assert outcome.err == (
            f"error: {tmp_path / 'out'} cannot be written: No space left on device; "
            "give another directory\n"
        )
        assert list((tmp_path / "out").iterdir()) == []

    def test_tables(self, cli, config):
        outcome = cli("run", config, "--by", "month", "--by", "side")
        assert "2019-01" in outcome.out
        assert "long" in outcome.out
        assert cli("run", config, "--by", "months").status == 2

    def test_tables_as_json(self, cli, config):
        printed = json.loads(cli("run", config, "--json", "--by", "month", "--by", "side").out)
        assert list(printed["tables"]) == ["month", "side"]
        assert printed["tables"]["month"][0]["month"] == "2019-01"
        sides = printed["tables"]["side"]
        assert [row["side"] for row in sides] == ["long", "short"]
        assert sum(row["trades"] for row in sides) == printed["metrics"]["total_trades"]
        assert "tables" not in json.loads(cli("run", config, "--json").out)

    def test_an_image_of_no_kind_is_refused_before_the_run(self, cli, config, tmp_path, market):
        market.unlink()
        for name in ("plot.xyz", "plot"):
            outcome = cli("run", config, "--plot", tmp_path / name)
            assert outcome.status == 2
            assert f"{name} cannot be drawn" in outcome.err
            assert "png" in outcome.err

    def test_out_does_not_replace_a_sweep(self, cli, config, tmp_path):
        (tmp_path / "manifest.json").write_text('{"kind": "sweep"}')
        outcome = cli("run", config, "--out", tmp_path)
        assert outcome.status == 2
        assert "of kind 'sweep'" in outcome.err

    def test_plot(self, cli, config, tmp_path):
        outcome = cli("run", config, "--plot", tmp_path / "plot.png")
        assert outcome.status == 0
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

    def test_a_warning_is_one_line_on_standard_error(self, cli, config):
        config.write_text(config.read_text().replace("tick_size = 5", "tick_size = 7"))
        outcome = cli("run", config, "--json")
        assert outcome.status == 0
        json.loads(outcome.out)
        (line,) = outcome.err.splitlines()
        assert line.startswith("warning: ")
        assert "tick" in line

    def test_a_warning_is_shown_once(self, cli, config):
        config.write_text(config.read_text().replace("tick_size = 5", "tick_size = 7"))
        assert cli("parity", config).err.count("warning: ") == 1

    def test_the_range_of_the_file_is_used(self, cli, config):
        config.write_text(config.read_text() + '[range]\nstart = "2019-01-15"\nend = 2019-01-22\n')
        printed = json.loads(cli("run", config, "--json").out)
        assert printed["configuration"]["range"] == {
            "start": "2019-01-15T09:00:00",
            "end": "2019-01-22T09:00:00",
        }
        assert printed["metrics"]["days"] == 5


class TestParity:
    def test_engines_that_agree(self, cli, config):
        outcome = cli("parity", config)
        assert outcome.status == 0
        assert "agree, bit for bit" in outcome.out
        assert "39 metrics" in outcome.out

    def test_one_trade_is_counted_as_one(self, cli, config):
        ruined = config.read_text().replace("[contract]", "[contract]\ninitial_capital = 0.01")
        config.write_text(f'{ruined}[range]\nstart = "2019-01-02"\nend = "2019-01-03"\n')
        assert "bit for bit: 1 trade on 4,360 bars" in cli("parity", config).out

    def test_json(self, cli, config):
        printed = json.loads(cli("parity", config, "--json").out)
        assert printed["same"] is True
        assert printed["differences"] == []
        assert printed["n_trades"]["numba"] == printed["n_trades"]["rust"] > 0
        assert printed["largest_relative_difference"] == 0.0

    @pytest.fixture
    def broken(self, monkeypatch):
        """Let the Rust engine move one price by one bit."""
        from backtest_py.engines.rust_engine import RustEngine

        honest = RustEngine.run

        def run(self, job):
            output = honest(self, job)
            price = output.trades["exit_price"].copy()
            price[2] = np.nextafter(price[2], np.inf)
            return replace(output, trades={**output.trades, "exit_price": price})

        monkeypatch.setattr(RustEngine, "run", run)

    def test_one_bit_breaks_it(self, cli, config, broken):
        outcome = cli("parity", config)
        assert outcome.status == 3
        assert outcome.out == ""
        assert "numba and rust disagree" in outcome.err
        assert "trade 2 (signal bar" in outcome.err
        assert "exit_price" in outcome.err
        assert "1 ulp apart" in outcome.err

    def test_json_of_a_broken_parity(self, cli, config, broken):
        outcome = cli("parity", config, "--json")
        assert outcome.status == 3
        printed = json.loads(outcome.out)
        assert printed["same"] is False
        assert printed["differences"][0]["field"] == "exit_price"
        assert printed["differences"][0]["trade"] == 2
        assert printed["differences"][0]["ulps"] == 1
        assert "Traceback" not in outcome.err

    @pytest.mark.parametrize("name", bt.strategy_names())
    def test_every_strategy_agrees(self, cli, config, name):
        config.write_text(f'{config.read_text()}[strategy]\nname = "{name}"\n')
        outcome = cli("parity", config, "--json")
        assert outcome.status == 0, outcome.err
        assert json.loads(outcome.out)["n_trades"]["rust"] > 0

    def test_without_the_extension_it_fails(self, cli, config, monkeypatch):
        monkeypatch.setenv("BACKTEST_PY_NO_RUST", "1")
        outcome = cli("parity", config)
        assert outcome.status == 1
        assert "BACKTEST_PY_NO_RUST" in outcome.err


class TestInit:
    def test_it_writes_a_file_that_runs_once_its_data_is_there(self, cli, market):
        file = market.parent / "new.toml"
        assert cli("init", file).status == 0
        tomllib.loads(file.read_text(encoding="utf-8"))
        market.rename(market.parent / "WIN_M5.csv")
        assert cli("run", file).status == 0

    @pytest.mark.parametrize(
        "axis", ['"rules.target_r" = [1.0, 2.0]', '"rules.target" = [1.0, 2.0]']
    )
    def test_its_file_can_be_swept_over_either_target(self, cli, market, axis):
        file = market.parent / "new.toml"
        assert cli("init", file).status == 0
        market.rename(market.parent / "WIN_M5.csv")
        file.write_text(file.read_text().replace("[sweep.grid]", f"[sweep.grid]\n{axis} #"))
        outcome = cli("sweep", file, "--out", market.parent / "out", "--json")
        assert outcome.status == 0, outcome.err
        assert json.loads(outcome.out)["n_done"] == 2

    def test_a_target_in_the_way_of_the_swept_one_is_named(self, cli, write_toml, market):
        for fixed, swept in (("target = 3.0", "target_r"), ("target_r = 1.5", "target")):
            grid = f'[sweep.grid]\n"rules.{swept}" = [1.0, 2.0]\n[rules]\n{fixed}\n'
            for sweep in ("", '[sweep]\ninvalid = "skip"\n'):
                outcome = cli("sweep", write_toml(sweep + grid), "--out", market.parent / "out")
                assert outcome.status == 2
                advice = f"rules.{fixed} is set in [rules]: delete that line, or set it to 0\n"
                assert outcome.err.endswith(advice)
                assert "skip" not in outcome.err

    def test_skip_is_not_advised_where_it_leaves_nothing(self, cli, write_toml, market):
        grid = '[sweep.grid]\n"rules.target_r" = [1.0, {}]\n[rules]\nstop = 0\n'
        out = market.parent / "out"
        nothing = cli("sweep", write_toml(grid.format("2.0")), "--out", out)
        assert "give a stop above 0" in nothing.err
        assert "no combination of this grid is allowed" in nothing.err
        assert "skip" not in nothing.err
        assert (
            'set invalid = "skip"' in cli("sweep", write_toml(grid.format("0.0")), "--out", out).err
        )

    def test_by_default_it_is_backtest_toml_here(self, cli, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        outcome = cli("init")
        assert outcome.status == 0
        assert "backtest.toml" in outcome.out
        assert (tmp_path / "backtest.toml").is_file()

    def test_it_replaces_nothing_unless_forced(self, cli, tmp_path):
        file = tmp_path / "mine.toml"
        file.write_text("precious")
        outcome = cli("init", file)
        assert outcome.status == 2
        assert "--force" in outcome.err
        assert file.read_text() == "precious"
        assert cli("init", file, "--force").status == 0
        assert file.read_text() != "precious"

    def test_a_place_that_cannot_be_written(self, cli, tmp_path):
        outcome = cli("init", tmp_path / "no" / "such" / "folder.toml")
        assert outcome.status == 2
        assert "cannot be written" in outcome.err


class TestInspect:
    def test_it_shows_what_the_file_holds(self, cli, market):
        outcome = cli("inspect", market, "--tick-size", "5")
        assert outcome.status == 0
        assert outcome.err == ""
        for words in (
            "bars.csv, csv",
            "4,360 bars",
            "2019-01-02 09:00 to 2019-02-26 18:00, 40 days",
            "5 minutes (100.0 % of the steps)",
            "units traded",
            "2019-01",
            "0 % of the prices, of 5",
        ):
            assert words in outcome.out

    def test_json(self, cli, market):
        outcome = cli("inspect", market, "--json", "--tick-size", "10")
        printed = json.loads(outcome.out, parse_constant=pytest.fail)
        assert printed["kind"] == "inspect"
        assert printed["rows"] == 4360
        assert printed["tick_size"] == 5.0
        assert 0.4 < printed["off_grid_share"] < 0.6
        assert printed["sessions"][0]["month"] == "2019-01"
        assert printed["content_hash"] == bt.load_bars(market).content_hash

    def test_the_clocks_and_choices_reach_the_reader(self, cli, market):
        printed = json.loads(
            cli(
                "inspect",
                market,
                "--json",
                "--format",
                "csv",
                "--timezone",
                "UTC",
                "--session-timezone",
                "America/Sao_Paulo",
                "--empty",
                "drop",
            ).out
        )
        assert printed["session_timezone"] == "America/Sao_Paulo"
        assert printed["first"] == "2019-01-02 07:00"
        assert cli("inspect", market, "--timezone", "Nowhere").status == 2
        assert cli("inspect", market, "--format", "xls").status == 2
        assert cli("inspect", market, "--empty", "fill").status == 2
        assert cli("inspect", market, "--ambiguous", "first").status == 2
        assert cli("inspect", market, "--nonexistent", "drop").status == 2
        assert cli("inspect", market, "--decimal", ";").status == 2

    def test_gaps_and_early_ends_are_shown(self, cli, write_bars):
        minutes = [m for m in range(0, 540, 5) if not 100 <= m < 130]
        rows = [
            (f"2024-01-0{day} {9 + m // 60:02d}:{m % 60:02d}", 100, 101, 99, 100, 5)
            for day in (2, 3, 4)
            for m in (minutes if day == 3 else range(0, 300 if day == 4 else 540, 5))
        ]
        outcome = cli("inspect", write_bars(rows))
        assert "1, 6 bars missing" in outcome.out
        assert "2024-01-03 10:35" in outcome.out
        assert cli("inspect", write_bars(rows[:1])).status == 0

    def test_one_day_spans_no_weekend(self, cli, write_bars):
        rows = [(f"2024-01-02 09:{m:02d}", 100, 101, 99, 100, m) for m in range(0, 60, 5)]
        words = " ".join(cli("inspect", write_bars(rows)).out.split())
        assert ", 1 day (no zone)" in words
        assert "1 bar with 0" in words
        assert "Weekends none in the span" in words

    def test_weekends_are_closed_or_traded(self, cli, write_bars):
        for days, word in (((4, 5, 8, 9), "closed"), ((4, 5, 6, 7, 8), "traded")):
            rows = [(f"2024-01-0{day} 09:00", 100, 101, 99, 100, 5) for day in days]
            assert f"Weekends {word}" in " ".join(cli("inspect", write_bars(rows)).out.split())

    def test_a_warning_of_the_reader_is_listed_once(self, cli, tmp_path):
        frame = bt.synthetic_bars(n_days=1000, bars_per_day=100).to_frame()
        frame.to_csv(tmp_path / "cut.csv", lineterminator="\n")
        outcome = cli("inspect", tmp_path / "cut.csv")
        assert outcome.out.count("exactly 100,000 rows") == 1
        assert outcome.err == ""

    def test_bad_input(self, cli, tmp_path, market):
        (tmp_path / "empty.csv").write_text("")
        assert cli("inspect", tmp_path / "empty.csv").status == 1
        assert cli("inspect", tmp_path / "missing.csv").status == 2
        assert cli("inspect", tmp_path).status == 2
        for tick_size in ("0", "-5", "nan"):
            outcome = cli("inspect", market, "--tick-size", tick_size)
            assert outcome.status == 2
            assert "contract.tick_size" in outcome.err


class TestEngines:
    def test_both_are_listed(self, cli):
        outcome = cli("engines")
        assert outcome.status == 0
        assert "numba" in outcome.out
        assert "auto: rust" in outcome.out

    def test_the_compiler_is_named_once(self, cli):
        assert "rustc rustc" not in " ".join(cli("engines").out.split())

    def test_json(self, cli):
        printed = json.loads(cli("engines", "--json").out)
        assert [item["name"] for item in printed["engines"]] == ["numba", "rust"]
        assert all(item["available"] for item in printed["engines"])
        assert printed["auto"]["engine"] == "rust"

    def test_without_the_extension(self, cli, config, monkeypatch):
        monkeypatch.setenv("BACKTEST_PY_NO_RUST", "1")
        printed = json.loads(cli("engines", "--json").out)
        assert printed["auto"]["engine"] == "numba"
        assert "BACKTEST_PY_NO_RUST" in printed["engines"][1]["reason"]
        refused = cli("run", config, "--engine", "rust")
        assert refused.status == 1
        assert "BACKTEST_PY_NO_RUST" in refused.err
        taken = json.loads(cli("run", config, "--json").out)["provenance"]
        assert taken["engine"] == "numba"
        assert "BACKTEST_PY_NO_RUST" in taken["reason"]


class TestErrors:
    def test_wrong_usage(self, cli, config):
        for arguments in (
            ["run"],
            ["run", config, "--fast"],
            ["walk"],
            ["run", config, "other.toml"],
            [],
        ):
            assert cli(*arguments).status == 2, arguments

    def test_an_error_is_one_line_and_a_traceback_only_on_debug(self, cli, tmp_path):
        plain = cli("run", tmp_path / "no.toml")
        assert plain.err.count("\n") == 1
        for arguments in (
            ["--debug", "run", tmp_path / "no.toml"],
            ["run", tmp_path / "no.toml", "--debug"],
        ):
            outcome = cli(*arguments)
            assert outcome.status == 2
            assert "Traceback (most recent call last)" in outcome.err
            assert outcome.err.endswith(plain.err)

    def test_a_bug_is_called_one(self, cli, config, monkeypatch):
        monkeypatch.setattr(bt.Config, "load", lambda path: path.nonsense)
        outcome = cli("run", config)
        assert outcome.status == 1
        assert "AttributeError" in outcome.err
        assert "bug in backtest-py" in outcome.err
        assert "Traceback" not in outcome.err

    def test_an_interruption(self, cli, config, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(bt.Config, "load", interrupt)
        assert cli("run", config).status == 130


class TestProcess:
    """The same through real processes: status, streams and what is loaded."""

    def test_status(self, config, tmp_path):
        assert spawn("run", config).returncode == 0
        assert spawn("run", tmp_path / "no.toml").returncode == 2
        (tmp_path / "bars.csv").write_text("")
        assert spawn("run", config).returncode == 1

    def test_version_and_help(self):
        version = spawn("--version")
        assert version.returncode == 0
        assert version.stdout.startswith("backtest-py ")
        text = spawn("--help")
        assert text.returncode == 0
        for command in ("run", "parity", "inspect", "init", "engines"):
            assert command in text.stdout
            assert spawn(command, "--help").returncode == 0

    @pytest.mark.skipif(sys.platform == "win32", reason="named pipes and SIGINT are POSIX")
    def test_control_c(self, tmp_path):
        # the pipe has no writer, so the command waits for its configuration
        os.mkfifo(tmp_path / "run.toml")
        process = subprocess.Popen(
            [*RUN, "run", str(tmp_path / "run.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert out == ""
        assert "Traceback" not in err

    def test_a_rust_run_loads_neither_numba_nor_pandas(self, config):
        code = (
            "import sys; from backtest_py.cli import main; "
            f"status = main(['run', {str(config)!r}, '--engine', 'rust']); "
            "print(status, [m for m in ('numba', 'pandas', 'matplotlib') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.stdout.splitlines()[-1] == "0 []"

    def test_help_loads_nothing_heavy(self):
        code = (
            "import sys; from backtest_py.cli import main; main(['run', '--help']); "
            "heavy = ('numba', 'pandas', 'pyarrow', 'matplotlib', 'rich'); "
            "print([m for m in heavy if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.stdout.splitlines()[-1] == "[]"
