"""Metrics: what each is called and means, and functions that compute one from a series."""

from __future__ import annotations

from backtest_py.metrics.functions import *  # noqa: F403 - exactly its __all__
from backtest_py.metrics.functions import __all__ as __all__
