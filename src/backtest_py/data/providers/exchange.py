"""What the feed needs of an exchange; a second one is one more file beside ``binance``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backtest_py.data.market.blocks import Block, Source
    from backtest_py.data.market.candles import Series
    from backtest_py.data.market.spans import Span

__all__ = ["Exchange"]


class Exchange(Protocol):
    """A source of closed candles; safe to use from several threads."""

    @property
    def name(self) -> str:
        """Return the name by which settings and provenance know it."""

    def server_time(self) -> int:
        """Return the exchange's own clock, milliseconds since 1970, UTC.

        Raises
        ------
        ExchangeError
            If it cannot be had.
        """

    def listed_at(self, symbol: str) -> int:
        """Return when trading of a symbol began, milliseconds since 1970, UTC.

        Raises
        ------
        MissingDataError
            If the exchange has no such symbol.
        ExchangeError
            If the exchange gave no usable answer.
        """

    def fetch(
        self, series: Series, wanted: Span, *, progress: Callable[[int], None] | None = None
    ) -> Iterator[Block]:
        """Yield blocks as they arrive, which together know all that can be known of a span.

        They come in no particular order, and several may be of one period. Only closed candles; a
        candle that the exchange does not have is a hole with its evidence. What remains unknown
        afterwards cannot be had now: it is still open, lies outside of the time in which the
        market traded, or the exchange has no such symbol. Whoever stops halfway, or is stopped by
        an error, has whole blocks, and goes on by asking for the rest.

        Parameters
        ----------
        series : Series
            What to fetch.
        wanted : Span
            Aligned with the interval.
        progress : callable, optional
            Told how many candles arrived.

        Raises
        ------
        ExchangeError
            If an answer cannot be used, after all retries.
        """

    def fetch_many(
        self,
        wanted: Iterable[tuple[Series, Span]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Block]:
        """Yield blocks of several series, or spans of one, in parallel; else as :meth:`fetch`."""

    def checksum(self, series: Series, source: Source) -> str:
        """Return the checksum that the file of a source has now.

        It is "" where the source was no file of this exchange, or there is none any more.

        Raises
        ------
        ExchangeError
            If it cannot be had.
        """

    def close(self) -> None:
        """Let go of all connections."""
