"""A backtest whose bars come chunk by chunk. Mirrors ``engine_rust/src/stream.rs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest_py.bars import read_only
from backtest_py.engines.base import EngineOutput
from backtest_py.engines.layouts import TRADE_DTYPE, ContractView, RulesView, SettingsView
from backtest_py.engines.numba_engine.backtest_engine import (
    begin,
    count_signals,
    empty_trades,
    first_trades,
    simulate,
)
from backtest_py.engines.numba_engine.metrics import days_of, measure
from backtest_py.engines.numba_engine.strategy import detect_from
from backtest_py.engines.numba_engine.types import Course, Trades
from backtest_py.indicators import atr_sma, wilder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import Window
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy

__all__ = ["Stream"]

_NONE = read_only(np.empty(0))


class Stream:
    """One backtest that goes on from chunk to chunk; see :class:`engines.base.Stream`."""

    def __init__(self, strategy: Strategy, rules: ExitRules, contract: Contract) -> None:
        self._strategy = strategy
        self._rules = rules
        self._views = RulesView(*rules.values()), ContractView(*contract.values())
        self._course: Course = begin(self._views[1], 0)
        self._carried = 0.0
        self._closed: list[Trades] = [empty_trades(0)]
        self._exit_days: list[NDArray[np.int32]] = [np.empty(0, np.int32)]

    @property
    def entered(self) -> int:
        """Return the bar at which the position that is held was entered, -1 if there is none."""
        position = self._course.position
        return position.entry_bar if position.side != 0 else -1

    def advance(self, window: Window, first: int, last: int) -> NDArray[np.int64]:
        """Go through the new bars of a window; see :meth:`engines.base.Stream.advance`."""
        bars, base = window.bars, window.base
        signals = detect_from(bars, self._strategy, window.start, window.until)
        side = read_only(signals.side)
        course = moved(self._course, -base)
        course = course._replace(next_bar=max(course.next_bar, first - base, window.start))
        room = empty_trades(1 + count_signals(side, window.start, window.until))
        course, count = simulate(
            bars,
            self._atr(window),
            side,
            _NONE if signals.risk is None else read_only(signals.risk),
            *self._views,
            last - base,
            window.until,
            course,
            room,
        )
        self._course = moved(course, base)
        if count == 0:
            return np.empty((3, 0), np.int64)
        trades = first_trades(room, count)
        self._exit_days.append(days_of(trades.exit_bar, bars.day))
        bars_of = np.array([trades.signal_bar, trades.entry_bar, trades.exit_bar]) + base
        trades = trades._replace(signal_bar=bars_of[0], entry_bar=bars_of[1], exit_bar=bars_of[2])
        self._closed.append(trades)
        return bars_of

    def _atr(self, window: Window) -> NDArray[np.float64]:
        """Return the average true range at the new bars of a window, as the rules ask for it."""
        rules, bars = self._rules, window.bars
        if not rules.needs_atr:
            return _NONE
        if rules.atr_method == "column":
            return _NONE if window.atr is None else window.atr
        atr = np.full(len(bars.open), np.nan)
        start, until = window.start, window.until
        if rules.atr_method == "sma":
            high, low, close = bars.high[:until], bars.low[:until], bars.close[:until]
            atr_sma(high, low, close, rules.atr_period, atr[:until])
            return read_only(atr)
        seen = window.base + start
        new = slice(start - (1 if seen > 0 else 0), until)
        self._carried = wilder(
            bars.high[new],
            bars.low[new],
            bars.close[new],
            rules.atr_period,
            seen,
            self._carried,
            atr[start:until],
        )
        return read_only(atr)

    def finish(
        self, settings: MetricSettings, first: int, last: int, span: tuple[int, int]
    ) -> EngineOutput:
        """Return all trades and their metrics; see :meth:`engines.base.Stream.finish`."""
        parts, self._closed = [trades._asdict() for trades in self._closed], []
        columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in TRADE_DTYPE}
        metrics = measure(
            Trades(**columns),
            np.concatenate(self._exit_days),
            self._views[1],
            SettingsView(*settings.values()),
            (np.int32(span[0]), np.int32(span[1])),
            last - first,
        )
        return EngineOutput(columns, metrics)


def moved(course: Course, by: int) -> Course:
    """Return a course that counts bars from another one on."""
    position = course.position
    return course._replace(
        next_bar=course.next_bar + by,
        position=position._replace(
            entry_bar=position.entry_bar + by, next_bar=position.next_bar + by
        ),
    )
