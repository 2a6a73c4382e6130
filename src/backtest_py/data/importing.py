"""Klines of the user's own files, taken over into the tiers when nothing speaks against it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.data.kline_files import KlineFile, read_klines
from backtest_py.data.market.blocks import Block, Hole, Source, periods
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.certificates import IMPORT
from backtest_py.data.market.differences import as_table, differences
from backtest_py.data.market.findings import BARS, broken_rules
from backtest_py.data.market.spans import Span, covered, instant_text, joined, missing
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from backtest_py.data.feed import Feed

__all__ = ["Imported", "import_files"]

BEFORE: Final = 100
"""Candles with which the last one is compared."""
LEAST: Final = 20
"""With fewer it is not compared."""
SHARE: Final = 0.25
"""The share of their median volume below which it looks unfinished, if it is the smallest too."""
ROUNDED: Final = 1e-3
SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken over of a file.

    Attributes
    ----------
    file, sha256 : str
        Name and hash of the file.
    verified : bool
        Whether a checksum lay beside it, which is right.
    n_candles, n_new : int
        Candles of the file, and those that were not known.
    known : list of Span
        What is known now.
    gaps : list of Span
        What lies between, and stays unknown: nothing shows whether there is a candle.
    """

    file: str
    sha256: str
    verified: bool
    n_candles: int
    n_new: int
    known: list[Span]
    gaps: list[Span]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON, times as text."""
        texts = {
            name: [[instant_text(each) for each in span] for span in getattr(self, name)]
            for name in ("known", "gaps")
        }
        names = ("file", "sha256", "verified", "n_candles", "n_new")
        return {**{name: getattr(self, name) for name in names}, **texts}


def import_files(
    feed: Feed, paths: Sequence[Path], symbol: str, interval: str, *, closed: bool = False
) -> list[Imported]:
    """Take the candles of files over, after all of all files has been looked at.

    Parameters
    ----------
    feed : Feed
        Whose tiers keep them. The exchange is not asked.
    paths : sequence of Path
        Zips of the exchange's archive, CSV or Parquet.
    symbol, interval : str
        What they are of.
    closed : bool
        Whether the last candle of each is closed for certain, however small its volume is.

    Raises
    ------
    ConfigError
        If symbol, interval or a path are not allowed.
    DataError
        If something speaks against a file: all that does is named, with rows and values.
    CacheError
        If no tier can keep them.
    """
    series = Series.of(symbol, interval)
    files = [read_klines(path, series) for path in paths]
    wrong = []
    for number, file in enumerate(files):
        found = problems(file, series, closed=closed)
        for other in files[:number]:
            found += differences(file.columns, other.columns, other.path.name)
        wrong += [f"{file.path.name}: {each}" for each in found + _against_kept(feed, file, series)]
    if wrong:
        raise DataError("nothing is imported:\n  " + "\n  ".join(wrong))
    return [_taken_over(feed, file, series) for file in files]


def problems(file: KlineFile, series: Series, *, closed: bool) -> list[str]:
    """Return what speaks against a file by itself.

    Raises
    ------
    DataError
        If its times are none of the series, so that nothing else can be told.
    """
    wrong = _wrong_times(file, series)
    if wrong:
        raise DataError(f"{file.path.name}: {wrong}; nothing is imported")
    found = _broken(file) + _wrong_certificate(file, series) + _wrong_unit(file)
    if file.path.suffix.lower() != ".zip" and not file.certificate and not closed:
        found += _unfinished(file)
    return found + _still_open(file, series)


def _wrong_times(file: KlineFile, series: Series) -> str:
    """Return what is wrong with when candles open and close, "" if nothing is."""
    times, interval = file.columns["open_time"], series.interval
    if not len(times):
        return "it holds no candle"
    steps = np.diff(times)
    if np.any(steps <= 0):
        return f"{file.row(int(np.argmax(steps <= 0)) + 1)} does not open after the row before"
    strange = interval.off(times)
    if len(strange):
        row = int(np.flatnonzero(times == strange[0])[0])
        return f"{file.row(row)} lies off the interval {interval.name}"
    if len(times) > 1 and interval.ms and int(steps.min()) > interval.ms:
        return (
            f"its candles open {int(steps.min()) // 60_000:,} minutes apart, which is not "
            f"{interval.name}; correct the interval"
        )
    closes = file.columns.get("close_time")
    late = np.zeros(0, np.bool_) if closes is None else closes + 1 != interval.closes(times)
    if closes is None or not np.any(late):
        return ""
    row = int(np.argmax(late))
    return (
        f"{file.row(row)} closes at {instant_text(int(closes[row]))}, another time than "
        f"{interval.name} says"
    )


def _broken(file: KlineFile) -> list[str]:
    """Return the first row that breaks each rule, for the columns that there are."""
    if not set(BARS) <= set(file.columns):
        return []
    return [
        f"{file.row(int(np.argmax(rows)))} {rule}"
        for rule, rows in broken_rules(file.columns)
        if np.any(rows)
    ]


def _wrong_certificate(file: KlineFile, series: Series) -> list[str]:
    stated = file.certificate
    if not stated or file.lacking:
        return []
    of = (stated.get("symbol"), stated.get("interval"))
    if of != (series.symbol, series.interval.name):
        return [f"its certificate is of {of[0]} {of[1]}, not of {series}"]
    if stated.get("content") != file.candles.content_hash():
        return ["its candles do not have the hash of its certificate"]
    return []


def _still_open(file: KlineFile, series: Series) -> list[str]:
    """Return which candle closes after now."""
    row = len(file.columns["open_time"]) - 1
    closes = series.interval.after(int(file.columns["open_time"][row]))
    now = int(time.time() * 1000)
    if closes <= now:
        return []
    text = f"{file.row(row)} closes at {instant_text(closes)}, and now it is {instant_text(now)}"
    return [f"{text}: the candle is open; leave it out"]


def _unfinished(file: KlineFile) -> list[str]:
    """Return why the last candle looks as if it had been open when it was written."""
    volume = file.columns.get("volume")
    if volume is None or len(volume) <= LEAST:
        return []
    before, last = volume[-BEFORE - 1 : -1], float(volume[-1])
    usual = float(np.median(before))
    if last >= SHARE * usual or last >= before.min():
        return []
    row = len(volume) - 1
    close = float(file.columns.get("close", np.full(row + 1, np.nan))[row])
    text = (
        f"{file.row(row)} is an open candle, as it seems: its volume {last:,.10g} is "
        f"{last / usual:.1%} of the median of the {len(before)} candles before, {usual:,.10g}, and "
        f"less than each of them (close {close:.10g}); leave it out, or say --closed"
    )
    return [text]


def _wrong_unit(file: KlineFile) -> list[str]:
    """Return whether base and quote volume are mixed up, or cannot be told apart."""
    lacking = f"columns {', '.join(file.lacking)} are missing"
    if not {"high", "low", "volume"} <= set(file.columns):
        return [f"{lacking}; candles are kept whole"]
    volume, quote = file.columns["volume"], file.columns.get("quote_volume")
    if quote is None:
        return [f"{lacking}, {_unknown_unit(file, volume)}"]
    found = [f"{lacking}; candles are kept whole"] if file.lacking else []
    traded = (volume > 0) & (quote > 0)
    no_price = traded & ~_is_price(file, quote, volume)
    if np.any(no_price):
        row = int(np.argmax(no_price))
        low, high = file.columns["low"][row], file.columns["high"][row]
        text = (
            f"{file.row(row)}: quote_volume / volume = {quote[row]!s} / {volume[row]!s} is no "
            f"price from low {low!s} to high {high!s}"
        )
        swapped = np.all(_is_price(file, volume, quote)[traded])
        found.append(text + ("; the two are swapped" if swapped else "; one is of another unit"))
    return found


def _is_price(
    file: KlineFile, value: NDArray[np.float64], amount: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return where a value for an amount lies between low and high, but for rounding."""
    low, high = file.columns["low"], file.columns["high"]
    return (value >= low * amount * (1 - ROUNDED)) & (value <= high * amount * (1 + ROUNDED))


def _unknown_unit(file: KlineFile, volume: NDArray[np.float64]) -> str:
    """Return what is known of a volume that stands alone: not whether it is base or quote."""
    whole = np.all(volume == np.floor(volume))
    looks = "whole numbers, as of the base asset" if whole else "fractions"
    prices = file.columns["high"]
    price, tick = float(prices[0]), _decimals(prices)
    if not whole and tick >= 4 and _decimals(volume) >= tick - 2:
        looks = "fractions as fine as price times quantity, as of the quote asset"
    return (
        "so nothing shows whether volume is that of the base or of the quote asset: "
        f"{file.row(0)} has volume = {volume[0]!s} at a high of {price!s}, which is "
        f"{volume[0] * price:,.10g} of the quote asset or {volume[0]:,.10g} of it; its volumes are "
        f"{looks}. Nor does anything show that {file.row(len(volume) - 1)} is no open candle. Give "
        "files with quote_volume, trades and the taker's volumes, such as the exchange's own"
    )


def _decimals(values: NDArray[np.float64]) -> int:
    """Return the most decimal places of the first values."""
    texts = [np.format_float_positional(value, trim="-") for value in values[:50]]
    return max(len(text.partition(".")[2]) for text in texts)


def _against_kept(feed: Feed, file: KlineFile, series: Series) -> list[str]:
    """Return how a file differs from what is known."""
    times = file.columns["open_time"]
    found: list[str] = []
    whole = Span(int(times[0]), series.interval.after(int(times[-1])))
    for period in periods(series, whole):
        kept = feed.kept(series, period)
        found += differences(file.columns, as_table(kept.candles))
        holes = [hole for hole in kept.holes if covered(hole.span, kept.known)]
        for hole in holes:
            rows = np.flatnonzero((times >= hole.span.start) & (times < hole.span.end))
            if len(rows):
                found.append(f"{file.row(int(rows[0]))} is known as a hole: {hole.evidence}")
        if found:
            break
    return found[:SHOWN]


def _taken_over(feed: Feed, file: KlineFile, series: Series) -> Imported:
    candles = file.candles
    known, holes = _known(file, series)
    name, now = f"{IMPORT}:{file.path.name}", int(time.time() * 1000)
    n_new = 0
    # a block at a time: an interrupted import goes on where it stopped
    for period in sorted({each for span in known for each in periods(series, span)}):
        inside = tuple(covered(period, known))
        block = Block(
            series,
            period,
            inside,
            Candles.joined(candles.within(span) for span in inside),
            tuple(each._replace(span=s) for each in holes for s in covered(each.span, inside)),
            tuple(Source(span, name, file.sha256, now) for span in inside),
        )
        before = feed.kept(series, period)
        new = (part for span in inside for part in before.missing(span))
        n_new += sum(len(candles.within(span)) for span in new)
        feed.add(block)
    whole = Span(known[0].start, known[-1].end)
    return Imported(
        file.path.name,
        file.sha256,
        file.verified,
        len(candles),
        n_new,
        known,
        [gap for gap in missing(whole, known) if series.interval.count(*gap)],
    )


def _known(file: KlineFile, series: Series) -> tuple[list[Span], list[Hole]]:
    """Return what a file knows: runs of candles, or what its certificate says."""
    stated = file.certificate
    if stated:
        try:
            spans = joined(Span(int(start), int(end)) for start, end in stated["spans"])
            holes = [Hole(Span(int(s), int(e)), str(why)) for s, e, why in stated["evidence"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file.path}: its certificate cannot be read ({error!r})") from error
        return spans, [each._replace(evidence=f"{file.path.name}: {each[1]}") for each in holes]
    times = file.columns["open_time"]
    closes = series.interval.closes(times)
    breaks = np.flatnonzero(times[1:] != closes[:-1])
    starts, ends = np.append(0, breaks + 1), np.append(breaks, len(times) - 1)
    return [Span(int(times[a]), int(closes[b])) for a, b in zip(starts, ends, strict=True)], []
