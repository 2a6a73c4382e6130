"""The check: ask a strategy again with another future, and compare what it says of the past."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.analysis.lookahead.answers import Subject, active, differing
from backtest_py.analysis.lookahead.cuts import cut_points
from backtest_py.analysis.lookahead.distances import Distances
from backtest_py.analysis.lookahead.futures import VARIANTS, Futures
from backtest_py.analysis.lookahead.result import LookaheadFinding, LookaheadResult
from backtest_py.analysis.steps import Counter
from backtest_py.backtest.job import expect
from backtest_py.backtest.run import as_strategy
from backtest_py.bars import Bars
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from backtest_py.analysis.lookahead.answers import Answers
    from backtest_py.analysis.steps import Steps
    from backtest_py.strategies.base import Strategy

__all__ = ["CUTS", "check_lookahead"]

CUTS: Final = 32
"""How many cuts, unless asked for more."""

MOST_CUTS: Final = 100_000

SHOWN: Final = 10
"""Findings that are kept, the earliest bars first."""

SPACING: Final = 32
"""Bars between two that are changed at once, at least."""

CONTAMINATED: Final = 0.1
"""Share of changed answers above which bars that are changed at once must lie further apart."""

ENOUGH: Final = 3
"""Findings after which no more are looked for among single bars."""

NEAR: Final = 8
"""A changed bar that is further ahead is not looked at more closely: cuts find such peeks."""

SUSPECTS: Final = 3
"""Bars that are looked at more closely, of one run with many single bars changed."""


def check_lookahead(
    strategy: str | Strategy | Callable[..., Any],
    bars: Bars,
    *,
    cuts: int = CUTS,
    seed: int = 0,
    engine: str = "auto",
    progress: Callable[[Steps], None] | None = None,
) -> LookaheadResult:
    """Check that a strategy says nothing of a bar that it could not know at that bar's close.

    The strategy is asked again on bars whose future is cut off, and on bars of the same times with
    another future: a jump, a crash, other prices and volumes. What it says of the bars before must
    stay the same: sides, risks, and exit flags where it gives them. Single bars are changed as
    well, many at once, so that a peek at the next bar that matters seldom is found, too.

    Nothing found is no proof: what never mattered on these bars, or on bars like them, cannot show.
    A function that looks up signals made elsewhere does not react to prices; a note says so.

    Parameters
    ----------
    strategy : Strategy, str or callable
        As :func:`~backtest_py.run` takes it. A function may return the two exit flags besides:
        ``side, risk, exit_long, exit_short``; the risk may be None.
    bars : Bars
        Some thousand bars with many signals show the most.
    cuts : int
        Places at which the future is cut off and changed, 1 to 100,000. The strategy is asked some
        four times as often, plus a few times more where something was found.
    seed : int
        Decides the cuts and the futures: the same seed gives the same result.
    engine : {"auto", "numba", "rust"}
        For strategies that an engine computes.
    progress : callable, optional
        Called with a :class:`~backtest_py.analysis.steps.Steps` after every run.

    Returns
    -------
    LookaheadResult
        True where nothing was found; ``findings`` say which bar saw what, ``text`` says it in
        words.

    Raises
    ------
    ConfigError
        If an argument is not allowed, or the strategy fails on the bars as they are.

    Examples
    --------
    >>> import backtest_py as bt
    >>> import numpy as np
    >>> def cheat(bars):
    ...     return np.append(bars.close[1:] > bars.close[:-1], False)
    >>> found = bt.check_lookahead(cheat, bt.synthetic_bars(n_days=10), cuts=8)
    >>> found.ok, found.findings[0].kind, found.findings[0].bars_ahead
    (False, 'future', 1)
    """
    expect("bars", bars, Bars)
    n_cuts = _whole("cuts", cuts, 1, MOST_CUTS)
    number = _whole("seed", seed, 0, 2**64 - 1)
    subject = Subject(as_strategy(strategy), bars, engine)
    return _Check(subject, bars, n_cuts, number, progress).result()


def _whole(name: str, value: object, least: int, most: int) -> int:
    allowed = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not allowed or not least <= int(value) <= most:  # type: ignore[call-overload]
        raise ConfigError(
            f"{name} = {value!r} is not allowed; give a whole number from {least} to {most:,}"
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


class _Check:
    """One check on its way."""

    def __init__(
        self,
        subject: Subject,
        bars: Bars,
        n_cuts: int,
        seed: int,
        progress: Callable[[Steps], None] | None,
    ) -> None:
        self.subject, self.bars, self.seed = subject, bars, seed
        self.futures = Futures(bars, seed)
        self.n_cuts = min(n_cuts, len(bars) - 1)
        self.meter = Counter(5 + 4 * self.n_cuts, progress)
        self.findings: list[LookaheadFinding] = []
        self.variants: dict[int, str] = {}
        self.n_seen = 0
        self.failures: list[tuple[int, str]] = []
        self.by_calendar: tuple[int, int] | None = None
        self.covered = np.zeros(len(bars), np.bool_)
        self.real: Answers = {}

    def result(self) -> LookaheadResult:
        """Ask, compare, and say what was found."""
        self._repeat()
        points = cut_points(self.bars, np.flatnonzero(active(self.real)), self.n_cuts, self.seed)
        if not self.findings:
            self.n_seen = sum(self._cut(turn, cut) for turn, cut in enumerate(points))
            if points and len({size for size, _ in self.failures}) == len(points):
                self.findings.append(self._without_bar("failed"))
            if not any(finding.kind == "future" for finding in self.findings):
                self._change_single_bars()
            self.findings.sort(key=lambda finding: (finding.bar, finding.cut))
            self._measure()
        return LookaheadResult(
            strategy=self.subject.name,
            n_bars=len(self.bars),
            n_active=int(np.count_nonzero(active(self.real))),
            findings=tuple(self.findings[:SHOWN]),
            n_cuts_seen=self.n_seen,
            notes=tuple(self._notes()),
            cuts=points,
            covered=int(np.count_nonzero(self.covered)),
            seed=self.seed,
            runs=self.subject.runs,
            engine=self.subject.engine,
            seconds=self.meter.seconds,
        )

    def ask(self, bars: Bars) -> Answers | None:
        """Ask the strategy, and count it."""
        answers = self.subject.ask(bars)
        self.meter.add()
        return answers

    def _repeat(self) -> None:
        """Ask twice on the same bars, and on a piece of them before and after."""
        half = max(1, len(self.bars) // 2)
        before = self.ask(self.futures.cut(half))
        self.real = self.subject.first(self.futures.whole())
        self.meter.add()
        again, after = self.ask(self.futures.whole()), self.ask(self.futures.cut(half))
        pairs = (("random", self.real, again), ("memory", after, before))
        for kind, left, right in pairs:
            if left is None or right is None:
                continue
            apart = differing(left, right, len(next(iter(left.values()))))
            if apart and not self.findings:
                self.findings.append(self._finding(kind, apart, left, right))

    def _cut(self, turn: int, cut: int) -> bool:
        """Cut the future off at a bar, and change it there; tell whether a bar before it saw."""
        names = list(VARIANTS)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        gone = self.ask(self.futures.cut(cut))
        if gone is None:
            self.failures.append((cut, self.subject.failure))
        other = self.ask(self.futures.changed(cut, names[0]))
        self.covered[cut - 1] |= other is not None
        cut_off = {} if gone is None else differing(self.real, gone, cut)
        if other is not None and (apart := differing(self.real, other, cut)):
            self._add("future", apart, other, cut, names[0])
            return True
        if gone is None or not cut_off:
            return False
        for name in names[1:]:  # is it the prices of the bars that are gone, or that they are gone?
            other = self.ask(self.futures.changed(cut, name))
            if other is not None and (apart := differing(self.real, other, cut)):
                self._add("future", apart, other, cut, name)
                return True
        day = self.bars.day
        first = min(int(rows[0]) for rows in cut_off.values())
        if day[first] == day[cut - 1]:
            self.by_calendar = self.by_calendar or (first, cut)
            return False
        self._add("length", cut_off, gone, cut, "")
        return True

    def _add(
        self,
        kind: str,
        apart: dict[str, NDArray[np.int64]],
        other: Answers,
        cut: int,
        variant: str,
    ) -> None:
        finding = self._finding(kind, apart, self.real, other)
        rows = np.unique(np.concatenate(list(apart.values())))
        known = replace(finding, cut=cut, n_changed=len(rows), reach=cut - finding.bar)
        if all((each.column, each.bar) != (known.column, known.bar) for each in self.findings):
            self.findings.append(known)
            self.variants[cut] = variant

    def _finding(
        self, kind: str, apart: dict[str, NDArray[np.int64]], left: Answers, right: Answers
    ) -> LookaheadFinding:
        """Return the finding of the first bar of which answers differ."""
        column = min(apart, key=lambda name: int(apart[name][0]))
        bar = int(apart[column][0])
        value, other = (
            float(answers[column][bar]) if column in answers else float("nan")
            for answers in (left, right)
        )
        return LookaheadFinding(kind, column, bar, self.bars.time_text(bar), value, other)

    def _without_bar(self, kind: str) -> LookaheadFinding:
        return LookaheadFinding(kind, "side", -1, "", float("nan"), float("nan"), n_changed=0)

    def _change_single_bars(self) -> None:
        """Change many single bars at once: small moves first, then large ones the other way."""
        for names in (("rise", "fall"), ("crash", "surge")):
            self._pass(names)
            if len(self.findings) >= ENOUGH:
                return

    def _pass(self, names: tuple[str, str]) -> None:
        """Change every bar, in several runs; those of one run lie apart.

        What a strategy says right before a changed bar may differ because an earlier changed bar
        lies behind it, which is no look-ahead. Where that is frequent, they are put further apart,
        and fewer of them are looked at: those behind signals first.
        """
        n_bars = len(self.bars)
        words = splitmix64(self.seed, 20, n_bars)
        coin = (words >> np.uint64(63)).astype(np.int64)
        spacing = max(SPACING, self.n_cuts)
        wider = 0
        done = 0
        tried: set[tuple[int, int]] = set()
        while done < self.n_cuts:
            offset = self._offsets(spacing)[done % spacing]
            rows = np.arange(offset, n_bars, spacing)
            rows = rows[rows > 0]
            done += 1
            if not rows.size:
                continue
            other = self.ask(self.futures.spiked(rows, names, coin[rows]))
            if other is None:
                continue
            found = differing(self.real, other, n_bars)
            apart = _marked(found, n_bars)
            if _share(apart, rows) > CONTAMINATED and found.pop("risk", None) is not None:
                apart = _marked(found, n_bars)  # an average of risks remembers for long
            if _share(apart, rows) > CONTAMINATED and wider < 2 and 8 * spacing < n_bars:
                spacing, wider = 8 * spacing, wider + 1
                continue
            self.covered[rows[~apart[rows - 1]] - 1] = True
            self._look_closer(np.flatnonzero(apart), rows, names, coin, tried)
            if len(self.findings) >= ENOUGH:
                return

    def _offsets(self, spacing: int) -> NDArray[np.int64]:
        """Return where runs begin, those first that change the most bars right behind signals."""
        behind = np.flatnonzero(active(self.real)) + 1
        hits = np.bincount(behind % spacing, minlength=spacing)
        mixed = np.argsort(splitmix64(self.seed, 21, spacing), kind="stable")
        order: NDArray[np.int64] = mixed[np.argsort(-hits[mixed], kind="stable")]
        return order

    def _look_closer(
        self,
        apart: NDArray[np.int64],
        rows: NDArray[np.int64],
        names: tuple[str, str],
        coin: NDArray[np.int64],
        tried: set[tuple[int, int]],
    ) -> None:
        """Change one bar alone, where an answer shortly before it differed."""
        next_row = np.searchsorted(rows, apart, "right")
        apart, next_row = apart[next_row < len(rows)], next_row[next_row < len(rows)]
        ahead = rows[next_row] - apart
        near = np.flatnonzero(ahead <= NEAR)
        order = near[np.argsort(ahead[near], kind="stable")][:SUSPECTS]
        for place in order:
            bar, row = int(apart[place]), int(rows[next_row[place]])
            if (bar, row) in tried or len(tried) >= self.n_cuts:
                continue
            tried.add((bar, row))
            name = names[int(coin[row])]
            other = self.ask(self.futures.changed(row, name, row + 1))
            found = {} if other is None else differing(self.real, other, row)
            if found and other is not None:
                self._add("future", found, other, row, name)
            elif bar == row - 1:
                self.covered[bar] = other is not None

    def _measure(self) -> None:
        """Find out how far ahead the first findings look."""
        distances = Distances(self.futures, self.ask, self.real, len(self.bars))
        for number, finding in enumerate(self.findings[:ENOUGH]):
            if finding.kind == "future":
                found = distances.of_prices(finding, self.variants[finding.cut])
            elif finding.kind == "length":
                found = distances.of_length(finding)
            else:
                continue
            self.findings[number] = found
        for number, finding in enumerate(self.findings):
            if finding.kind in {"future", "length"} and not finding.bars_ahead:
                self.findings[number] = replace(finding, bars_ahead=finding.reach)

    def _notes(self) -> list[str]:
        notes = []
        if self.failures:
            longest, reason = max(self.failures)
            notes.append(
                f"it fails on {counted(len(self.failures), 'shorter piece')} of the bars, the "
                f"longest of {counted(longest, 'bar')}: {reason}"
            )
        if self.by_calendar is not None:
            bar, cut = self.by_calendar
            notes.append(
                f"it knows which bars follow on the same day: bar {bar:,} "
                f"({self.bars.time_text(bar)}) is another where the bars from {cut:,} on are "
                "missing, whatever their prices; which bar ends a day is known ahead"
            )
        if not active(self.real).any():
            notes.append("it gives no signal on these bars, so that little can be seen")
        elif self._is_deaf():
            notes.append(
                "it says the same whatever the prices are: signals that were made elsewhere, from "
                "all bars, would look like this and cannot be told"
            )
        if len(self.bars) == 1:
            notes.append("there is one bar, and no future to hide")
        return notes

    def _is_deaf(self) -> bool:
        """Tell whether answers stay what they are when all bars are others."""
        if self.findings:
            return False
        others = (self.ask(self.futures.changed(0, name)) for name in ("surge", "usual"))
        return all(
            other is not None and not differing(self.real, other, len(self.bars))
            for other in others
        )


def _marked(found: dict[str, NDArray[np.int64]], n_bars: int) -> NDArray[np.bool_]:
    """Return at which bars some answer differs."""
    apart = np.zeros(n_bars, np.bool_)
    for rows in found.values():
        apart[rows] = True
    return apart


def _share(apart: NDArray[np.bool_], rows: NDArray[np.int64]) -> float:
    """Return at how many of the bars right before these rows an answer differs, as a share."""
    return float(apart[rows - 1].mean())
