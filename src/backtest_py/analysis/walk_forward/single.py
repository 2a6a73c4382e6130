"""One walk-forward on one market: windows are ranges of one sweep, and what they choose runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from backtest_py.analysis.walk_forward.choosing import Best, Scores
from backtest_py.analysis.walk_forward.files import (
    TIMES,
    WalkForwardStore,
    contents,
    daily_table,
)
from backtest_py.analysis.walk_forward.forward import run_forward
from backtest_py.analysis.walk_forward.result import WalkForward, metric_rows
from backtest_py.analysis.walk_forward.windows import Gap, WindowSettings, plan_windows
from backtest_py.backtest.metrics import Metrics
from backtest_py.backtest.result import trades_table
from backtest_py.data.source import source_of
from backtest_py.engines import resolve
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted
from backtest_py.sweep.compute.shards import Shards
from backtest_py.sweep.executors.interrupts import Interrupts
from backtest_py.sweep.executors.thread import run_in_thread
from backtest_py.sweep.executors.work import Work
from backtest_py.sweep.run import Question
from backtest_py.sweep.spec import SweepSpec
from backtest_py.sweep.store.store import done_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from backtest_py.analysis.walk_forward.choosing import Choice
    from backtest_py.analysis.walk_forward.forward import Tested
    from backtest_py.analysis.walk_forward.windows import Window
    from backtest_py.bars import Bars
    from backtest_py.contract import Contract
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.executors.work import Resources

    Moment = str | date | None

__all__ = ["Asked", "Walk"]

GATED_WINDOWS: Final = 2
"""Windows of which the parity gate runs a sample: the first and the last."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a walk-forward is asked for, whatever the market.

    Attributes
    ----------
    strategy, grid, rules : as :func:`backtest_py.walk_forward` takes them
        What is traded, and what varies.
    sweep : mapping
        ``where``, ``invalid``, ``sample`` and ``metrics``, where given.
    lengths : mapping
        Lengths of windows, where given.
    span : pair, optional
        A range to train on once.
    choice : Choice
        How trainings choose.
    engine : str
        Name of the engine, or ``"auto"``.
    gate : int or None
        Combinations beyond which the engines must agree on a sample first.
    """

    strategy: str | Strategy | Callable[..., Any]
    grid: Mapping[str, object] | None
    rules: ExitRules | None
    sweep: Mapping[str, Any]
    lengths: Mapping[str, Any]
    span: tuple[Moment, Moment] | None
    choice: Choice
    engine: str
    gate: int | None


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk-forward that was checked, and the engine that answers it."""

    question: Question
    settings: WindowSettings
    choice: Choice
    windows: list[Window]
    gate: int | None

    @classmethod
    def of(cls, asked: Asked, bars: Bars, contract: Contract | None) -> Walk:
        """Check what is asked of a market.

        Raises
        ------
        ConfigError
            If a setting is not allowed, or there are fewer bars than a window.
        """
        settings = WindowSettings.given(asked.lengths, once=asked.span is not None)
        spec, job = SweepSpec.with_job(
            bars, asked.strategy, asked.grid, rules=asked.rules, contract=contract, **asked.sweep
        )
        asked.choice.check(spec.grid)
        windows = plan_windows(bars, settings, asked.span)
        spec = replace(spec, ranges=tuple(window.train for window in windows))
        question = Question(spec, job.signals, *resolve(asked.engine, job, sweep=True))
        return cls(question, settings, asked.choice, windows, asked.gate)

    @property
    def n_shards(self) -> int:
        """Number of shards of the sweep."""
        spec = self.question.spec
        return len(Shards(spec.grid, len(spec.ranges)))

    def go(
        self, resources: Resources, out: str | Path | None = None, *, resume: bool = False
    ) -> tuple[WalkForward, str]:
        """Walk, and return the result and what to warn of, ``""`` for nothing.

        Raises
        ------
        ConfigError, ParityError, StorageError, KeyboardInterrupt
            As :func:`backtest_py.walk_forward`.
        """
        needed = 16 * len(self.windows) * self.question.spec.n_combos
        if self.choice.plateau and needed > resources.max_memory:
            raise ConfigError(
                f"plateau keeps the scores of all combinations in all windows, {needed:,} bytes, "
                f"more than max_memory = {resources.max_memory:,}; give more, or a smaller grid"
            )
        with Interrupts() as interrupts:
            if out is None:
                return self._in_memory(resources, interrupts)
            return self._in_directory(out, resources, interrupts, resume=resume)

    def _in_memory(self, resources: Resources, interrupts: Interrupts) -> tuple[WalkForward, str]:
        """Walk, and keep nothing but the best rows."""
        with interrupts.raised():
            facts = {"gate": self._pass_gate(resources)}
            best = self._best()
            work = run_in_thread(lambda: self._work(resources, {}, interrupts, packed=False))
            work.do(lambda _, table: best.add(table))
            return self._result(best, self._manifest(facts))

    def _in_directory(
        self, out: str | Path, resources: Resources, interrupts: Interrupts, *, resume: bool
    ) -> tuple[WalkForward, str]:
        """Walk, and keep the scores of every shard on disk until the end and beyond."""
        asked = WalkForwardStore, out, self._manifest({}), resources, interrupts
        with self.question.held_in(*asked, resume=resume) as store:
            with interrupts.raised():
                store.update({"gate": self._pass_gate(resources)})
                began = time.monotonic()
                work = run_in_thread(
                    lambda: self._work(resources, store.done, interrupts, packed=True)
                )
                work.do(lambda shard, table: store.write(shard.number, table))
                best = self._best()
                for file in done_shards(store.path, store.manifest):
                    best.add(_read(file))
                result, warning = self._result(best, store.manifest)
            files = contents(result.rows, result.trades_arrow, result.daily_arrow, result.metrics)
            store.finish(files, round(time.monotonic() - began, 3))
            interrupts.check()
        return result, warning

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

    def _pass_gate(self, resources: Resources) -> dict[str, Any]:
        ranges = self.question.spec.ranges
        spec = replace(self.question.spec, ranges=tuple(dict.fromkeys((ranges[0], ranges[-1]))))
        return replace(self.question, spec=spec).pass_gate(self.gate, resources)

    def _manifest(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the walk-forward says of itself; ``identity`` decides every number."""
        asked = {"data": source_of(self.question.spec.bars), **facts}
        manifest = self.question.manifest(asked)
        manifest["identity"] |= {
            "windows": self.settings.to_mapping(),
            "times": [[str(time) for time in window.stamps] for window in self.windows],
            "choice": self.choice.to_mapping(),
        }
        return manifest

    def _result(self, best: Best, manifest: Mapping[str, Any]) -> tuple[WalkForward, str]:
        """Run what was chosen, and return it with what was asked, and what to warn of."""
        question = self.question
        forward = run_forward(
            question.spec, question.engine, self.windows, self.choice, best.found()
        )
        asked = {name: manifest[name] for name in manifest if name not in {"kind", "status"}}
        trades = trades_table(question.spec.bars, forward.trades)
        daily = daily_table(forward.daily)
        metrics = Metrics(forward.metrics)
        result = WalkForward(self._rows(forward.tested), trades, daily, metrics, asked)
        return result, self._overlap(forward.tested)

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

    def _overlap(self, tested: Sequence[Tested]) -> str:
        """Say where a training's positions closed at bars that its test is judged on."""
        gap = Gap(self.question.spec.bars, self.settings)
        late = [
            gap.needed(window.train[1] - 1, each.train_exit)
            for window, each in zip(self.windows, tested, strict=True)
            if each.train_exit >= window.test[0]
        ]
        if not late:
            return ""
        # bars may part a day, so that no close_time helps
        other = ", or rules with a close_time" if self.settings.unit == "day" else ""
        return (
            f"in {len(late)} of {counted(len(tested), 'window')} the chosen combination closed its "
            "last position of the training in the test, so that the choice has seen some of what "
            f"it is judged on; give purge_{self.settings.unit}s={max(late)}{other}"
        )


def _read(file: Path) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

    return pq.read_table(file, partitioning=None)
