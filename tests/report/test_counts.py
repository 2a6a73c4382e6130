"""One is written as one: "1 trade", never "1 trades"."""

from __future__ import annotations

import re

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.data.inspection import inspect_bars
from backtest_py.errors import ConfigError
from backtest_py.report.inspection import print_inspection

PLURAL_OF_ONE = re.compile(r"(?<![\d.,])1 [a-z]+s\b")


def assert_counts(text):
    assert PLURAL_OF_ONE.findall(text) == []


def test_a_result_with_one_trade():
    bars = bt.synthetic_bars(n_days=1)
    side = np.zeros(len(bars), np.int8)
    side[3] = 1
    result = bt.run_signals(bars, side, bt.ExitRules(unit="points", stop=1e6, target=0))
    assert len(result) == 1
    assert "1 trade," in repr(result)
    assert_counts(repr(result))
    assert_counts(result._repr_html_())
    assert_counts(result.plot().axes[0].get_title(loc="left"))


def test_an_inspection_of_minutes(capsys):
    minutes = bt.synthetic_bars(n_days=1, interval_minutes=1, bars_per_day=60)
    print_inspection(inspect_bars(minutes))
    words = " ".join(capsys.readouterr().out.split())
    assert "Interval 1 minute (" in words
    assert "1 day (" in words
    assert_counts(words)


def test_a_sweep_of_one_combination(tmp_path, cli, write_toml):
    bt.synthetic_bars(n_days=10).to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    config = write_toml('[sweep.grid]\n"rules.stop" = [1.0]\n"strategy.min_range_mult" = [1.0]\n')
    assert_counts(cli("sweep", config, "--dry-run").out)
    assert_counts(cli("sweep", config, "--out", tmp_path / "out").out)
    assert_counts(cli("top", tmp_path / "out").out)
    assert_counts(cli("top", tmp_path / "out", "--where", "total_trades > 1e9").out)
    assert "1 combination of" in repr(bt.open_sweep(tmp_path / "out"))


def test_a_sample_of_more_than_one_combination():
    with pytest.raises(ConfigError, match=r"the grid's 1 combination; give a smaller n"):
        bt.sweep(bt.synthetic_bars(n_days=2), grid={"rules.stop": [1.0]}, sample=bt.Sample(n=5))
