"""The loop of a search: propose a batch, evaluate what is new, tell what it gave."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from backtest_py.analysis.search.guide import Guide
from backtest_py.analysis.search.objectives import LEFT_OUT, Judged, judged, parameters_of
from backtest_py.analysis.search.untried import Untried

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from backtest_py.analysis.search.objectives import Objective
    from backtest_py.analysis.search.settings import SearchSettings
    from backtest_py.sweep.space.grid import Grid

    Evaluate = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]

__all__ = ["Exploration", "Explored"]

PATIENCE: Final = 3
"""Proposals for each combination of a batch; what is missing then is drawn at random."""


class Explored(NamedTuple):
    """Everything that a search evaluated, in its order.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        Distinct.
    batches : ndarray of int64, shape (n,)
        The batch of each.
    rows : ndarray of float64, shape (n_metrics + n_trade_metrics, n)
        The catalogue's metrics, and own metrics that needed the trades.
    judged : Judged
        The objectives, and which combinations may be the best.
    """

    combo_ids: NDArray[np.int64]
    batches: NDArray[np.int64]
    rows: NDArray[np.float64]
    judged: Judged


class _Told(NamedTuple):
    """What a combination gave, as a guide is told."""

    values: Sequence[float] | None
    violation: float


class Exploration:
    """One search through a grid, step by step; the same settings and numbers, the same steps.

    Parameters
    ----------
    grid : Grid
        The grid.
    settings : SearchSettings
        How it is searched.
    objectives : sequence of Objective
        What is looked for.
    evaluate : callable
        Takes the number of a batch and combinations, ascending, and returns their numbers.
    progress : callable
        Told how many combinations were evaluated, and in how many batches.
    """

    def __init__(
        self,
        grid: Grid,
        settings: SearchSettings,
        objectives: Sequence[Objective],
        evaluate: Evaluate,
        progress: Callable[[int, int], None],
    ) -> None:
        self._grid, self._settings, self._objectives = grid, settings, objectives
        self._evaluate, self._progress = evaluate, progress
        self._strides = np.array(grid.strides, np.int64)
        self._untried = Untried(grid, settings.seed)
        self._told: dict[int, _Told] = {}
        self._batches: list[tuple[list[int], NDArray[np.float64], Judged]] = []

    @property
    def target(self) -> int:
        """Combinations that will be evaluated, at most."""
        admitted = self._untried.n_admitted
        n_trials = self._settings.n_trials
        return n_trials if admitted is None else min(n_trials, admitted)

    def run(self) -> Explored:
        """Search until enough combinations are evaluated, or no more are found."""
        if self.target < self._settings.n_trials:
            self._take_all()
        else:
            self._follow(Guide(self._grid, self._settings, self._objectives))
        return self._explored()

    def _take_all(self) -> None:
        """Evaluate every combination: there are no more than are asked for."""
        every, size = self._untried.all().tolist(), self._settings.batch
        for start in range(0, len(every), size):
            self._work_out(every[start : start + size])

    def _follow(self, guide: Guide) -> None:
        """Evaluate what a guide proposes."""
        while (left := self.target - len(self._told)) > 0:
            waiting = self._proposed(guide)
            chosen = list(waiting)[:left]
            if not chosen:
                return
            self._work_out(chosen)
            if len(self._told) < self.target:
                for combo_id in chosen:
                    for trial in waiting[combo_id]:
                        guide.tell(trial, *self._told[combo_id])

    def _proposed(self, guide: Guide) -> dict[int, list[Any]]:
        """Return a batch of combinations that were not evaluated, and the trials of each.

        What is known already, or not allowed, is told at once.
        """
        size = self._settings.batch
        waiting: dict[int, list[Any]] = {}
        for _ in range(PATIENCE * size):
            if len(waiting) == size:
                break
            trial, digits = guide.ask()
            combo_id = int(digits @ self._strides)
            if combo_id in self._told:
                guide.tell(trial, *self._told[combo_id])
            elif combo_id in waiting:
                waiting[combo_id].append(trial)
            elif not np.all(self._grid.admits(list(digits[:, np.newaxis]))):
                guide.tell(trial, None, LEFT_OUT)
            else:
                waiting[combo_id] = [trial]
        known = ChainMap[int, object](
            cast("dict[int, object]", waiting), cast("dict[int, object]", self._told)
        )
        for combo_id in self._untried.draw(size - len(waiting), known):
            digits = self._grid.digit_rows(np.array([combo_id], np.int64))[0]
            waiting[combo_id] = [guide.take(digits)]
        return waiting

    def _work_out(self, combo_ids: list[int]) -> None:
        """Evaluate a batch."""
        ids = np.array(combo_ids, np.int64)
        order = np.argsort(ids)
        rows = self._evaluate(len(self._batches), ids[order])
        found = judged(
            self._objectives, self._settings.min_trades, rows, parameters_of(self._grid, ids[order])
        )
        back = np.argsort(order)
        found = found._replace(values=found.values[:, back], violations=found.violations[back])
        for place, combo_id in enumerate(combo_ids):
            self._told[combo_id] = _Told(
                found.values[:, place].tolist(), float(found.violations[place])
            )
        self._batches.append((combo_ids, rows[:, back], found))
        self._progress(len(self._told), len(self._batches))

    def _explored(self) -> Explored:
        ids, rows, found = zip(*self._batches, strict=True)
        return Explored(
            np.concatenate([np.array(each, np.int64) for each in ids]),
            np.repeat(np.arange(len(ids)), [len(each) for each in ids]),
            np.concatenate(rows, axis=1),
            Judged(
                np.concatenate([each.values for each in found], axis=1),
                np.concatenate([each.violations for each in found]),
            ),
        )
