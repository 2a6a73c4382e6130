"""The protocol that both engines implement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from backtest_py.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.layouts import BarColumns
    from backtest_py.engines.limits import SweepLimits
    from backtest_py.rules import ExitRules
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy

    Exit: TypeAlias = tuple[ExitRules, Contract, NDArray[np.float64] | None]

__all__ = ["Engine", "EngineOutput", "Job", "Stream", "SweepPlan", "Window", "atr_for"]


@dataclass(frozen=True, slots=True)
class Job:
    """One backtest: where signals come from, how positions close, what counts.

    ``signals`` is given for a user's own signals, otherwise the engine computes those of
    ``strategy``. Signals at bars ``first <= i < last`` count.
    """

    bars: Bars
    strategy: Strategy | None
    signals: Signals | None
    rules: ExitRules
    contract: Contract
    metrics: MetricSettings
    first: int
    last: int

    @property
    def detector(self) -> Strategy:
        """The strategy whose signals the engine computes itself.

        Raises
        ------
        EngineError
            If there is none, as where the signals are given.
        """
        if self.strategy is None or self.signals is not None:
            raise EngineError("the job brings its signals; there is no strategy to compute them")
        return self.strategy


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """What an engine returns.

    Attributes
    ----------
    trades : dict of str to ndarray
        The columns of ``layouts.TRADE_DTYPE``.
    metrics : ndarray of float64, shape (n_metrics,)
        In the order of ``catalogue.METRICS``.
    """

    trades: dict[str, NDArray[np.generic]]
    metrics: NDArray[np.float64]


class SweepPlan(Protocol):
    """What the combinations of a sweep share: candidates with their scores, and outcomes.

    A plan belongs to the process that made it: in a forked child its methods raise
    :class:`~backtest_py.errors.EngineError`.

    An exit is a triple of rules, contract and :func:`atr_for` them. A signal set is a source, the
    place of a strategy or of signals in what the plan was made of, and one value for each of the
    strategy's thresholds, none of them looser than ``loosest`` of the plan. Every number is that of
    :meth:`Engine.run`. A plan is safe to use from several threads.
    """

    @property
    def n_candidates(self) -> int:
        """Return the number of bars, sides and risks at which some combination may trade."""

    @property
    def done(self) -> int:
        """Return how many combinations have been evaluated since the plan was made.

        One counts when it is done in all ranges of its call.
        """

    def cancel(self) -> None:
        """Make running and later calls raise :class:`~backtest_py.errors.SweepCancelled`."""

    def load(self, exits: Sequence[Exit]) -> None:
        """Compute the outcome of every candidate under every exit, for :meth:`evaluate`.

        Raises
        ------
        EngineError
            If there are more bars or days than outcomes can tell apart.
        SweepCancelled
            If the plan has been cancelled.
        """

    def evaluate(
        self,
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> NDArray[np.float64]:
        """Return the numbers of every signal set under every exit that is loaded, in every range.

        With blocks, the days of each range are cut into ``n_blocks`` runs of neighbours: of ``D``
        days, block ``b`` has those from ``D*b//n_blocks`` up to ``D*(b+1)//n_blocks``, and the last
        one also a later day on which the range's last trade exits. For each there are ``S1`` and
        ``S2``, the sums of its daily returns and of their squares from 0.0 on, and the number of
        its days that count: together they are the metric ``days``.

        Parameters
        ----------
        sets : ndarray of uint32, shape (n_sets,)
            Sources; neighbours of one source are the fastest.
        thresholds : ndarray of float64, shape (n_sets*n_thresholds,)
            The thresholds of one set beside each other.
        metrics : MetricSettings
            Settings of the annualised metrics.
        ranges : sequence of pairs of int
            First and last of each range: signals at bars ``first <= i < last`` count, and each
            range starts flat with the initial capital, as a single run does.
        n_blocks : int
            Blocks of days of each range that have sums of their own, at most one for each day.

        Returns
        -------
        ndarray of float64, shape (n_ranges, n_metrics + 3*n_blocks, n_sets*n_exits)
            In the order of ``catalogue.METRICS``, then ``S1``, ``S2`` and days of each block; the
            exits of one set beside each other.

        Raises
        ------
        EngineError
            If a range is empty or not within the bars, or has fewer days than blocks; if there is
            no such source, or not one value for each threshold.
        SweepCancelled
            If the plan has been cancelled.
        """

    def evaluate_each(
        self,
        exits: Sequence[Exit],
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> NDArray[np.float64]:
        """Return the numbers of signal sets with an exit each, as :meth:`evaluate` does.

        For combinations that share nothing: needs no :meth:`load`. The shape is
        (n_ranges, n_metrics + 3*n_blocks, n_sets).
        """


@dataclass(frozen=True, slots=True)
class Window:
    """New bars, with the bars before them that they depend on.

    Attributes
    ----------
    bars : BarColumns
        All of them, read-only; days are counted through all chunks.
    atr : ndarray of float64, shape (n_bars,), or None
        The average true range that came with them.
    base : int
        Number of the first of them among all bars of the series.
    start, until : int
        Bars ``[start, until)`` are new. Where more follow, ``until`` is the last bar: what ends a
        day, and what ends the data, is known of a bar by the next one.
    """

    bars: BarColumns
    atr: NDArray[np.float64] | None
    base: int
    start: int
    until: int


class Stream(Protocol):
    """One backtest that goes on from chunk to chunk, bit for bit as :meth:`Engine.run`.

    Bars are numbered through the whole series.
    """

    @property
    def entered(self) -> int:
        """Return the bar at which the position that is held was entered, -1 if there is none."""

    def advance(self, window: Window, first: int, last: int) -> NDArray[np.int64]:
        """Go through the new bars of a window, each of which is new once.

        Parameters
        ----------
        window : Window
            Every bar on which a signal or an average of the new ones depends is in it.
        first, last : int
            Signals at bars ``first <= i < last`` count.

        Returns
        -------
        ndarray of int64, shape (3, n_trades)
            The bars of signal, entry and exit of the trades that end at the new bars.
        """

    def finish(
        self, settings: MetricSettings, first: int, last: int, span: tuple[int, int]
    ) -> EngineOutput:
        """Return all trades, and their metrics over the bars from ``first`` to ``last``.

        ``span`` are the days of the first and of the last bar of the range.
        """


class Engine(Protocol):
    """One implementation of docs/semantics.md."""

    @property
    def name(self) -> str:
        """Return the name by which a user asks for the engine, as ``"numba"``."""

    @property
    def is_reference(self) -> bool:
        """Return whether this engine is the one that others are checked against."""

    @property
    def remedy(self) -> str:
        """Return what a user can do about a job that this engine cannot run."""

    @property
    def sweep_limits(self) -> SweepLimits:
        """Return how large outcomes are in a sweep, and how many bars and days they can hold."""

    @property
    def build(self) -> dict[str, str]:
        """Return versions and build facts that identify the engine's code."""

    def supports(self, job: Job) -> str:
        """Return why this engine cannot run a job, ``""`` where it can."""

    def atr(self, bars: Bars, period: int, method: str) -> NDArray[np.float64]:
        """Return the average true range of every bar, computed once per bars and remembered."""

    def signals(self, bars: Bars, strategy: Strategy) -> Signals:
        """Return the signals of every bar, whatever the rules."""

    def run(self, job: Job) -> EngineOutput:
        """Run one backtest."""

    def stream(self, strategy: Strategy, rules: ExitRules, contract: Contract) -> Stream:
        """Return a backtest that stands before its first bar."""

    def measure(
        self,
        trades: Mapping[str, NDArray[Any]],
        exit_day: NDArray[np.int32],
        contract: Contract,
        metrics: MetricSettings,
        span: tuple[int, int],
        n_bars: int,
    ) -> NDArray[np.float64]:
        """Return the metrics of trades that were made elsewhere, as those of a run.

        Parameters
        ----------
        trades : mapping of str to ndarray, shape (n_trades,)
            The columns of ``layouts.TRADE_DTYPE``, in the order of the exits; at least those of
            ``layouts.MEASURED``.
        exit_day : ndarray of int32, shape (n_trades,)
            The trading day of each exit.
        contract : Contract
            Its initial capital is that of the account.
        metrics : MetricSettings
            Settings of the annualised metrics.
        span : tuple of int
            First and last trading day that count; without any, the last is before the first.
        n_bars : int
            Number of bars that count.

        Returns
        -------
        ndarray of float64, shape (n_metrics,)
            In the order of ``catalogue.METRICS``.
        """

    def optimize(self, jobs: Sequence[Job]) -> NDArray[np.float64]:
        """Return the metrics of several backtests on the same bars, shape (n_jobs, n_metrics)."""

    def sweep_plan(
        self,
        bars: Bars,
        *,
        strategies: Sequence[Strategy] | None,
        signals: Sequence[Signals] | None,
        loosest: Sequence[float],
        threads: int,
    ) -> SweepPlan:
        """Return the plan of a sweep.

        Parameters
        ----------
        bars : Bars
            The market.
        strategies : sequence of Strategy, or None
            Sources of signals, of one class; the values of their thresholds do not count.
        signals : sequence of Signals, or None
            Sources of signals that are what they are, instead of strategies.
        loosest : sequence of float
            The loosest value of every threshold; empty for signals.
        threads : int
            Threads to use, 0 for one per processor.
        """

    def series_metric(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``series_metrics`` gives for these arguments."""

    def monte_carlo(self, name: str, *arguments: Any) -> Any:
        """Return what the function ``name`` of ``monte_carlo`` gives for these arguments."""


def atr_for(engine: Engine, bars: Bars, rules: ExitRules) -> NDArray[np.float64] | None:
    """Return the average true range that the rules measure in, None where they do not."""
    if not rules.needs_atr:
        return None
    if rules.atr_method == "column":
        return bars.atr_column
    return engine.atr(bars, rules.atr_period, rules.atr_method)
