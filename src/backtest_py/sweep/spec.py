"""What a sweep asks: one frozen question that every part of it shares."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

from backtest_py.backtest.job import check_job, expect, prepare
from backtest_py.backtest.run import as_strategy
from backtest_py.bars import Bars
from backtest_py.contract import Contract
from backtest_py.errors import ArgumentError, ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import unknown_name
from backtest_py.rules import ExitRules, Intrabar
from backtest_py.sweep.space.sample import build_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from backtest_py.contract import MetricSettings
    from backtest_py.engines.base import Job
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.space.combinations import Combinations
    from backtest_py.sweep.space.sample import Sample

    Moment = str | date | None

__all__ = ["BLOCKS", "SweepSettings", "SweepSpec", "check_names"]

BLOCKS: Final = 16
"""Blocks of days whose sums a sweep keeps if it is not asked for others."""


class SweepSettings(TypedDict, total=False):
    """What a sweep asks beside bars, strategy and grid, as :func:`backtest_py.sweep` takes it."""

    where: str
    invalid: str
    sample: Sample | None
    rules: ExitRules | None
    contract: Contract | None
    metrics: MetricSettings | None
    range: tuple[Moment, Moment] | None
    scenarios: bool
    blocks: int


@dataclass(frozen=True)
class SweepSpec:
    """A sweep's question: all that decides its numbers, but for the code that computes them.

    Attributes
    ----------
    bars : Bars
        The market.
    grid : Combinations
        Strategy, rules and contract, what varies of them, and which combinations count.
    metrics : MetricSettings
        Settings of the annualised metrics.
    ranges : tuple of pairs of int
        First and last of each range of evaluation: signals at bars ``first <= i < last`` count, and
        each range starts flat with the initial capital. An ordinary sweep has one.
    n_blocks : int
        Blocks of days of each range whose daily returns are summed apart; an ordinary sweep has 0.
    scenarios : bool
        Whether the other way to settle ambiguous bars is computed too.
    blocks : int
        Blocks of days whose sums an ordinary sweep keeps, for a sample of its combinations, 0 for
        none. They are no part of the question: no number of a row hangs on them.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> spec = SweepSpec.of(bars, grid={"rules.stop": [1.0, 2.0]})
    >>> spec.n_combos, spec.ranges == ((0, len(bars)),)
    (2, True)
    """

    bars: Bars
    grid: Combinations
    metrics: MetricSettings
    ranges: tuple[tuple[int, int], ...]
    n_blocks: int = 0
    scenarios: bool = False
    blocks: int = 0

    @classmethod
    def of(
        cls,
        bars: Bars,
        strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
        grid: Mapping[str, object] | None = None,
        **settings: Any,
    ) -> SweepSpec:
        """Check what the user wrote, and return the question.

        Parameters
        ----------
        bars, strategy, grid
            As :func:`backtest_py.sweep` takes them.
        **settings
            Those of :class:`SweepSettings`.

        Raises
        ------
        ConfigError
            If a setting is not allowed, or does not fit the bars or another one.
        """
        return cls.with_job(bars, strategy, grid, **settings)[0]

    @classmethod
    def with_job(
        cls,
        bars: Bars,
        strategy: str | Strategy | Callable[..., Any],
        grid: Mapping[str, object] | None,
        *,
        where: str = "",
        invalid: str = "refuse",
        sample: Sample | None = None,
        rules: ExitRules | None = None,
        contract: Contract | None = None,
        metrics: MetricSettings | None = None,
        range: tuple[Moment, Moment] | None = None,  # noqa: A002
        scenarios: bool = False,
        blocks: int = 0,
    ) -> tuple[SweepSpec, Job]:
        """Return the question as :meth:`of`, and one of its backtests, to choose an engine by."""
        check_blocks(blocks)
        rules = ExitRules() if rules is None else rules
        contract = Contract() if contract is None else contract
        for name, value, kind in (
            ("bars", bars, Bars),
            ("rules", rules, ExitRules),
            ("contract", contract, Contract),
        ):
            expect(name, value, kind)
        base, varied = as_strategy(strategy), {} if grid is None else grid
        space = build_grid(base, rules, contract, varied, sample, where=where, invalid=invalid)
        if scenarios and "rules.intrabar" in space.keys:
            raise ConfigError(
                "scenarios computes both ways to settle ambiguous bars, and the grid's "
                '"rules.intrabar" varies them; leave one of the two out'
            )
        some, *others = _demanding(space, bars)
        job = prepare(bars, some[0], base.compute(bars), some[1], some[2], metrics, range)
        for each in others:
            check_job(replace(job, strategy=each[0], rules=each[1], contract=each[2]))
        ranges = ((job.first, job.last),)
        asked = cls(bars, space, job.metrics, ranges, scenarios=scenarios, blocks=blocks)
        return asked, job

    def over(self, ranges: Sequence[tuple[Moment, Moment]], *, n_blocks: int = 0) -> SweepSpec:
        """Return the same question for other ranges, and blocks of days of each.

        Parameters
        ----------
        ranges : sequence of pairs of str, date or None
            Half-open, on the session's clock, as :func:`backtest_py.run` takes one.
        n_blocks : int
            Blocks of each range, at most one for each of its days.

        Raises
        ------
        ConfigError
            If there is no range, one is empty, or the number of blocks is not a whole number.
        """
        if not ranges:
            raise ConfigError("ranges is empty; give at least one range of evaluation")
        if isinstance(n_blocks, bool) or not isinstance(n_blocks, int) or n_blocks < 0:
            raise ConfigError(f"n_blocks = {n_blocks!r} is not allowed; give a whole number from 0")
        bounds = tuple(self.bars.bounds(*each) for each in ranges)
        return replace(self, ranges=bounds, n_blocks=n_blocks, blocks=0)

    @property
    def other_scenario(self) -> str:
        """The way to settle ambiguous bars that the rules do not ask for, ``""`` if not wanted."""
        if not self.scenarios:
            return ""
        return Intrabar(1 - Intrabar[self.grid.rules.intrabar]).name

    @property
    def n_combos(self) -> int:
        """Number of combinations that are valid and admitted."""
        return self.grid.n_combos

    @property
    def n_scenarios(self) -> int:
        """How often every metric of a range is computed."""
        return 2 if self.scenarios else 1

    @property
    def n_numbers(self) -> int:
        """Numbers of one combination in one range and scenario: metrics, then sums of blocks."""
        return len(METRICS) + 3 * self.n_blocks

    @property
    def n_values(self) -> int:
        """Numbers of one combination in all ranges and scenarios."""
        return self.n_scenarios * len(self.ranges) * self.n_numbers

    @property
    def kept_blocks(self) -> int:
        """Blocks whose sums are kept: ``blocks``, or fewer, and even, where there are fewer days.

        0 below two days.
        """
        first, last = self.ranges[0]
        days = int(self.bars.day[last - 1]) - int(self.bars.day[first]) + 1
        return min(self.blocks, days // 2 * 2)

    @property
    def is_plain(self) -> bool:
        """Whether a run of each combination tells everything: one range, and no blocks."""
        return len(self.ranges) == 1 and self.n_blocks == 0

    def to_mapping(self) -> dict[str, Any]:
        """Return the whole question, ready for JSON and for a hash; bars go by their hash."""
        asked: dict[str, Any] = {
            "grid": self.grid.to_mapping(),
            "metrics": self.metrics.to_mapping(),
            "range": list(self.ranges[0]),
            "scenarios": self.scenarios,
            "bars_hash": self.bars.content_hash,
        }
        if not self.is_plain:
            asked |= {"ranges": [list(each) for each in self.ranges], "n_blocks": self.n_blocks}
        return asked


def check_blocks(blocks: object) -> None:
    """Refuse a number of blocks that CSCV cannot cut in half.

    Raises
    ------
    ConfigError
        If it is neither 0 nor an even number in its limits.
    """
    if type(blocks) is int and blocks in {0, BLOCKS}:
        return
    from backtest_py.overfitting.cscv import MAX_BLOCKS  # noqa: PLC0415 - few sweeps ask for others

    if type(blocks) is not int or blocks not in range(0, MAX_BLOCKS + 1, 2):
        raise ConfigError(
            f"blocks = {blocks!r} is not allowed; give an even number from 2 to {MAX_BLOCKS}, or 0 "
            "to keep no sums of blocks"
        )


def check_names(settings: Mapping[str, object], function: str) -> None:
    """Refuse arguments that are no settings of a sweep.

    Raises
    ------
    ArgumentError
        With the name, and what is near it.
    """
    known = list(SweepSettings.__annotations__)
    for name in settings:
        if name not in known:
            raise unknown_name(f"argument of {function}", name, known, ArgumentError)


def _demanding(space: Combinations, bars: Bars) -> Iterator[tuple[Strategy, ExitRules, Contract]]:
    """Yield combinations so that every demand which settings can make on the bars is among them.

    Units and averages make demands together, so all pairs of them are tried. Of a strategy's
    parameters the first and last values tell; where bars have no volume, all values are tried.
    """
    if space.size == 1:
        yield space.settings(space.id_at(0))
        return
    choices = [at for at in space.rules_axes if space.axes[at].parameter.kind == "choice"]
    values = (range(len(space.axes[at])) for at in choices)
    places = [dict(zip(choices, row, strict=True)) for row in itertools.product(*values)]
    for at in space.strategy_axes:
        last = len(space.axes[at]) - 1
        if last > 0:
            asked = {0, last} if bars.has_volume else range(last + 1)
            places += [{at: digit} for digit in asked]
    found = (space.first_with(fixed) for fixed in places)
    for combo_id in dict.fromkeys(found):
        if combo_id is not None:
            yield space.settings(combo_id)
