"""Moments as people write them: one reading for Python, command line and TOML."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from backtest_py.config.market import ExchangeSettings
from backtest_py.data.market.asked import inside_of, span_of
from backtest_py.data.market.blocks import periods
from backtest_py.data.market.candles import Series
from backtest_py.data.market.spans import Span
from backtest_py.errors import ConfigError

NOON = 1_740_225_600_000
END = "2025-03-01"

SAME = (
    "2025-02-22 12:00",
    "2025-02-22T12:00:00.000",
    "2025-02-22T12:00Z",
    "2025-02-22 12:00:00 UTC",
    "2025-02-22 09:00:00-03:00",
    "2025.02.22 12:00",
    str(NOON),
)


@pytest.mark.parametrize("text", SAME)
def test_a_text_means_the_same_in_python_and_in_a_configuration(text):
    settings = ExchangeSettings(symbol="BTCUSDT", interval="4h", start=text, end=END)
    assert span_of(text, END).start == settings._span[0] == NOON


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        np.int64(NOON),
        np.datetime64("2025-02-22T12:00"),
        np.datetime64("2025-02-22T12", "h"),
        dt.datetime(2025, 2, 22, 12),  # noqa: DTZ001 - without a zone it is UTC
        pd.Timestamp("2025-02-22 09:00", tz="America/Sao_Paulo"),
    ],
)
def test_moments_that_are_no_text(moment):
    assert span_of(moment, dt.date(2025, 3, 1)).start == NOON


NO_MOMENTS = (
    *("now", "today", "NaT", "", "2025", "2025-13-01", "01/02/2025", "1800-01-01", None, True),
    *(1_740_225_600, 1_740_225_600.0, "2" * 10_000, "2025-02-22\0"),
)


@pytest.mark.parametrize("moment", NO_MOMENTS)
def test_what_is_no_moment_is_refused_in_one_line(moment):
    with pytest.raises(ConfigError, match=r"start = .* is no time from 1990 to 2100") as caught:
        span_of(moment, END)
    assert len(str(caught.value)) < 250
    if isinstance(moment, str) and moment:
        with pytest.raises(ConfigError, match=r"data.start = .* is no time from 1990 to 2100"):
            ExchangeSettings(symbol="BTCUSDT", interval="4h", start=moment, end=END)


def test_parts_of_years_begin_with_the_first_candle_that_opens_there():
    series = Series.of("BTCUSDT", "1w")
    wanted = span_of("2024-12-30", "2026-01-05")  # Mondays
    parts = [inside_of(series, period, wanted) for period in periods(series, wanted)]
    assert parts == [
        span_of("2024-12-30", "2025-01-01"),
        span_of("2025-01-06", "2026-01-01"),
        Span(*[span_of("2026-01-05", "2027-01-01").start] * 2),  # no candle opens there
    ]
    assert sum(series.interval.count(*part) for part in parts) == series.interval.count(*wanted)
