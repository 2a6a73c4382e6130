"""Where a run requires the Rust engine, stop at once with the reason if it cannot be loaded."""

from __future__ import annotations

import os

import pytest

from backtest_py.engines import engine_status, resolve
from backtest_py.errors import EngineUnavailableError


def pytest_sessionstart():
    if os.environ.get("BACKTEST_PY_REQUIRE_RUST") == "1":
        try:
            resolve("rust")
        except EngineUnavailableError as error:
            raise pytest.UsageError(f"BACKTEST_PY_REQUIRE_RUST=1, but {error}") from error


def pytest_report_header():
    engines = (
        status.name if status.available else f"{status.name} missing" for status in engine_status()
    )
    shared = os.environ.get("BACKTEST_PY_SHARED") or "none, BACKTEST_PY_SHARED is not set"
    return [f"engines: {', '.join(engines)}", f"shared cases: {shared}"]
