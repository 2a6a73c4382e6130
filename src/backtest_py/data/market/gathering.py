"""From blocks to bars: each block's candles are written where they belong, by several threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars import BarsReport, ReadOptions, build_bars
from backtest_py.bars.columns import PRICES, Columns
from backtest_py.bars.timestamps import Times
from backtest_py.data.market.blocks import periods
from backtest_py.data.market.certificates import certificate_of, part_of
from backtest_py.errors import MissingDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.data.market.blocks import Block
    from backtest_py.data.market.candles import Series
    from backtest_py.data.market.certificates import Part
    from backtest_py.data.market.spans import Span

__all__ = ["NoCandlesError", "gathered_bars"]

EXCHANGE: Final = "binance"
"""Whom a feed asks, even where candles were imported; notes of how to get bars again name it."""
_NANOSECONDS: Final = 1_000_000
_COLUMNS: Final = (*PRICES, "volume")
FEW: Final = 20_000
"""Fewer bars are gathered before a second thread has begun."""


class NoCandlesError(MissingDataError):
    """All of a span is known, and the exchange has no candle in it."""


def gathered_bars(
    series: Series,
    wanted: Span,
    known: Callable[[Span], Block],
    *,
    source: str = "",
    session_timezone: str = "UTC",
    workers: int = 0,
) -> Bars:
    """Return the bars of a span, from the blocks that know it.

    Hashing, unpacking and copying leave the interpreter free for others, so the blocks of a long
    span are read by several threads, and no more of them is in memory than is needed.

    Parameters
    ----------
    series : Series
        What the bars are of.
    wanted : Span
        Aligned with the interval.
    known : callable
        Returns the block of a period, which knows all of its part of the span.
    source : str
        Name of the exchange, for the candles that were not imported.
    session_timezone : str
        As of :class:`~backtest_py.Bars`.
    workers : int
        Threads; 0 is one for each processor, at most 8.

    Raises
    ------
    NoCandlesError
        If the exchange has no candle in the whole span.
    DataError
        If the candles break a rule of bars.
    """
    n_slots = series.interval.count(*wanted)
    # in one piece: a large one gets large pages of memory
    table = np.empty((1 + len(_COLUMNS), n_slots))
    time, columns = table[0].view(np.int64), dict(zip(_COLUMNS, table[1:], strict=True))
    parts = list(periods(series, wanted))

    def place(period: Span) -> tuple[int, int, Part]:
        block = known(period)
        candles = block.candles
        rows = slice(*np.searchsorted(candles.open_time, np.array(wanted, np.int64)).tolist())
        first = series.interval.count(wanted.start, max(wanted.start, period.start))
        end = first + rows.stop - rows.start
        np.multiply(candles.open_time[rows], _NANOSECONDS, out=time[first:end])
        for name, column in columns.items():
            column[first:end] = getattr(candles, name)[rows]
        return first, end, part_of(block, wanted)

    workers = min(len(parts), workers or min(os.cpu_count() or 1, 8))
    placed = _each(place, parts, 1 if n_slots < FEW else workers)
    runs = [(first, end) for first, end, _ in placed]
    name = series.interval.name
    certificate = certificate_of(series, [part for _, _, part in placed])
    time = _closed_up(time, runs)
    if not len(time):
        raise NoCandlesError(f"{series}: the exchange has no candle in the whole span")
    return build_bars(
        Columns(
            times=Times(time, has_zone=True, zone="UTC"),
            atr=None,
            at=lambda column, row: f"{series}: {column}[{row}]",
            **{name: _closed_up(column, runs) for name, column in columns.items()},
        ),
        ReadOptions(session_timezone=session_timezone),
        BarsReport(
            source=certificate.origin(source),
            format="feed",
            arguments={
                "source": EXCHANGE,
                "symbol": series.symbol,
                "interval": series.interval.name,
            },
            rows_read=len(time),
            volume_kind="volume",
            symbol=series.symbol,
            interval=name,
            certificate=certificate.hash,
        ),
        owned=True,
    )


def _each(
    place: Callable[[Span], tuple[int, int, Part]], parts: list[Span], workers: int
) -> list[tuple[int, int, Part]]:
    """Return what ``place`` says of each part, in their order; several threads share them."""
    if workers == 1:
        return [place(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        try:
            return list(pool.map(place, parts))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _closed_up(column: NDArray[Any], runs: list[tuple[int, int]]) -> NDArray[Any]:
    """Return a column without the slots that stayed empty, where the exchange has holes."""
    last = runs[-1][1]
    if all(before[1] == after[0] for before, after in pairwise(runs)) and last == len(column):
        return column
    return np.concatenate([column[first:end] for first, end in runs])
