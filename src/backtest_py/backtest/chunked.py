"""One backtest on bars that come piece by piece: memory in proportion to a piece."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import numpy as np

from backtest_py.backtest.job import (
    check_units,
    check_volume,
    expect,
    pair,
    settings_of,
    warn_of_mistakes,
)
from backtest_py.backtest.run import answered, as_strategy
from backtest_py.bars import Bars, ReadOptions, read_only, warn_of
from backtest_py.bars.ranges import edges, first_at
from backtest_py.bars.streamed import Pieces
from backtest_py.engines.base import Job, Window
from backtest_py.engines.layouts import BarColumns
from backtest_py.engines.registry import resolve
from backtest_py.errors import ConfigError, DataError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from numpy.typing import NDArray

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.bars.streamed import StreamedBars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import EngineOutput, Stream
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import History, Strategy

    Moment = str | date | None

__all__ = ["run_chunked"]

CHUNK_ROWS: Final = 65_536
"""Rows of a file that are read at once: a run then takes some 30 MB beside its trades."""


class Reading(TypedDict, total=False):
    """How a file is read; see :class:`ReadOptions`."""

    timezone: str
    session_timezone: str
    empty: str
    dayfirst: bool
    ambiguous: str
    nonexistent: str


def run_chunked(
    pieces: Iterable[Bars] | str | PathLike[str],
    strategy: str | Strategy | Callable[..., Any],
    rules: ExitRules | None = None,
    contract: Contract | None = None,
    *,
    metrics: MetricSettings | None = None,
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    engine: str = "auto",
    chunk_rows: int = CHUNK_ROWS,
    **reading: Unpack[Reading],
) -> BacktestResult:
    """Run one backtest on bars that come piece by piece, larger than memory if need be.

    The result is that of :func:`~backtest_py.run` on all bars at once, bit for bit, however they
    are cut. Memory is in proportion to a piece, and to the trades and days of the whole.

    Parameters
    ----------
    pieces : iterable of Bars, str or path
        Bars in order of time, each piece going on where the last one ended, such as
        ``feed.chunks(...)``; or the path of a Parquet file whose rows run from the oldest bar to
        the newest.
    strategy : Strategy, str or callable
        As in :func:`~backtest_py.run`; it has to say how far back its signals look, as the
        strategies of this package do: see :meth:`Strategy.history`.
    rules, contract, metrics, range, engine
        As in :func:`~backtest_py.run`.
    chunk_rows : int
        Rows of the file that are read at once.
    **reading
        How the file is read: ``timezone``, ``session_timezone``, ``empty``, ``dayfirst``,
        ``ambiguous`` and ``nonexistent``, as for :func:`~backtest_py.load_bars`.

    Returns
    -------
    BacktestResult
        Its bars are gone, so that it cannot be plotted. The certificate that it records is the hash
        of those of the pieces, where they have several.

    Raises
    ------
    ConfigError
        If an argument is of the wrong kind, or settings contradict each other or the bars. What
        only shows in all bars, such as a missing volume, is refused at the end.
    DataError
        If there is no bar, a piece does not go on where the last one ended, or the file breaks a
        rule.
    EngineUnavailableError
        If the engine cannot be loaded.
    UnsupportedError
        If it has no code for the strategy, or the strategy does not say how far it looks back.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> pieces = (bars[first : first + 500] for first in range(0, len(bars), 500))
    >>> rules = bt.ExitRules(close_time="17:00")
    >>> streamed = bt.run_chunked(pieces, bt.BarraElefante(lookback=10), rules)
    >>> streamed.metrics == bt.run(bars, bt.BarraElefante(lookback=10), rules).metrics
    True
    """
    unknown = sorted(set(reading) - set(Reading.__annotations__))
    if unknown:
        raise TypeError(
            f"run_chunked() got an unexpected keyword argument {unknown[0]!r}; a file is read by "
            f"{', '.join(Reading.__annotations__)}"
        )
    options = ReadOptions(**reading)
    settings = settings_of(rules, contract, metrics)
    chosen = as_strategy(strategy)
    history = _history_of(chosen)
    start, end = pair(range)
    run = _Run(chosen, history, settings, edges(start, end), engine)
    iterator = _iterator(pieces, options, chunk_rows)
    try:
        for piece in iterator:
            run.add(piece)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    return _result(run, (start, end), warn=isinstance(pieces, (str, PathLike)))


def _result(run: _Run, span: tuple[Moment, Moment], *, warn: bool) -> BacktestResult:
    """Return the result; ``warn`` tells that nobody has seen the warnings of the bars yet."""
    bars, first, last = run.finish()
    if warn:
        warn_of(bars.report)
    bars.check_span(first, last, *span)
    job = Job(bars, run.strategy, None, *run.settings, first, last)
    check_volume(job)
    warn_of_mistakes(job)
    return answered(job, run.output(), *run.engine)


def _history_of(strategy: Strategy) -> History:
    history = strategy.history()
    if history is not None and not strategy.computes_signals:
        return history
    if strategy.computes_signals:
        why = "it is a function of all bars; use bt.run, or make it a Strategy class with a kernel"
    else:
        why = (
            "it does not say how far its signals look back; give its class a method history that "
            "returns History(bars=...), or use bt.run"
        )
    raise UnsupportedError(f"strategy {strategy.name!r} cannot be run piece by piece: {why}")


def _iterator(pieces: object, options: ReadOptions, chunk_rows: int) -> Iterator[Bars]:
    if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int) or chunk_rows < 1:
        raise ConfigError(
            f"chunk_rows = {chunk_rows!r} is not allowed; give a whole number, 1 or more"
        )
    if isinstance(pieces, (str, PathLike)):
        from backtest_py.data.readers import stream_bars  # noqa: PLC0415 - imports Arrow

        return stream_bars(pieces, options, chunk_rows)
    if options != ReadOptions():
        raise ConfigError(
            "timezone, empty and the like say how a file is read, but pieces is no path; give them "
            "where the bars are made"
        )
    if isinstance(pieces, Bars):
        raise ConfigError("pieces is a bt.Bars; give a list of them, as [bars], or use bt.run")
    if not isinstance(pieces, Iterable):
        raise ConfigError(
            f"pieces is of type {type(pieces).__name__}; give an iterable of bt.Bars, or the path "
            "of a Parquet file"
        )
    return iter(pieces)


_NAMES: Final = ("time", *BarColumns._fields)


class _Run:
    """A backtest on its way through the pieces.

    What is kept of the bars that were gone through is what later ones depend on. The last bar that
    has come is held back until the next piece, or the end, tells whether its day ends with it.
    """

    def __init__(
        self,
        strategy: Strategy,
        history: History,
        settings: tuple[ExitRules, Contract, MetricSettings],
        span: tuple[int | None, int | None],
        engine: str,
    ) -> None:
        self.strategy, self.settings = strategy, settings
        rules = settings[0]
        averaged = rules.atr_period if rules.needs_atr and rules.atr_method == "sma" else 1
        self._bars_before, self._day_before = max(history.bars, averaged), history.day
        self._engine_name = engine
        self._n_pieces = 0
        self._stream: Stream | None = None
        self._pieces = Pieces(settings[1].tick_size)
        self._columns: dict[str, NDArray[Any]] = {}
        self._base = 0
        self._start = 0
        self._span = _Span(*span)
        self._entered: tuple[int, NDArray[np.int64]] = (-1, np.empty(2, np.int64))
        self._known: list[NDArray[np.int64]] = []

    def add(self, piece: Bars) -> None:
        """Take the next piece, and go through all bars but the last."""
        where = f"pieces[{self._n_pieces}]"
        expect(where, piece, Bars)
        self._n_pieces += 1
        if self._stream is None:
            self._begin(piece)
        before = self._pieces.n_bars
        first_day = self._pieces.add(piece)
        day = piece.day + np.int32(first_day)
        self._span.look(piece, before, day)
        columns = {**{name: getattr(piece, name) for name in _NAMES}, "day": day}
        if piece.atr_column is not None:
            columns["atr"] = piece.atr_column
        if self._columns:
            columns = {
                name: np.concatenate([self._columns[name], column])
                for name, column in columns.items()
            }
        self._columns = {name: read_only(column) for name, column in columns.items()}
        if before == 0:
            self._know(np.zeros(1, np.int64), piece.time[:1])
        self._advance(len(columns["time"]) - 1)

    def _begin(self, piece: Bars) -> None:
        job = Job(piece, self.strategy, None, *self.settings, 0, len(piece))
        check_units(job)
        self.engine = resolve(self._engine_name, job)
        self._stream = self.engine[0].stream(self.strategy, *self.settings[:2])

    def _advance(self, until: int) -> None:
        """Go through the bars up to ``until``, and let go of those that no later one needs."""
        if self._stream is None or until <= self._start:
            return
        time, atr = self._columns["time"], self._columns.get("atr")
        columns = BarColumns(*(self._columns[name] for name in BarColumns._fields))
        window = Window(columns, atr, self._base, self._start, until)
        # A range that has not begun by then begins at its end at the earliest.
        first, last = self._span.bounds(self._base + until, self._base + len(time))
        self._note(self._stream.advance(window, first, last))
        keep = max(0, until - self._bars_before)
        if self._day_before and until < len(time):
            keep = min(keep, int(np.searchsorted(columns.day, columns.day[until])))
        self._columns = {
            name: read_only(column[keep:].copy()) for name, column in self._columns.items()
        }
        self._base += keep
        self._start = until - keep

    def _note(self, trades: NDArray[np.int64]) -> None:
        """Note the times of trades that have ended, and of the entry of a position that is held."""
        time = self._columns["time"]
        local = trades - self._base
        times = time[np.maximum(local, 0)]
        if trades.shape[1] and trades[1, 0] == self._entered[0]:
            times[:2, 0] = self._entered[1]  # entered in an earlier window
        self._know(trades.ravel(), times.ravel())
        assert self._stream is not None
        entered = self._stream.entered
        if entered not in {-1, self._entered[0]}:
            self._entered = entered, time[[entered - 1 - self._base, entered - self._base]]

    def _know(self, rows: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        if len(rows):
            self._known.append(np.array([rows, times]))

    def finish(self) -> tuple[StreamedBars, int, int]:
        """Go through the last bar; return what is kept of the bars, and the range.

        Raises
        ------
        DataError
            If there is no bar.
        """
        n_bars = self._pieces.n_bars
        if n_bars == 0:
            raise DataError("pieces holds no bars; at least one bar is needed")
        self._advance(len(self._columns["time"]))
        first, last = self._span.bounds(n_bars, n_bars)
        for row, time in (*self._span.known, (n_bars - 1, self._pieces.last_time)):
            self._know(np.array([row]), np.array([time]))
        rows, times = np.concatenate(self._known, axis=1)
        self._known = []
        self._range = first, last
        return self._pieces.finish(rows, times), first, last

    def output(self) -> EngineOutput:
        """Return trades and metrics."""
        assert self._stream is not None
        return self._stream.finish(
            self.settings[2], *self._range, self._span.days(self._pieces.n_days - 1)
        )


class _Span:
    """A range on the session's wall clock, looked for in pieces of bars."""

    def __init__(self, low: int | None, high: int | None) -> None:
        self._low, self._high = low, high
        self._first: int | None = 0 if low is None else None
        self._last: int | None = None
        self._first_day = self._last_day = 0
        self._before: tuple[int, int, int] = (0, 0, 0)
        self.known: list[tuple[int, int]] = []
        """Numbers and times of the bars at its edges."""

    def look(self, piece: Bars, n_before: int, day: NDArray[np.int32]) -> None:
        """Look for both edges in a piece that comes after so many bars."""
        if self._first is None and self._low is not None:
            row = first_at(piece.wall, self._low)
            if row < len(piece):
                self._first, self._first_day = n_before + row, int(day[row])
                self.known.append((self._first, int(piece.time[row])))
        if self._last is None and self._high is not None:
            row = first_at(piece.wall, self._high)
            if row < len(piece):
                self._last = n_before + row
                self.known.append((self._last, int(piece.time[row])))
                if row > 0:
                    self._before = self._last - 1, int(piece.time[row - 1]), int(day[row - 1])
                self._last_day = self._before[2]
                self.known.append(self._before[:2])
            else:
                self._before = n_before + row - 1, int(piece.time[-1]), int(day[-1])

    def bounds(self, first: int, last: int) -> tuple[int, int]:
        """Return the first bar and the one after the last, these where they are not known."""
        return (
            first if self._first is None else self._first,
            last if self._last is None else self._last,
        )

    def days(self, last_day: int) -> tuple[int, int]:
        """Return the first day and the last, that of all bars where the range is open."""
        return self._first_day, last_day if self._last is None else self._last_day
