"""optuna as a guide through a grid: it proposes positions on the axes, and is told what they give.

optuna's study lives in memory and is never saved: a search that goes on is guided anew from its
first trial on, from numbers that are kept, and so proposes the same combinations.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.data.extras import required
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from backtest_py.analysis.search.objectives import Objective
    from backtest_py.analysis.search.settings import SearchSettings
    from backtest_py.sweep.space.axis import Axis
    from backtest_py.sweep.space.grid import Grid

__all__ = ["Guide", "sampler_of", "versions"]

EXTRA: Final = "search"
ORDERED: Final = frozenset({"float", "int", "clock"})
"""Kinds of parameters whose values lie beside each other; others are choices."""
_ALLOWED: Final = "allowed"


def sampler_of(settings: SearchSettings, objectives: Sequence[Objective]) -> str:
    """Return the sampler that is asked for, ``auto`` settled.

    Raises
    ------
    ConfigError
        If it cannot look for several objectives.
    """
    if settings.sampler == "auto":
        return "tpe" if len(objectives) == 1 else "nsga2"
    if settings.sampler == "tpe" and len(objectives) > 1:
        names = ", ".join(each.name for each in objectives)
        raise ConfigError(
            f'search.sampler = "tpe" looks for one objective, and there are {len(objectives)} '
            f'({names}); use "nsga2", or "auto"'
        )
    return settings.sampler


def versions() -> dict[str, str]:
    """Return the versions of what decides which combinations are proposed.

    Raises
    ------
    ConfigError
        If optuna is not installed.
    """
    return {"optuna": required("optuna", EXTRA).__version__, "numpy": np.__version__}


class Guide:
    """Proposes combinations and learns from what they give.

    Parameters
    ----------
    grid : Grid
        The grid; each axis of two values or more is moved along.
    settings : SearchSettings
        Sampler, seed and size of a batch, which is a generation of ``nsga2``.
    objectives : sequence of Objective
        What is looked for.

    Raises
    ------
    ConfigError
        If optuna is not installed, or the sampler does not fit.
    """

    def __init__(
        self, grid: Grid, settings: SearchSettings, objectives: Sequence[Objective]
    ) -> None:
        self._optuna = required("optuna", EXTRA)
        self._shape = grid.shape
        self._moves = {
            axis.key: (place, _order(axis)) for place, axis in enumerate(grid.axes) if len(axis) > 1
        }
        self._spaces = {
            axis.key: self._space(axis) for axis in grid.axes if axis.key in self._moves
        }
        name = sampler_of(settings, objectives)
        with self._quiet():
            self._study = self._optuna.create_study(
                directions=[
                    "minimize" if each.smaller_is_better else "maximize" for each in objectives
                ],
                sampler=self._sampler(name, settings),
            )
        self._nothing = [0.0] * len(objectives)

    def _sampler(self, name: str, settings: SearchSettings) -> Any:
        samplers, seed = self._optuna.samplers, settings.seed
        if name == "tpe":
            # what is proposed but not told yet counts as bad, so that a batch spreads out
            return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=settings.batch)
        return samplers.RandomSampler(seed=seed)

    def _space(self, axis: Axis) -> Any:
        kinds = self._optuna.distributions
        if axis.parameter.kind in ORDERED:
            return kinds.IntDistribution(0, len(axis) - 1)
        return kinds.CategoricalDistribution(list(range(len(axis))))

    def ask(self) -> tuple[Any, NDArray[np.int64]]:
        """Return a trial to tell of later, and the positions on every axis that it proposes."""
        with self._quiet():
            trial = self._study.ask(self._spaces)
        digits = np.zeros(len(self._shape), np.int64)
        for key, (place, order) in self._moves.items():
            digits[place] = order[trial.params[key]]
        return trial, digits

    def take(self, digits: NDArray[np.int64]) -> Any:
        """Return a trial of a combination that somebody else proposed."""
        params = {
            key: int(np.flatnonzero(order == digits[place])[0])
            for key, (place, order) in self._moves.items()
        }
        self._study.enqueue_trial(params)
        trial, found = self.ask()
        assert (found == digits).all(), "a trial that was put in the queue is asked for next"
        return trial

    def tell(self, trial: Any, values: Sequence[float] | None, violation: float) -> None:
        """Tell what a trial gave: its objectives, or only how far it is from being allowed."""
        trial.set_constraint(_ALLOWED, float(violation))
        told = self._nothing if violation > 0 or values is None else list(map(float, values))
        assert not any(map(math.isnan, told)), "what is undefined violates"
        with self._quiet():
            self._study.tell(trial, told)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep optuna from writing to standard error, and leave its setting as it was."""
        logging = self._optuna.logging
        before = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(before)


def _order(axis: Axis) -> NDArray[np.int64]:
    """Return the positions of an axis in the order of its values, where they have one."""
    if axis.parameter.kind in ORDERED:
        return np.argsort(axis.column, kind="stable")
    return np.arange(len(axis))
