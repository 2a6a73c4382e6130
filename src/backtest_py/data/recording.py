"""What the feed and its tiers record of blocks: questions, answers, sizes and times."""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from backtest_py.data.cache.encoding import DamagedError
from backtest_py.data.market.blocks import period_of
from backtest_py.data.market.candles import ROW_BYTES
from backtest_py.monitoring import catalogue as metrics
from backtest_py.monitoring import market_data as monitoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from backtest_py.data.market.blocks import Block
    from backtest_py.data.market.candles import Series
    from backtest_py.data.market.spans import Span
    from backtest_py.data.rewrites import Rewrite

__all__ = ["Looks", "fetched", "reads", "rewritten", "writes"]


class _Tier(Protocol):
    @property
    def name(self) -> str: ...


P = ParamSpec("P")
TierT = TypeVar("TierT", bound=_Tier)


class Looks:
    """Which tiers were asked for which blocks, and whether each knew all that was wanted.

    Parameters
    ----------
    wanted : mapping, optional
        By series and period the part that is wanted, where tiers are asked for more than that.
    """

    def __init__(self, wanted: Mapping[tuple[Series, Span], Span] | None = None) -> None:
        self._wanted = wanted or {}
        self._answers: dict[tuple[str, Series, Span], bool] = {}

    def note(
        self, tier: str, series: Series, period: Span, inside: Span, found: Block | None
    ) -> None:
        """Note what a tier answered."""
        inside = self._wanted.get((series, period), inside)
        full = found is not None and not found.missing(inside)
        self._answers[tier, series, period] = full

    def count(self) -> None:
        """Count all answers as hits and misses, each once."""
        answers, self._answers = self._answers, {}
        monitoring.looked_up((tier, full) for (tier, *_), full in answers.items())


def fetched(exchange: str, blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks that an exchange gives, and record them."""
    began, n_candles = time.perf_counter(), 0
    try:
        for block in blocks:
            n_candles += len(block.candles)
            count = block.series.interval.count
            holes = [count(*hole.span) for hole in block.holes]
            monitoring.fetched(exchange, len(block.candles), holes)
            yield block
    finally:
        monitoring.read("exchange", began, ROW_BYTES * n_candles)


def rewritten(exchange: str, rewrites: Iterable[Rewrite]) -> None:
    """Count the months and years in which an exchange has rewritten something."""
    blocks = {(each.series, period_of(each.series, each.span.start)) for each in rewrites}
    metrics.REWRITES.add(exchange, amount=len(blocks))


def reads(
    get: Callable[Concatenate[TierT, P], Block | None],
) -> Callable[Concatenate[TierT, P], Block | None]:
    """Record time and size of what a tier's method returns, and damage that it finds."""

    @wraps(get)
    def reading(tier: TierT, /, *given: P.args, **named: P.kwargs) -> Block | None:
        began = time.perf_counter()
        try:
            found = get(tier, *given, **named)
        except DamagedError:
            metrics.CORRUPTIONS.add(tier.name, "block")
            raise
        n_bytes = 0 if found is None else ROW_BYTES * len(found.candles)
        monitoring.read(tier.name, began, n_bytes)
        return found

    return reading


def writes(put: Callable[[TierT, Block], None]) -> Callable[[TierT, Block], None]:
    """Record time and size of what a tier's method keeps."""

    @wraps(put)
    def writing(tier: TierT, block: Block) -> None:
        began = time.perf_counter()
        put(tier, block)
        monitoring.wrote(tier.name, began, ROW_BYTES * len(block.candles))

    return writing
