"""Paths that are backtests: late entries, entries at random, bars without structure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.analysis.monte_carlo.trades import (
    FAN_PATHS,
    NUMBERS,
    Paths,
    cube_root,
    observed_path,
)
from backtest_py.bars import read_only
from backtest_py.engines.base import atr_for
from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import counted, parse_clock
from backtest_py.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from backtest_py.analysis.monte_carlo.settings import MonteCarloSettings
    from backtest_py.analysis.monte_carlo.trades import Trades
    from backtest_py.analysis.steps import Counter
    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine, Job

    MakeJob = Callable[[int], Job]

__all__ = ["rerun_job", "rerun_paths"]

CHUNK: Final = 8
"""Paths that a thread takes at once."""

TRIALS: Final = 16
"""Paths, and rounds at most, that find out how many entries to place."""


def rerun_job(trades: Trades) -> Job:
    """Return the job that was run, with the capital that is asked about.

    Raises
    ------
    ConfigError
        If there is none.
    """
    job = trades.required("its bars and rules").job
    return replace(job, contract=trades.contract)


def rerun_paths(
    engine: Engine,
    trades: Trades,
    settings: MonteCarloSettings,
    marks: NDArray[np.int64],
    threads: int,
    counter: Counter,
) -> tuple[Paths, Paths]:
    """Return the paths of backtests, and the one of the backtest as it was."""
    job = rerun_job(trades)
    atr_for(engine, job.bars, job.rules)  # computed once, before threads ask for it
    make = _maker(engine, trades, job, settings)
    n_paths = settings.n_paths
    numbers = np.empty((n_paths, len(NUMBERS)))
    equity = np.empty((min(n_paths, FAN_PATHS), len(marks)))
    metrics = np.empty((n_paths, len(METRICS)))

    def one(asked: Job) -> Paths:
        output = engine.run(asked)
        pnl: NDArray[Any] = read_only(output.trades["pnl"])
        path = observed_path(engine, pnl, trades.capital, settings.sizing, marks)
        return replace(path, metrics=output.metrics[np.newaxis])

    def some(first: int) -> int:
        last = min(first + CHUNK, n_paths)
        for path in range(first, last):
            found = one(make(path))
            numbers[path] = found.numbers[0]
            metrics[path] = found.metrics
            if path < len(equity):
                equity[path] = found.equity[0]
        return last - first

    if job.strategy is not None and job.strategy.computes_signals:
        threads = 1  # the user's own code need not be safe in several threads
    _spread(some, range(0, n_paths, CHUNK), threads, counter)
    return Paths(numbers, equity, metrics), one(job)


def _spread(task: Callable[[int], int], starts: range, threads: int, counter: Counter) -> None:
    if threads == 1:
        for start in starts:
            counter.add(task(start))
        return
    from joblib import cpu_count  # noqa: PLC0415 - knows affinity and containers, takes its time

    with ThreadPoolExecutor(min(threads or int(cpu_count()), len(starts))) as pool:
        try:
            for done in pool.map(task, starts):
                counter.add(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _maker(engine: Engine, trades: Trades, job: Job, settings: MonteCarloSettings) -> MakeJob:
    """Return what makes the job of a path."""
    if settings.kind == "delay":
        return _delayed(engine, job, settings)
    if settings.null == "entries":
        return _placed(engine, trades, job, settings.seed)
    _check_bars(job, settings)
    make = _tossed if settings.null == "directions" else _rebuilt
    return make(engine, job, settings)


def _delayed(engine: Engine, job: Job, settings: MonteCarloSettings) -> MakeJob:
    """Move every signal by 0 to ``max_delay`` bars; of two that meet, the later one counts.

    With a time at which positions are closed, a signal does not move to another day.
    """
    bars, signals = job.bars, _signals(engine, job)
    rows = np.flatnonzero(signals.side)

    def make(path: int) -> Job:
        late = rows + engine.monte_carlo(
            "delays", settings.max_delay, len(rows), settings.seed, path
        )
        kept = late < len(bars)
        if job.rules.close_time:
            kept[kept] = bars.day[late[kept]] == bars.day[rows[kept]]
        return _with_signals(job, signals, rows[kept], late[kept])

    return make


def _placed(engine: Engine, trades: Trades, job: Job, seed: int) -> MakeJob:
    """Put every entry at another bar, with its side and its risk.

    The bars are those of the range on which a signal is not dropped, from the earliest to the
    latest time of day at which the observed trades had their signals. Entries that fall on an open
    position are lost, so more of them are placed: see :func:`_needed`.
    """
    bars, signals = job.bars, _signals(engine, job)
    result = trades.required("its entries")
    rows = result.columns["signal_bar"]
    minutes = bars.minute[rows]
    inside = (bars.minute >= minutes.min()) & (bars.minute <= minutes.max())
    inside[: job.first] = False
    inside[rows.max() + 1 if result.metrics.ruined else job.last :] = False
    inside &= _enterable(engine, job)
    inside[rows] = True
    choice = read_only(np.flatnonzero(inside))

    def place(count: int, path: int) -> Job:
        drawn = engine.monte_carlo("choose_bars", choice, count, seed, path)
        evenly = np.arange(count) * len(rows) // count
        return _with_signals(job, signals, rows[evenly], drawn)

    return partial(place, _needed(engine, place, len(rows), len(choice)))


def _needed(engine: Engine, place: Callable[[int, int], Job], n_trades: int, most: int) -> int:
    """Return how many entries to place, so that paths have as many trades on average.

    Some paths of their own tell, on an account that nothing ruins.
    """
    count = n_trades
    for _ in range(TRIALS):
        found = 0
        for path in range(2**64 - TRIALS, 2**64):
            job = place(count, path)
            endless = replace(job, contract=replace(job.contract, initial_capital=1e15))
            found += len(engine.run(endless).trades["pnl"])
        missing = TRIALS * n_trades - found
        if not found or 200 * missing <= TRIALS * n_trades or count == most:
            break
        count = min(most, count + max(1, count * missing // found))
    return count


def _enterable(engine: Engine, job: Job) -> NDArray[np.bool_]:
    """Tell at which bars a signal can become a trade: see section 4 of docs/semantics.md."""
    bars, rules = job.bars, job.rules
    able = np.ones(len(bars), np.bool_)
    able[-1] = False
    if rules.close_time:
        same_day = bars.day[1:] == bars.day[:-1]
        able[:-1] &= same_day & (bars.minute[1:] < parse_clock(rules.close_time))
    atr = atr_for(engine, bars, rules)
    if atr is not None:
        able &= ~np.isnan(atr)
    return able


def _signals(engine: Engine, job: Job) -> Signals:
    return engine.signals(job.bars, job.detector) if job.signals is None else job.signals


def _with_signals(
    job: Job, signals: Signals, rows: NDArray[np.int64], places: NDArray[np.int64]
) -> Job:
    """Return the job with the signals of some bars at other places, and no others."""
    side = np.zeros(len(job.bars), np.int8)
    side[places] = signals.side[rows]  # of equal places the last one counts
    risk = None
    if signals.risk is not None:
        risk = np.full(len(side), np.nan)
        risk[places] = signals.risk[rows]
        risk = read_only(risk)
    return replace(job, strategy=None, signals=Signals(read_only(side), risk))


def _check_bars(job: Job, settings: MonteCarloSettings) -> None:
    """Refuse what cannot be run on other bars."""
    null = settings.null
    if job.strategy is None:
        raise ConfigError(
            f'monte_carlo.null = "{null}" runs the strategy on other bars, and signals of your own '
            'belong to these; give null = "entries", or run a strategy'
        )
    if job.rules.needs_atr and job.rules.atr_method == "column":
        raise ConfigError(
            f'monte_carlo.null = "{null}" makes other bars, to which the column atr does not '
            'belong; give null = "entries", or another rules.atr_method'
        )
    bad = np.flatnonzero(job.bars.low <= 0.0)
    if bad.size:
        raise ConfigError(
            f'monte_carlo.null = "{null}" chains relative moves, which need prices above 0, and '
            f'bars.low[{bad[0]}] = {job.bars.low[bad[0]]}; give null = "entries"'
        )


def _strategy_on(job: Job, bars: Bars) -> Job:
    """Return the job on other bars, with the signals that the strategy gives there."""
    signals = job.strategy.compute(bars) if job.strategy is not None else None
    return replace(job, bars=bars, signals=signals)


def _tossed(engine: Engine, job: Job, settings: MonteCarloSettings) -> MakeJob:
    """Turn every bar upside down or not, as a coin says."""
    bars = job.bars

    def make(path: int) -> Job:
        prices = engine.monte_carlo(
            "shuffle_directions", bars.open, bars.high, bars.low, bars.close, settings.seed, path
        )
        return _strategy_on(job, bars.with_prices(prices, bars.volume))

    return make


def _rebuilt(engine: Engine, job: Job, settings: MonteCarloSettings) -> MakeJob:
    """Put bars together of random blocks; each begins at the time of day that it had."""
    bars = job.bars
    length = settings.block_length or cube_root(len(bars))
    if length >= len(bars) > 1:
        raise ConfigError(
            f"monte_carlo.block_length = {length} is not below the {counted(len(bars), 'bar')}: a "
            "block would be all of them; give a shorter block"
        )
    order = np.argsort(bars.minute, kind="stable")
    by_minute = bars.minute[order]
    first = np.searchsorted(by_minute, bars.minute, "left").astype(np.int64)
    size = np.searchsorted(by_minute, bars.minute, "right").astype(np.int64) - first
    clock = [read_only(order.astype(np.int64)), read_only(first), read_only(size)]

    def make(path: int) -> Job:
        prices, source = engine.monte_carlo(
            "bootstrap_bars",
            bars.open,
            bars.high,
            bars.low,
            bars.close,
            *clock,
            length,
            settings.seed,
            path,
        )
        return _strategy_on(job, bars.with_prices(prices, bars.volume[source]))

    return make
