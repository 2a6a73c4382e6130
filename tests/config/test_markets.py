"""Configurations made for a market and a file: what `init --market --data` writes, and runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt

SAO_PAULO = "America/Sao_Paulo"


@pytest.fixture
def win(tmp_path):
    """Bars of whole ticks, 09:00 to 18:00, whose times name no zone."""
    bt.synthetic_bars(n_days=40).to_frame().to_csv(tmp_path / "win.csv")
    return tmp_path / "win.csv"


def coins(n_days=20, tick=0.1):
    times = pd.date_range("2024-01-01", periods=48 * n_days, freq="30min", name="time")
    price = np.round(500_000 + np.cumsum(np.random.default_rng(5).integers(-90, 91, len(times))))
    close = price * tick
    opened = np.append(close[0], close[:-1])
    frame = {
        "open": opened,
        "high": np.maximum(opened, close) + 3 * tick,
        "low": np.minimum(opened, close) - 3 * tick,
        "close": close,
        "volume": 1.0 + np.arange(len(times)) % 9,
    }
    return pd.DataFrame(frame, index=times).round(6)


def init(cli, folder, *arguments):
    outcome = cli("init", folder / "made.toml", "--force", *arguments)
    assert outcome.status == 0, outcome.err
    return bt.Config.load(folder / "made.toml"), outcome


@pytest.mark.parametrize(
    ("market", "tick", "value", "zone", "close"),
    [
        ("win", 5.0, 0.2, SAO_PAULO, "17:50"),
        ("WDO", 0.5, 10.0, SAO_PAULO, "17:55"),
        ("ind", 5.0, 1.0, SAO_PAULO, "17:50"),
        ("dol", 0.5, 50.0, SAO_PAULO, "17:55"),
        ("btcusdt", 0.1, 1.0, "UTC", ""),
        ("ETHUSDT", 0.01, 1.0, "UTC", ""),
    ],
)
def test_a_market_sets_what_is_known_of_it(cli, tmp_path, market, tick, value, zone, close):
    config, outcome = init(cli, tmp_path, "--market", market)
    assert (config.contract.tick_size, config.contract.point_value) == (tick, value)
    assert (config.data.timezone, config.data.session_timezone) == (zone, zone)
    assert config.rules.close_time == close
    assert config.contract.slippage_ticks == 1.0
    assert "set data.path" in outcome.out
    text = (tmp_path / "made.toml").read_text()
    if close:
        assert config.contract.fee_per_side == config.contract.fee_rate == 0
        (line,) = [line for line in text.splitlines() if "fee_per_side" in line]
        assert line.startswith("# fee_per_side")
        assert "NOT KNOWN" in line
        assert "contract.fee_per_side is not known here" in outcome.err
        assert (config.strategy.entry_start, config.strategy.entry_end) == ("09:00", close)
    else:
        assert config.contract.fee_rate == 0.0005
        assert config.metrics.periods_per_year == 365
        assert outcome.err == ""


def test_a_file_sets_path_session_and_close(cli, tmp_path, win):
    config, outcome = init(cli, tmp_path, "--market", "win", "--data", win)
    assert config.data.path == "win.csv"
    assert config.rules.close_time == "18:00", "when the last bar opens"
    assert (config.strategy.entry_start, config.strategy.entry_end) == ("09:00", "18:00")
    assert "set data.path" not in outcome.out
    ran = cli("run", tmp_path / "made.toml")
    assert (ran.status, ran.err) == (0, ""), "it costs a tick, and nothing is held overnight"
    result = config.backtest()
    assert len(result) > 0
    assert result.metrics.exits_session_end == 0


def test_the_close_suits_the_month_that_ends_earliest(cli, tmp_path):
    frame = bt.synthetic_bars(n_days=45).to_frame()
    early = (frame.index.month == 2) & (frame.index.strftime("%H:%M") > "17:25")
    frame[~early].to_csv(tmp_path / "bars.csv")
    config, _ = init(cli, tmp_path, "--market", "win", "--data", tmp_path / "bars.csv")
    assert config.rules.close_time == "17:25"
    assert config.backtest().metrics.exits_session_end == 0


def test_a_file_elsewhere_is_named_in_full(cli, tmp_path, win):
    (tmp_path / "configs").mkdir()
    config, _ = init(cli, tmp_path / "configs", "--market", "win", "--data", win)
    assert config.data.path == str(win)
    assert len(config.load_bars()) == 4_360


def test_a_file_alone_tells_tick_and_session(cli, tmp_path, win):
    config, outcome = init(cli, tmp_path, "--data", win)
    assert config.contract.tick_size == 5
    assert config.rules.close_time == "18:00"
    assert "contract.point_value and contract.fee_per_side are not known" in outcome.err
    assert "# point_value = 1.0" in (tmp_path / "made.toml").read_text()


@pytest.mark.parametrize(("tick", "slippage"), [(0.1, 1.0), (0.01, 10.0)])
def test_coins_never_close_and_have_the_ticks_of_their_time(cli, tmp_path, tick, slippage):
    coins(tick=tick).to_csv(tmp_path / "btc.csv")
    config, outcome = init(cli, tmp_path, "--market", "btcusdt", "--data", tmp_path / "btc.csv")
    assert config.rules.close_time == ""
    assert config.metrics.periods_per_year == 365
    assert (config.contract.tick_size, config.contract.slippage_ticks) == (tick, slippage)
    assert outcome.err == ""
    assert cli("run", tmp_path / "made.toml").err == ""


def test_a_file_with_a_zone_of_its_own_keeps_it(cli, tmp_path):
    frame = coins()
    frame.tz_localize("UTC").tz_convert("Asia/Tokyo").to_parquet(tmp_path / "btc.parquet")
    config, _ = init(cli, tmp_path, "--market", "btcusdt", "--data", tmp_path / "btc.parquet")
    assert config.data.timezone == ""
    assert config.load_bars().session_timezone == "UTC"


def test_empty_bars_are_dropped_and_missing_volume_is_not_asked_for(cli, tmp_path, win):
    frame = pd.read_csv(win)
    frame.loc[100:105, ["open", "high", "low", "close"]] = np.nan
    frame["volume"] = 0
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    config, _ = init(cli, tmp_path, "--market", "win", "--data", tmp_path / "gaps.csv")
    assert config.data.empty == "drop"
    assert config.strategy.min_volume_mult == 0
    assert cli("run", tmp_path / "made.toml").status == 0


def test_what_does_not_fit_the_market_is_said(cli, tmp_path, win):
    frame = pd.read_csv(win, parse_dates=["time"])
    frame["time"] += pd.Timedelta(hours=3)
    frame[["open", "high", "low", "close"]] *= 1.0137
    frame.to_csv(tmp_path / "odd.csv", index=False, float_format="%.2f")
    _, outcome = init(cli, tmp_path, "--market", "win", "--data", tmp_path / "odd.csv")
    assert "the contract's tick is 5" in outcome.err
    assert "opens at 12:00, and the market at 09:00" in outcome.err


def test_daily_bars_have_no_close(cli, tmp_path):
    frame = (
        coins(n_days=200)
        .resample("1D")
        .agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    )
    frame = frame[frame.index.day_of_week < 5]
    frame.to_csv(tmp_path / "daily.csv")
    config, _ = init(cli, tmp_path, "--market", "win", "--data", tmp_path / "daily.csv")
    assert config.rules.close_time == ""
    assert config.strategy.entry_end == "23:59"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--market", "wim"), "did you mean 'win'?"),
        (("--data", "nowhere.csv"), "not a file"),
        (("--data", "{folder}/text.csv"), ""),
    ],
)
def test_what_cannot_be_fitted_is_refused(cli, tmp_path, arguments, words):
    (tmp_path / "text.csv").write_text("hello\nworld\n")
    given = [each.format(folder=tmp_path) for each in arguments]
    outcome = cli("init", tmp_path / "made.toml", *given)
    assert outcome.status in {1, 2}
    assert words in outcome.err
    assert not (tmp_path / "made.toml").exists()
