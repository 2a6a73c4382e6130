"""The command ``overfit``, and the verdict that ``sweep`` and ``top`` show without being asked."""

from __future__ import annotations

import json

import pytest

import backtest_py as bt

TOML = """
[rules]
close_time = "17:00"
[sweep.grid]
"strategy.lookback" = [5, 10]
"rules.stop" = [1.0, 2.0, 3.0]
"""


@pytest.fixture
def done(cli, tmp_path, write_toml):
    """Directory of a sweep that is complete."""
    bt.synthetic_bars(n_days=40).to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    file = write_toml(TOML)
    outcome = cli("sweep", file, "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert "With 6 trials and 0.2 years, a Sharpe of" in " ".join(outcome.out.split())
    return tmp_path / "out"


def test_top_shows_the_verdict_without_the_bars(cli, done, tmp_path):
    (tmp_path / "bars.csv").unlink()
    shown = cli("top", done)
    assert shown.status == 0, shown.err
    assert "is expected from luck alone; yours is" in " ".join(shown.out.split())
    printed = json.loads(cli("top", done, "--json").out)
    assert printed["verdict"] == json.loads((done / "manifest.json").read_text())["verdict"]
    assert bt.open_sweep(done).verdict().text == printed["verdict"]["text"]


def test_overfit_says_what_python_says(cli, done):
    printed = json.loads(cli("overfit", done, "--more-trials", 94, "--spa", "--json").out)
    expected = bt.open_sweep(done).verdict(more_trials=94, spa=True)
    assert printed["verdict"] == expected.to_mapping()
    assert printed["verdict"]["trials"] == 100
    assert printed["cscv"]["pbo"] == expected.pbo
    assert printed["cscv"]["n_splits"] == 12_870
    interval = printed["intervals"]["sharpe"]
    assert interval["low"] < expected.sharpe < interval["high"]
    assert printed["stepm"] == []
    text = cli("overfit", done)
    assert text.status == 0
    assert "Degradation" in text.out


def test_what_is_no_sweep_is_refused(cli, tmp_path):
    refused = cli("overfit", tmp_path)
    assert refused.status == 2
    assert "holds no sweep" in refused.err
