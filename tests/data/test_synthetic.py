"""Synthetic bars: the same bytes for ever, and realistic enough to trade on."""

from __future__ import annotations

import time
from hashlib import sha256

import numpy as np
import pytest

from backtest_py.data.synthetic import synthetic_bars
from backtest_py.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "digest"),
    [
        ({"n_days": 60}, "c44541670d690767544f310a85420e3635ce51e81d48fd56070fe4ad82f054fe"),
        (
            {"n_days": 7, "bars_per_day": 30, "tick_size": 0.01, "seed": 99},
            "6bea9dc50f3ed54277dc7aeebee5b817884b84b55706237c3af856873e49c1ce",
        ),
    ],
)
def test_bytes_are_the_same_on_every_platform(arguments, digest):
    # Benchmarks and documents were made from these very bars: the rule must not change.
    bars, found = synthetic_bars(**arguments), sha256()
    for name in ("time", "open", "high", "low", "close", "volume"):
        found.update(getattr(bars, name).tobytes())
    assert found.hexdigest() == digest


def test_shape():
    bars = synthetic_bars(n_days=11, bars_per_day=20, first_minute=600, interval_minutes=10)
    assert len(bars) == 220
    assert bars.is_naive
    assert np.unique(bars.minute).tolist() == list(range(600, 800, 10))
    assert (np.bincount(bars.day) == 20).all()
    assert np.is_busday(bars.session_dates).all()
    assert str(bars.session_dates[0]) == "2019-01-02"


def test_a_weekend_start_moves_to_monday():
    assert str(synthetic_bars(n_days=1, start="2024-01-06").session_dates[0]) == "2024-01-08"


def test_clock_without_a_zone_or_with_one():
    bars = synthetic_bars(n_days=2, timezone="America/Sao_Paulo")
    assert bars.minute[0] == 540
    assert bars.session_timezone == "America/Sao_Paulo"


@pytest.mark.parametrize("tick_size", [5.0, 1.0, 0.5, 0.25, 0.01, 0.0001, 3.0, 0.3])
def test_prices_are_whole_ticks(tick_size):
    bars = synthetic_bars(n_days=20, tick_size=tick_size)
    assert bars.off_grid_share(tick_size) == 0.0
    assert bars.low.min() > 0


def test_prices_on_decimal_ticks_are_the_decimal_prices():
    bars = synthetic_bars(n_days=20, tick_size=0.01)
    np.testing.assert_array_equal(bars.close, [float(f"{price:.2f}") for price in bars.close])


def test_look_of_a_market():
    bars = synthetic_bars(n_days=250)
    size = bars.high - bars.low
    first = bars.minute == 540
    assert size[first].mean() > 1.5 * size[bars.minute == 810].mean()
    assert bars.volume[first].mean() > 2 * bars.volume[bars.minute == 810].mean()
    opening = np.flatnonzero(first)[1:]
    jump = np.abs(bars.open[opening] - bars.close[opening - 1])
    assert jump.mean() > 20
    assert 0.002 < (size == 0).mean() < 0.02
    assert (bars.volume[size == 0] == 0).any()
    # Elephants: at least twice the mean of the 20 bars before.
    prior = np.convolve(size, np.ones(20) / 20)[19:-20]
    assert 0.01 < (size[20:] >= 2 * prior).mean() < 0.1
    up, down = np.count_nonzero(bars.close > bars.open), np.count_nonzero(bars.close < bars.open)
    assert 0.45 < up / (up + down) < 0.55


def test_long_series_stay_positive():
    bars = synthetic_bars(n_days=14_000, seed=5)
    assert bars.low.min() > 5.0 * 7_000
    assert bars.high.max() < 5.0 * 73_000


def test_140_000_bars_are_quick():
    start = time.perf_counter()
    synthetic_bars(n_days=1285)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_days": 0},
        {"bars_per_day": 0},
        {"first_minute": -1},
        {"interval_minutes": 0},
        {"bars_per_day": 200},
        {"first_minute": 1440, "bars_per_day": 1},
        {"tick_size": 0.0},
        {"tick_size": float("nan")},
        {"start": "tomorrow"},
    ],
)
def test_refused(arguments):
    with pytest.raises(ConfigError):
        synthetic_bars(**arguments)
