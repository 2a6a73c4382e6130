"""The Rust engine behind the protocol of :mod:`backtest_py.engines.base`: no arithmetic here."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from backtest_py import _engine_rust
from backtest_py.engines.base import EngineOutput, atr_for
from backtest_py.errors import EngineUnavailableError
from backtest_py.records import SEMANTICS_VERSION, AtrMethod
from backtest_py.signals import Signals
from backtest_py.strategies.base import is_registered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Job
    from backtest_py.strategies.base import Strategy

__all__ = ["RustEngine"]


class RustEngine:
    """The compiled implementation of docs/semantics.md.

    Parameters
    ----------
    level : str, optional
        Instructions to use: ``"baseline"``, ``"avx2"`` or ``"avx512"``; by default the widest of
        this machine, or what the environment variable ``BACKTEST_PY_SIMD`` names. All give the
        same bits.
    """

    name = "rust"

    def __init__(self, level: str | None = None) -> None:
        if _engine_rust.SEMANTICS_VERSION != SEMANTICS_VERSION:
            raise EngineUnavailableError(
                f"the extension follows semantics version {_engine_rust.SEMANTICS_VERSION}, the "
                f"package version {SEMANTICS_VERSION}; rebuild it with `make build`"
            )
        self.level = level or os.environ.get("BACKTEST_PY_SIMD") or None

    @cached_property
    def build(self) -> dict[str, str]:
        """Return version, profile, compiler and instruction level of the extension."""
        info = _engine_rust.build_info()
        rustc = info["rustc"].removeprefix("rustc ")
        return {**info, "rustc": rustc, "level": self.level or info["level"]}

    def supports(self, job: Job) -> str:
        """Return why this engine cannot run a job: its strategy has no twin in Rust.

        Twins go by name, so a class that merely took the name of a registered one has none.
        """
        if job.signals is not None:
            return ""
        strategy = job.detector
        parameters = [spec.name for spec in strategy.parameters()]
        if is_registered(strategy) and _engine_rust.strategies().get(strategy.name) == parameters:
            return ""
        return f"strategy {strategy.name!r} ({type(strategy).__qualname__}) has no twin in Rust"

    def atr(self, bars: Bars, period: int, method: str) -> NDArray[np.float64]:
        """Return the average true range of every bar, computed once per bars and remembered."""
        return bars.remember(
            ("atr", self.name, period, method),
            lambda: _engine_rust.average_true_range(
                bars, period, int(AtrMethod[method]), level=self.level
            ),
        )

    def signals(self, bars: Bars, strategy: Strategy) -> Signals:
        """Return the signals of every bar, whatever the rules."""
        return Signals(*_engine_rust.signals(bars, _named(strategy), level=self.level))

    def run(self, job: Job) -> EngineOutput:
        """Run one backtest: detection, simulation and metrics in one call."""
        source: dict[str, Any] = (
            {"strategy": _named(job.detector)}
            if job.signals is None
            else {"side": job.signals.side, "risk": job.signals.risk}
        )
        trades, metrics = _engine_rust.run_backtest_rust(
            job.bars,
            job.rules,
            job.contract,
            job.metrics,
            job.first,
            job.last,
            atr=atr_for(self, job.bars, job.rules),
            level=self.level,
            **source,
        )
        return EngineOutput(trades, metrics)

    def optimize(self, jobs: Sequence[Job]) -> NDArray[np.float64]:
        """Return the metrics of several backtests on the same bars, shape (n_jobs, n_metrics)."""
        bars = jobs[0].bars
        runs = [
            (
                _named(job.detector),
                atr_for(self, bars, job.rules),
                job.rules,
                job.contract,
                job.metrics,
                job.first,
                job.last,
            )
            for job in jobs
        ]
        return _engine_rust.optimize_rust(bars, runs, level=self.level)

    def series_metric(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``series_metrics`` gives for these arguments."""
        return getattr(_engine_rust, name)(*arguments)


def _named(strategy: Strategy) -> tuple[str, list[float]]:
    return strategy.name, list(strategy.values())
