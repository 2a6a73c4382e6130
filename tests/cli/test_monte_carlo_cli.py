"""The command ``monte-carlo``, and its section of the configuration."""

from __future__ import annotations

import hashlib
import io
import json

import pandas as pd
import pytest

import backtest_py as bt
from backtest_py.cli import main

RULES = """
[rules]
stop = 1.0
target = 1.5
close_time = "17:00"
[strategy]
params = { min_range_mult = 1.4 }
"""


@pytest.fixture
def toml(tmp_path, write_toml):
    """Return a function that writes a configuration with a section [monte_carlo]."""
    bt.synthetic_bars(n_days=15).to_frame().to_csv(tmp_path / "bars.csv")

    def write(section=""):
        return write_toml(f"{RULES}\n[monte_carlo]\n{section}\n")

    return write


def test_the_command_gives_what_python_gives(cli, toml, tmp_path):
    file = toml('kind = "block"\nn_paths = 300\nseed = 9\nblock_length = 4\nlevel = 9_990.0')
    out = tmp_path / "mc"
    done = cli("monte-carlo", file, "--out", out, "--json")
    assert (done.status, done.err) == (0, "")
    printed = json.loads(done.out)
    result = bt.Config.load(file).backtest()
    how = {"n_paths": 300, "seed": 9, "block_length": 4, "level": 9_990.0}
    expected = bt.monte_carlo(result, "block", **how)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "paths.parquet"), expected.table)
    assert printed["probability_below_level"] == expected.probability_below()
    assert (
        printed["quantiles"]["0.5"]["max_drawdown"]
        == (expected.quantiles(0.5).loc[0.5, "max_drawdown"])
    )
    manifest = json.loads((out / "manifest.json").read_text())
    hashes = manifest.pop("files")
    assert printed == manifest
    assert set(hashes) == {"paths.parquet", "fan.parquet"}
    for name, digest in hashes.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_options_take_the_place_of_keys(cli, toml):
    file = toml('kind = "block"\nn_paths = 300')
    chosen = ("--kind", "null", "--null", "directions", "--paths", 20, "--seed", 5)
    done = cli("monte-carlo", file, *chosen, "--engine", "numba", "--json")
    printed = json.loads(done.out)
    settings = printed["settings"]
    assert [settings[name] for name in ("kind", "null", "n_paths", "seed")] == [
        *("null", "directions", 20, 5)
    ]
    assert printed["provenance"]["engine"] == "numba"
    assert 1 / 21 <= printed["p_values"]["total_return"] <= 1
    assert json.loads(cli("monte-carlo", file, "--seed", 0, "--json").out)["settings"]["seed"] == 0


@pytest.mark.parametrize("kind", ["bootstrap", "shuffle", "null"])
def test_what_is_printed(cli, toml, kind):
    done = cli("monte-carlo", toml(f'kind = "{kind}"\nn_paths = 50'))
    assert done.status == 0
    assert "50 paths of" in done.out
    assert "max drawdown" in done.out
    assert ("total return" in done.out) == (kind != "shuffle")
    assert ("reordering changes no total" in done.out) == (kind == "shuffle")
    assert ("p-value" in done.out) == (kind != "bootstrap")
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ('kind = "boot"', (), "monte_carlo.kind = 'boot' is not allowed; give one of"),
        ("paths = 5", (), "unknown parameter of [monte_carlo] 'paths'"),
        ("n_paths = 0", (), "monte_carlo.n_paths = 0"),
        ('engine = "gpu"', (), "monte_carlo.engine = 'gpu'"),
        ("", ("--paths", "0"), "monte_carlo.n_paths = 0"),
        ("", ("--kind", "luck"), "monte_carlo.kind = 'luck'"),
        ("", ("--engine", "gpu"), "unknown engine 'gpu'"),
    ],
)
def test_mistakes_are_named(cli, toml, section, options, message):
    done = cli("monte-carlo", toml(section), *options)
    assert done.status == 2
    assert message in done.err


def test_the_section_may_name_an_engine(cli, toml):
    done = cli("monte-carlo", toml('engine = "numba"\nn_paths = 5'), "--json")
    assert json.loads(done.out)["provenance"]["engine"] == "numba"


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ('kind = "shuffle"\nlevel = 9_990.0', ()),
        ("level = 9_990.0", ("--kind", "shuffle")),
    ],
)
def test_where_shuffled_paths_end_is_not_asked(cli, toml, section, options):
    done = cli("monte-carlo", toml(section), *options)
    assert done.status == 2
    assert "monte_carlo.level = 9990" in done.err
    assert "the same in every order of the same trades" in done.err
    assert done.out == ""


def test_what_an_order_cannot_change_is_not_printed(cli, toml):
    printed = json.loads(cli("monte-carlo", toml('kind = "shuffle"\nn_paths = 40'), "--json").out)
    unchanged = set(printed["left_out"])
    assert {"total_return", "final_equity", "win_rate", "profit_factor", "sqn"} <= unchanged
    assert all("same in every order" in reason for reason in printed["left_out"].values())
    for part in (printed["observed"], *printed["quantiles"].values(), printed["p_values"]):
        assert not unchanged & set(part)
    assert "probability_below_level" not in printed
    done = cli("monte-carlo", toml('kind = "block"\nblock_length = 100_000'))
    assert done.status == 2
    assert "the total profit could not change" in done.err


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self):
        return True


def test_a_progress_bar_where_there_is_a_terminal(toml, monkeypatch):
    for options, shown in (((), True), (("--json",), False)):
        screen = Terminal()
        monkeypatch.setattr("sys.stderr", screen)
        file = str(toml('kind = "null"\nn_paths = 40'))
        assert main(["monte-carlo", file, *options]) == 0
        assert ("Monte Carlo" in screen.getvalue()) == shown
        assert ("40 of 40 paths" in screen.getvalue()) == shown
