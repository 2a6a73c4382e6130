"""Binance's USDT-margined futures: klines over REST, and the public archive for history.

What is asked where: a month or day comes from the archive where REST would need more than
``FEW_PAGES`` pages for it, and over REST otherwise. What the archive lacks, or has with a wrong
checksum, comes over REST; what REST has no more, such as a market that was delisted, is looked for
in the archive.

What an answer means: a page is everything that opens from its start on. A candle that it skips is
a hole only between two candles that exist, and only if the question is answered alike twice. An
empty page means that nothing has traded since; that is not known to stay so, and is no hole.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from backtest_py.data.market.blocks import Block, Hole, Source, absent, periods
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.spans import Span, missing
from backtest_py.data.providers.budget import MINUTE_MS, Budget, Rule
from backtest_py.data.providers.bulk import BulkArchive, calendar, overlap
from backtest_py.data.providers.jobs import Done, run_jobs
from backtest_py.data.providers.klines import candles_of_rows
from backtest_py.data.providers.transport import (
    UNIT_MS,
    NotThere,
    Refused,
    Stopped,
    Transport,
    Unusable,
)
from backtest_py.errors import BacktestWarning, DataError, ExchangeError, MissingDataError
from backtest_py.monitoring.market_data import exchange_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from backtest_py.data.providers.bulk import Unit

    Job = Callable[[threading.Event], Done["Block | str"]]

__all__ = ["BULK_URL", "EXCHANGE_URL", "Binance"]

EXCHANGE_URL: Final = "https://fapi.binance.com"
BULK_URL: Final = "https://data.binance.vision"
KLINES: Final = "/fapi/v1/klines"
ENDPOINTS: Final = {
    KLINES: "klines",
    "/fapi/v1/exchangeInfo": "exchange_info",
    "/fapi/v1/time": "time",
}
LEDGER: Final = "request-weight.sqlite"
WEIGHTS: Final = ((99, 1), (499, 2), (1000, 5), (1500, 10))
"""Most candles of a page, and what it weighs."""
PAGE: Final = 499
"""The page that weighs least for a candle: 249 for one."""
FEW_PAGES: Final = 2
"""As many requests as a file takes, its checksum included."""
EARLIEST: Final = 1_000_000_000_000
"""Before any market: a page from here on begins with the first candle there is."""
BULK_LAG: Final = 2 * 86_400_000
"""So long after its end a month or day is looked for in the archive."""
MONTH_LAG: Final = 40 * 86_400_000
"""So long after its end a month's file is there, if there is ever one."""
PAGE_ATTEMPTS: Final = 3
RULES_SECONDS: Final = 3_600.0
UNKNOWN_SYMBOL: Final = -1121
_LIMITING: Final = ("REQUEST_WEIGHT", "RAW_REQUESTS")
ARCHIVE_PAUSE: Final = 60.0
"""So long the archive is left alone after it could not be reached."""


class Binance:
    """Klines of USDT-margined futures; safe to use from several threads, and after a fork.

    Parameters
    ----------
    folder : Path
        Where the budget of request weight is kept: one folder for all processes of a machine.
    exchange_url, bulk_url : str
        Where REST and archive are asked.
    weight_limit : int
        Request weight to use in any sliding minute; less where the exchange says so.
    use_bulk : bool
        Whether history is taken from the archive.
    connections : int
        Most requests at a time.
    scope : str
        Who shares what the exchange said: its limits and its bans.
    tell : callable, optional
        For metrics; see :class:`Transport`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> Binance(Path(mkdtemp())).name
    'binance'
    """

    name: Final = "binance"

    def __init__(
        self,
        folder: Path,
        *,
        exchange_url: str = EXCHANGE_URL,
        bulk_url: str = BULK_URL,
        weight_limit: int = 2_400,
        use_bulk: bool = True,
        connections: int = 16,
        scope: str = "",
        tell: Callable[[str, str, float, str], None] | None = None,
    ) -> None:
        host = urlsplit(exchange_url).netloc.rpartition("@")[2].lower()
        self._budget = Budget(folder / LEDGER, weight_limit, host=host, scope=scope)
        self._tell = tell or exchange_events(self.name, _endpoint, weight_limit)
        self._rest = Transport(exchange_url, self._budget, connections=connections, tell=self._tell)
        self._bulk = None
        if use_bulk:
            archive = Transport(bulk_url, None, connections=connections, tell=self._tell)
            self._bulk = BulkArchive(archive)
        self._bulk_asleep_until = 0.0
        self._connections = connections
        self._first: dict[Series, int] = {}
        self._asking: dict[tuple[int, Series], threading.Lock] = {}

    def close(self) -> None:
        """Let go of all connections."""
        self._rest.close()
        self._budget.close()
        if self._bulk is not None:
            self._bulk.close()

    def server_time(self) -> int:
        """Return the exchange's own clock, milliseconds since 1970, UTC.

        Raises
        ------
        ExchangeError
            If it cannot be had.
        """
        return self._rest.json("/fapi/v1/time", {}, _clock, weight=1)

    def listed_at(self, symbol: str) -> int:
        """Return when trading of a symbol began, milliseconds since 1970, UTC.

        Raises
        ------
        MissingDataError
            If the exchange has no candle of such a symbol.
        ExchangeError
            If the exchange gave no usable answer.
        """
        first = self._first_of(Series.of(symbol, "1m"), threading.Event())
        if first is None:
            raise MissingDataError(
                f"{self.name} has no candle of a symbol {symbol!r}; it may have been delisted, or "
                "be written otherwise, such as BTCUSDT"
            )
        return first

    def checksum(self, series: Series, source: Source) -> str:
        """Return the checksum that a source's file has now; see :meth:`Exchange.checksum`."""
        if self._bulk is None:
            return ""
        try:
            return self._bulk.checksum(series, source)
        except NotThere:
            return ""
        except DataError as error:
            raise ExchangeError(f"{self.name}: {error}") from error

    def fetch(
        self, series: Series, wanted: Span, *, progress: Callable[[int], None] | None = None
    ) -> Iterator[Block]:
        """Yield blocks as they arrive; see :meth:`Exchange.fetch`."""
        # a quarter of the connections: at 5 answers a second each, that uses up the allowance
        return self._fetched([(series, wanted)], progress, max(1, self._connections // 4))

    def fetch_many(
        self,
        wanted: Iterable[tuple[Series, Span]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Block]:
        """Yield blocks of several series as they arrive; see :meth:`Exchange.fetch_many`."""
        return self._fetched(list(wanted), progress, self._connections)

    def _fetched(
        self,
        wanted: list[tuple[Series, Span]],
        progress: Callable[[int], None] | None,
        n_threads: int,
    ) -> Iterator[Block]:
        if not wanted:
            return
        self._learn_rules()
        now = self.server_time()
        jobs: list[Job] = [
            partial(self._planned, series, Span(span.start, min(span.end, closed)), now)
            for series, span in wanted
            if span.start < (closed := series.interval.floor(now))
        ]
        for found in run_jobs(jobs, n_threads):
            if isinstance(found, str):
                warnings.warn(found, BacktestWarning, stacklevel=2)
                continue
            if progress is not None:
                progress(len(found.candles))
            yield found

    # --- what to ask where

    def _planned(
        self, series: Series, span: Span, now: int, stop: threading.Event
    ) -> Done[Block | str]:
        """Return the jobs that fetch a span of closed candles."""
        if series.interval.count(*span) <= FEW_PAGES * PAGE:
            return Done([], self._pages(series, span, now))
        first = self._first_of(series, stop)
        if first is None:
            return Done([], self._files(series, span, now, forced=True))
        span = Span(max(span.start, first), span.end)
        return Done([], self._files(series, span, now) if span.start < span.end else [])

    def _pages(self, series: Series, span: Span, now: int) -> list[Job]:
        """Return the jobs that ask for a span page by page."""
        opens = series.interval.opens(*span)
        edges = [*opens[::PAGE].tolist(), span.end]
        return [
            partial(self._page, series, Span(start, end), now, 1) for start, end in pairwise(edges)
        ]

    def _files(
        self, series: Series, span: Span, now: int, *, forced: bool = False, days: bool = False
    ) -> list[Job]:
        """Return the jobs that ask the archive for a span, and for the rest page by page.

        Parameters
        ----------
        forced : bool
            Whether REST has nothing, so that files are asked for however little is wanted.
        days : bool
            Whether the month's own file is known not to be there.
        """
        jobs: list[Job] = []
        rest = [span]
        for month in calendar(span, "monthly") if self._archive_awake() else ():
            units: list[tuple[Unit, Span]] = [("monthly", month)]
            if days or month.end > now - BULK_LAG:
                units = [("daily", day) for day in calendar(overlap(month, span), "daily")]
            for unit, whole in units:
                part = overlap(whole, span)
                n_candles = series.interval.count(*part)
                worth = n_candles > (0 if forced else FEW_PAGES * PAGE)
                if worth and whole.end <= now - BULK_LAG:
                    jobs.append(partial(self._file, series, unit, part, now, forced))
                    rest = [each for old in rest for each in missing(old, (part,))]
        if not forced:
            jobs += [job for part in rest for job in self._pages(series, part, now)]
        return jobs

    def _archive_awake(self) -> bool:
        return self._bulk is not None and time.monotonic() >= self._bulk_asleep_until

    # --- the jobs

    def _file(
        self,
        series: Series,
        unit: Unit,
        part: Span,
        now: int,
        forced: bool,  # noqa: FBT001 - bound by partial
        stop: threading.Event,
    ) -> Done[Block | str]:
        """Take a part of a month or day from its file, and have the rest asked for elsewhere."""
        found: list[Block | str] = []
        rest = [part]
        try:
            if self._bulk is not None and self._archive_awake():
                blocks = self._bulk.blocks(series, unit, part, stop=stop)
                found += blocks
                rest = missing(part, [span for block in blocks for span in block.known])
        except NotThere:
            # of a market that REST does not know, days are worth asking for only where the file of
            # their month may still be to come: else a name that is wrong would cost thousands
            if unit == "monthly" and not (forced and part.end < now - MONTH_LAG):
                return Done([], self._files(series, part, now, forced=forced, days=True))
        except Stopped:
            raise
        except DataError as error:
            self._tell("fallback", "damaged", 1, "")
            found = [f"the archive's file is not used: {error}; the exchange itself is asked"]
        except ExchangeError as error:
            self._bulk_asleep_until = time.monotonic() + ARCHIVE_PAUSE
            self._tell("fallback", "unreachable", 1, "")
            found = [f"the archive cannot be used: {error}; the exchange itself is asked"]
        jobs = [] if forced else [job for gap in rest for job in self._pages(series, gap, now)]
        return Done(found, jobs)

    def _page(
        self, series: Series, part: Span, now: int, attempt: int, stop: threading.Event
    ) -> Done[Block | str]:
        """Ask for one page, and again for what it does not reach."""
        interval = series.interval
        n_candles = interval.count(*part)
        asked_at = int(time.time() * 1000)
        rows = self._rows(series, part.start, n_candles, stop)
        if not len(rows):
            unknown = self._first_of(series, stop) is None
            return Done([], self._files(series, part, now, forced=True) if unknown else [])
        start, last = int(rows.open_time[0]), int(rows.open_time[-1])
        late = start > part.start  # nothing before it: not listed yet; else a hole
        first = self._first_of(series, stop) if late else self._first.get(series)
        if first is not None and start < first:
            return Done([], [self._once_more(series, part, now, attempt)])
        if late and first is not None and first < part.start:
            start = part.start
        known = Span(start, min(part.end, interval.after(last)))
        if known.start >= known.end:
            return Done([], [])
        kept = rows.within(known)
        gaps = _runs(series, absent(series, kept, known).tolist())
        evidence = f"GET {_shown(series, part.start, n_candles)} at {asked_at}"
        if gaps:
            again = self._confirmed(series, kept, Span(gaps[0].start, gaps[-1].end), stop)
            if not again:
                return Done([], [self._once_more(series, part, now, attempt)])
            evidence += again
        found: list[Block | str] = []
        for period in periods(series, known):
            inside = overlap(known, period)
            holes = [overlap(gap, inside) for gap in gaps]
            found.append(
                Block(
                    series,
                    period,
                    (inside,),
                    kept.within(inside),
                    tuple(Hole(hole, evidence) for hole in holes if hole.start < hole.end),
                    (Source(inside, f"{self.name}-rest", "", asked_at),),
                )
            )
        beyond = Span(known.end, part.end)
        return Done(found, self._pages(series, beyond, now) if beyond.start < beyond.end else [])

    def _confirmed(self, series: Series, candles: Candles, gap: Span, stop: threading.Event) -> str:
        """Ask once more for the span of a page's gaps; return the evidence, "" if it differs."""
        asked_at = int(time.time() * 1000)
        n_candles = min(PAGE, series.interval.count(*gap) + 1)
        again = self._rows(series, gap.start, n_candles, stop)
        reached = int(again.open_time[-1]) if len(again) else 0
        common = Span(gap.start, min(gap.end, reached))
        if reached <= gap.start or again.within(common) != candles.within(common):
            return ""
        return f", and GET {_shown(series, gap.start, n_candles)} at {asked_at}"

    def _once_more(self, series: Series, part: Span, now: int, attempt: int) -> Job:
        """Return the job of a page that contradicted itself, a bounded number of times."""
        if attempt >= PAGE_ATTEMPTS:
            raise ExchangeError(
                f"{self.name} answers about {series} from {part.start} on differently every time; "
                "nothing of it is kept; try again later"
            )
        return partial(self._page, series, part, now, attempt + 1)

    # --- single questions

    def _rows(self, series: Series, start: int, limit: int, stop: threading.Event) -> Candles:
        """Return a page from ``start`` on, the open candle included; empty if it is so twice."""
        weight = next(weight for most, weight in WEIGHTS if limit <= most)
        query = _query(series, start, limit)

        def read(found: Any) -> Candles:
            try:
                candles = candles_of_rows(found, series, limit)
            except DataError as error:
                raise Unusable(f"{series} from {start}: {error}") from error
            if len(candles) and candles.open_time[0] < start:
                raise Unusable(f"{series} from {start}: a page that begins before it")
            return candles

        try:
            rows = self._rest.json(KLINES, query, read, weight=weight, stop=stop)
            return (
                rows
                if len(rows)
                else self._rest.json(KLINES, query, read, weight=weight, stop=stop)
            )
        except Refused as error:
            if error.code == UNKNOWN_SYMBOL:
                return Candles.empty()
            raise

    def _first_of(self, series: Series, stop: threading.Event) -> int | None:
        """Return when the first candle opens that REST has, or None if it has none."""
        # once for all threads of a process; after a fork, the parent's lock may be held
        with self._asking.setdefault((os.getpid(), series), threading.Lock()):
            first = self._first.get(series)
            if first is None:
                rows = self._rows(series, EARLIEST, 1, stop)
                if not len(rows):
                    return None
                first = self._first[series] = int(rows.open_time[0])
            return first

    def _learn_rules(self) -> None:
        """Read the exchange's own limits, unless a process of this machine did so lately."""
        if self._budget.rules(RULES_SECONDS) is None:
            self._budget.learn(self._rest.json("/fapi/v1/exchangeInfo", {}, _rules, weight=1))


def _endpoint(path: str) -> str:
    """Return what a path asks for, in a word for metrics."""
    if path in ENDPOINTS:
        return ENDPOINTS[path]
    return "checksum" if path.endswith(".CHECKSUM") else "archive"


def _clock(found: Any) -> int:
    time_now = found.get("serverTime") if isinstance(found, dict) else None
    if type(time_now) is not int or not EARLIEST < time_now < 10 * EARLIEST:
        raise Unusable(f"the exchange's clock is {str(found)[:60]!r}")
    return time_now


def _rules(found: Any) -> list[Rule]:
    """Return the limits of request weight that the exchange states, or else the usual one."""
    if not isinstance(found, dict):
        raise Unusable(f"exchangeInfo is {str(found)[:60]!r}")
    stated = found.get("rateLimits")
    rules = []
    for each in stated if isinstance(stated, list) else ():
        # no request weighs less than 1: a limit of their number is one of their weight as well
        if not isinstance(each, dict) or each.get("rateLimitType") not in _LIMITING:
            continue
        unit = UNIT_MS.get(str(each.get("interval"))[:1], 0)
        count, limit = each.get("intervalNum", 1), each.get("limit")
        if unit and type(count) is int and count > 0 and type(limit) is int and limit > 0:
            rules.append(Rule(limit, count * unit))
    return rules or [Rule(2_400, MINUTE_MS)]


def _query(series: Series, start: int, limit: int) -> dict[str, str | int]:
    interval = series.interval.name
    return {"symbol": series.symbol, "interval": interval, "startTime": start, "limit": limit}


def _shown(series: Series, start: int, limit: int) -> str:
    query = _query(series, start, limit)
    return f"{KLINES}?{'&'.join(f'{name}={value}' for name, value in query.items())}"


def _runs(series: Series, opens: list[int]) -> list[Span]:
    """Return times of candles as spans, one for each run."""
    found: list[Span] = []
    for each in opens:
        after = series.interval.after(each)
        if found and found[-1].end == each:
            found[-1] = Span(found[-1].start, after)
        else:
            found.append(Span(each, after))
    return found
