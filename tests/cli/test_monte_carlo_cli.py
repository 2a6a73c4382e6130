"""The command ``monte-carlo``, and its section of the configuration."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import backtest_py as bt

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
    assert printed == json.loads((out / "manifest.json").read_text())


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
