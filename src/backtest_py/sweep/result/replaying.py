"""Runs combinations of a sweep again, with their trades: one, or many in threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Any, Final, TypeVar

from backtest_py.backtest.job import prepare
from backtest_py.backtest.result import BacktestResult
from backtest_py.contract import MetricSettings
from backtest_py.engines import resolve
from backtest_py.sweep.store.manifest import believing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import date

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy

    Moment = str | date | None
    Given = TypeVar("Given")
    Found = TypeVar("Found")

__all__ = ["in_threads", "replayed"]

_AHEAD: Final = 4
"""Results that wait for their reader, for each thread."""


def replayed(
    bars: Bars,
    settings: tuple[Strategy, ExitRules, Contract],
    identity: Callable[[str], Any],
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    *,
    source: Mapping[str, Any] | None = None,
    note: str = "",
) -> BacktestResult:
    """Run one combination on the engine of its sweep.

    Parameters
    ----------
    bars : Bars
        Those that were swept.
    settings : tuple of Strategy, ExitRules and Contract
        The combination.
    identity : callable
        Gives what the sweep's manifest says of itself, by key.
    range : pair of str, date or None, optional
        Instead of the sweep's range, half-open on the session's clock.
    source : mapping, optional
        Where the bars can be had again.
    note : str
        What the row is called in the configuration that the result writes.

    Raises
    ------
    ConfigError
        If the range holds no bar.
    DataError
        If the manifest does not describe a sweep on these bars.
    """
    strategy, rules, contract = settings
    with believing("the sweep"):
        metrics = MetricSettings.from_mapping(identity("metrics"))
        first, last = map(index, identity("range"))
        if not 0 <= first < last <= len(bars):
            raise ValueError(f"range = {first}, {last} of {len(bars)} bars")
    job = prepare(bars, strategy, strategy.compute(bars), rules, contract, metrics, range)
    if range is None:
        job = replace(job, first=first, last=last)
    engine, _ = resolve(identity("engine"), job)
    reason = f"the sweep ran on {engine.name}"
    return BacktestResult(job, engine.run(job), engine, reason, source=source, note=note)


def in_threads(
    function: Callable[[Given], Found], given: Iterable[Given], threads: int = 0
) -> Iterator[Found]:
    """Yield what a function gives, in order, computed a little ahead in threads.

    Parameters
    ----------
    function : callable
        Called in several threads at once.
    given : iterable
        Its arguments.
    threads : int
        How many, 0 for one per processor.
    """
    threads = threads or os.cpu_count() or 1
    left = iter(given)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="backtest-py-replay")
    try:
        waiting = [pool.submit(function, each) for each in islice(left, _AHEAD * threads)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(function, each) for each in islice(left, 1)]
    finally:
        pool.shutdown(cancel_futures=True)
