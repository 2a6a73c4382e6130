"""The commands of sweeps: what they print, what they write, and what they refuse."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep import run as driver

RULES = """
[rules]
close_time = "17:00"
[contract]
tick_size = 5
point_value = 0.2
"""
GRID = """
[sweep.grid]
"strategy.min_range_mult" = [0.5, 1.0, 1.5]
"strategy.lookback" = { start = 5, stop = 20, step = 5 }
"rules.stop" = [1.0, 2.0]
"rules.target_r" = [1.0, 2.0, 3.0]
"""
SHOWN = ("min_range_mult", "lookback", "stop", "target_r", "sharpe", "max_drawdown")


@pytest.fixture
def market(tmp_path):
    bt.synthetic_bars(n_days=30).to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    return tmp_path / "bars.csv"


@pytest.fixture
def config(market, write_toml):
    return write_toml(RULES + GRID)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def done(cli, config, out):
    """Directory of a sweep that is complete."""
    assert cli("sweep", config, "--out", out, "--engine", "rust").status == 0
    return out


def words_of(text):
    return " ".join(text.split())


class TestSweep:
    def test_it_says_what_it_did_and_shows_the_best(self, cli, config, out, engine):
        outcome = cli("sweep", config, "--out", out, "--engine", engine)
        assert (outcome.status, outcome.err) == (0, "")
        words = words_of(outcome.out)
        assert "Combinations 72 of strategy.min_range_mult" in words
        assert "Bars 3,270" in words
        assert f"Engine {engine}: engine='{engine}' was asked for" in words
        assert "Parity gate not needed" in words
        for name in SHOWN:
            assert name in outcome.out.replace(" ", "_")
        assert "#10" in outcome.out
        assert max(map(len, outcome.out.splitlines())) <= 80

    def test_the_files_are_those_of_python(self, cli, config, out, tmp_path, engine):
        cli("sweep", config, "--out", out, "--engine", engine)
        bt.Config.load(config).run_sweep(out=tmp_path / "python", engine=engine)
        for name in ("results/shard-000000.parquet", "journal.jsonl"):
            assert (out / name).read_bytes() == (tmp_path / "python" / name).read_bytes()
        manifest = bt.open_sweep(out).manifest
        assert manifest["status"] == "complete"
        assert manifest["identity"]["engine"] == engine
        assert manifest["data"]["path"] == str(config.parent / "bars.csv")

    def test_the_layout_is_as_promised(self, done):
        table = pq.read_table(done / "results" / "shard-000000.parquet")
        keys = ["strategy.min_range_mult", "strategy.lookback", "rules.stop", "rules.target_r"]
        assert table.column_names == ["combo_id", *keys, *METRICS]
        assert table["combo_id"].to_pylist() == list(range(72))
        types = {str(field.type) for field in table.schema}
        assert types == {"int64", "double", "bool"}
        assert sorted(path.name for path in done.iterdir()) == [
            ".lock",
            "blocks",
            "journal.jsonl",
            "manifest.json",
            "results",
        ]

    def test_json_is_all_there_is_on_standard_output(self, cli, config, out):
        outcome = cli("sweep", config, "--out", out, "--json")
        printed = json.loads(outcome.out, parse_constant=pytest.fail)
        assert outcome.err == ""
        assert printed["kind"] == "sweep"
        assert printed["n_done"] == printed["n_combos"] == 72
        assert printed["gate"]["verdict"] == "not needed"
        assert len(printed["best"]) == 10
        assert list(printed["best"][0])[:2] == ["combo_id", "strategy.min_range_mult"]

    def test_json_of_no_trade_is_strict(self, cli, config, out):
        config.write_text(config.read_text().replace("[0.5, 1.0, 1.5]", "[1e9]"))
        printed = cli("sweep", config, "--out", out, "--json").out
        best = json.loads(printed, parse_constant=pytest.fail)["best"]
        assert best[0]["sharpe"] == "nan"
        assert best[0]["total_trades"] == 0

    def test_dry_run_writes_nothing(self, cli, config, out):
        outcome = cli("sweep", config, "--out", out, "--dry-run")
        assert outcome.status == 0
        words = words_of(outcome.out)
        for fact in (
            "Combinations 72 in 1 shard",
            "Signal sets 12, cut from the scores of 4",
            "Conditions strategy.min_range_mult (3 values)",
            "Exits 6 sets of rules and contract",
            "Saved work 7.2 combinations per pass",
        ):
            assert fact in words
        assert not out.exists()
        printed = json.loads(cli("sweep", config, "--dry-run", "--json").out)
        assert (printed["kind"], printed["combos"], printed["exits"]) == ("plan", 72, 6)

    def test_options_reach_the_sweep(self, cli, config, out, monkeypatch):
        seen = {}

        class StopHere(bt.ConfigError):
            pass

        def record(bars, **options):
            seen.update(options)
            raise StopHere("seen")

        monkeypatch.setattr(driver, "sweep", record)
        status = cli(
            *("sweep", config, "--out", out, "--engine", "numba", "--threads", 2),
            *("--processes", 3, "--resume", "--max-memory", "1.5GiB", "--scenarios", "--skip-gate"),
        ).status
        assert status == 2
        expected = {
            "engine": "numba",
            "threads": 2,
            "processes": 3,
            "resume": True,
            "max_memory": 3 << 29,
            "scenarios": True,
            "gate": None,
            "out": out,
        }
        assert {name: seen[name] for name in expected} == expected

    def test_scenarios_of_the_file_and_of_the_option(self, cli, config, out, tmp_path):
        cli("sweep", config, "--out", out, "--scenarios")
        text = config.read_text().replace("[sweep.grid]", "[sweep]\nscenarios = true\n[sweep.grid]")
        config.write_text(text)
        cli("sweep", config, "--out", tmp_path / "file")
        for path in (out, tmp_path / "file"):
            assert "sharpe_target_first" in bt.open_sweep(path).columns

    def test_a_sample(self, cli, config, out):
        text = config.read_text() + '[sweep.sample]\nkind = "halton"\nn = 20\nseed = 4\n'
        config.write_text(text.replace("[0.5, 1.0, 1.5]", "{ min = 0.5, max = 1.5 }"))
        printed = json.loads(cli("sweep", config, "--out", out, "--json").out)
        assert printed["n_done"] == 20
        assert printed["identity"]["grid"]["sample"] == {"kind": "halton", "n": 20, "seed": 4}

    def test_range_and_metrics_of_the_file_are_used(self, cli, config, out):
        text = '[range]\nstart = "2019-01-10"\n[metrics]\nperiods_per_year = 365\n'
        config.write_text(config.read_text() + text)
        identity = json.loads(cli("sweep", config, "--out", out, "--json").out)["identity"]
        assert identity["range"][0] > 0
        assert identity["metrics"]["periods_per_year"] == 365

    @pytest.mark.parametrize("text", ["", "[sweep]\nwhere = ''\n", "[sweep.grid]\n"])
    def test_nothing_to_sweep(self, cli, write_toml, market, out, text):
        outcome = cli("sweep", write_toml(text), "--out", out)
        assert outcome.status == 2
        assert "nothing to sweep" in outcome.err
        assert not out.exists()

    def test_it_needs_a_place(self, cli, config):
        outcome = cli("sweep", config)
        assert outcome.status == 2
        assert "--out DIR" in outcome.err
        assert outcome.out == ""

    def test_the_gate_is_shown_and_may_be_skipped(self, cli, config, tmp_path):
        config.write_text(
            config.read_text().replace("[1.0, 2.0]\n", "{ start = 0.1, stop = 3, step = 0.1 }\n")
        )
        shown = words_of(cli("sweep", config, "--out", tmp_path / "a", "--engine", "rust").out)
        assert "Parity gate both engines agree on" in shown
        assert "bit for bit" in shown
        skipped = cli("sweep", config, "--out", tmp_path / "b", "--engine", "rust", "--skip-gate")
        assert "Parity gate skipped" in words_of(skipped.out)
        assert bt.open_sweep(tmp_path / "b").manifest["gate"]["verdict"] == "skipped"

    def test_a_gate_that_fails_is_status_3_and_writes_no_row(self, cli, config, out, monkeypatch):
        config.write_text(
            config.read_text().replace("[1.0, 2.0]\n", "{ start = 0.1, stop = 3, step = 0.1 }\n")
        )

        def differ(*_, **__):
            raise bt.ParityError("the engines disagree, so the sweep has not begun: exit_price")

        with monkeypatch.context() as patch:
            patch.setattr(driver, "pass_gate", differ)
            outcome = cli("sweep", config, "--out", out, "--engine", "rust")
        assert outcome.status == 3
        assert outcome.err.startswith("error: the engines disagree")
        assert list((out / "results").iterdir()) == []
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["status"] == "refused"
        assert manifest["gate"]["verdict"] == "disagreed"
        assert manifest["gate"]["reason"].endswith("exit_price")
        assert cli("sweep", config, "--out", out, "--engine", "rust", "--resume").status == 0
        assert bt.open_sweep(out).manifest["gate"]["verdict"] == "agreed"

    def test_an_interruption_says_how_to_continue(self, cli, config, out, monkeypatch):
        def interrupt(bars, **_):
            raise KeyboardInterrupt

        monkeypatch.setattr(driver, "sweep", interrupt)
        outcome = cli("sweep", config, "--out", out)
        assert outcome.status == 130
        assert outcome.err == f"interrupted; what is done is kept in {out}, --resume continues\n"

    def test_help_names_the_commands(self, cli):
        text = cli("--help").out
        for command in ("sweep", "top", "replay"):
            assert command in text
            assert cli(command, "--help").status == 0


def in_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def test_help_of_a_sweep_loads_nothing_heavy():
    done = in_process(
        "import sys; from backtest_py.cli import main; main(['sweep', '--help']); "
        "heavy = ('numba', 'pandas', 'pyarrow', 'rich', 'joblib', 'backtest_py.sweep.run'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_small_sweep_of_rust_loads_neither_numba_nor_joblib(config, out):
    done = in_process(
        "import sys; from backtest_py.cli import main; "
        f"status = main(['sweep', {str(config)!r}, '--out', {str(out)!r}, '--engine', 'rust']); "
        "print(status, [name for name in ('numba', 'joblib') if name in sys.modules])"
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_bar_moves_on_a_terminal_and_leaves_nothing(config, out):
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "backtest_py", "sweep", str(config), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65_536):
            shown += piece
    except OSError:  # the terminal is closed
        pass
    out_text, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    text = shown.decode()
    assert "Sweep" in text
    assert "100%" in text
    assert "combinations a second" in text
    assert "shard 1 of 1" in text
    assert text.rstrip().endswith("\x1b[2K")  # the line is wiped
    assert "combinations a second" not in out_text


class TestTop:
    def test_it_shows_the_best(self, cli, done):
        outcome = cli("top", done, "-n", 3, "--by", "profit_factor")
        assert (outcome.status, outcome.err) == (0, "")
        best = bt.open_sweep(done).top(3, by="profit_factor")
        for combo_id, value in zip(best["combo_id"], best["profit_factor"], strict=True):
            assert str(combo_id) in outcome.out
            assert f"{value:.3f}" in outcome.out

    def test_any_column_decides(self, cli, done):
        for column in ("max_drawdown", "ruined", "rules.stop", "combo_id", "avg_bars_held"):
            assert cli("top", done, "--by", column, "-n", 2).status == 0, column

    def test_conditions(self, cli, done):
        printed = json.loads(
            cli("top", done, "--where", "total_trades >= 20 and stop == 2", "--json").out
        )
        assert printed["kind"] == "top"
        assert printed["by"] == "sharpe"
        assert {row["rules.stop"] for row in printed["rows"]} == {2.0}
        sharpes = [row["sharpe"] for row in printed["rows"]]
        assert sharpes == sorted(sharpes, reverse=True)
        assert cli("top", done, "--where", "total_trades > 1e9").status == 0

    def test_csv(self, cli, done, tmp_path):
        outcome = cli("top", done, "-n", 5, "--csv", tmp_path / "best.csv")
        assert outcome.status == 0
        assert "best.csv" in outcome.out.replace("\n", "")
        with (tmp_path / "best.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        best = bt.open_sweep(done).top(5)
        assert [int(row["combo_id"]) for row in rows] == best["combo_id"].tolist()
        assert [float(row["sharpe"]) for row in rows] == best["sharpe"].tolist()
        refused = cli("top", done, "--csv", tmp_path / "no" / "such.csv")
        assert refused.status == 2
        assert "cannot be written" in refused.err

    def test_the_worst_case_needs_both_scenarios(self, cli, done, config, tmp_path):
        refused = cli("top", done, "--worst-case")
        assert refused.status == 2
        assert "both scenarios" in refused.err
        cli("sweep", config, "--out", tmp_path / "both", "--scenarios")
        assert cli("top", tmp_path / "both", "--worst-case").status == 0

    def test_wide_rows_are_turned_to_fit(self, cli, done, monkeypatch):
        monkeypatch.setenv("COLUMNS", "60")
        narrow = cli("top", done, "-n", 7).out
        assert max(map(len, narrow.splitlines())) <= 60
        for rank in range(1, 8):
            assert f"#{rank}" in narrow
        monkeypatch.setenv("COLUMNS", "200")
        wide = cli("top", done, "-n", 7).out
        assert "#1" not in wide
        wide, _ = wide.split("Luck alone")
        assert len([line for line in wide.splitlines() if line.strip()]) == 9

    def test_what_is_wrong_is_said(self, cli, done, tmp_path):
        for arguments, words in (
            ((tmp_path,), "holds no sweep"),
            ((tmp_path / "none",), "holds no sweep"),
            ((done, "--by", "sharp"), "did you mean 'sharpe'"),
            ((done, "-n", 0), "n = 0 is not allowed"),
            ((done, "--where", "sharpe"), "sharpe"),
            ((done, "--where", "sharpe > "), "where"),
        ):
            outcome = cli("top", *arguments)
            assert outcome.status == 2, arguments
            assert words in outcome.err
            assert outcome.out == ""


class TestReplay:
    def test_it_is_the_run(self, cli, done, config, tmp_path):
        row = bt.open_sweep(done).table(where="combo_id == 41").to_pylist()[0]
        printed = json.loads(cli("replay", done, 41, "--json").out)
        assert printed["combo_id"] == 41
        for name in METRICS:
            expected = row[name]
            found = printed["metrics"][name]
            assert found == (str(expected) if isinstance(found, str) else expected), name
        outcome = cli("replay", done, 41, "--out", tmp_path / "one")
        assert outcome.status == 0
        assert "Combination 41 of" in words_of(outcome.out)
        assert f"rules.stop {row['rules.stop']}" in words_of(outcome.out)
        trades = pq.read_table(tmp_path / "one" / "trades.parquet")
        assert trades.num_rows == row["total_trades"] > 0

    def test_it_finds_the_bars_from_anywhere(self, cli, done, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert cli("replay", done, 0).status == 0

    def test_bars_are_read_with_the_options_of_the_file(self, cli, write_toml, tmp_path):
        lines = ["time;open;high;low;close;volume"]
        bars = bt.synthetic_bars(n_days=10)
        for i, time in enumerate(bars.time.astype("datetime64[ns]").astype("datetime64[s]")):
            stamp = time.astype(datetime).strftime("%Y-%m-%d %H:%M")
            prices = (bars.open[i], bars.high[i], bars.low[i], bars.close[i], bars.volume[i])
            lines.append(";".join([stamp, *(f"{value:.0f},0" for value in prices)]))
        (tmp_path / "comma.csv").write_text("\n".join(lines) + "\n")
        data = '[data]\npath = "comma.csv"\ndecimal = ","\ntimezone = "America/Sao_Paulo"\n'
        config = write_toml(f'{data}{RULES}[sweep.grid]\n"rules.stop" = [1.0, 2.0, 3.0]\n')
        assert cli("sweep", config, "--out", tmp_path / "out").status == 0
        assert cli("replay", tmp_path / "out", 1).status == 0

    def test_what_is_wrong_is_said(self, cli, done, market):
        assert cli("replay", done, 72).status == 2
        assert cli("replay", done, -1).status == 2
        assert cli("replay", done, "first").status == 2
        market.write_text(market.read_text().replace(",", ", ", 1).replace("2019", "2018", 3))
        changed = cli("replay", done, 3)
        assert changed.status == 1
        assert "not the bars that were swept" in changed.err
        market.unlink()
        assert cli("replay", done, 3).status == 2


MANY = (
    *(f"rules.{name}" for name in ("stop", "target", "target_r", "trail", "target_through_ticks")),
    *(f"contract.{name}" for name in ("point_value", "quantity", "fee_per_side", "slippage_ticks")),
    "strategy.min_range_mult",
)
BAD = {
    "a step of zero": ('"rules.stop" = { start = 1, stop = 2, step = 0 }', "step"),
    "a range downwards": ('"rules.stop" = { start = 2, stop = 1, step = 0.5 }', "upwards"),
    "nan": ('"rules.stop" = [1.0, nan]', "nan"),
    "nan in a range": ('"rules.stop" = { start = nan, stop = 2, step = 1 }', "nan"),
    "infinity": ('"rules.stop" = [inf]', "inf"),
    "an empty list": ('"rules.stop" = []', "empty"),
    "a value twice": ('"rules.stop" = [1.0, 2.0, 1]', "twice"),
    "a clock twice": ('"strategy.entry_start" = ["09:00", "09:00"]', "twice"),
    "an unknown parameter": ('"rules.stopp" = [1.0]', "did you mean 'rules.stop'"),
    "an unknown section": ('"rule.stop" = [1.0]', "rule.stop"),
    "a key without quotes": ("rules.stop = [1.0]", "quotes"),
    "a text for a number": ('"rules.stop" = ["1"]', "rules.stop"),
    "a number below what is allowed": ('"rules.stop" = [-1.0]', "rules.stop"),
    "no list": ('"rules.stop" = 1.0', "list"),
    "10^30 combinations": (
        "\n".join(f'"{key}" = {{ start = 0.01, stop = 10, step = 0.01 }}' for key in MANY),
        "combinations",
    ),
    "a continuous range without a sample": ('"rules.stop" = { min = 1.0, max = 2.0 }', "sample"),
    "combinations that are not allowed": (
        '"strategy.entry_start" = ["09:00", "12:00"]\n"strategy.entry_end" = ["10:00", "13:00"]',
        "combination 2 of the grid",
    ),
}
BAD_WHERE = {
    "a number": "1",
    "a parameter": "rules.stop",
    "nothing comparable": "rules.stop > 'a'",
    "an unknown name": "rules.stopp > 1",
    "half a condition": "rules.stop >",
    "code": "__import__('os').system('true')",
    "one that leaves nothing": "rules.stop > 100",
}


@contextmanager
def nobody_special():
    """Give up the rights of root for a while, which nothing is forbidden to."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestBadInput:
    """All of it is refused with status 2, in one line, and before any work."""

    def refused(self, cli, config, out):
        outcome = cli("sweep", config, "--out", out)
        assert outcome.status == 2, outcome.err
        assert outcome.out == ""
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        assert not out.exists()
        assert cli("sweep", config, "--dry-run").status == 2
        return outcome.err

    @pytest.mark.parametrize("name", BAD)
    def test_of_the_grid(self, cli, write_toml, market, out, name):
        text, words = BAD[name]
        message = self.refused(cli, write_toml(f"{RULES}[sweep.grid]\n{text}\n"), out)
        assert words in message

    @pytest.mark.parametrize("name", BAD_WHERE)
    def test_of_the_condition(self, cli, write_toml, market, out, name):
        text = f'{RULES}[sweep]\nwhere = "{BAD_WHERE[name]}"\n{GRID}'
        message = self.refused(cli, write_toml(text), out)
        assert "where" in message

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('invalid = "ignore"', "invalid"),
            ("scenarios = 1", "scenarios"),
            ('sampling = "random"', "sampling"),
            ("sample = { n = 0 }", "sample.n"),
            ("sample = { n = 1000 }", "sample.n"),
            ('sample = { kind = "sobol" }', "sample.kind"),
            ("sample = { size = 5 }", "size"),
        ],
    )
    def test_of_the_section(self, cli, write_toml, market, out, text, words):
        assert words in self.refused(cli, write_toml(f"{RULES}[sweep]\n{text}\n{GRID}"), out)

    def test_bars_that_do_not_fit(self, cli, write_toml, market, out):
        text = f'{RULES}[sweep.grid]\n"rules.unit" = ["points", "strategy"]\n'
        assert "gives no risk" in self.refused(cli, write_toml(text), out)

    @pytest.mark.parametrize("size", ["", "0", "much", "1.5.5GB", "-1GB", "1 XB", "10iB", "1KB"])
    def test_sizes(self, cli, config, out, size):
        outcome = cli("sweep", config, "--out", out, "--max-memory", size)
        assert outcome.status == 2
        assert "memory" in outcome.err

    def test_counts(self, cli, config, out):
        for option in ("--threads", "--processes"):
            for value in (-1, "many", 1.5):
                assert cli("sweep", config, "--out", out, option, value).status == 2
        assert not out.exists()

    def test_places(self, cli, config, market, tmp_path):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "manifest.json").write_text('{"kind": "run"}')
        for place in (market, market / "below", tmp_path / "other", Path("/proc/nothing")):
            if place.anchor == "/proc" and not place.parent.exists():
                continue
            outcome = cli("sweep", config, "--out", place)
            assert outcome.status == 2, place
            assert str(place) in outcome.err
        assert (tmp_path / "other" / "manifest.json").read_text() == '{"kind": "run"}'

    @pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
    def test_a_directory_that_is_read_only(self, config):
        loaded = bt.Config.load(config)
        bars = loaded.load_bars()
        assert loaded.run_sweep(bars).manifest  # imports what nobody may read
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "fixed", "out")
            Path(folder).chmod(0o755)
            place.parent.mkdir(mode=0o555)
            with nobody_special(), pytest.raises(bt.ConfigError, match="Permission denied"):
                loaded.run_sweep(bars, out=place)

    def test_results_are_not_overwritten(self, cli, config, done):
        before = (done / "results" / "shard-000000.parquet").read_bytes()
        outcome = cli("sweep", config, "--out", done)
        assert outcome.status == 2
        assert "--resume" in outcome.err
        assert (done / "results" / "shard-000000.parquet").read_bytes() == before


def test_sizes_are_read():
    from backtest_py.cli.options import memory_bytes

    assert [memory_bytes(text) for text in ("1GB", "500mb", "2 GiB", "1.5KB", "1048576", "3B")] == [
        1_000_000_000,
        500_000_000,
        2 << 30,
        1_500,
        1 << 20,
        3,
    ]


def test_the_grid_of_the_configuration_is_that_of_the_sweep(config, out):
    loaded = bt.Config.load(config)
    result = loaded.run_sweep(out=out)
    assert result.grid == loaded.grid()
    plan = loaded.plan_sweep()
    assert plan.combos == len(result) == 72
    bars = loaded.load_bars()
    assert np.array_equal(
        loaded.run_sweep(bars).table(["sharpe"])["sharpe"].to_numpy(),
        result.table(["sharpe"])["sharpe"].to_numpy(),
        equal_nan=True,
    )
