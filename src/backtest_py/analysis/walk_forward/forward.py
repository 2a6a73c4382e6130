"""The chosen combinations run: on their training, and out of sample one after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.analysis.walk_forward.windows import reached_bar
from backtest_py.backtest.daily import daily_account
from backtest_py.engines.base import EngineOutput, Job
from backtest_py.engines.layouts import TRADE_DTYPE
from backtest_py.errors import ConfigError, EngineError
from backtest_py.metrics.catalogue import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.analysis.walk_forward.choosing import Choice
    from backtest_py.analysis.walk_forward.windows import Window
    from backtest_py.backtest.daily import DailyAccount
    from backtest_py.engines.base import Engine
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["Forward", "Tested", "run_forward"]

_KEPT_SIGNALS: Final = 4
_NO_TRADES: Final = {name: np.zeros(0, dtype) for name, dtype in TRADE_DTYPE.items()}
_ROUNDING: Final = 1e-9
"""How far a function's score of one row may depend, relatively, on the rows beside it."""


@dataclass(frozen=True, slots=True)
class Tested:
    """One window: what was chosen, and what it came to.

    Attributes
    ----------
    window : Window
        The window; its test begins no earlier than the exit of the trade before it.
    combo_id : int
        The chosen combination, -1 for none.
    train : ndarray of float64, shape (n_metrics,), or None
        Metrics of its training.
    test : EngineOutput
        Trades and metrics of its test.
    train_exit : int
        Bar of the last exit of its training, -1 without one.
    """

    window: Window
    combo_id: int
    train: NDArray[np.float64] | None
    test: EngineOutput
    train_exit: int


@dataclass(frozen=True, slots=True)
class Forward:
    """All windows, and the account that went through their tests.

    Attributes
    ----------
    tested : list of Tested
        Window by window.
    trades : dict of str to ndarray
        The trades of all tests as one account made them; it ends where it is ruined.
    metrics : ndarray of float64, shape (n_metrics,)
        Those of the account, over the days from the first test to the last.
    daily : DailyAccount
        The account by day.
    """

    tested: list[Tested]
    trades: dict[str, NDArray[Any]]
    metrics: NDArray[np.float64]
    daily: DailyAccount


def run_forward(
    spec: SweepSpec,
    engine: Engine,
    windows: Sequence[Window],
    choice: Choice,
    best: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> Forward:
    """Run what every window chose, and put the tests together.

    Parameters
    ----------
    spec : SweepSpec
        The grid on the bars.
    engine : Engine
        The engine that runs.
    windows : sequence of Window
        All windows.
    choice : Choice
        How they chose.
    best : pair of ndarray, shape (n_windows,)
        Numbers of the chosen combinations and their scores, as :meth:`Best.found` gives them.

    Raises
    ------
    ConfigError
        If a user's function scores a row differently on its own.
    EngineError
        If a run differs from the row of the sweep that was chosen.
    """
    runs = _Runs(spec, engine)
    tested = []
    busy = 0
    for window, combo_id, score in zip(windows, *(each.tolist() for each in best), strict=True):
        if combo_id < 0:
            tested.append(Tested(window, -1, None, runs.nothing(window.test), -1))
            continue
        train = runs.run(combo_id, window.train)
        if not choice.plateau:
            _require_same(spec, choice, combo_id, score, train.metrics)
        late = _from(spec, window, busy)
        test = runs.nothing(late.test)
        if late.test[0] < late.test[1]:
            test = runs.run(combo_id, late.test)
        train_exit = int(train.trades["exit_bar"].max(initial=-1))
        tested.append(Tested(late, combo_id, train.metrics, test, train_exit))
        busy = max(busy, int(test.trades["exit_bar"].max(initial=0)))
    return _stitched(spec, engine, windows, tested)


class _Runs:
    """Plain runs of combinations of a grid."""

    def __init__(self, spec: SweepSpec, engine: Engine) -> None:
        self._spec, self._engine = spec, engine
        self._signals = lru_cache(_KEPT_SIGNALS)(lambda strategy: strategy.compute(spec.bars))

    def run(self, combo_id: int, span: tuple[int, int]) -> EngineOutput:
        """Return what :func:`backtest_py.run` gives for a combination on a range."""
        spec = self._spec
        strategy, rules, contract = spec.grid.settings(combo_id)
        signals = self._signals(strategy)
        job = Job(spec.bars, strategy, signals, rules, contract, spec.metrics, *span)
        return self._engine.run(job)

    def nothing(self, span: tuple[int, int]) -> EngineOutput:
        """Return a test in which nothing was traded."""
        return EngineOutput(dict(_NO_TRADES), _measured(self._spec, self._engine, _NO_TRADES, span))


def _measured(
    spec: SweepSpec, engine: Engine, trades: dict[str, NDArray[Any]], span: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the metrics of trades over a range of bars, which may be empty."""
    first, last = span
    day = spec.bars.day
    days = (int(day[first]), int(day[last - 1])) if first < last else (0, -1)
    exit_day = day[trades["exit_bar"]]
    return engine.measure(
        trades, exit_day, spec.grid.contract, spec.metrics, days, max(0, last - first)
    )


def _from(spec: SweepSpec, window: Window, busy: int) -> Window:
    """Return a window whose test begins no earlier than a bar; then it may hold no bar at all."""
    if busy <= window.test[0]:
        return window
    bars = spec.bars
    *trained, _, test_end = window.times
    time, first = test_end, window.test[1]
    for bar in range(busy, window.test[1]):
        # where clocks are turned back, a range can only begin after that hour
        if reached_bar(bars, int(bars.wall[bar])) == bar:
            time, first = int(bars.wall[bar]), bar
            break
    times = (trained[0], trained[1], time, test_end)
    return replace(window, test=(first, window.test[1]), times=times)


def _require_same(
    spec: SweepSpec,
    choice: Choice,
    combo_id: int,
    score: float,
    metrics: NDArray[np.float64],
) -> None:
    """Refuse a choice that its own run does not confirm."""
    values = {key: np.array([value]) for key, value in spec.grid.values(combo_id).items()}
    alone = float(choice.score(metrics[:, None], values)[0])
    if isinstance(choice.by, str):
        if alone != score:
            raise EngineError(
                f"combination {combo_id} was chosen for its {choice.by} of {score!r}, and its run "
                f"has {alone!r}; please report it"
            )
    elif not np.isclose(alone, score, rtol=_ROUNDING, atol=0.0):
        raise ConfigError(
            f"the metric {choice.by.name} gives combination {combo_id} {score!r} among other rows "
            f"and {alone!r} on its own; it sees a part of the grid at a time, so each row's number "
            "may depend on that row alone"
        )


def _stitched(
    spec: SweepSpec, engine: Engine, windows: Sequence[Window], tested: list[Tested]
) -> Forward:
    """Return the trades of all tests as one account made them, and their metrics."""
    trades = {
        name: np.concatenate([each.test.trades[name] for each in tested]) for name in TRADE_DTYPE
    }
    equity = np.cumsum(np.append(spec.grid.contract.initial_capital, trades["pnl"]))[1:]
    empty = np.flatnonzero(equity <= 0.0)
    if empty.size:
        trades = {name: column[: empty[0] + 1] for name, column in trades.items()}
    span = (windows[0].test[0], windows[-1].test[1])
    metrics = _measured(spec, engine, trades, span)
    n_days = int(metrics[METRICS.index("days")])
    daily = daily_account(spec.bars, span, trades, spec.grid.contract.initial_capital, n_days)
    return Forward(tested, trades, metrics, daily)
