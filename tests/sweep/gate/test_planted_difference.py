"""The parity gate catches an engine that moves an exit by one tick.

The extension is built once more, with the cargo feature that does so, in a target directory of its
own; a process in which it takes the place of the extension sweeps, and must not get far.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import backtest_py as bt
from backtest_py import _engine_rust

ROOT = Path(__file__).resolve().parents[3]
CRATE = ROOT / "engine_rust" / "Cargo.toml"
FEATURE = "planted-difference"
EVERY = 101
"""Exits at bars that this divides are planted."""

# The extension is loaded from the file of the first argument, whatever its name.
AS_EXTENSION = """
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location

name = "backtest_py._engine_rust"
loader = ExtensionFileLoader(name, sys.argv.pop(1))
module = module_from_spec(spec_from_file_location(name, loader.path, loader=loader))
loader.exec_module(module)
sys.modules[name] = module
"""
COMMAND = (
    AS_EXTENSION
    + """
from backtest_py.cli import main

sys.exit(main(sys.argv[1:]))
"""
)
BUILD = (
    AS_EXTENSION
    + """
import json
from backtest_py.engines import resolve

print(json.dumps(resolve("rust")[0].build))
"""
)
TOML = """
[data]
path = "bars.parquet"
[rules]
close_time = "13:30"
[contract]
tick_size = 5.0
[sweep.grid]
"strategy.lookback" = { start = 5, stop = 30, step = 1 }
"rules.stop" = { start = 0.5, stop = 2.5, step = 0.5 }
"rules.target" = { start = 1.0, stop = 3.0, step = 0.5 }
"rules.trail" = [0, 1]
"""


@pytest.fixture(scope="module")
def planted():
    """Return the extension with the planted difference; all but the first build take seconds."""
    done = subprocess.run(
        [
            *("cargo", "build", "--manifest-path", CRATE, "--locked", "--lib"),
            *("--profile", "planted", "--features", FEATURE),
            *("--target-dir", CRATE.parent / "target" / "planted"),
            "--message-format=json",
        ],
        env={**os.environ, "PYO3_BUILD_EXTENSION_MODULE": "1", "PYO3_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    files = [
        file
        for message in messages
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "_engine_rust"
        for file in message["filenames"]
        if re.search(r"\.(so|dylib|dll)$", file)
    ]
    assert len(files) == 1
    return files[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    frame = bt.synthetic_bars(n_days=60).to_frame()
    frame.to_parquet(folder / "bars.parquet")
    (folder / "sweep.toml").write_text(TOML, encoding="utf-8")
    return folder


def execute(code, extension, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, str(extension), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_sweep_stops_with_status_3_and_names_the_bar(planted, folder):
    out = folder / "planted"
    done = execute(
        COMMAND, planted, "sweep", folder / "sweep.toml", "--out", out, "--engine", "rust"
    )
    assert done.returncode == 3, done.stderr
    found = re.search(
        r"combination (\d+) \(strategy\.lookback = .*\), stop_first: trade (\d+) "
        r"\(signal bar (\d+)\), exit_price: numba ([\d.]+) \(.*\), rust ([\d.]+) \(.*"
        r"; signal at bar \3, .*; exit at bar (\d+), ",
        done.stderr,
    )
    assert found, done.stderr
    combo_id, trade, signal_bar, expected, price, exit_bar = found.groups()
    assert float(price) - float(expected) == pytest.approx(5.0)
    assert int(exit_bar) % EVERY == 0
    assert not list(out.glob("results/*.parquet")), "no shard was computed"
    whole = folder / "whole"
    assert whole_sweep(folder, whole).returncode == 0
    trades = (
        bt.open_sweep(whole, bars=bt.load_bars(folder / "bars.parquet"))
        .replay(int(combo_id))
        .trades
    )
    assert trades["signal_bar"][int(trade)] == int(signal_bar)
    assert trades["exit_bar"][int(trade)] == int(exit_bar)
    assert trades["exit_price"][int(trade)] == float(expected)
    assert not (trades["exit_bar"][: int(trade)] % EVERY == 0).any()


def whole_sweep(folder, out):
    return execute(
        COMMAND,
        _engine_rust.__file__,
        *("sweep", folder / "sweep.toml", "--out", out, "--engine", "rust"),
    )


def test_planted_build_is_another_build(planted):
    builds = [
        json.loads(execute(BUILD, extension).stdout)
        for extension in (planted, _engine_rust.__file__)
    ]
    assert [build["features"] for build in builds] == [FEATURE, "none"]
    assert builds[0]["version"] == builds[1]["version"]
    assert builds[0]["extension"] != builds[1]["extension"]


def test_the_extension_that_is_shipped_has_no_planted_difference():
    info = _engine_rust.build_info()
    assert (info["profile"], info["features"]) == ("release", "none")
    assert FEATURE.encode() not in Path(_engine_rust.__file__).read_bytes()
