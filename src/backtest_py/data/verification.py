"""Everything that is kept, read anew: each block by itself, tier against tier, and the exchange.

Without ``repair`` nothing is changed here; only a database whose file is damaged as a whole is
moved out of the way, as it is wherever that is noticed, so that a new one can begin. What the
exchange has rewritten is replaced at once, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from backtest_py.data.cache.encoding import DamagedError, NewerError
from backtest_py.data.market.blocks import Block, in_order
from backtest_py.data.market.certificates import IMPORT, certificate_of, part_of
from backtest_py.data.market.differences import as_table
from backtest_py.data.market.findings import broken_rules
from backtest_py.data.market.spans import Span, instant_text, joined, missing
from backtest_py.errors import BacktestError, CacheError, DataError, ExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backtest_py.data.cache.archive import Archive
    from backtest_py.data.cache.database import Database
    from backtest_py.data.feed import Feed
    from backtest_py.data.market.blocks import Source
    from backtest_py.data.market.candles import Series
    from backtest_py.data.rewrites import Rewrite

    Kind = Literal["unreadable", "damaged", "rule", "certificate", "differs", "rewritten"]
    Place = tuple[Series, Span]

WRONG: Final = "wrong"
"""In the place of a block that must go."""

__all__ = ["Problem", "Verification", "verify"]


class Problem(NamedTuple):
    """Something that is wrong with a block.

    Attributes
    ----------
    kind : str
        ``unreadable``, ``damaged``, ``rule``, ``certificate``, ``differs`` or ``rewritten``.
    where : str
        Series, period and tier.
    text : str
        What is wrong.
    """

    kind: Kind
    where: str
    text: str


@dataclass(slots=True)
class Verification:
    """What was found.

    Attributes
    ----------
    n_blocks, n_candles : int
        Blocks that were read, in each tier, and their candles.
    problems : list of Problem
        What is wrong.
    notes : list of str
        What was repaired; what could not be looked at, and why that is no fault.
    rewrites : list of Rewrite
        What the exchange had rewritten, which was replaced.
    blocks : list of dict
        Series, period, tier and certificate of every block that is right.
    """

    n_blocks: int = 0
    n_candles: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rewrites: list[Rewrite] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "n_blocks": self.n_blocks,
            "n_candles": self.n_candles,
            "problems": [each._asdict() for each in self.problems],
            "notes": self.notes,
            "rewrites": [each.to_dict() for each in self.rewrites],
            "blocks": self.blocks,
        }


def verify(
    feed: Feed,
    *,
    repair: bool = False,
    ask_exchange: bool = False,
    tell: Callable[[Series, Span], None] | None = None,
) -> Verification:
    """Read every block of database and archive anew, and look for what is wrong.

    Parameters
    ----------
    feed : Feed
        Whose tiers are read.
    repair : bool
        Whether blocks that are wrong are dropped, and had again from the other tier or the
        exchange.
    ask_exchange : bool
        Whether the exchange is asked too: for the checksums of its files, and for the candles that
        came from none. What it has rewritten is replaced in every tier.
    tell : callable, optional
        Told which block is looked at.
    """
    found = Verification()
    tiers = [tier for tier in (feed.database, feed.archive) if tier is not None]
    for at in _places(tiers, found):
        if tell is not None:
            tell(*at)
        with feed.holding(*at):  # or one tier might be ahead of the other
            blocks = {tier.name: _checked(tier, at, found) for tier in tiers}
        wrong = [tier for tier in tiers if blocks[tier.name] == WRONG]
        right = [block for block in blocks.values() if isinstance(block, Block)]
        differing = _compared(right, at, found)
        if repair and (wrong or differing):
            _repaired(feed, wrong, differing, at, found)
        if ask_exchange:
            _asked(feed, at, found)
    if feed.database is not None and feed.database.damage:
        found.problems.append(Problem("damaged", feed.database.name, feed.database.damage))
    return found


def _places(tiers: list[Database | Archive], found: Verification) -> list[Place]:
    """Return every block that some tier keeps."""
    places: set[Place] = set()
    for tier in tiers:
        if tier.name == "archive" and tier.read_only:
            found.notes.append(f"{tier!r} cannot be listed; only what the database has is compared")
            continue
        try:
            places.update(tier.periods())
        except CacheError as error:
            found.problems.append(Problem("unreadable", tier.name, str(error)))
    return in_order(places)


def _checked(tier: Database | Archive, at: Place, found: Verification) -> Block | str | None:
    """Return a block of a tier, WRONG for one that must go, None where there is none."""
    where = _where(at, tier)
    try:
        block = tier.look(*at)
    except NewerError as error:
        found.notes.append(str(error))
        return None
    except CacheError as error:
        damaged = isinstance(error, DamagedError)
        kind: Kind = "damaged" if damaged else "unreadable"
        found.problems.append(Problem(kind, where, str(error)))
        return WRONG if damaged else None
    if block is None:
        return None
    found.n_blocks += 1
    found.n_candles += len(block.candles)
    wrong = list(_faults(block))
    found.problems += [Problem(kind, where, text) for kind, text in wrong]
    if wrong:
        return WRONG
    certificate = certificate_of(block.series, [part_of(block)])
    found.blocks.append(
        {
            "symbol": block.series.symbol,
            "interval": block.series.interval.name,
            "period": block.period.start,
            "tier": tier.name,
            "certificate": certificate.to_dict(),
        }
    )
    return block


def _faults(block: Block) -> Iterator[tuple[Kind, str]]:
    """Yield what a block breaks of its own rules and of its certificate."""
    for rule, rows in broken_rules(as_table(block.candles)):
        n_broken = int(rows.sum())
        if n_broken:
            first = instant_text(int(block.candles.open_time[int(rows.argmax())]))
            yield "rule", f"{n_broken:,} candles, the first at {first}: it {rule}"
    if block.candles.findings != block.candles.examined():
        yield "certificate", "its candles are not those of the certificate written with them"


def _compared(right: list[Block], at: Place, found: Verification) -> list[Span]:
    """Return the spans of which two tiers have different candles."""
    spans = [span for other in right[1:] for span in right[0].differs_from(other)]
    if spans:
        first = f"{instant_text(spans[0].start)} to {instant_text(spans[0].end)}"
        text = f"database and archive have other candles in {len(spans)} spans, the first {first}"
        found.problems.append(Problem("differs", _where(at), text))
    return spans


def _repaired(
    feed: Feed,
    wrong: list[Database | Archive],
    differing: list[Span],
    at: Place,
    found: Verification,
) -> None:
    """Drop a block from tiers, and have what was known there from another one or the exchange."""
    try:
        for tier in wrong:
            if tier.read_only:
                found.notes.append(f"{_where(at, tier)}: it is read only, and stays as it is")
            else:
                tier.drop(*at)
        if differing:
            rewrites, _ = feed.ask_again(*at, lambda _: differing)
            found.rewrites += rewrites
        feed.restore(*at)
        found.notes.append(f"{_where(at)}: repaired")
    except BacktestError as error:
        found.problems.append(Problem("unreadable", _where(at), f"it is not repaired: {error}"))


def _asked(feed: Feed, at: Place, found: Verification) -> None:
    """Ask the exchange for what it may have rewritten."""
    where = _where(at)

    def doubted(block: Block) -> list[Span]:
        imported = [each.span for each in block.sources if _is_imported(each)]
        for start, end in joined(imported):
            span = f"{instant_text(start)} to {instant_text(end)}"
            found.notes.append(f"{where}: {span} was imported; the exchange is not asked")
        return _doubted(feed, block, imported)

    try:
        rewrites, silent = feed.ask_again(*at, doubted)
    except (ExchangeError, DataError) as error:
        found.problems.append(Problem("unreadable", where, f"the exchange does not say: {error}"))
        return
    found.rewrites += rewrites
    found.problems += [Problem("rewritten", where, str(each)) for each in rewrites]
    for start, end in silent:
        span = f"{instant_text(start)} to {instant_text(end)}"
        found.notes.append(f"{where}: the exchange says nothing of {span}; it stays")


def _doubted(feed: Feed, block: Block, imported: list[Span]) -> list[Span]:
    """Return what to ask for again: all but what came from a file that is still the same."""
    now: dict[tuple[str, str], str] = {}
    for source in block.sources:
        key = (source.name, source.checksum)
        if source.checksum and not _is_imported(source) and key not in now:
            now[key] = feed.exchange.checksum(block.series, source)
    same = {key for key, checksum in now.items() if checksum == key[1]}
    certain = [each.span for each in block.sources if (each.name, each.checksum) in same]
    spans = (part for known in block.known for part in missing(known, [*certain, *imported]))
    return joined(spans)


def _is_imported(source: Source) -> bool:
    return source.name.partition(":")[0] == IMPORT


def _where(at: Place, tier: Database | Archive | None = None) -> str:
    place = f"{at[0]}, {instant_text(at[1].start)}"
    return place if tier is None else f"{place}, {tier.name}"
