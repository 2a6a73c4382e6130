"""The command ``lookahead``."""

from __future__ import annotations

import json
import sys

import pytest

import backtest_py as bt
from backtest_py.strategies import base

MODULE = """
import numpy as np
import backtest_py as bt
from beside import threshold

def peeks(bars):
    return np.append(bars.close[1:] > bars.close[:-1], False)

@bt.register_strategy
def up(bars, *, bars_up: int = 2):
    side = np.zeros(len(bars), np.int8)
    side[bars_up:] = bars.close[bars_up:] > bars.close[:-bars_up] + threshold
    return side

@bt.register_strategy
def maybe(bars, *, ahead: int = 0):
    close = np.append(bars.close, np.zeros(ahead))
    return close[ahead:] > bars.close
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))


@pytest.fixture
def files(tmp_path, write_toml):
    """Return a function that writes a configuration, and the file with strategies beside it."""
    bt.synthetic_bars(n_days=10).to_frame().to_csv(tmp_path / "bars.csv")
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "beside.py").write_text("threshold = 1.0\n")

    def write(text="", name="run.toml"):
        return write_toml(text, name=name), tmp_path / "mine.py"

    return write


def test_the_strategy_of_the_file(cli, files):
    file, _ = files('[strategy]\nname = "opening_range_breakout"')
    done = cli("lookahead", file)
    assert (done.status, done.err) == (0, "")
    assert "opening_range_breakout: no look-ahead found" in done.out


def test_a_function_that_peeks(cli, files):
    file, module = files()
    done = cli("lookahead", file, "--function", f"{module}:peeks")
    assert done.status == 1
    assert done.err == ""
    assert "it saw prices or volumes of later bars" in done.out
    assert "it looks at least 1 bar ahead" in done.out


def test_json_is_what_python_gives(cli, files):
    file, module = files()
    options = ("--cuts", 12, "--seed", 3, "--json")
    done = cli("lookahead", file, "--function", f"{module}:peeks", *options)
    printed = json.loads(done.out)
    assert done.status == 1
    assert printed["kind"] == "lookahead"
    assert (printed["ok"], printed["seed"], len(printed["cuts"])) == (False, 3, 12)
    clean = cli("lookahead", file, "--json", "--engine", "numba")
    assert clean.status == 0
    assert json.loads(clean.out)["ok"] is True
    assert json.loads(clean.out)["engine"] == "numba"


def test_the_file_names_a_registered_function_and_its_parameters(cli, files):
    file, module = files('[strategy]\nname = "maybe"\nparams = { ahead = 2 }')
    for given in (module, f"{module}:maybe"):
        done = cli("lookahead", file, "--function", given, "--json")
        assert done.status == 1
        assert max(each["reach"] for each in json.loads(done.out)["findings"]) == 2
    honest, _ = files('[strategy]\nname = "maybe"\nparams = { ahead = 0 }', name="honest.toml")
    assert cli("lookahead", honest, "--function", module).status == 0
    # another one of the module, with its defaults
    assert cli("lookahead", honest, "--function", f"{module}:up").status == 0


def test_nothing_is_left_behind(cli, files):
    file, module = files()
    path, modules = list(sys.path), set(sys.modules)
    cli("lookahead", file, "--function", f"{module}:peeks")
    assert sys.path == path
    assert "_user_mine" not in set(sys.modules) - modules


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nowhere.py:peeks", "there is no such Python file"),
        ("mine:peeks", "there is no such Python file"),
        ("{module}:peek", "unknown name in"),
        ("{module}:np", "strategy = "),
        ("{broken}:peeks", "broken.py fails: ZeroDivisionError"),
    ],
)
def test_functions_that_are_not_there(cli, files, tmp_path, function, message):
    file, module = files()
    (tmp_path / "broken.py").write_text("1 / 0\n")
    given = function.format(module=module, broken=tmp_path / "broken.py")
    done = cli("lookahead", file, "--function", given)
    assert done.status == 2
    assert message in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cuts", 0), "cuts = 0 is not allowed"),
        (("--seed", -1), "seed = -1 is not allowed"),
        (("--engine", "gpu"), "unknown engine 'gpu'"),
    ],
)
def test_mistakes_are_named(cli, files, options, message):
    file, _ = files()
    done = cli("lookahead", file, *options)
    assert done.status == 2
    assert message in done.err


def test_a_function_that_fails_is_the_users_own(cli, files, tmp_path):
    file, _ = files()
    (tmp_path / "bad.py").write_text("def rule(bars):\n    return bars.nothing\n")
    done = cli("lookahead", file, "--function", f"{tmp_path / 'bad.py'}:rule")
    assert done.status == 2
    assert "rule fails on 1,090 bars: AttributeError" in done.err
    assert "bug in backtest-py" not in done.err
