"""How far ahead an answer looks: the fewest bars that change it, and the furthest that does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from backtest_py.analysis.lookahead.answers import differing
from backtest_py.analysis.lookahead.futures import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backtest_py.analysis.lookahead.answers import Answers
    from backtest_py.analysis.lookahead.futures import Futures
    from backtest_py.analysis.lookahead.result import LookaheadFinding
    from backtest_py.bars import Bars

__all__ = ["Distances"]

TRIES: Final = 24
"""Runs that one search may take."""


class Distances:
    """Searches that ask the strategy again.

    Parameters
    ----------
    futures : Futures
        Other futures of the bars.
    ask : callable
        Returns the answers of bars, None where the strategy fails.
    real : Answers
        Those of the bars as they are.
    n_bars : int
        How many there are.
    """

    def __init__(
        self,
        futures: Futures,
        ask: Callable[[Bars], Answers | None],
        real: Answers,
        n_bars: int,
    ) -> None:
        self._futures, self._ask, self._real, self._n_bars = futures, ask, real, n_bars

    def of_prices(self, finding: LookaheadFinding, variant: str) -> LookaheadFinding:
        """Return the finding with its distances, by changing prices as at its cut."""
        bar, most = finding.bar, self._n_bars - 1 - finding.bar

        def hangs_on(ahead: int) -> bool:
            return self._differs(finding, self._futures.changed(bar + ahead, variant))

        def enough(count: int) -> bool:
            futures, until = self._futures, bar + 1 + count
            names = dict.fromkeys((variant, *(VARIANTS if count == 1 else ())))
            return any(
                self._differs(finding, futures.changed(bar + 1, name, until)) for name in names
            )

        reach = _furthest(hangs_on, finding.reach, most)
        return replace(finding, reach=reach, bars_ahead=_fewest(enough, most) or reach)

    def of_length(self, finding: LookaheadFinding) -> LookaheadFinding:
        """Return the finding with its distances, by giving it more bars or fewer."""
        bar, most = finding.bar, self._n_bars - 1 - finding.bar
        alone = self._ask(self._futures.cut(bar + 1))

        def hangs_on(ahead: int) -> bool:
            return self._differs(finding, self._futures.cut(bar + ahead))

        def enough(count: int) -> bool:
            return self._differs(finding, self._futures.cut(bar + 1 + count), alone)

        reach = _furthest(hangs_on, finding.reach, most)
        fewest = 0 if alone is None else _fewest(enough, most)
        return replace(finding, reach=reach, bars_ahead=fewest or reach)

    def _differs(self, finding: LookaheadFinding, bars: Bars, known: Answers | None = None) -> bool:
        """Tell whether the bar's answer on other bars is not what is known of it."""
        other = self._ask(bars)
        if other is None:
            return False
        apart = differing(known or self._real, other, finding.bar + 1)
        return finding.bar in apart.get(finding.column, ())


def _furthest(holds: Callable[[int], bool], known: int, most: int) -> int:
    """Return a large distance at which something holds: doubled while it does, then halved."""
    tries, beyond = 0, most + 1
    while tries < TRIES and known < most:
        tries += 1
        if beyond == most + 1:
            probe = min(2 * known, most)
        elif beyond - known > 1:
            probe = (known + beyond) // 2
        else:
            break
        if holds(probe):
            known = probe
        else:
            beyond = probe
    return known


def _fewest(holds: Callable[[int], bool], most: int) -> int:
    """Return a small count at which something holds, 0 where none was found."""
    tries, below, count = 0, 0, 1
    while tries < TRIES and count <= most:
        tries += 1
        if holds(count):
            break
        below, count = count, min(2 * count, most) if count < most else most + 1
    else:
        return 0
    while tries < TRIES and count - below > 1:
        tries += 1
        middle = (below + count) // 2
        if holds(middle):
            count = middle
        else:
            below = middle
    return count
