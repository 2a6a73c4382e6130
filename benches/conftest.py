"""What the benchmarks share: engines, and a place for what pytest-benchmark does not time."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import pytest

from backtest_py.engines import engine_status
from backtest_py.engines.registry import resolve
from benches.timing import Clock, interleave

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = ("backtest-py", "numpy", "numba", "llvmlite", "pandas", "vectorbt", "vectorbt-rust")


class Findings:
    """Interleaved samples and other facts, on their way into the JSON report.

    ``quick`` is a run with benchmarks disabled: everything happens once, to see that it works.
    """

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.comparisons: dict[str, dict[str, list[int]]] = {}
        self.facts: dict[str, object] = {}
        self.load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0

    def compare(self, group: str, clocks: Mapping[str, Clock], rounds: int) -> None:
        """Time what is to be compared, in turns, and keep every sample."""
        if not self.quick:
            interleave(clocks, 2)
        self.comparisons[group] = interleave(clocks, 1 if self.quick else rounds)


KEY = pytest.StashKey[Findings]()


def pytest_configure(config):
    """Find out whether anything is timed at all."""
    disabled = config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")
    config.stash[KEY] = Findings(quick=disabled)


def pytest_benchmark_update_machine_info(config, machine_info):
    """Keep the names of this machine and its kernel to ourselves."""
    for name in ("node", "release"):
        machine_info.pop(name, None)


def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Add what was found to what pytest-benchmark writes."""
    findings = config.stash[KEY]
    output_json["comparisons"] = findings.comparisons
    output_json["facts"] = {
        **findings.facts,
        "cpus": len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [findings.load_before, os.getloadavg()[0]] if hasattr(os, "getloadavg") else [],
        "versions": _versions(),
        "engines": {status.name: status.build for status in engine_status()},
    }


def _versions():
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@pytest.fixture
def findings(pytestconfig):
    """Return the place for interleaved samples and facts."""
    return pytestconfig.stash[KEY]


@pytest.fixture(params=["rust", "numba"])
def engine(request):
    """Return an engine by its object; a benchmark that takes it runs on both."""
    return resolve(request.param)[0]
