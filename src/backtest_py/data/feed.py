"""One door to market data: memory, a database, an archive, and only then the exchange."""

from __future__ import annotations

import time
import warnings
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias, cast

from backtest_py.data.market.asked import aligned_to, inside_of, span_of
from backtest_py.data.market.blocks import Block, periods
from backtest_py.data.market.candles import Series
from backtest_py.data.market.certificates import certificate_of, part_of
from backtest_py.data.market.gathering import NoCandlesError, gathered_bars
from backtest_py.data.market.spans import Span, instant_text, missing
from backtest_py.data.recording import Looks, fetched, rewritten
from backtest_py.data.rewrites import Journal, Merging
from backtest_py.data.tiers import Tiers
from backtest_py.errors import (
    BacktestWarning,
    CacheError,
    ConfigError,
    DataError,
    MissingDataError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from backtest_py.bars import Bars
    from backtest_py.data.cache.archive import Archive
    from backtest_py.data.cache.database import Database
    from backtest_py.data.cache.memory import Memory
    from backtest_py.data.market.certificates import Certificate
    from backtest_py.data.providers.exchange import Exchange
    from backtest_py.data.rewrites import Rewrite
    from backtest_py.monitoring import MetricsServer

    Moment = str | date | int
    Place: TypeAlias = tuple[Series, Span]

__all__ = ["Feed", "Fetching"]

BYTES_OF_A_BAR: Final = 8 * 8
"""What a bar takes in memory: time, five columns, minute and day, and some that are remembered."""

LOCKED: Final = 128
"""Blocks that are locked and fetched at a time: each lock is an open file."""
KEEP_SECONDS: Final = 0.25
"""So long after the last time, what has arrived is kept: a process may be killed."""


class Fetching(NamedTuple):
    """How far a download is.

    Attributes
    ----------
    symbol : str
        Of what has just arrived.
    n_candles : int
        How many candles have arrived so far, of all symbols.
    n_answers : int
        In how many pages and files.
    n_wanted : int
        How many candles no tier had; fewer arrive where the market is younger than the span.
    """

    symbol: str
    n_candles: int
    n_answers: int
    n_wanted: int


class _Lacking(Exception):  # noqa: N818 - a question for the exchange, no error
    """No tier knows all of what is wanted."""


class Feed:
    """Complete, closed, checked bars of an exchange, from the nearest tier that has them.

    Parameters
    ----------
    exchange : Exchange
        Who is asked for what no tier has.
    memory : Memory
        The first tier.
    database : Database or None
        The second tier.
    archive : Archive or None
        The third tier.
    locks : Path
        Folder of the locks by which processes fetch a range once; the journal of what the
        exchange has rewritten lies beside it.
    workers : int
        Threads that read and check blocks; 0 is one for each processor.
    metrics : MetricsServer, optional
        The page of metrics that ends with the feed.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        memory: Memory,
        database: Database | None,
        archive: Archive | None,
        locks: Path,
        workers: int = 0,
        metrics: MetricsServer | None = None,
    ) -> None:
        self.exchange = exchange
        self.memory = memory
        self.journal = Journal(locks.parent / "rewritten.jsonl")
        self.tiers = Tiers(database, archive, self.journal)
        self._locks = locks
        self._workers = workers
        self._metrics = metrics

    @property
    def database(self) -> Database | None:
        """The second tier."""
        return self.tiers.database

    @property
    def archive(self) -> Archive | None:
        """The third tier."""
        return self.tiers.archive

    def bars(
        self,
        symbol: str,
        interval: str,
        start: Moment,
        end: Moment,
        *,
        session_timezone: str = "UTC",
    ) -> Bars:
        """Return the bars that open in ``[start, end)``, all of them closed.

        Raises
        ------
        ConfigError
            If symbol, interval or time are not allowed.
        MissingDataError
            If a candle of the span is not closed yet, or nobody has it.
        ExchangeError
            If the exchange had to be asked and gave no usable answer.
        """
        series = Series.of(symbol, interval)
        wanted = span_of(start, end)
        found = self.memory.get(self._key(series, wanted, session_timezone))
        if found is not None:
            return cast("Bars", found)
        return self._gathered({series: wanted}, session_timezone)[series]

    def bars_many(
        self,
        symbols: Iterable[str],
        interval: str,
        start: Moment,
        end: Moment,
        *,
        session_timezone: str = "UTC",
        progress: Callable[[Fetching], None] | None = None,
    ) -> dict[str, Bars]:
        """Return the bars of several symbols; what is missing of all is fetched in parallel.

        ``progress`` is called for every page and file that arrives from the exchange.

        Raises
        ------
        BacktestError
            As :meth:`bars`, for the first symbol that cannot be had.
        """
        if isinstance(symbols, str):
            raise ConfigError(f"symbols = {symbols[:40]!r} is one text; give a list of symbols")
        wanted = span_of(start, end)
        series = {symbol: Series.of(symbol, interval) for symbol in symbols}
        keys = {each: self._key(each, wanted, session_timezone) for each in series.values()}
        found = {each: self.memory.get(key) for each, key in keys.items()}
        missed = {each: wanted for each, bars in found.items() if bars is None}
        found |= self._gathered(missed, session_timezone, progress=progress)
        return {symbol: found[each] for symbol, each in series.items()}

    async def bars_async(
        self,
        symbol: str,
        interval: str,
        start: Moment,
        end: Moment,
        *,
        session_timezone: str = "UTC",
    ) -> Bars:
        """Return what :meth:`bars` does, without holding up the event loop."""
        from asyncio import to_thread  # noqa: PLC0415 - only for those who await

        return await to_thread(
            self.bars, symbol, interval, start, end, session_timezone=session_timezone
        )

    def chunks(
        self,
        symbol: str,
        interval: str,
        start: Moment,
        end: Moment,
        *,
        session_timezone: str = "UTC",
    ) -> Iterator[Bars]:
        """Yield the bars of a span piece by piece: a month of minutes, a year of hours.

        A month or year in which the exchange has no candle at all gives no piece.

        Raises
        ------
        BacktestError
            As :meth:`bars`, when the piece is reached.
        """
        series = Series.of(symbol, interval)
        aligned = aligned_to(series, span_of(start, end))
        empty, n_pieces = None, 0
        for period in periods(series, aligned):
            part = inside_of(series, period, aligned)
            if part.start == part.end:
                continue
            try:
                piece = self._gathered({series: part}, session_timezone, keep=False)[series]
            except NoCandlesError as error:
                empty = error
                continue
            n_pieces += 1
            yield piece
        if empty is not None and not n_pieces:
            raise empty

    def certificate(self, symbol: str, interval: str, start: Moment, end: Moment) -> Certificate:
        """Return the certificate of the bars of a span, which are fetched where they lack.

        Raises
        ------
        BacktestError
            As :meth:`bars`.
        """
        series = Series.of(symbol, interval)
        aligned = aligned_to(series, span_of(start, end))
        blocks = self._completed({series: aligned})
        return certificate_of(series, [part_of(block, aligned) for block in blocks.values()])

    @contextmanager
    def holding(self, series: Series, period: Span) -> Iterator[None]:
        """Keep every process from writing a month or year while it is looked at."""
        with self._locked([(series, period)]):
            yield

    def kept(self, series: Series, period: Span) -> Block:
        """Return all that the tiers know of a month or year, without asking the exchange."""
        return self.tiers.kept(series, period)

    def add(self, block: Block) -> None:
        """Keep what a block knows beyond what is known.

        Raises
        ------
        DataError
            If it says something else of a candle that is known; then nothing of it is kept.
        CacheError
            If no tier can keep it.
        """
        at = (block.series, block.period)
        with self._locked([at]):
            known = self.tiers.kept(*at)
            other = known.differs_from(block)
            if other:
                raise DataError(
                    f"{block.series}: other candles are known from {instant_text(other[0].start)} "
                    f"to {instant_text(other[0].end)}; nothing is kept"
                )
            for gap in known.missing(block.period):
                known = known.replaced_by(block.restricted(gap))
            if not self.tiers.store(known):
                raise CacheError(f"{block.series}: no tier can keep it; see the warnings")

    def restore(self, series: Series, period: Span) -> None:
        """Bring all that is known of a month or year to every tier; fetch it where nothing is.

        Raises
        ------
        ExchangeError
            If the exchange had to be asked and gave no usable answer.
        """
        at = (series, period)
        with self._locked([at]):
            blocks = {at: self.tiers.kept(*at)}
            if blocks[at].known:
                self.tiers.store(blocks[at])
            else:
                self._fetch([at], blocks)

    def ask_again(
        self, series: Series, period: Span, doubted: Callable[[Block], list[Span]]
    ) -> tuple[list[Rewrite], list[Span]]:
        """Ask the exchange again for what is known; what it has rewritten takes its place.

        Parameters
        ----------
        series, period : Series, Span
            The month or year.
        doubted : callable
            Given all that is known of it, returns the spans to ask for.

        Returns
        -------
        list of Rewrite
            What was replaced in every tier.
        list of Span
            What the exchange said nothing of; it stays.

        Raises
        ------
        ExchangeError
            If it gave no usable answer.
        """
        at = (series, period)
        with self._locked([at]):
            blocks = {at: self.tiers.kept(*at)}
            spans = doubted(blocks[at])
            found = self._fetch([(series, span) for span in spans], blocks)
        return found.rewrites, [gap for span in spans for gap in missing(span, found.told)]

    def close(self) -> None:
        """Let go of connections; tiers on disk stay as they are."""
        self.exchange.close()
        if self.database is not None:
            self.database.close()
        if self._metrics is not None:
            self._metrics.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # from wanted spans to bars

    def _gathered(
        self,
        wanted: Mapping[Series, Span],
        session_timezone: str,
        *,
        keep: bool = True,
        progress: Callable[[Fetching], None] | None = None,
    ) -> dict[Series, Bars]:
        """Return bars of several series: from the tiers, and what they lack from the exchange."""
        aligned = {series: aligned_to(series, span) for series, span in wanted.items()}
        # taken before anything is read: if it is rewritten meanwhile, nobody finds the old bars
        keys = {
            series: self._key(series, span, session_timezone) for series, span in wanted.items()
        }
        found: dict[Series, Bars] = {}
        for series, span in aligned.items():
            with suppress(_Lacking):
                found[series] = self._bars_of(series, span, {}, session_timezone)
        lacking = {series: span for series, span in aligned.items() if series not in found}
        if lacking:
            blocks = self._completed(lacking, progress)
            for series, span in lacking.items():
                found[series] = self._bars_of(series, span, blocks, session_timezone)
        for series, bars in found.items() if keep else ():
            self.memory.put(keys[series], bars, BYTES_OF_A_BAR * len(bars))
        with suppress(CacheError):  # whoever reads or writes there is told
            if self.database is not None:
                self.database.sweep_daily()
        return found

    def _key(self, series: Series, wanted: Span, session_timezone: str) -> Hashable:
        """Return where bars are in memory: elsewhere once the exchange has rewritten the series."""
        mark: Hashable
        try:
            mark = self.journal.generation(series)
        except CacheError as error:
            warnings.warn(f"{error}; memory is not used", BacktestWarning, stacklevel=2)
            mark = time.monotonic_ns()  # which nobody finds
        return (series, wanted, session_timezone, mark)

    def _bars_of(
        self, series: Series, span: Span, blocks: Mapping[Place, Block], session_timezone: str
    ) -> Bars:
        """Return the bars of a span from blocks at hand, or else from the tiers.

        Raises
        ------
        _Lacking
            If no tier knows all of it.
        """
        looks = Looks()

        def known(period: Span) -> Block:
            inside = inside_of(series, period, span)
            at = (series, period)
            if inside.start == inside.end:
                return Block.nothing(*at)
            block = blocks.get(at) or self.tiers.kept(*at, inside, details=False, looks=looks)
            if block.missing(inside):
                raise _Lacking
            return block

        bars = gathered_bars(
            series,
            span,
            known,
            source=self.exchange.name,
            session_timezone=session_timezone,
            workers=self._workers,
        )
        looks.count()  # not where something lacks: all of it is looked up again
        return bars

    def _completed(
        self,
        wanted: Mapping[Series, Span],
        progress: Callable[[Fetching], None] | None = None,
    ) -> dict[Place, Block]:
        """Fetch what no tier knows, and return the blocks of all that is wanted."""
        insides = {
            (series, period): inside
            for series, span in wanted.items()
            for period in periods(series, span)
            if (inside := inside_of(series, period, span)).start < inside.end
        }
        # in one order for all threads and processes, so that nobody waits for each other
        order = sorted(insides, key=lambda at: (str(at[0]), at[1]))
        blocks: dict[Place, Block] = {}
        looks = Looks(insides)
        for first in range(0, len(order), LOCKED):
            places = order[first : first + LOCKED]
            with self._locked(places):
                # whole blocks, since they are written back; another may have fetched some meanwhile
                blocks |= {at: self.tiers.kept(*at, looks=looks) for at in places}
                looks.count()
                gaps = [(at[0], gap) for at in places for gap in blocks[at].missing(insides[at])]
                if gaps:
                    lacking = [at for at in places if blocks[at].missing(insides[at])]
                    self._fetch(gaps, blocks, progress)
                    for at in lacking:
                        looks.note("exchange", *at, insides[at], blocks[at])
                    looks.count()
        for at, inside in insides.items():
            unknown = blocks[at].missing(inside)
            if unknown:
                raise self._absence(at[0], unknown[0])
        return blocks

    def _fetch(
        self,
        gaps: list[tuple[Series, Span]],
        blocks: dict[Place, Block],
        progress: Callable[[Fetching], None] | None = None,
    ) -> Merging:
        """Add what the exchange has of some spans to blocks, and keep them, even half-way.

        They are kept while others are under way, so that a process that is killed loses little.
        """
        merging = Merging(blocks)
        n_wanted = sum(series.interval.count(*gap) for series, gap in gaps)
        n_candles, kept_at = 0, time.monotonic()
        try:
            parts = fetched(self.exchange.name, self.exchange.fetch_many(gaps))
            for n_answers, part in enumerate(parts, 1):
                merging.take(part)
                n_candles += len(part.candles)
                if progress is not None:
                    progress(Fetching(part.series.symbol, n_candles, n_answers, n_wanted))
                if time.monotonic() - kept_at > KEEP_SECONDS:
                    self._keep(merging, blocks)
                    kept_at = time.monotonic()
            doubted = merging.doubted()
            again = fetched(self.exchange.name, self.exchange.fetch_many(doubted))
            for part in again if doubted else ():
                merging.take(part)
        finally:
            self._keep(merging, blocks)
        return merging

    def _keep(self, merging: Merging, blocks: Mapping[Place, Block]) -> None:
        """Write blocks to the tiers that can be written, and before that what was rewritten."""
        rewrites = merging.news()
        if rewrites:  # first: a tier that is not reached any more is then not believed
            try:
                self.journal.add(rewrites)
            except CacheError as error:
                warnings.warn(
                    f"{error}; other processes do not know", BacktestWarning, stacklevel=2
                )
            rewritten(self.exchange.name, rewrites)
            series = {each.series for each in rewrites}
            self.memory.drop_where(lambda key: key[0] in series)
        while merging.changed:
            self.tiers.store(blocks[merging.changed.pop()])

    def _absence(self, series: Series, gap: Span) -> MissingDataError:
        """Return the error that says why a candle cannot be had."""
        listed = self.exchange.listed_at(series.symbol)
        if gap.start < listed:
            return MissingDataError(
                f"{series}: there is nothing before {instant_text(listed)}, when trading began; "
                "ask from then on"
            )
        now = self.exchange.server_time()
        if series.interval.after(gap.start) > now:
            return MissingDataError(
                f"{series}: the candle of {instant_text(gap.start)} is not closed yet (the "
                f"exchange's clock says {instant_text(now)}); ask up to "
                f"{instant_text(series.interval.floor(now))}"
            )
        return MissingDataError(
            f"{series}: {self.exchange.name} has no candle from {instant_text(gap.start)} to "
            f"{instant_text(gap.end)}; ask for another span"
        )

    @contextmanager
    def _locked(self, places: Iterable[Place]) -> Iterator[None]:
        """Hold the locks of some blocks, by which threads and processes fetch a range once."""
        from filelock import FileLock  # noqa: PLC0415 - of the extra `data`

        with ExitStack() as locks:
            try:
                self._locks.mkdir(parents=True, exist_ok=True)
                for series, period in places:
                    name = sha256(f"{series}|{period.start}".encode()).hexdigest()[:24]
                    locks.enter_context(FileLock(self._locks / f"{name}.lock"))
            except (
                OSError,
                NotImplementedError,
            ) as error:  # then two may fetch the same, for nothing
                warnings.warn(
                    f"{self._locks} cannot hold locks ({error}); another process may fetch the "
                    "same",
                    BacktestWarning,
                    stacklevel=2,
                )
            yield
