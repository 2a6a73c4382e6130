"""Walk-forward: what users call, on one market or on many."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, cast, overload

from backtest_py.analysis.walk_forward.choosing import Choice
from backtest_py.analysis.walk_forward.many import walk_markets
from backtest_py.analysis.walk_forward.single import Asked, Walk
from backtest_py.analysis.walk_forward.windows import WindowSettings
from backtest_py.errors import ArgumentError, BacktestWarning, ConfigError
from backtest_py.parameters import unknown_name
from backtest_py.sweep.executors.work import MAX_MEMORY, Resources
from backtest_py.sweep.gate.gate import GATE_COMBOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from backtest_py.analysis.walk_forward.choosing import Choose
    from backtest_py.analysis.walk_forward.many import WalkForwards
    from backtest_py.analysis.walk_forward.result import WalkForward
    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.space.sample import Sample

    Moment = str | date | None

__all__ = ["WalkForwardOptions", "walk_forward"]


class WalkForwardOptions(TypedDict, total=False):
    """What a walk-forward takes beside its question; see :func:`walk_forward`."""

    train_days: int
    test_days: int
    anchored: bool
    purge_days: int
    embargo_days: int
    train_bars: int
    test_bars: int
    purge_bars: int
    embargo_bars: int
    range: tuple[Moment, Moment] | None
    where: str
    invalid: str
    sample: Sample | None
    metrics: MetricSettings | None
    threads: int
    processes: int
    max_memory: int
    gate: int | None
    progress: Callable[[Progress], None] | None


class _Settings(WalkForwardOptions, total=False):
    """All arguments that have a default; see :func:`walk_forward`."""

    rules: ExitRules | None
    choose: Choose
    min_trades: int
    plateau: bool
    engine: str
    out: str | Path | None
    resume: bool


_OF_WINDOWS: Final = tuple(spec.name for spec in WindowSettings.parameters())
_OF_SWEEP: Final = ("where", "invalid", "sample", "metrics")


@overload
def walk_forward(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = ...,
    grid: Mapping[str, object] | None = ...,
    *,
    contract: Contract | None = ...,
    **options: Unpack[_Settings],
) -> WalkForward: ...


@overload
def walk_forward(
    bars: Mapping[str, Bars],
    strategy: str | Strategy | Callable[..., Any] = ...,
    grid: Mapping[str, object] | None = ...,
    *,
    contract: Contract | Mapping[str, Contract] | None = ...,
    **options: Unpack[_Settings],
) -> WalkForwards: ...


def walk_forward(
    bars: Bars | Mapping[str, Bars],
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    rules: ExitRules | None = None,
    contract: Contract | Mapping[str, Contract] | None = None,
    choose: Choose = "sharpe",
    min_trades: int = 30,
    plateau: bool = False,
    engine: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    **options: Unpack[WalkForwardOptions],
) -> WalkForward | WalkForwards:
    """Choose on one stretch of time, judge on the next, and go on through the data.

    Every training sweeps the whole grid: it equals :func:`backtest_py.run` with
    ``range=(train_start, train_end)`` for each combination, bit for bit. What it chooses runs on
    the test that follows, and the tests together are the result: what the method, not one set of
    parameters, would have earned.

    Parameters
    ----------
    bars : Bars, or mapping of str to Bars
        The market; or several by name, each of which is walked through on its own.
    strategy, grid, rules, contract
        As :func:`backtest_py.sweep` takes them; with several markets ``contract`` may be a mapping
        as well.
    choose : str, ColumnMetric or callable
        The metric whose best value is chosen: one of the catalogue, a
        :class:`~backtest_py.ColumnMetric` of your own, or a function of columns, which is taken for
        one. It sees parts of the grid, metrics and swept parameters (full keys), and may judge each
        row by that row alone. Of equals the lowest ``combo_id`` is chosen. A
        :class:`~backtest_py.TradeMetric` is refused: it needs a backtest of every combination in
        every window.
    min_trades : int
        Trades that a combination must have made in the training. Ruined ones, and undefined values,
        are never chosen. Where no combination qualifies, the window stays flat.
    plateau : bool
        Choose by the worse of a combination and its worst neighbour in the grid; see
        :class:`~backtest_py.overfitting.GridValues`.
    engine : {"auto", "numba", "rust"}
        Both give the same bits.
    out : str or Path, optional
        A directory for the results, written while the walk-forward runs; with several markets it
        has a folder for each.
    resume : bool
        Continue the walk-forward in ``out``.
    train_days, test_days : int, default 252 and 30
        Trading days (days with a bar) of each training and of each test; windows step by
        ``test_days``, and a last, shorter test is kept.
    anchored : bool, default False
        Every training begins with the first day.
    purge_days, embargo_days : int, default 0
        Trading days left out between a training and its test: first those in which positions of the
        training may still be open, then those until slow memory has faded. A test begins
        ``purge_days + embargo_days`` after its training ends.
    train_bars, test_bars, purge_bars, embargo_bars : int
        The same in bars, instead of days.
    range : pair of str, date or None, optional
        A simple forward test instead of windows: train on this range, test on all that follows.
    where, invalid, sample, metrics, threads, processes, max_memory, gate, progress
        As :func:`backtest_py.sweep` takes them; a combination is done when it is in all windows.

    Returns
    -------
    WalkForward, or WalkForwards
        The latter is a mapping by market. Markets run beside each other: on the Rust engine in
        ``threads`` threads, on Numba in ``processes`` processes of joblib; 0 is one for each
        processor.

    Raises
    ------
    ConfigError
        If there are fewer bars than a window, or an argument is not allowed.
    ParityError
        If the engines disagree on a sample of a large grid.
    StorageError
        If results cannot be written.
    KeyboardInterrupt
        On Control-C and SIGTERM; with ``out`` the walk-forward can be resumed.

    Warns
    -----
    BacktestWarning
        If positions of chosen trainings closed in their tests, which then are not wholly unseen.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=60)
    >>> wf = bt.walk_forward(
    ...     bars,
    ...     bt.BarraElefante(lookback=10),
    ...     {"rules.stop": [1.0, 2.0], "rules.target": [2.0, 4.0]},
    ...     rules=bt.ExitRules(close_time="17:00"),
    ...     train_days=30, test_days=10, min_trades=5,
    ... )
    >>> len(wf.windows), wf.metrics.total_trades == len(wf.trades)
    (3, True)
    """
    asked = Asked(
        strategy=strategy,
        grid=grid,
        rules=rules,
        sweep=_some(options, _OF_SWEEP),
        lengths=_some(options, _OF_WINDOWS),
        span=options.get("range"),
        choice=Choice.of(choose, min_trades, plateau),
        engine=engine,
        gate=options.get("gate", GATE_COMBOS),
    )
    resources = _resources(options)
    if resume and out is None:
        raise ConfigError("resume continues the walk-forward of a directory; name it in out")
    if isinstance(bars, Mapping):
        many, found = walk_markets(asked, bars, contract, resources, out, resume=resume)
    else:
        walk = Walk.of(asked, bars, cast("Contract | None", contract))  # which checks it
        one, warning = walk.go(resources, out, resume=resume)
        found = [warning] if warning else []
    for text in found:
        warnings.warn(text, BacktestWarning, stacklevel=2)
    return many if isinstance(bars, Mapping) else one


def _some(options: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def _resources(options: Mapping[str, Any]) -> Resources:
    known = list(WalkForwardOptions.__annotations__)
    for name in options:
        if name not in known:
            raise unknown_name("argument of walk_forward", name, known, ArgumentError)
    return Resources(
        options.get("threads", 0),
        options.get("processes", 0),
        options.get("max_memory", MAX_MEMORY),
        options.get("progress"),
    )
