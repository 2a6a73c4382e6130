"""Where a result comes from: what ran, why, and on what.

Everything here is computed on demand: hashing bars takes longer than a backtest.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from backtest_py._io.versions import installed_version, package_version
from backtest_py.engines.layouts import SEMANTICS_VERSION
from backtest_py.fingerprints import canonical_json, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine, Job
    from backtest_py.signals import Signals

__all__ = [
    "EngineFacts",
    "Provenance",
    "canonical_json",
    "configuration",
    "market_of",
    "package_version",
    "sha256",
    "signals_hash",
]

MARKET: Final = ("source", "symbol", "interval", "certificate")
"""What a report of bars says of where they came from."""
PACKAGES: Final = ("numpy", "numba", "llvmlite")


class EngineFacts(NamedTuple):
    """What is known of an engine that ran elsewhere."""

    name: str
    build: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything needed to say why two results are, or are not, the same.

    Attributes
    ----------
    engine : str
        Engine that ran.
    reason : str
        Why this one.
    build : mapping of str to str
        What the engine says of its code: versions, build profile, instruction set.
    versions : mapping of str to str
        Versions of Python and of the packages that can change a number; those of packages that
        are not installed are left out.
    machine : str
        Processor and platform.
    bars_hash : str
        SHA-256 of the bars: times, prices, volumes and clocks.
    config_hash : str
        SHA-256 of strategy, rules, contract, metric settings and range, see
        :func:`configuration`.
    market : mapping of str to str
        Where the bars came from: ``source``, the name of the file or of the exchange, ``symbol``,
        ``interval`` and ``certificate``, the SHA-256 of what was checked of an exchange's candles;
        "" where not known.
    semantics_version : int
        Version of the contract that both engines implement.
    """

    engine: str
    reason: str
    build: Mapping[str, str]
    versions: Mapping[str, str]
    machine: str
    bars_hash: str
    config_hash: str
    market: Mapping[str, str]
    semantics_version: int = SEMANTICS_VERSION

    def __post_init__(self) -> None:
        """Keep read-only copies."""
        for name in ("build", "versions", "market"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as names and values: read-only mappings cannot be pickled."""
        return _provenance, (self.to_mapping(),)

    @classmethod
    def of(cls, job: Job, engine: Engine | EngineFacts, reason: str) -> Provenance:
        """Collect the provenance of a job that an engine ran."""
        return cls(
            engine=engine.name,
            reason=reason,
            build=engine.build,
            versions=_versions(),
            machine=_machine(),
            bars_hash=job.bars.content_hash,
            config_hash=sha256(canonical_json(configuration(job))),
            market=market_of(job.bars),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, ready for JSON."""
        return {
            "engine": self.engine,
            "reason": self.reason,
            "build": dict(self.build),
            "versions": dict(self.versions),
            "machine": self.machine,
            "bars_hash": self.bars_hash,
            "config_hash": self.config_hash,
            "market": dict(self.market),
            "semantics_version": self.semantics_version,
        }


def _provenance(values: dict[str, Any]) -> Provenance:
    return Provenance(**values)


def market_of(bars: Bars) -> dict[str, str]:
    """Return where bars came from, "" for what is not known of them.

    Examples
    --------
    >>> from backtest_py import synthetic_bars
    >>> market_of(synthetic_bars(n_days=1))["symbol"]
    ''
    """
    return {name: getattr(bars.report, name) for name in MARKET}


def configuration(job: Job) -> dict[str, Any]:
    """Return what was asked for, apart from the bars and the engine, ready for JSON.

    A range is given by the times of its first bar and of the first bar after it, ``""`` where it
    is open, so that the same question asked of longer data is the same configuration.
    """
    return {
        "strategy": _strategy(job),
        "rules": job.rules.to_mapping(),
        "contract": job.contract.to_mapping(),
        "metrics": job.metrics.to_mapping(),
        "range": {
            "start": _time_text(job.bars, job.first) if job.first > 0 else "",
            "end": _time_text(job.bars, job.last) if job.last < len(job.bars) else "",
        },
    }


def _strategy(job: Job) -> dict[str, Any]:
    described: dict[str, Any] = {"name": "signals", "params": {}}
    if job.strategy is not None:
        described = {"name": job.strategy.name, "params": job.strategy.to_mapping()}
    if job.signals is not None:
        described["signals_hash"] = signals_hash(job.signals)
    return described


def signals_hash(signals: Signals) -> str:
    """Return the SHA-256 of sides and risks."""
    digest = hashlib.sha256(np.ascontiguousarray(signals.side).tobytes())
    if signals.risk is not None:
        digest.update(np.ascontiguousarray(signals.risk).tobytes())
    return digest.hexdigest()


def _time_text(bars: Bars, index: int) -> str:
    time = bars.times_at(np.array([index]))
    unit: Literal["s", "ns"] = "ns" if int(time[0]) % 1_000_000_000 else "s"
    text = np.datetime_as_string(time.view("datetime64[ns]"), unit=unit)[0]
    return str(text) + ("" if bars.is_naive else "Z")


@cache
def _versions() -> Mapping[str, str]:
    found = {"backtest-py": package_version(), "python": platform.python_version()}
    installed = {package: installed_version(package) for package in PACKAGES}
    found |= {package: version for package, version in installed.items() if version is not None}
    return MappingProxyType(found)


@cache
def _machine() -> str:
    return f"{_processor()}, {platform.platform(terse=True)}"


def _processor() -> str:
    # platform.processor() is empty on most Linux systems
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
