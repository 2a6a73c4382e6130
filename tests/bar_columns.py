"""A few valid bars as arguments of ``Bars``, for the tests of bars."""

from __future__ import annotations

import numpy as np

from backtest_py.bars import Bars

PRICES = ("open", "high", "low", "close")


def good(n=6, **changes):
    """Return arguments of n valid bars, with some of them replaced."""
    close = 100.0 + np.arange(n) % 3
    columns = {
        "time": np.datetime64("2024-01-02T09:00", "ns") + np.arange(n) * np.timedelta64(5, "m"),
        "open": close - 0.5,
        "high": close + 1.0,
        "low": close - 1.0,
        "close": close,
        "volume": 10.0 + np.arange(n),
    }
    return columns | changes


def make(**changes):
    return Bars(**good(**changes))
