"""The command ``walk-forward``, and its section of the configuration."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import backtest_py as bt

SETTINGS = """
[rules]
close_time = "17:00"
[strategy]
params = { min_range_mult = 1.4 }
[sweep.grid]
"rules.stop" = [1.0, 2.0]
"rules.target" = [1.0, 2.0, 3.0]
"""
WINDOWS = "train_days = 20\ntest_days = 8\nmin_trades = 3"


@pytest.fixture
def toml(tmp_path, write_toml):
    """Return a function that writes a configuration with a section [walk_forward]."""
    bt.synthetic_bars(n_days=45).to_frame().to_csv(tmp_path / "bars.csv")

    def write(section=WINDOWS, more=""):
        return write_toml(f"{SETTINGS}\n[walk_forward]\n{section}\n{more}\n")

    return write


def expected(file, **settings):
    config = bt.Config.load(file)
    grid = {"rules.stop": [1.0, 2.0], "rules.target": [1.0, 2.0, 3.0]}
    asked = {"rules": config.rules, "contract": config.contract, **settings}
    return bt.walk_forward(config.load_bars(), config.strategy, grid, **asked)


@pytest.mark.parametrize("engine", ["numba", "rust"])
def test_the_command_gives_what_python_gives(cli, toml, tmp_path, engine):
    file, out = toml(), tmp_path / "wf"
    done = cli("walk-forward", file, "--engine", engine, "--out", out, "--json")
    assert (done.status, done.err) == (0, "")
    printed = json.loads(done.out)
    wf = expected(file, train_days=20, test_days=8, min_trades=3, engine=engine)
    opened = bt.open_walk_forward(out)
    pd.testing.assert_frame_equal(opened.windows, wf.windows)
    pd.testing.assert_frame_equal(opened.trades, wf.trades)
    pd.testing.assert_frame_equal(opened.daily, wf.daily)
    assert printed["verdict"] == wf.verdict().to_mapping() == opened.verdict().to_mapping()
    assert len(printed["windows"]) == len(wf.windows) == 4
    assert [row["combo_id"] for row in printed["windows"]] == wf.windows["combo_id"].tolist()
    assert printed["metrics"] == wf.metrics.to_mapping()
    assert printed["windows"][0]["train_start"] == wf.windows["train_start"][0].isoformat()
    assert printed["identity"]["engine"] == engine


def test_tables_are_printed(cli, toml, monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    done = cli("walk-forward", toml())
    assert (done.status, done.err) == (0, "")
    wf = expected(toml(), train_days=20, test_days=8, min_trades=3)
    for text in ("Windows     4", "sharpe trained", "target", "most often"):
        assert text in done.out
    assert str(wf.windows["test_start"][0])[:10] in done.out
    assert wf.verdict().significance in done.out


def test_options_take_the_place_of_keys(cli, toml):
    file = toml(f'{WINDOWS}\nchoose = "sqn"\nplateau = false')
    given = ("--choose", "total_return", "--min-trades", 0, "--plateau", "--anchored")
    printed = json.loads(cli("walk-forward", file, *given, "--json").out)
    assert printed["identity"]["choice"] == {
        "choose": "total_return",
        "min_trades": 0,
        "plateau": True,
    }
    assert {row["train_start"] for row in printed["windows"]} == {
        printed["windows"][0]["train_start"]
    }


def test_windows_in_bars(cli, toml):
    file = toml("train_bars = 2000\ntest_bars = 700\npurge_bars = 110\nmin_trades = 3")
    printed = json.loads(cli("walk-forward", file, "--json").out)
    wf = expected(file, train_bars=2000, test_bars=700, purge_bars=110, min_trades=3)
    assert [row["combo_id"] for row in printed["windows"]] == wf.windows["combo_id"].tolist()


def test_a_range_is_a_simple_forward_test(cli, toml):
    file = toml("min_trades = 3", '[range]\nend = "2019-02-01"')
    wf = expected(file, range=(None, "2019-02-01"), min_trades=3)
    printed = json.loads(cli("walk-forward", file, "--json").out)
    assert [row["combo_id"] for row in printed["windows"]] == wf.windows["combo_id"].tolist()
    assert printed["windows"][0]["test_start"] == "2019-02-01T00:00:00"


def test_several_markets(cli, tmp_path, write_toml):
    for seed, name in enumerate(("WIN", "WDO")):
        bt.synthetic_bars(n_days=45, seed=seed).to_frame().to_csv(tmp_path / f"{name}.csv")
    file = write_toml(
        f"{SETTINGS}\n[walk_forward]\n{WINDOWS}\n[contracts.WDO]\nfee_per_side = 1.0\n"
        '[data]\npaths = { WIN = "WIN.csv", WDO = "WDO.csv" }'
    )
    out = tmp_path / "many"
    printed = json.loads(cli("walk-forward", file, "--out", out, "--json").out)
    assert list(printed["markets"]) == ["WIN", "WDO"]
    for name, found in printed["markets"].items():
        assert len(found["windows"]) == 4
        assert bt.open_walk_forward(out / name).metrics.to_mapping() == found["metrics"]
    fees = {
        name: each["identity"]["grid"]["contract"]["fee_per_side"]
        for name, each in printed["markets"].items()
    }
    assert fees == {"WIN": 0.0, "WDO": 1.0}
    assert "WDO" in cli("walk-forward", file).out


@pytest.mark.parametrize(
    ("section", "more", "message"),
    [
        ('choose = "sharp"', "", "did you mean 'sharpe'"),
        ("train_day = 5", "", "unknown parameter of [walk_forward] 'train_day'"),
        ("train_days = 0", "", "walk_forward.train_days = 0"),
        ("train_days = 20\ntest_bars = 5", "", "train_days counts days and test_bars bars"),
        ("train_days = 400", "", "there are 45 days"),
        ("train_days = 20", '[range]\nend = "2019-02-01"', "train_days has no meaning"),
        ('engine = "gpu"', "", "walk_forward.engine = 'gpu'"),
    ],
)
def test_what_is_not_allowed_is_refused(cli, toml, section, more, message):
    done = cli("walk-forward", toml(section, more))
    assert done.status == 2
    assert message in done.err
    assert done.out == ""


def test_without_a_grid_there_is_nothing_to_choose_from(cli, tmp_path, write_toml):
    bt.synthetic_bars(n_days=45).to_frame().to_csv(tmp_path / "bars.csv")
    done = cli("walk-forward", write_toml("[walk_forward]\ntrain_days = 20"))
    assert done.status == 2
    assert "[sweep.grid] is empty" in done.err


def test_resume_needs_a_directory(cli, toml):
    done = cli("walk-forward", toml(), "--resume")
    assert (done.status, done.out) == (2, "")
    assert "--out DIR" in done.err


def test_resume_of_what_is_complete_gives_the_same_bytes(cli, toml, tmp_path):
    file, out = toml(), tmp_path / "wf"
    assert cli("walk-forward", file, "--out", out).status == 0
    names = ("windows.parquet", "trades.parquet", "metrics.json")
    before = {name: (out / name).read_bytes() for name in names}
    done = cli("walk-forward", file, "--out", out)
    assert done.status == 2  # a second walk-forward does not take its place unasked
    assert cli("walk-forward", file, "--out", out, "--resume").status == 0
    assert {name: (out / name).read_bytes() for name in names} == before
