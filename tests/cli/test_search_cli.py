"""The command ``search``, and its section of the configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import backtest_py as bt

TOML = """
[rules]
close_time = "17:00"
[sweep]
where = "rules.target >= rules.stop"
[sweep.grid]
"strategy.lookback" = { min = 3, max = 40 }
"rules.stop" = { start = 0.5, stop = 3.0, step = 0.01 }
"rules.target" = { start = 0.5, stop = 3.0, step = 0.01 }
"""


@pytest.fixture
def toml(tmp_path, write_toml):
    """Return a function that writes a configuration with a section [search]."""
    bt.synthetic_bars(n_days=8).to_frame().to_csv(tmp_path / "bars.csv")

    def write(section="min_trades = 1\nn_trials = 40\nbatch = 20"):
        return write_toml(f"{TOML}\n[search]\n{section}\n")

    return write


def test_the_command_gives_what_python_gives(cli, toml, tmp_path):
    file = toml('objective = { sharpe = "max", max_drawdown = "min" }\nmin_trades = 1')
    out = tmp_path / "found"
    chosen = ("--trials", 60, "--seed", 7, "--sampler", "nsga2", "--out", out, "--json")
    done = cli("search", file, *chosen)
    assert (done.status, done.err) == (0, "")
    printed = json.loads(done.out)
    config = bt.Config.load(file)
    expected = bt.search(
        config.load_bars(),
        config.strategy,
        config.sweep.grid,
        where="rules.target >= rules.stop",
        rules=config.rules,
        objective={"sharpe": "max", "max_drawdown": "min"},
        sampler="nsga2",
        n_trials=60,
        seed=7,
        min_trades=1,
    )
    pd.testing.assert_frame_equal(pd.read_parquet(out / "trials.parquet"), expected.trials)
    assert printed["n_trials"] == 60
    assert [row["combo_id"] for row in printed["front"]] == expected.front["combo_id"].tolist()
    assert printed["verdict"] == expected.verdict().text
    again = cli("search", file, *chosen, "--resume")
    assert json.loads(again.out) == printed


def test_it_prints_the_best_and_the_verdict(cli, toml):
    done = cli("search", toml())
    assert (done.status, done.err) == (0, "")
    assert "search for max sharpe: 40 combinations of 2,394,038 evaluated" in done.out
    assert "lookback" in done.out
    assert "With 40 trials" in done.out


def test_without_a_feasible_trial_it_says_so(cli, toml):
    done = cli("search", toml("min_trades = 100_000\nn_trials = 20"))
    assert done.status == 0
    assert "none may be the best" in " ".join(done.out.split())
    printed = json.loads(cli("search", toml("min_trades = 100_000\nn_trials = 20"), "--json").out)
    assert (printed["best"], printed["front"]) == (None, [])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("n_trails = 5", "did you mean 'n_trials'"),
        ("n_trials = 0", "search.n_trials = 0"),
        ('objective = "sharp"', "did you mean 'sharpe'"),
        ("objective = 3", "search.objective = 3"),
        ("objective = [1]", "search.objective = [1]"),
        ('objective = { sharpe = "up" }', '"max" or "min"'),
        ('sampler = "grid"', "search.sampler"),
    ],
)
def test_mistakes_in_the_section(cli, toml, section, said):
    done = cli("search", toml(section))
    assert done.status == 2
    assert said in done.err


def test_mistakes_in_options(cli, toml, tmp_path, write_toml):
    for options in (("--trials", 0), ("--seed", -1), ("--sampler", "grid"), ("--resume",)):
        assert cli("search", toml(), *options).status == 2
    empty = write_toml("[search]\nn_trials = 5", name="empty.toml")
    done = cli("search", empty)
    assert done.status == 2
    assert "[sweep.grid] is empty" in done.err


def test_control_c_and_resume(cli, toml, tmp_path):
    file = toml("min_trades = 1\nn_trials = 1_000\nbatch = 20")
    out = tmp_path / "found"
    command = [sys.executable, "-m", "backtest_py", "search", str(file), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
    end = time.monotonic() + 60
    while not (out / "batches").is_dir() or len(list((out / "batches").glob("shard-*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume continues" in err
    kept = len(list((out / "batches").glob("shard-*")))
    # the same question of fewer trials: what is kept would be more
    done = cli("search", file, "--out", out, "--resume", "--trials", 20 * kept + 20, "--json")
    assert done.status == 0, done.err
    whole = cli("search", file, "--out", tmp_path / "whole", "--trials", 20 * kept + 20, "--json")
    assert json.loads(done.out) == json.loads(whole.out)
