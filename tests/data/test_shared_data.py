"""Every kind of real file, through ``backtest-py run``, on both engines.

The same tests run on files written here in the same layouts, and, where ``BACKTEST_PY_SHARED``
names the folder that holds them, on the real ones.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import backtest_py as bt

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
NAMES = {
    "csv": "WIN_M5_2023H1.csv",
    "mt5": "WIN_M5_2023H1_mt5.csv",
    "parquet": "BTCUSDT_30m_2021-2023H1.parquet",
    "gzip": "BTC-PERP_1m_2022-01.csv.gz",
    "empty": "BTCUSDT_30m_with_empty_bars.parquet",
    "profit": "WIN_M5_sample_profit.csv",
}


def write_twins(folder):
    """Write files laid out as the real ones."""
    win = bt.synthetic_bars(n_days=40).to_frame().reset_index()
    win.to_csv(folder / NAMES["csv"], index=False, lineterminator="\n")
    mt5 = pd.DataFrame(
        {
            "<DATE>": win["time"].dt.strftime("%Y.%m.%d"),
            "<TIME>": win["time"].dt.strftime("%H:%M:%S"),
            **{f"<{name.upper()}>": win[name] for name in ("open", "high", "low", "close")},
            # made up, and in another order than the volume: whoever reads it sees other trades
            "<TICKVOL>": np.arange(len(win)) % 97 + 1,
            "<VOL>": win["volume"].astype(np.int64),
            "<SPREAD>": 5,
        }
    )
    mt5.to_csv(folder / NAMES["mt5"], index=False, sep="\t", lineterminator="\r\n")
    prices = {name.title(): win[name].astype(np.int64) for name in ("open", "high", "low", "close")}
    profit = pd.DataFrame(
        {
            "Data": win["time"].dt.strftime("%d/%m/%Y %H:%M"),
            **prices,
            "Candle": win.groupby(win["time"].dt.date).cumcount() + 1,
        }
    )[::-1]
    profit.to_csv(
        folder / NAMES["profit"], index=False, sep=";", encoding="utf-8-sig", lineterminator="\n"
    )
    crypto = bt.synthetic_bars(
        n_days=40, bars_per_day=48, first_minute=0, interval_minutes=30, tick_size=0.01
    )
    frame = crypto.to_frame().reset_index()
    # five days a week become seven: this market never closes
    frame["time"] = pd.date_range("2021-01-01", periods=len(frame), freq="30min", unit="ns")
    frame.to_parquet(folder / NAMES["parquet"], index=False)
    frame["time"] = frame["time"].dt.strftime("%Y-%m-%d %H:%M:%S.%f")
    with gzip.open(folder / NAMES["gzip"], "wt", newline="") as file:
        frame.rename(columns={"time": "timestamp"}).to_csv(file, index=False)
    holes = pd.read_parquet(folder / NAMES["parquet"])
    rows = np.arange(100, len(holes), 150)
    holes.loc[rows, ["open", "high", "low", "close"]] = np.nan
    holes.loc[rows, "volume"] = 0.0
    holes.to_parquet(folder / NAMES["empty"], index=False)


@pytest.fixture(scope="module", params=["written", *(["real"] if SHARED else [])])
def folder(request, tmp_path_factory):
    """Return the folder of the files."""
    if request.param == "real":
        return Path(SHARED) / "data"
    folder = tmp_path_factory.mktemp("data")
    write_twins(folder)
    return folder


WIN = """
timezone = "America/Sao_Paulo"
[rules]
close_time = "17:00"
[contract]
tick_size = 5
point_value = 0.2
fee_per_side = 0.25
slippage_ticks = 1
"""
CRYPTO = """
timezone = "UTC"
[strategy.params]
lookback = 12
[rules]
stop = 1.0
target = 2.0
[contract]
tick_size = 0.01
fee_rate = 0.0004
initial_capital = 1_000_000
[metrics]
periods_per_year = 365
"""


@pytest.fixture
def run(cli, tmp_path, folder):
    """Return a function that runs one of the files and reads what it wrote."""

    def run(kind, text, engine, *, status=0):
        file = tmp_path / f"{kind}.toml"
        file.write_text(f"[data]\npath = '{folder / NAMES[kind]}'\n{text}", encoding="utf-8")
        out = tmp_path / f"{kind}-{engine}"
        outcome = cli("run", file, "--engine", engine, "--out", out)
        assert outcome.status == status, outcome.err
        if status:
            assert not out.exists()
            return outcome.err
        metrics = json.loads((out / "metrics.json").read_text())
        trades = pq.read_table(out / "trades.parquet")
        assert trades.num_rows == metrics["total_trades"] > 0
        return trades, metrics

    return run


@pytest.mark.parametrize(
    ("kind", "text"), [("csv", WIN), ("mt5", WIN), ("parquet", CRYPTO), ("gzip", CRYPTO)]
)
def test_both_engines_run_the_file_and_agree(run, kind, text):
    trades, metrics = run(kind, text, "numba")
    other_trades, other_metrics = run(kind, text, "rust")
    assert trades.equals(other_trades)
    assert metrics == other_metrics


def test_the_metatrader_twin_gives_the_trades_of_the_csv(run, engine):
    trades, metrics = run("csv", WIN, engine)
    twin_trades, twin_metrics = run("mt5", WIN, engine)
    assert trades.equals(twin_trades)
    assert metrics == twin_metrics


def test_bars_without_a_trade_are_refused_with_the_remedy(run, engine):
    message = run("empty", CRYPTO, engine, status=1)
    assert 'empty = "drop"' in message
    assert NAMES["empty"] in message


def test_bars_without_a_trade_can_be_dropped(run):
    text = f'empty = "drop"\n{CRYPTO.lstrip()}'
    trades, metrics = run("empty", text, "numba")
    other_trades, other_metrics = run("empty", text, "rust")
    assert trades.equals(other_trades)
    assert metrics == other_metrics


PROFIT = 'timezone = "America/Sao_Paulo"\n[contract]\ntick_size = 5\n[strategy.params]\n'


def test_a_file_without_volume_is_refused_while_the_filter_is_on(run, engine):
    message = run("profit", PROFIT, engine, status=2)
    assert "min_volume_mult" in message
    assert "no volume" in message


def test_a_file_without_volume_runs_without_the_filter(run):
    text = f"{PROFIT}min_volume_mult = 0\nmin_range_mult = 1.5\n"
    trades, metrics = run("profit", text, "numba")
    other_trades, other_metrics = run("profit", text, "rust")
    assert trades.equals(other_trades)
    assert metrics == other_metrics


def test_a_market_of_seven_days_is_warned_about_252(cli, tmp_path, folder):
    file = tmp_path / "run.toml"
    text = CRYPTO.replace("periods_per_year = 365", "periods_per_year = 252")
    file.write_text(f"[data]\npath = '{folder / NAMES['parquet']}'\n{text}", encoding="utf-8")
    outcome = cli("run", file, "--json")
    assert outcome.status == 0
    assert "warning: " in outcome.err
    assert "365" in outcome.err
