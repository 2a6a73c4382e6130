"""The parity gate: before the Rust engine runs a large sweep, the reference engine agrees with it.

Both run a sample of this very grid on these very bars, one combination at a time, as
:func:`backtest_py.run` would; and what the sweep itself gives for the same combinations must equal
that, because the sweep takes shortcuts that a single run does not. Trades must agree bit for bit,
metrics within a relative 1e-5. That they agree bit for bit, too, is expected, and a warning tells
where they do not.

A verdict is kept on disk and holds for the same question: bars, grid, settings, range and builds of
both engines. One on a user's own function is not kept, for what the function calls may change.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from os import cpu_count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.engines import resolve
from backtest_py.engines.base import EngineOutput, Job
from backtest_py.errors import BacktestWarning, EngineUnavailableError, ParityError
from backtest_py.parity import AGREED_RTOL, Difference, compare
from backtest_py.provenance import canonical_json, sha256
from backtest_py.records import COUNT_METRICS, SEMANTICS_VERSION, Intrabar
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.stratify import STRATA, stratify
from backtest_py.sweep.verdicts import recall, remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.evaluate import SweepJob
    from backtest_py.sweep.stratify import Stratified

__all__ = ["GATE_COMBOS", "gate_text", "pass_gate"]

GATE_COMBOS: Final = 1_000
"""Combinations beyond which a sweep of the Rust engine passes the gate first."""

_FORMAT: Final = 1
"""Goes up when a verdict says something else than before, so that none is taken from disk."""
_EXACT: Final = COUNT_METRICS | {"ruined"}
_MAX_WORKERS: Final = 16
_KEPT_SIGNALS: Final = 8


@dataclass(frozen=True, slots=True)
class _Question:
    """One combination, in one scenario, for both engines."""

    row: int
    job: Job
    swept: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Split:
    """Where two sides differ: what, the names of both, and where that trade ended on the first."""

    difference: Difference
    sides: tuple[str, str]
    exit_bar: int | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What both engines, and the sweep, have in common on a question.

    ``wrong`` is the first difference that is not tolerated, ``first`` the first one at all.
    """

    wrong: _Split | None
    first: _Split | None
    largest: float
    n_trades: int


def pass_gate(
    job: SweepJob, engine: Engine, *, threads: int = 0, max_memory: int = 1 << 30
) -> dict[str, Any]:
    """Let a sweep pass if both engines agree on a sample of it.

    Parameters
    ----------
    job : SweepJob
        What is swept.
    engine : Engine
        The engine that sweeps; Numba is the reference.
    threads : int
        Threads to use, 0 for one per processor.
    max_memory : int
        Bytes that outcomes may take.

    Returns
    -------
    dict
        The verdict, ready for JSON: ``verdict`` (``"agreed"``), ``bit_for_bit``,
        ``largest_difference`` (relative), ``first_difference`` (text), ``n_combos``, ``n_trades``,
        ``sample`` (numbers of combinations by stratum), ``builds`` (of both engines), ``key``,
        ``reused``, ``seconds``.

    Raises
    ------
    ParityError
        With the first divergent event and its combination.
    EngineUnavailableError
        If Numba cannot be loaded.

    Examples
    --------
    >>> import backtest_py as bt
    >>> from backtest_py.sweep.evaluate import SweepJob
    >>> from backtest_py.sweep.grid import Grid
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> axes = {"strategy.lookback": [5, 10], "rules.stop": [1.0, 2.0]}
    >>> grid = Grid.build(bt.BarraElefante(), bt.ExitRules(), bt.Contract(), axes)
    >>> job = SweepJob(bars, grid, bt.MetricSettings(), 0, len(bars))
    >>> verdict = pass_gate(job, resolve("rust")[0])
    >>> verdict["verdict"], verdict["bit_for_bit"], verdict["n_combos"]
    ('agreed', True, 4)
    """
    began = time.perf_counter()
    reference = _reference()
    builds = {each.name: dict(each.build) for each in (reference, engine)}
    key = sha256(canonical_json(_question(job, builds)))
    keep = not isinstance(job.grid.strategy, FunctionStrategy)
    known = recall(key) if keep else None
    verdict = known or _verdict(job, reference, engine, threads, max_memory)
    if keep and known is None:
        remember(key, verdict)
    if not verdict["bit_for_bit"]:
        warnings.warn(
            f"the engines agree on {verdict['n_combos']} combinations of this sweep, but not bit "
            f"for bit: metrics differ by up to a relative {verdict['largest_difference']:.1e} "
            f"({verdict['first_difference']}); please report it",
            BacktestWarning,
            stacklevel=4,
        )
    return {
        **verdict,
        "builds": builds,
        "key": key,
        "reused": known is not None,
        "seconds": round(time.perf_counter() - began, 3),
    }


def gate_text(verdict: Mapping[str, Any]) -> str:
    """Say in one line what the gate of a sweep found, as its manifest has it.

    Parameters
    ----------
    verdict : mapping
        What :func:`pass_gate` returned, or ``{"verdict": "skipped", "reason": …}``.

    Examples
    --------
    >>> gate_text({"verdict": "skipped", "reason": "the caller asked to skip it"})
    'parity gate: skipped, the caller asked to skip it'
    """
    if verdict["verdict"] != "agreed":
        return f"parity gate: {verdict['verdict']}, {verdict['reason']}"
    exactly = "bit for bit"
    if not verdict["bit_for_bit"]:
        exactly = f"up to a relative {verdict['largest_difference']:.1e} in metrics"
    strata = ", ".join(f"{len(verdict['sample'][name])} {name}" for name in STRATA)
    how = "reused" if verdict["reused"] else f"{verdict['seconds']:.1f} s"
    return (
        f"parity gate: both engines agree on {verdict['n_combos']} combinations ({strata}) and "
        f"{verdict['n_trades']:,} trades, {exactly}; {how}"
    )


def _reference() -> Engine:
    try:
        reference, _ = resolve("numba")
    except EngineUnavailableError as error:
        raise EngineUnavailableError(
            "a large sweep on the Rust engine begins with a check against the Numba engine, but "
            f"{error}, or skip the check by gate=None (--no-gate), which the results record"
        ) from error
    return reference


def _question(job: SweepJob, builds: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a verdict depends on."""
    return {
        "format": _FORMAT,
        "tolerance": AGREED_RTOL,
        "bars": job.bars.content_hash,
        "grid": job.grid.to_mapping(),
        "metrics": job.metrics.to_mapping(),
        "range": [job.first, job.last],
        "scenarios": job.scenarios,
        "semantics": SEMANTICS_VERSION,
        "builds": builds,
    }


def _verdict(
    job: SweepJob, reference: Engine, engine: Engine, threads: int, max_memory: int
) -> dict[str, Any]:
    """Put the sample to both engines."""
    seed = int(sha256(canonical_json(job.grid.to_mapping()))[:16], 16)
    sample = stratify(job, engine, seed=seed, threads=threads, max_memory=max_memory)

    def ask(question: _Question) -> tuple[_Question, _Answer]:
        return question, _answer(question, reference, engine)

    largest, n_trades, first = 0.0, 0, ""
    workers = min(threads or cpu_count() or 1, _MAX_WORKERS)
    for question, answer in _in_turn(ask, _questions(job, sample), workers):
        if answer.wrong is not None:
            raise ParityError(
                "the engines disagree, so the sweep has not begun: "
                f"{_event(job, sample, question, answer.wrong)}; please report it, and sweep with "
                'engine="numba" meanwhile, which is the reference'
            )
        if answer.first is not None and not first:
            first = _event(job, sample, question, answer.first)
        largest = max(largest, answer.largest)
        n_trades += answer.n_trades
    return {
        "verdict": "agreed",
        "bit_for_bit": not first,
        "largest_difference": largest,
        "first_difference": first,
        "n_combos": len(sample.combo_ids),
        "n_trades": n_trades,
        "sample": sample.strata,
    }


def _questions(job: SweepJob, sample: Stratified) -> Iterator[_Question]:
    """Yield what both engines shall run: every combination, in every scenario that is swept."""
    grid = job.grid
    compute = lru_cache(_KEPT_SIGNALS)(lambda strategy: strategy.compute(job.bars))
    for row, digits in enumerate(sample.digits.tolist()):
        strategy, rules, contract = grid.settings_at(digits)
        signals = compute(strategy) if isinstance(strategy, FunctionStrategy) else None
        for scenario, metrics in enumerate(sample.metrics):
            if scenario > 0:
                rules = replace(rules, intrabar=Intrabar(1 - rules.intrabar_code).name)
            single = Job(
                job.bars, strategy, signals, rules, contract, job.metrics, job.first, job.last
            )
            yield _Question(row, single, metrics[:, row])


def _answer(question: _Question, reference: Engine, engine: Engine) -> _Answer:
    """Run a combination on both engines, and compare them and the sweep."""
    expected, found = reference.run(question.job), engine.run(question.job)
    swept = EngineOutput(found.trades, np.ascontiguousarray(question.swept))
    wrong: _Split | None = None
    first: _Split | None = None
    largest = 0.0
    for left, right, sides in (
        (expected, found, (reference.name, engine.name)),
        (found, swept, (f"{engine.name}'s single run", f"{engine.name}'s sweep")),
    ):
        exact = compare(left, right)
        if exact.same:
            continue
        largest = max(largest, exact.largest)
        intolerable = [
            item for item in exact.differences if item.trade is not None or item.field in _EXACT
        ]
        intolerable += compare(left, right, rtol=AGREED_RTOL).differences
        first = first or _split(exact.differences[0], sides, left)
        if intolerable and wrong is None:
            wrong = _split(intolerable[0], sides, left)
    return _Answer(wrong, first, largest, len(expected.trades["side"]))


def _split(difference: Difference, sides: tuple[str, str], left: EngineOutput) -> _Split:
    exits = left.trades["exit_bar"]
    trade = difference.trade
    known = trade is not None and trade < len(exits)
    return _Split(difference, sides, int(exits[trade]) if known else None)


def _in_turn(
    ask: Callable[[_Question], tuple[_Question, _Answer]],
    questions: Iterable[_Question],
    workers: int,
) -> Iterator[tuple[_Question, _Answer]]:
    """Yield answers in the order of the questions, a few of which are under way at a time."""
    with ThreadPoolExecutor(workers, "backtest-py-gate") as pool:
        waiting: deque[Any] = deque()
        try:
            for question in questions:
                waiting.append(pool.submit(ask, question))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _event(job: SweepJob, sample: Stratified, question: _Question, split: _Split) -> str:
    """Say where two sides differ, and which combination shows it again."""
    values = job.grid.values_at(sample.digits[question.row])
    shown = ", ".join(f"{key} = {value!r}" for key, value in values.items())
    bars = {"signal": split.difference.bar, "exit": split.exit_bar}
    where = "".join(
        f"; {name} at bar {bar:,}, {job.bars.time_text(bar)}"
        for name, bar in bars.items()
        if bar is not None
    )
    return (
        f"combination {sample.combo_ids[question.row]:,} ({shown}), "
        f"{question.job.rules.intrabar}: {split.difference.describe(*split.sides)}{where}"
    )
