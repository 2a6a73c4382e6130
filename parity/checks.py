"""One case put to all implementations, and what they must have in common.

``TALLY`` counts what was compared, for the summary of a test run and for the report: a check that
silently compared nothing would show there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from backtest_py.errors import ParityError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parity import compare
from backtest_py.rules import Reason
from parity import golden, reference, reference_strategies
from parity.cases import Case
from parity.implementations import ENGINES, IMPLEMENTATIONS, ask, to_answer, to_bars

if TYPE_CHECKING:
    import backtest_py as bt
    from parity.implementations import Answer

TALLY: Counter[str] = Counter()


@dataclass(frozen=True)
class Verdict:
    """How far the implementations agree on one case.

    ``wrong`` lists every difference, nothing where all agree; ``largest`` is the largest relative
    difference between any two of them.
    """

    name: str
    wrong: tuple[str, ...]
    largest: float

    def require(self) -> None:
        """Raise ParityError where there is a difference."""
        if self.wrong:
            raise ParityError(f"{self.name}:\n" + "\n".join(self.wrong))


def check_case(case: Case) -> Verdict:
    """Compare both engines, and the reference if it knows the strategy: each pair, bit for bit."""
    bars = to_bars(case.bars)
    known = case.kind == "own_signals" or case.kind in reference_strategies.PARAMETERS
    answers = {name: ask(name, case, bars) for name in (IMPLEMENTATIONS if known else ENGINES)}
    wrong = clock_faults(bars, case.bars)
    largest = 0.0
    for left, right in combinations(answers, 2):
        comparison = compare(answers[left], answers[right])
        largest = max(largest, comparison.largest)
        wrong += [item.describe(left, right) for item in comparison.differences]
        wrong += signal_faults(answers[left], answers[right], left, right)
    count(case, answers["numba"])
    return Verdict(case.name, tuple(wrong), largest)


def clock_faults(bars: bt.Bars, expected: reference.Bars) -> list[str]:
    """Compare the minutes and days that both engines are given with the reference's."""
    found = []
    for name in ("minute", "day"):
        one, other = getattr(bars, name).tolist(), getattr(expected, name)
        if one != other:
            bar = next(i for i in range(len(other)) if one[i] != other[i])
            found.append(f"{name} of bar {bar}: engines {one[bar]}, reference {other[bar]}")
    return found


def signal_faults(one: Answer, other: Answer, left: str, right: str) -> list[str]:
    """Compare the signals of all bars, traded or not."""
    if not np.array_equal(one.side, other.side):
        bar = int(np.flatnonzero(one.side != other.side)[0])
        return [f"side of bar {bar}: {left} {one.side[bar]}, {right} {other.side[bar]}"]
    if (one.risk is None) != (other.risk is None):
        return [f"risk: {left} {one.risk}, {right} {other.risk}"]
    if one.risk is None or other.risk is None:
        return []
    differs = one.risk.view(np.int64) != other.risk.view(np.int64)
    differs &= ~(np.isnan(one.risk) & np.isnan(other.risk))
    if not differs.any():
        return []
    bar = int(np.flatnonzero(differs)[0])
    return [f"risk of bar {bar}: {left} {one.risk[bar]!r}, {right} {other.risk[bar]!r}"]


def count(case: Case, answer: Answer) -> None:
    """Book a compared case."""
    TALLY["generated cases"] += 1
    TALLY[f"strategy {case.kind}"] += 1
    TALLY[f"unit {case.config['rules'].get('unit', 'atr')}"] += 1
    TALLY["cases with trades"] += len(answer) > 0
    TALLY["cases with a range"] += "range" in case.config
    TALLY["ruined accounts"] += int(answer.metric("ruined"))
    TALLY["trades"] += len(answer)
    TALLY["ambiguous trades"] += int(answer.metric("ambiguous_trades"))
    for reason in Reason:
        TALLY[f"exits {reason.name}"] += int(answer.metric(f"exits_{reason.name}"))


def check_golden(case: golden.Golden, implementation: str) -> Verdict:
    """Compare an implementation with a golden case: trades bit for bit, metrics as agreed."""
    answer = ask(implementation, Case(case.name, case.bars, case.config))
    expected = to_answer(reference.Result(case.trades, case.metrics, [], None))
    # the metrics of both are the same here, so that trades alone are compared bit for bit
    comparison = compare(replace(answer, metrics=expected.metrics), expected)
    wrong = [item.describe(implementation, "golden") for item in comparison.differences]
    n_signals = int(np.count_nonzero(answer.side))
    if n_signals != case.signals:
        wrong.append(f"signals: {implementation} {n_signals}, golden {case.signals}")
    metrics = dict(zip(METRICS, answer.metrics.tolist(), strict=True))
    wrong += golden.metric_faults(case, metrics)
    TALLY[f"golden cases on {implementation}"] += 1
    return Verdict(f"{case.name} on {implementation}", tuple(wrong), comparison.largest)
