"""The Rust engine behind the protocol of :mod:`backtest_py.engines.base`: no arithmetic here."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest_py import _engine_rust
from backtest_py.engines.base import EngineOutput, atr_for
from backtest_py.engines.layouts import MEASURED, SEMANTICS_VERSION
from backtest_py.engines.limits import SweepLimits
from backtest_py.errors import (
    ConfigError,
    EngineError,
    EngineUnavailableError,
    SweepCancelled,
)
from backtest_py.rules import AtrMethod
from backtest_py.signals import Signals
from backtest_py.strategies.base import is_registered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import Exit, Job, Stream, SweepPlan, Window
    from backtest_py.rules import ExitRules
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
    is_reference = False
    remedy = 'use engine="auto" or "numba", or add the twin in engine_rust/src/strategies'
    sweep_limits = SweepLimits(
        lanes=_engine_rust.SweepPlan.LANES,
        cell_bytes=_engine_rust.SweepPlan.CELL_BYTES,
        max_bars=_engine_rust.SweepPlan.MAX_BARS,
        max_days=_engine_rust.SweepPlan.MAX_DAYS,
    )

    def __init__(self, level: str | None = None) -> None:
        if _engine_rust.SEMANTICS_VERSION != SEMANTICS_VERSION:
            raise EngineUnavailableError(
                f"the extension follows semantics version {_engine_rust.SEMANTICS_VERSION}, the "
                f"package version {SEMANTICS_VERSION}; rebuild it with `make build`"
            )
        self.level = level or _level_of_environment()

    @cached_property
    def build(self) -> dict[str, str]:
        """Return version, profile, compiler, instruction level and hash of the extension."""
        info = _engine_rust.build_info()
        rustc = info["rustc"].removeprefix("rustc ")
        level = self.level or info["level"]
        return {**info, "rustc": rustc, "level": level, "extension": _extension_hash()}

    @property
    def is_debug(self) -> bool:
        """Whether the extension was built without optimisation."""
        return _engine_rust.build_info()["profile"] == "debug"

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

    def stream(self, strategy: Strategy, rules: ExitRules, contract: Contract) -> Stream:
        """Return a backtest that stands before its first bar."""
        return _RustStream(_engine_rust.Stream(_named(strategy), rules, contract, level=self.level))

    def measure(
        self,
        trades: Mapping[str, NDArray[Any]],
        exit_day: NDArray[np.int32],
        contract: Contract,
        metrics: MetricSettings,
        span: tuple[int, int],
        n_bars: int,
    ) -> NDArray[np.float64]:
        """Return the metrics of trades that some account made one after another."""
        columns: Any = [trades[name] for name in MEASURED]
        measured: Any = _engine_rust.measure
        found: NDArray[np.float64] = measured(*columns, exit_day, contract, metrics, span, n_bars)
        return found

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

    def sweep_plan(
        self,
        bars: Bars,
        *,
        strategies: Sequence[Strategy] | None,
        signals: Sequence[Signals] | None,
        loosest: Sequence[float],
        threads: int,
    ) -> SweepPlan:
        """Return the plan of a sweep."""
        return _RustSweepPlan(
            _engine_rust.SweepPlan(
                bars,
                strategies=None if strategies is None else [_named(each) for each in strategies],
                signals=None if signals is None else [(each.side, each.risk) for each in signals],
                loosest=list(loosest),
                threads=threads,
                level=self.level,
            )
        )

    def series_metric(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``series_metrics`` gives for these arguments."""
        return getattr(_engine_rust, name)(*arguments)

    def monte_carlo(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``monte_carlo`` gives for these arguments."""
        wide = {"level": self.level} if name == "resample_paths" else {}
        return getattr(_engine_rust, name)(*arguments, **wide)


class _RustStream:
    """A backtest of the extension that goes on from chunk to chunk."""

    def __init__(self, stream: _engine_rust.Stream) -> None:
        self._stream = stream

    @property
    def entered(self) -> int:
        return self._stream.entered

    def advance(self, window: Window, first: int, last: int) -> NDArray[np.int64]:
        return self._stream.advance(
            window.bars, window.base, window.start, window.until, first, last, atr=window.atr
        )

    def finish(
        self, settings: MetricSettings, first: int, last: int, span: tuple[int, int]
    ) -> EngineOutput:
        return EngineOutput(*self._stream.finish(settings, first, last, span))


class _RustSweepPlan:
    """A plan of the extension; once it is cancelled, calls raise ``SweepCancelled``."""

    def __init__(self, plan: _engine_rust.SweepPlan) -> None:
        self._plan = plan
        self._cancelled = False

    @property
    def n_candidates(self) -> int:
        return self._plan.n_candidates

    @property
    def done(self) -> int:
        return self._plan.done

    def cancel(self) -> None:
        self._cancelled = True
        self._plan.cancel()

    def load(self, exits: Sequence[Exit]) -> None:
        with self._cancellation():
            self._plan.load(list(exits))

    def evaluate(
        self,
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> NDArray[np.float64]:
        with self._cancellation():
            return self._plan.evaluate(sets, thresholds, metrics, ranges, n_blocks)

    def evaluate_each(
        self,
        exits: Sequence[Exit],
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> NDArray[np.float64]:
        with self._cancellation():
            return self._plan.evaluate_each(
                list(exits), sets, thresholds, metrics, ranges, n_blocks
            )

    @contextmanager
    def _cancellation(self) -> Iterator[None]:
        try:
            yield
        except EngineError as error:
            if self._cancelled:
                raise SweepCancelled("the sweep was stopped") from error
            raise


def _level_of_environment() -> str | None:
    level = os.environ.get("BACKTEST_PY_SIMD", "")
    known = _engine_rust.build_info()["levels"].split(",")
    if level and level not in known:
        raise ConfigError(
            f"the environment variable BACKTEST_PY_SIMD = {level!r} names no instruction level of "
            f"this machine; unset it, or give one of {', '.join(known)}"
        )
    return level or None


@cache
def _extension_hash() -> str:
    """Return the SHA-256 of the extension's file, which changes where its version does not."""
    return sha256(Path(_engine_rust.__file__).read_bytes()).hexdigest()


def _named(strategy: Strategy) -> tuple[str, list[float]]:
    return strategy.name, list(strategy.values())
