"""One Monte Carlo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from backtest_py.analysis.monte_carlo.reruns import rerun_job, rerun_paths
from backtest_py.analysis.monte_carlo.result import MonteCarlo
from backtest_py.analysis.monte_carlo.settings import MonteCarloSettings
from backtest_py.analysis.monte_carlo.trades import (
    marks_of,
    observed_path,
    trade_paths,
    trades_of,
)
from backtest_py.analysis.steps import Counter
from backtest_py.engines.registry import resolve
from backtest_py.errors import ConfigError
from backtest_py.provenance import EngineFacts, Provenance, package_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from numpy.typing import ArrayLike

    from backtest_py.analysis.monte_carlo.trades import Trades
    from backtest_py.analysis.steps import Steps
    from backtest_py.backtest.result import BacktestResult
    from backtest_py.engines.base import Engine

__all__ = ["monte_carlo", "run_settings"]

MOST_THREADS = 1_024


class KindDetails(TypedDict, total=False):
    """What single kinds of paths take; see :func:`monte_carlo`."""

    block_length: int
    skip_probability: float
    slippage_noise: float
    fee_noise: float
    max_delay: int
    null: str


def monte_carlo(
    result: BacktestResult | pd.DataFrame | ArrayLike,
    kind: str = "bootstrap",
    *,
    n_paths: int = 10_000,
    seed: int = 0,
    engine: str = "auto",
    sizing: str = "fixed",
    level: float = 0.0,
    initial_capital: float | None = None,
    threads: int = 0,
    progress: Callable[[Steps], None] | None = None,
    **details: Unpack[KindDetails],
) -> MonteCarlo:
    """Ask what else the same trades, or the same rules, could have come to.

    Parameters
    ----------
    result : BacktestResult, DataFrame or array-like of float
        What :func:`run` returned; or a frame with a column ``pnl``; or the result of each trade in
        money. The last two need ``initial_capital``, and have no kinds ``noise``, ``delay`` and
        ``null``.
    kind : {"bootstrap", "block", "shuffle", "skip", "noise", "delay", "null"}
        What paths are made of: trades drawn one by one with replacement; runs of neighbours drawn
        with replacement, the first trade following the last; the same trades in another order; each
        trade left out with a probability; each trade at more slippage and fees; the rules run again
        with every signal late by some bars; the rules run where nothing is to be found.
    n_paths : int
        1 to 1,000,000.
    seed : int
        0 to 2**64 - 1. The same seed gives the same numbers, bit for bit, on either engine, with
        any number of threads; path ``k`` does not depend on how many paths there are.
    engine : {"auto", "numba", "rust"}
        Both give the same bits.
    sizing : {"fixed", "compound"}
        Fixed lots add the money of each trade. Compounding multiplies the equity by
        ``1 + pnl/initial_capital``: lots grow and shrink with the equity, in fractions.
    level : float
        Equity for ``probability_below``; 0 is the initial capital.
    initial_capital : float, optional
        Instead of that of the contract.
    threads : int
        0 for one per processor.
    progress : callable, optional
        Called with a :class:`~backtest_py.analysis.steps.Steps` while paths are computed: after
        every few of them where each is a backtest.
    block_length : int, default 0
        Trades in a block of ``block``, bars in one of ``null="blocks"``; 0 is the cube root of
        their number, rounded up.
    skip_probability : float, default 0.1
        0 to 1, for ``skip``.
    slippage_noise : float, default 1.0
        The most ticks that ``noise`` adds to the slippage of every market order; each adds
        something from 0 to that, all equally likely. Targets are limit orders and get none.
    fee_noise : float, default 0.0
        The most that ``noise`` adds to the fees of a trade, as a share of them.
    max_delay : int, default 3
        Signals of ``delay`` come 0 to so many bars late, all equally likely.
    null : {"entries", "directions", "blocks"}, default "entries"
        What ``null`` makes random: at which bars the entries are, as many and at the same times of
        day; the direction of every bar; or which blocks of bars follow each other.

    Returns
    -------
    MonteCarlo

    Raises
    ------
    ConfigError
        If an argument is not allowed, if there are no trades, or if the kind needs what the result
        does not have.
    EngineUnavailableError
        If the engine cannot be loaded.
    UnsupportedError
        If it has no code for the strategy of a ``null``.

    Examples
    --------
    >>> import backtest_py as bt
    >>> pnl = [120.0, -80.0, 40.0, -60.0, 90.0]
    >>> mc = bt.monte_carlo(pnl, "bootstrap", n_paths=1_000, seed=7, initial_capital=1_000)
    >>> mc.table.shape
    (1000, 9)
    >>> mc.quantiles([0.5])["total_return"].tolist()
    [130.0]
    """
    unknown = sorted(set(details) - set(KindDetails.__annotations__))
    if unknown:
        raise TypeError(f"monte_carlo() got an unexpected keyword argument {unknown[0]!r}")
    settings = MonteCarloSettings(
        kind=kind,
        n_paths=n_paths,
        seed=seed,
        sizing=sizing,
        level=level,
        **details,
    )
    trades = trades_of(result, initial_capital)
    return run_settings(trades, settings, engine=engine, threads=threads, progress=progress)


def run_settings(
    trades: Trades,
    settings: MonteCarloSettings,
    *,
    engine: str = "auto",
    threads: int = 0,
    progress: Callable[[Steps], None] | None = None,
) -> MonteCarlo:
    """Run a Monte Carlo of settings that were checked; see :func:`monte_carlo`."""
    if (
        isinstance(threads, bool)
        or not isinstance(threads, int)
        or not 0 <= threads <= MOST_THREADS
    ):
        raise ConfigError(
            f"threads = {threads!r} is not allowed; give a whole number from 0 to {MOST_THREADS:,}"
        )
    marks = marks_of(len(trades.pnl))
    counter = Counter(settings.n_paths, progress)
    if settings.kind in {"delay", "null"}:
        runner, reason = resolve(engine, rerun_job(trades))
        paths, observed = rerun_paths(runner, trades, settings, marks, threads, counter)
    else:
        runner, reason = resolve(engine)
        paths = trade_paths(runner, trades, settings, marks, threads, counter)
        observed = observed_path(runner, trades.pnl, trades.capital, settings.sizing, marks)
    return MonteCarlo(
        settings,
        paths,
        observed,
        capital=trades.capital,
        marks=marks,
        n_trades=len(trades.pnl),
        engine=runner.name,
        reason=reason,
        provenance=_provenance(trades, runner, reason),
    )


def _provenance(trades: Trades, engine: Engine, reason: str) -> Mapping[str, Any]:
    """Say which engine computed the paths, and where the trades come from."""
    if trades.result is None:
        facts = EngineFacts(engine.name, engine.build)
        return {
            "engine": facts.name,
            "reason": reason,
            "build": dict(facts.build),
            "versions": {"backtest-py": package_version()},
        }
    return Provenance.of(trades.result.job, engine, reason).to_mapping()
