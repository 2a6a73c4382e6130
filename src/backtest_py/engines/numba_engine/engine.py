"""The Numba engine behind the protocol of :mod:`backtest_py.engines.base`."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py._forks import NO_FORK
from backtest_py.bars import read_only
from backtest_py.engines.base import EngineOutput, atr_for
from backtest_py.engines.layouts import TRADE_DTYPE, ContractView, RulesView, SettingsView
from backtest_py.engines.limits import SweepLimits
from backtest_py.engines.numba_engine import series_metrics
from backtest_py.engines.numba_engine.backtest_engine import backtest
from backtest_py.engines.numba_engine.metrics import measure
from backtest_py.engines.numba_engine.optimizer import optimize
from backtest_py.engines.numba_engine.strategy import average_true_range, detect
from backtest_py.engines.numba_engine.types import Trades, bar_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import Job, Stream, SweepPlan
    from backtest_py.rules import ExitRules
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy

__all__ = ["NumbaEngine"]

_NONE = read_only(np.empty(0))


class NumbaEngine:
    """The reference implementation of docs/semantics.md."""

    name = "numba"
    is_reference = True
    remedy = "give its class a kernel, or register a function of bars instead"

    @property
    def sweep_limits(self) -> SweepLimits:
        """Return how large outcomes are in a sweep, and how many bars and days they can hold."""
        with NO_FORK:  # outcomes load numba
            from backtest_py.engines.numba_engine.sweep import outcomes, vectors  # noqa: PLC0415
        return SweepLimits(
            lanes=vectors.LANES,
            cell_bytes=outcomes.CELL_BYTES,
            max_bars=outcomes.MAX_BARS,
            max_days=outcomes.MAX_DAYS,
        )

    @property
    def build(self) -> dict[str, str]:
        """Return the versions of the compiler, and a hash of the kernels' sources."""
        from backtest_py._jit import kernel_key  # noqa: PLC0415

        return {
            "numba": version("numba"),
            "llvmlite": version("llvmlite"),
            "kernels": kernel_key(),
        }

    def supports(self, job: Job) -> str:
        """Return why this engine cannot run a job: its strategy has no kernel."""
        if job.signals is not None or job.detector.kernel is not None:
            return ""
        return f"strategy {job.detector.name!r} has no kernel"

    def atr(self, bars: Bars, period: int, method: str) -> NDArray[np.float64]:
        """Return the average true range of every bar, computed once per bars and remembered."""
        return bars.remember(
            ("atr", self.name, period, method), lambda: average_true_range(bars, period, method)
        )

    def signals(self, bars: Bars, strategy: Strategy) -> Signals:
        """Return the signals of every bar, whatever the rules."""
        return detect(bars, strategy)

    def run(self, job: Job) -> EngineOutput:
        """Run one backtest."""
        bars, rules = job.bars, job.rules
        signals = job.signals
        if signals is None:
            signals = self.signals(bars, job.detector)
        atr = atr_for(self, bars, rules)
        trades, metrics = backtest(
            bar_columns(bars),
            _NONE if atr is None else atr,
            # read-only like a user's own, or the kernel would be compiled for either
            read_only(signals.side),
            _NONE if signals.risk is None else read_only(signals.risk),
            RulesView(*rules.values()),
            ContractView(*job.contract.values()),
            SettingsView(*job.metrics.values()),
            job.first,
            job.last,
        )
        return EngineOutput(trades._asdict(), metrics)

    def stream(self, strategy: Strategy, rules: ExitRules, contract: Contract) -> Stream:
        """Return a backtest that stands before its first bar."""
        from backtest_py.engines.numba_engine.stream import Stream  # noqa: PLC0415 - seldom used

        return Stream(strategy, rules, contract)

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
        # copies, because the kernel is compiled for columns that may be written to
        kinds: dict[str, Any] = TRADE_DTYPE
        empty = np.zeros(len(exit_day))
        columns = {name: np.array(trades.get(name, empty), kinds[name]) for name in kinds}
        found: NDArray[np.float64] = measure(
            Trades(**columns),
            np.array(exit_day, np.int32),
            ContractView(*contract.values()),
            SettingsView(*metrics.values()),
            (np.int32(span[0]), np.int32(span[1])),
            n_bars,
        )
        return found

    def optimize(self, jobs: Sequence[Job]) -> NDArray[np.float64]:
        """Return the metrics of several backtests on the same bars, shape (n_jobs, n_metrics)."""
        return optimize(self, jobs)

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
        with NO_FORK:  # only a sweep needs vectors, which load numba at once
            from backtest_py.engines.numba_engine.sweep import plan  # noqa: PLC0415

        return plan.SweepPlan(
            bars, strategies=strategies, signals=signals, loosest=loosest, threads=threads
        )

    def series_metric(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``series_metrics`` gives for these arguments."""
        return getattr(series_metrics, name)(*arguments)

    def monte_carlo(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``monte_carlo`` gives for these arguments."""
        with NO_FORK:  # only random paths need it
            from backtest_py.engines.numba_engine import monte_carlo  # noqa: PLC0415

        return getattr(monte_carlo, name)(*arguments)
