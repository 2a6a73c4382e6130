"""The verdict on the best of many trials: what luck alone would show, in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from backtest_py.contract import MetricSettings
from backtest_py.overfitting._inputs import real, whole
from backtest_py.overfitting.luck import (
    deflated_sharpe,
    expected_best_sharpe,
    luck_benchmark,
    min_backtest_years,
)
from backtest_py.overfitting.sharpe import min_track_record, probabilistic_sharpe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest_py.overfitting.plateaus import WinnerSurroundings

__all__ = ["BestTrial", "TrialSet", "Verdict", "judge"]

SIGNIFICANT: Final = 0.95
"""A probability from here on is significant at 5 %."""


@dataclass(frozen=True, slots=True)
class TrialSet:
    """What is known of all trials together.

    Attributes
    ----------
    trials : int
        Sets of parameters that were tried, all that were ever evaluated, 1 or more.
    sharpe_variance : float
        Of their annual Sharpe ratios, undefined ones left out; nan where fewer than two are
        defined: then it is taken to be that of trials without an edge, ``1/years``.
    effective_trials : float, optional
        How many independent trials they are worth; it then takes the place of their number.
    pbo : float, optional
        Probability of overfitting, by CSCV.
    spa : float, optional
        P-value of the test for superior predictive ability.
    """

    trials: int
    sharpe_variance: float
    effective_trials: float | None = None
    pbo: float | None = None
    spa: float | None = None


@dataclass(frozen=True, slots=True)
class BestTrial:
    """What is known of the best trial.

    Attributes
    ----------
    sharpe : float
        Annual, nan where undefined.
    days : int
        Trading days that its returns cover, 0 or more.
    skew, kurtosis : float
        Of its daily returns; a kurtosis of 3 is normal.
    total_trades : int
        How many trades it has.
    plateau : WinnerSurroundings, optional
        What lies around it in the grid, by its Sharpe ratio.
    combo_id : int
        Its number in the grid, -1 where it has none.
    """

    sharpe: float
    days: int
    skew: float = 0.0
    kurtosis: float = 3.0
    total_trades: int = 0
    plateau: WinnerSurroundings | None = None
    combo_id: int = -1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the best of many trials is more than luck. ``print`` shows its text.

    Attributes
    ----------
    trials : int
        Sets of parameters that were tried.
    effective_trials : float
        The number that the statistics below take: ``trials``, or fewer where they are alike.
    years : float
        Length of the backtest.
    sharpe : float
        Annual Sharpe ratio of the best trial.
    expected_best_of_luck : float
        Annual Sharpe ratio that the best of so many independent trials without an edge shows.
    psr : float
        Probability that the true Sharpe ratio is above 0 if it had been the only trial.
    dsr : float
        The same for the best of all trials (the deflated Sharpe ratio); 0.95 is significant.
    min_track_record_years : float
        Years of such returns until ``psr`` is 0.95; inf for a Sharpe ratio of 0 or less.
    min_backtest_years : float
        Years until so many trials without an edge no longer show a Sharpe ratio of 1.
    pbo, spa : float
        As given, nan where they were not computed.
    plateau : WinnerSurroundings or None
        As given.
    total_trades, min_trades : int
        Trades of the best trial, and how few say little.
    combo_id : int
        As given.
    skew, kurtosis : float
        As given.
    notes : tuple of str
        What else is to be known: of which combinations a number is, or why there is none.
    luck_benchmark : float
        Annual Sharpe ratio that the best would show if no trial had an edge and they differed from
        each other as these do: what ``dsr`` compares with. Below ``expected_best_of_luck`` where
        trials are alike, above it where they differ for other reasons than luck.
    text : str
        The verdict in plain words, one statement to a line; the first line is the conclusion.

    Everything that an undefined Sharpe ratio leaves undefined is nan.
    """

    trials: int
    effective_trials: float
    years: float
    sharpe: float
    expected_best_of_luck: float
    psr: float
    dsr: float
    min_track_record_years: float
    min_backtest_years: float
    pbo: float
    spa: float
    plateau: WinnerSurroundings | None
    total_trades: int
    min_trades: int
    combo_id: int = -1
    skew: float = math.nan
    kurtosis: float = math.nan
    notes: tuple[str, ...] = ()
    luck_benchmark: float = math.nan

    @property
    def significant(self) -> bool:
        """Whether nothing here says that luck explains the best trial.

        The deflated Sharpe ratio is 0.95 or more, and PBO below 0.5 and SPA at most 0.05 where they
        are known.
        """
        return self.dsr >= SIGNIFICANT and not self.pbo >= 0.5 and not self.spa > 1.0 - SIGNIFICANT

    @property
    def text(self) -> str:
        """The verdict in plain words, one statement to a line; the first line is the conclusion."""
        return "\n".join((_conclusion(self), *_reasons(self), *self.notes))

    @property
    def luck(self) -> str:
        """What luck alone would show, beside the best result: one sentence."""
        return _luck(self)

    @property
    def significance(self) -> str:
        """How likely the true Sharpe ratio is above 0, and after how long it is surely so.

        Two sentences, one to a line; one where there is nothing to judge.
        """
        if math.isnan(self.dsr):
            return _conclusion(self)
        return f"{_deflated(self)}\n{_track_record(self)}"

    def to_mapping(self) -> dict[str, Any]:
        """Return all numbers and the text, ready for JSON: nan and infinities are texts."""
        found: dict[str, Any] = {"significant": self.significant}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name == "plateau":
                value = None if value is None else _plateau_mapping(value)
            elif spec.name == "notes":
                value = list(value)
            found[spec.name] = _plain(value)
        return found | {"text": self.text}

    def __str__(self) -> str:
        return self.text


def judge(
    trials: TrialSet,
    best: BestTrial,
    *,
    periods_per_year: float = 252,
    min_trades: int = 30,
    notes: Sequence[str] = (),
) -> Verdict:
    """Judge the best of many trials.

    Parameters
    ----------
    trials : TrialSet
        What is known of all of them.
    best : BestTrial
        What is known of the best one.
    periods_per_year : float
        How many trading days make a year.
    min_trades : int
        With fewer trades than these a result says little.
    notes : sequence of str
        Sentences that end the text.

    Returns
    -------
    Verdict

    Raises
    ------
    ConfigError
        If a number is not allowed.

    Examples
    --------
    >>> print(judge(TrialSet(1000, 0.3), BestTrial(1.9, days=882, total_trades=410)).text)
    Luck alone can explain the best result: this is no evidence of an edge.
    With 1,000 trials and 3.5 years, a Sharpe of 1.74 is expected from luck alone; yours is 1.90.
    The true Sharpe is above 0 with a probability of 58.6 % (deflated for 1,000 trials; 95 % would \
be significant, and 100.0 % is what it would be for a single trial).
    Trials without an edge show a Sharpe of 1 until there are 10.6 years of data.
    """
    count = whole(trials.trials, "trials", least=1)
    year = MetricSettings(periods_per_year=periods_per_year).periods_per_year
    days = whole(best.days, "days", least=0)
    effective = trials.effective_trials
    number = float(count) if effective is None else real(effective, "effective_trials", least=1.0)
    ratio = real(best.sharpe, "sharpe")
    daily = ratio / math.sqrt(year)
    # an undefined Sharpe ratio has no moments either
    tails = {} if math.isnan(ratio) else {"skew": best.skew, "kurtosis": best.kurtosis}
    variance = real(trials.sharpe_variance, "sharpe_variance", least=0.0) / year
    n = max(days, 1)
    if math.isnan(variance):
        variance = 1.0 / n
    return Verdict(
        count,
        number,
        days / year,
        ratio,
        expected_best_sharpe(number, days / year) if days else math.nan,
        probabilistic_sharpe(daily, n, **tails),
        deflated_sharpe(daily, n, n_trials=number, variance=variance, **tails),
        min_track_record(daily, **tails) / year,
        min_backtest_years(number),
        math.nan if trials.pbo is None else real(trials.pbo, "pbo"),
        math.nan if trials.spa is None else real(trials.spa, "spa"),
        best.plateau,
        whole(best.total_trades, "total_trades", least=0),
        whole(min_trades, "min_trades", least=0),
        best.combo_id,
        best.skew if tails else math.nan,
        best.kurtosis if tails else math.nan,
        tuple(notes),
        luck_benchmark(number, variance * year),
    )


def _plateau_mapping(around: WinnerSurroundings) -> dict[str, Any]:
    return {
        "value": _plain(around.value),
        "worst": _plain(around.worst),
        "median": _plain(around.median),
        "n_neighbours": around.n_neighbours,
        "n_cliffs": len(around.cliffs),
        "edges": list(around.edges),
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _conclusion(found: Verdict) -> str:
    if math.isnan(found.dsr):
        return "There is nothing to judge: the best result has no Sharpe ratio."
    which = f" (combination {found.combo_id:,})" if found.combo_id >= 0 else ""
    if found.significant:
        return f"The best result is more than luck alone would show{which}."
    return f"Luck alone can explain the best result{which}: this is no evidence of an edge."


def _reasons(found: Verdict) -> list[str]:
    said = [_luck(found)]
    if not math.isnan(found.dsr):
        above = found.sharpe > found.expected_best_of_luck
        if found.significant if not above else found.sharpe <= found.luck_benchmark:
            said.append(
                "Judged by how much these trials differ from each other, luck alone would show "
                f"{found.luck_benchmark:.2f}."
            )
        said.append(_deflated(found))
    if found.trials == 1 and not math.isnan(found.dsr):
        said.append(_track_record(found))
    if found.trials > 1:
        years = f"{found.min_backtest_years:.1f} years"
        said.append(f"Trials without an edge show a Sharpe of 1 until there are {years} of data.")
    if not math.isnan(found.pbo):
        said.append(
            f"Chosen on half of the days, the best ended in the lower half on the other days in "
            f"{_percent(found.pbo)} of all splits (PBO; 50 % is a coin toss)."
        )
    if not math.isnan(found.spa):
        said.append(
            f"If no trial had an edge, one this good would show with a probability of "
            f"{_percent(found.spa)} (SPA; 5 % or less is significant)."
        )
    if found.total_trades < found.min_trades:
        said.append(
            f"It rests on {found.total_trades:,} trades, and fewer than {found.min_trades:,} say "
            "little."
        )
    if found.plateau is not None and found.plateau.row >= 0:
        said += _surroundings(found.plateau)
    return said


def _luck(found: Verdict) -> str:
    trials = f"{found.trials:,} trial" + ("s" if found.trials > 1 else "")
    if found.effective_trials != found.trials:
        trials += f" (worth {found.effective_trials:,.0f} independent ones)"
    yours = "yours is undefined" if math.isnan(found.sharpe) else f"yours is {found.sharpe:.2f}"
    if math.isnan(found.expected_best_of_luck):
        return f"With {trials} and no trading day, nothing can be expected."
    return (
        f"With {trials} and {found.years:.1f} years, a Sharpe of "
        f"{found.expected_best_of_luck:.2f} is expected from luck alone; {yours}."
    )


def _deflated(found: Verdict) -> str:
    said = f"The true Sharpe is above 0 with a probability of {_percent(found.dsr)}"
    if found.trials == 1:
        return f"{said} (95 % would be significant)."
    return (
        f"{said} (deflated for {found.effective_trials:,.0f} trials; 95 % would be significant, "
        f"and {_percent(found.psr)} is what it would be for a single trial)."
    )


def _track_record(found: Verdict) -> str:
    wanted = found.min_track_record_years
    if math.isinf(wanted):
        return "A Sharpe of 0 or less is no sign of an edge, however long the record."
    return (
        f"A track record like this one is significant, by itself, from {wanted:.1f} years on; it "
        f"has {found.years:.1f}."
    )


def _surroundings(around: WinnerSurroundings) -> list[str]:
    said = []
    if around.n_neighbours:
        worst = "undefined" if math.isnan(around.worst) else f"{around.worst:.2f}"
        middle = "undefined" if math.isnan(around.median) else f"{around.median:.2f}"
        said.append(
            f"One step away in the grid, the Sharpe of {around.value:.2f} is {middle} in the "
            f"median and {worst} at worst."
        )
    if around.cliffs:
        said.append(
            f"{len(around.cliffs)} of {around.n_neighbours} neighbours in the grid lose most of "
            "its lead: a lonely peak is more often luck."
        )
    if around.edges:
        said.append("It lies at the edge of the grid: the best value may be outside.")
    return said


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f} %"
