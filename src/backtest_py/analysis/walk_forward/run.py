"""One walk-forward: all windows are ranges of one sweep, and what they choose is run."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from backtest_py.analysis.walk_forward.choosing import Best, Choice, Scores
from backtest_py.analysis.walk_forward.files import TIMES, WalkForwardStore, contents
from backtest_py.analysis.walk_forward.forward import run_forward
from backtest_py.analysis.walk_forward.result import WalkForward, metric_rows
from backtest_py.analysis.walk_forward.windows import Gap, WindowSettings, plan_windows
from backtest_py.backtest.metrics import Metrics
from backtest_py.data.source import source_of
from backtest_py.engines import resolve
from backtest_py.errors import (
    ArgumentError,
    BacktestWarning,
    ParityError,
    StorageError,
)
from backtest_py.fingerprints import code_hash
from backtest_py.parameters import counted, unknown_name
from backtest_py.sweep.compute.signals_check import require_same_signals
from backtest_py.sweep.executors.interrupts import Interrupts
from backtest_py.sweep.executors.thread import run_in_thread
from backtest_py.sweep.executors.work import MAX_MEMORY, Resources, Work
from backtest_py.sweep.gate.gate import GATE_COMBOS
from backtest_py.sweep.run import Question
from backtest_py.sweep.spec import SweepSpec
from backtest_py.sweep.store.store import done_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from backtest_py.analysis.walk_forward.choosing import Choose
    from backtest_py.analysis.walk_forward.forward import Forward, Tested
    from backtest_py.analysis.walk_forward.windows import Window
    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.space.sample import Sample

    Moment = str | date | None

__all__ = ["WalkForwardOptions", "walk_forward"]

GATED_WINDOWS: Final = 3
"""Windows of which the parity gate runs a sample: the first, the last and one between them."""


class WalkForwardOptions(TypedDict, total=False):
    """What a walk-forward takes beside its question; see :func:`walk_forward`."""

    train_days: int
    test_days: int
    anchored: bool
    purge_days: int
    embargo_days: int
    train_bars: int
    test_bars: int
    purge_bars: int
    embargo_bars: int
    range: tuple[Moment, Moment] | None
    where: str
    invalid: str
    sample: Sample | None
    metrics: MetricSettings | None
    threads: int
    processes: int
    max_memory: int
    gate: int | None
    progress: Callable[[Progress], None] | None


_OF_WINDOWS: Final = tuple(spec.name for spec in WindowSettings.parameters())
_OF_SWEEP: Final = ("where", "invalid", "sample", "metrics")


def walk_forward(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    rules: ExitRules | None = None,
    contract: Contract | None = None,
    choose: Choose = "sharpe",
    min_trades: int = 30,
    plateau: bool = False,
    engine: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    **options: Unpack[WalkForwardOptions],
) -> WalkForward:
    """Choose on one stretch of time, judge on the next, and go on through the data.

    Every training sweeps the whole grid: it equals :func:`backtest_py.run` with
    ``range=(train_start, train_end)`` for each combination, bit for bit. What it chooses runs on
    the test that follows, and the tests together are the result: what the method, not one set of
    parameters, would have earned.

    Parameters
    ----------
    bars : Bars
        The market.
    strategy, grid, rules, contract
        As :func:`backtest_py.sweep` takes them.
    choose : str or callable
        The metric whose best value is chosen; or a function of columns, a mapping of metrics and
        swept parameters (full keys) to arrays, that returns a number for each row, of which the
        largest is chosen. It sees parts of the grid, and may judge each row by that row alone. Of
        equals the lowest ``combo_id`` is chosen.
    min_trades : int
        Trades that a combination must have made in the training. Ruined ones, and undefined values,
        are never chosen. Where no combination qualifies, the window stays flat.
    plateau : bool
        Choose by the worse of a combination and its worst neighbour in the grid; see
        :class:`~backtest_py.overfitting.GridValues`.
    engine : {"auto", "numba", "rust"}
        Both give the same bits.
    out : str or Path, optional
        A directory for the results, written while the walk-forward runs.
    resume : bool
        Continue the walk-forward in ``out``.
    train_days, test_days : int, default 252 and 30
        Trading days (days with a bar) of each training and of each test; windows step by
        ``test_days``, and a last, shorter test is kept.
    anchored : bool, default False
        Every training begins with the first day.
    purge_days, embargo_days : int, default 0
        Trading days left out between a training and its test: first those in which positions of the
        training may still be open, then those until slow memory has faded. A test begins
        ``purge_days + embargo_days`` after its training ends.
    train_bars, test_bars, purge_bars, embargo_bars : int
        The same in bars, instead of days.
    range : pair of str, date or None, optional
        A simple forward test instead of windows: train on this range, test on all that follows.
    where, invalid, sample, metrics, threads, processes, max_memory, gate, progress
        As :func:`backtest_py.sweep` takes them; a combination is done when it is in all windows.

    Returns
    -------
    WalkForward

    Raises
    ------
    ConfigError
        If there are fewer bars than a window, or an argument is not allowed.
    ParityError
        If the engines disagree on a sample of a large grid.
    StorageError
        If results cannot be written.
    KeyboardInterrupt
        On Control-C and SIGTERM; with ``out`` the walk-forward can be resumed.

    Warns
    -----
    BacktestWarning
        If positions of chosen trainings closed in their tests, which then are not wholly unseen.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=60)
    >>> wf = bt.walk_forward(
    ...     bars,
    ...     bt.BarraElefante(lookback=10),
    ...     {"rules.stop": [1.0, 2.0], "rules.target": [2.0, 4.0]},
    ...     rules=bt.ExitRules(close_time="17:00"),
    ...     train_days=30, test_days=10, min_trades=5,
    ... )
    >>> len(wf.windows), wf.metrics.total_trades == len(wf.trades)
    (3, True)
    """
    resources = _resources(options)
    choice = Choice(choose, min_trades, plateau)
    given: dict[str, Any] = {**options}
    asked = {name: given[name] for name in _OF_SWEEP if name in given}
    spec, job = SweepSpec.with_job(bars, strategy, grid, rules=rules, contract=contract, **asked)
    choice.check(spec.grid)
    lengths = {name: given[name] for name in _OF_WINDOWS if name in given}
    span = options.get("range")
    settings = WindowSettings.given(lengths, once=span is not None)
    windows = plan_windows(bars, settings, span)
    spec = replace(spec, ranges=tuple(window.train for window in windows))
    question = Question(spec, job.signals, *resolve(engine, job, sweep=True))
    walk = _Walk(question, settings, choice, windows)
    gate = options.get("gate", GATE_COMBOS)
    with Interrupts() as interrupts:
        if out is None:
            return walk.in_memory(resources, gate, interrupts)
        return walk.in_directory(out, resources, gate, interrupts, resume=resume)


def _resources(options: Mapping[str, Any]) -> Resources:
    known = list(WalkForwardOptions.__annotations__)
    for name in options:
        if name not in known:
            raise unknown_name("argument of walk_forward", name, known, ArgumentError)
    return Resources(
        options.get("threads", 0),
        options.get("processes", 0),
        options.get("max_memory", MAX_MEMORY),
        options.get("progress"),
    )


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk-forward that was checked, and the engine that answers it."""

    question: Question
    settings: WindowSettings
    choice: Choice
    windows: list[Window]

    def in_memory(
        self, resources: Resources, gate: int | None, interrupts: Interrupts
    ) -> WalkForward:
        """Walk, and keep nothing but the best rows."""
        with interrupts.raised():
            facts = {"gate": self._pass_gate(gate, resources)}
            best = self._best()
            work = run_in_thread(lambda: self._work(resources, {}, interrupts, packed=False))
            work.do(lambda _, table: best.add(table))
            return self._result(best, self._manifest(facts))

    def in_directory(
        self,
        out: str | Path,
        resources: Resources,
        gate: int | None,
        interrupts: Interrupts,
        *,
        resume: bool,
    ) -> WalkForward:
        """Walk, and keep the scores of every shard on disk until the end and beyond."""
        spec, manifest = self.question.spec, self._manifest({})
        if resume:

            def accept(done: Mapping[int, str]) -> None:
                with interrupts.raised():
                    require_same_signals(spec, done)

            opened = WalkForwardStore.resume(out, manifest, accept=accept, check=interrupts.check)
        else:
            opened = WalkForwardStore.create(out, manifest)
        with opened as store:
            try:
                with interrupts.raised():
                    store.update({"gate": self._pass_gate(gate, resources)})
                    began = time.monotonic()
                    work = run_in_thread(
                        lambda: self._work(resources, store.done, interrupts, packed=True)
                    )
                    work.do(lambda shard, table: store.write(shard.number, table))
                    best = self._best()
                    for file in done_shards(store.path, store.manifest):
                        best.add(_read(file))
                    result = self._result(best, store.manifest)
                files = contents(result.rows, result.trades_arrow, result.metrics)
                store.finish(files, round(time.monotonic() - began, 3))
                interrupts.check()
            except BaseException as error:
                with suppress(StorageError):  # a full disk cannot take the note either
                    store.update(_ended_by(error))
                raise
        return result

    def _best(self) -> Best:
        return Best(self.choice, self.question.spec.grid, len(self.windows))

    def _work(
        self,
        resources: Resources,
        done: Mapping[int, int],
        interrupts: Interrupts,
        *,
        packed: bool,
    ) -> Work:
        question = self.question
        return Work(
            question.spec,
            question.engine,
            resources,
            done,
            interrupts,
            packed=packed,
            tabulate=Scores(self.choice),
        )

    def _pass_gate(self, gate: int | None, resources: Resources) -> dict[str, Any]:
        ranges = self.question.spec.ranges
        some = sorted({0, len(ranges) // 2, len(ranges) - 1})[:GATED_WINDOWS]
        spec = replace(self.question.spec, ranges=tuple(ranges[place] for place in some))
        return replace(self.question, spec=spec).pass_gate(gate, resources)

    def _manifest(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the walk-forward says of itself; ``identity`` decides every number."""
        asked = {"data": source_of(self.question.spec.bars), **facts}
        manifest = self.question.manifest(asked)
        manifest["identity"] |= {
            "windows": self.settings.to_mapping(),
            "times": [[str(time) for time in window.stamps] for window in self.windows],
            "choice": self.choice.to_mapping(),
        }
        if callable(self.choice.by):
            manifest["identity"]["choice"]["code"] = code_hash(self.choice.by)
        return manifest

    def _result(self, best: Best, manifest: Mapping[str, Any]) -> WalkForward:
        """Run what was chosen, and return it with what was asked."""
        question = self.question
        forward = run_forward(
            question.spec, question.engine, self.windows, self.choice, best.found()
        )
        self._warn_of_overlap(forward.tested)
        asked = {name: manifest[name] for name in manifest if name not in {"kind", "status"}}
        return WalkForward(
            self._rows(forward.tested), self._trades(forward), Metrics(forward.metrics), asked
        )

    def _rows(self, tested: Sequence[Tested]) -> dict[str, list[Any]]:
        """Return the table of the windows, column by column."""
        grid = self.question.spec.grid
        times = zip(*(each.window.stamps for each in tested), strict=True)
        rows: dict[str, list[Any]] = dict(zip(TIMES, map(list, times), strict=True))
        rows["combo_id"] = [each.combo_id for each in tested]
        chosen = [grid.values(each.combo_id) if each.combo_id >= 0 else {} for each in tested]
        for axis in grid.axes:
            rows[axis.key] = [values.get(axis.key) for values in chosen]
        rows |= metric_rows("train", [each.train for each in tested])
        return rows | metric_rows("test", [each.test.metrics for each in tested])

    def _trades(self, forward: Forward) -> Any:
        """Return the trades as a table, laid out as those of a run."""
        from backtest_py.backtest.result import trades_table  # noqa: PLC0415 - quick import

        return trades_table(self.question.spec.bars, forward.trades)

    def _warn_of_overlap(self, tested: Sequence[Tested]) -> None:
        """Warn where a training's positions closed at bars that its test is judged on."""
        gap = Gap(self.question.spec.bars, self.settings)
        late = [
            gap.needed(window.train[1] - 1, each.train_exit)
            for window, each in zip(self.windows, tested, strict=True)
            if each.train_exit >= window.test[0]
        ]
        if not late:
            return
        name = f"purge_{self.settings.unit}s"
        warnings.warn(
            f"in {len(late)} of {counted(len(tested), 'window')} the chosen combination closed its "
            "last position of the training in the test, so that the choice has seen some of what "
            f"it is judged on; give {name}={max(late)}, or rules with a close_time",
            BacktestWarning,
            stacklevel=5,
        )


def _read(file: Path) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

    return pq.read_table(file, partitioning=None)


def _ended_by(error: BaseException) -> dict[str, Any]:
    """Return what the manifest says of a walk-forward that an error ended."""
    if isinstance(error, ParityError):
        return {"status": "refused", "gate": {"verdict": "disagreed", "reason": str(error)}}
    return {"status": "interrupted"}
