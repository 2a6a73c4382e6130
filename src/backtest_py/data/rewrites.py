"""History that an exchange has rewritten: how it is told, and the journal of it.

A closed candle is closed for good, but exchanges do give other values for one later, or put another
file in the place of one in their archive. Then the whole span that was fetched takes the place of
what was kept, in every tier. The journal says what was rewritten; it lies in the folder of the data
and is read by all processes of a machine, so that none goes on with old bars in its memory.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backtest_py.data.market.candles import Series
from backtest_py.data.market.differences import n_differing
from backtest_py.data.market.spans import Span, covered, instant_text, joined, missing
from backtest_py.errors import BacktestError, BacktestWarning, CacheError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from backtest_py.data.market.blocks import Block, Source

__all__ = ["Journal", "Merging", "Rewrite"]

MOST_ENTRIES: Final = 1_000
"""The oldest are forgotten beyond, but for the latest of each series."""
_log: Final = logging.getLogger("backtest_py.data")


class Rewrite(NamedTuple):
    """A span that was replaced, because the exchange says something else of it now.

    Attributes
    ----------
    series : Series
        Of what.
    span : Span
        All of it was replaced.
    n_changed : int
        Candles that have other values, are gone or are new; 0 where only the file is another.
    old, new : str
        Content hashes of the candles of the span.
    old_checksum, new_checksum : str
        Of the archive's file, "" where there is none.
    fetched_at : int
        When the new candles were fetched, in ms UTC.
    """

    series: Series
    span: Span
    n_changed: int
    old: str
    new: str
    old_checksum: str
    new_checksum: str
    fetched_at: int

    def __str__(self) -> str:
        files = ""
        if self.old_checksum != self.new_checksum:
            files = f", file {self.old_checksum or 'none'} -> {self.new_checksum or 'none'}"
        return (
            f"{self.series}: {self.n_changed:,} candles from {instant_text(self.span.start)} to "
            f"{instant_text(self.span.end)} were rewritten by the exchange and replaced in every "
            f"tier, candles {self.old} -> {self.new}{files}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "symbol": self.series.symbol,
            "interval": self.series.interval.name,
            "start": self.span.start,
            "end": self.span.end,
            **{name: getattr(self, name) for name in self._fields[2:]},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Rewrite:
        """Return what :meth:`to_dict` was made of."""
        series = Series.of(values["symbol"], values["interval"])
        span = Span(int(values["start"]), int(values["end"]))
        return cls(series, span, *(values[name] for name in cls._fields[2:]))


class Merging:
    """Blocks to which fetched ones are added, and what turns out to be rewritten.

    Parameters
    ----------
    blocks : dict
        By series and period; they are replaced in it.

    Attributes
    ----------
    changed : set
        Series and period of the blocks that are no longer what they were.
    rewrites : list of Rewrite
        What took the place of something else.
    told : list of Span
        What the fetched blocks know.
    """

    def __init__(self, blocks: dict[tuple[Series, Span], Block]) -> None:
        self._blocks = blocks
        self._checksums: dict[str, str] = {}
        self._fetched: set[tuple[Series, Span]] = set()
        self.changed: set[tuple[Series, Span]] = set()
        self.rewrites: list[Rewrite] = []
        self._n_told = 0
        self.told: list[Span] = []

    def take(self, fetched: Block) -> None:
        """Add what was fetched.

        Where it differs from what was known, in candles or in the checksum of a file, all of it
        takes the place of what was there. Else only what was not known is added.
        """
        at = (fetched.series, fetched.period)
        block = self._blocks[at]
        self.told += fetched.known
        self._fetched.add(at)
        self._checksums |= {each.name: each.checksum for each in fetched.sources if each.checksum}
        rewrites = _rewrites(block, fetched, self._replaced(block))
        if rewrites:
            block = block.replaced_by(fetched)
        news = [part for known in fetched.known for part in missing(known, block.known)]
        for span in joined(news):
            block = block.replaced_by(fetched.restricted(span))
        self.rewrites += rewrites
        if block is not self._blocks[at]:
            self._blocks[at] = block
            self.changed.add(at)

    def news(self) -> list[Rewrite]:
        """Return the rewrites since this was last asked, in order of time."""
        news, self._n_told = self.rewrites[self._n_told :], len(self.rewrites)
        return sorted(news, key=lambda each: (str(each.series), each.span))

    def doubted(self) -> list[tuple[Series, Span]]:
        """Return what came from files that are others now: all of it is to be asked for again."""
        return [
            (at[0], span)
            for at in sorted(self._fetched, key=str)
            for span in joined(each.span for each in self._replaced(self._blocks[at]))
        ]

    def _replaced(self, block: Block) -> list[Source]:
        """Return the sources of a block whose file is another one now."""
        return [
            each
            for each in block.sources
            if each.checksum and self._checksums.get(each.name, each.checksum) != each.checksum
        ]


def _rewrites(block: Block, fetched: Block, replaced: list[Source]) -> list[Rewrite]:
    """Return the spans that both blocks know, and of which the fetched one says something else."""
    found = []
    for span in (part for known in fetched.known for part in covered(known, block.known)):
        old, new = block.candles.within(span), fetched.candles.within(span)
        file = _checksum(replaced, span)
        if file or old != new:
            found.append(
                Rewrite(
                    block.series,
                    span,
                    n_differing(old, new),
                    old.content_hash(),
                    new.content_hash(),
                    file or _checksum(block.sources, span),
                    _checksum(fetched.sources, span),
                    min((each.fetched_at for each in fetched.sources), default=0),
                )
            )
    return found


def _checksum(sources: Iterable[Source], span: Span) -> str:
    """Return the checksum of the first source of a span that has one."""
    found = (each.checksum for each in sources if each.checksum and covered(span, (each.span,)))
    return next(found, "")


class _Seen(NamedTuple):
    """What was in the file when it had a certain state, and the latest rewrite of each series."""

    state: object
    entries: list[Rewrite]
    latest: dict[Series, int]


class Journal:
    """What was rewritten, in a file that all processes of a machine read.

    Parameters
    ----------
    path : Path
        The file, one entry in a line.

    Examples
    --------
    >>> from pathlib import Path
    >>> Journal(Path("no such file")).entries()
    []
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _Seen(None, [], {})
        self._own: Counter[Series] = Counter()
        """Rewrites that this process saw: memory must forget them even if the disk is full."""

    def entries(self) -> list[Rewrite]:
        """Return all entries, oldest first.

        Raises
        ------
        CacheError
            If the file is there and cannot be read.
        """
        return self._looked().entries

    def _looked(self) -> _Seen:
        """Read the file if it is another one than last time."""
        try:
            found = self.path.stat()
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            if state != self._seen.state:
                entries = self._read()
                latest: dict[Series, int] = {}
                for each in entries:
                    latest[each.series] = max(each.fetched_at, latest.get(each.series, 0))
                self._seen = _Seen(state, entries, latest)
        except FileNotFoundError:
            self._seen = _Seen(None, [], {})
        except OSError as error:
            raise CacheError(f"{self.path} cannot be read: {error}") from error
        return self._seen

    def generation(self, series: Series) -> tuple[int, int]:
        """Return a mark that is another one after every rewrite of a series."""
        return self._looked().latest.get(series, 0), self._own[series]

    def fresh(self, block: Block) -> Block:
        """Return a block without what was fetched before that span was rewritten.

        A tier that could not be written, or is only read, may still have it.
        """
        seen = self._looked()
        for entry in seen.entries if block.series in seen.latest else ():
            if entry.series != block.series:
                continue
            for source in block.sources:
                if source.fetched_at < entry.fetched_at:
                    for part in covered(source.span, (entry.span,)):
                        block = block.without(part)
        return block

    def add(self, rewrites: Iterable[Rewrite]) -> None:
        """Write entries, and tell the logger ``backtest_py.data`` of each.

        Raises
        ------
        CacheError
            If the file cannot be written. The log and this process know of them nevertheless.
        """
        from filelock import FileLock  # noqa: PLC0415 - of the extra `data`

        from backtest_py._io.files import replace_file  # noqa: PLC0415

        rewrites = list(rewrites)
        for each in rewrites:
            self._own[each.series] += 1
            _log.warning("%s", each)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                kept = _latest([*self.entries(), *rewrites])
                lines = (json.dumps(each.to_dict(), separators=(",", ":")) for each in kept)
                replace_file(self.path, ("\n".join(lines) + "\n").encode())
        except CacheError:
            raise
        except (OSError, NotImplementedError) as error:  # a file system without locks is the latter
            raise CacheError(f"{self.path} cannot be written: {error}") from error

    def _read(self) -> list[Rewrite]:
        found = []
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            try:
                found.append(Rewrite.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError, BacktestError):
                warnings.warn(
                    f"{self.path}, line {number} is no entry; it is left out",
                    BacktestWarning,
                    stacklevel=2,
                )
        return found


def _latest(entries: list[Rewrite]) -> list[Rewrite]:
    """Return the entries to keep: without one of a series, its old bars would be found again."""
    kept = entries[-MOST_ENTRIES:]
    there = {each.series for each in kept}
    last = {each.series: each for each in entries[:-MOST_ENTRIES] if each.series not in there}
    return [*last.values(), *kept]
