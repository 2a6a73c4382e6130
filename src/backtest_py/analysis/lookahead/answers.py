"""What a strategy answers of every bar, whatever it is made of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from backtest_py.backtest.job import check_volume
from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines.base import Job
from backtest_py.engines.registry import resolve
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.parameters import counted
from backtest_py.rules import ExitRules
from backtest_py.signals import checked_signals
from backtest_py.strategies.user import FunctionStrategy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.strategies.base import Strategy

    Answers: TypeAlias = dict[str, NDArray[np.float64]]

__all__ = ["COLUMNS", "FLAGS", "Subject", "active", "differing"]

COLUMNS: Final = ("side", "risk", "exit_long", "exit_short")
"""What a strategy can say of a bar, in the order in which a function returns it."""

FLAGS: Final = COLUMNS[2:]

ROUNDING: Final = 1e-9
"""Risks that differ by less than this share are the same: sums may be added in another order."""


class Subject:
    """A strategy under test.

    Attributes
    ----------
    name : str
        Its name.
    engine, reason : str
        What computes its answers, and why.
    runs : int
        How often it has been asked.
    failure : str
        Why it last gave no answer.
    """

    def __init__(self, strategy: Strategy, bars: Bars, engine: str) -> None:
        self.name = strategy.name
        self.runs = 0
        self.failure = ""
        self._strategy = strategy
        job = Job(bars, strategy, None, ExitRules(), Contract(), MetricSettings(), 0, len(bars))
        check_volume(job)
        self._engine, self.reason = resolve(engine, None if strategy.computes_signals else job)
        self.engine = self._engine.name
        if strategy.computes_signals:
            self.engine, self.reason = "python", "the strategy is a Python function"

    def first(self, bars: Bars) -> Answers:
        """Return the answers of all bars, checked as a run checks them.

        Raises
        ------
        ConfigError
            If it fails, or gives what no run would take.
        """
        self.runs += 1
        try:
            given = self._given(bars)
        except BacktestError:
            raise
        except Exception as error:
            hint = ""
            if isinstance(error, ValueError) and "read-only" in str(error):
                hint = "; bars cannot be changed: copy a column first, as in bars.close.copy()"
            raise ConfigError(
                f"{self.name} fails on {counted(len(bars), 'bar')}: "
                f"{type(error).__name__}: {error}{hint}"
            ) from error
        checked_signals(bars, given.get("side"), given.get("risk"), where=self.name)
        answers = _arrays(given, len(bars))
        for name in FLAGS:
            flags = answers.get(name)
            if flags is not None and not np.isin(flags, (0.0, 1.0)).all():
                raise ConfigError(f"{self.name}: {name} holds more than true and false")
        return answers

    def ask(self, bars: Bars) -> Answers | None:
        """Return the answers of other bars, None where it fails on them."""
        self.runs += 1
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # the bars are odd, and not the user's
                return _arrays(self._given(bars), len(bars))
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            self.failure = f"{type(error).__name__}: {error}"
            return None

    def _given(self, bars: Bars) -> Mapping[str, Any]:
        strategy = self._strategy
        if isinstance(strategy, FunctionStrategy):
            return self._named(type(strategy).function(bars, **strategy.to_mapping()))
        signals = strategy.compute(bars) or self._engine.signals(bars, strategy)
        return {name: getattr(signals, name, None) for name in COLUMNS}

    def _named(self, given: Any) -> Mapping[str, Any]:
        """Return what a function gave by the names of the columns."""
        if isinstance(given, Mapping):
            unknown = sorted(set(map(str, given)) - set(COLUMNS))
            if unknown:
                raise ConfigError(
                    f"{self.name} returned {unknown[0]!r}; a strategy gives {', '.join(COLUMNS)}"
                )
            return given
        if not isinstance(given, tuple):
            return {"side": given}
        if len(given) not in {2, 4}:
            raise ConfigError(
                f"{self.name} returned {counted(len(given), 'value')}; return the sides, a pair of "
                "sides and risks, or both with two exit flags: side, risk, exit_long, exit_short"
            )
        return dict(zip(COLUMNS, given, strict=False))


def _arrays(given: Mapping[str, Any], n_bars: int) -> Answers:
    """Return what was given as numbers, one for each bar.

    Raises
    ------
    DataError
        If there are more or fewer.
    """
    answers = {}
    for name in COLUMNS:
        if given.get(name) is None:
            continue
        values = np.asarray(given[name])
        if values.shape != (n_bars,):
            raise ConfigError(
                f"gives {name} of shape {values.shape} for {counted(n_bars, 'bar')}; one value per "
                "bar is needed"
            )
        answers[name] = values.astype(np.float64)
    return answers


def active(answers: Answers) -> NDArray[np.bool_]:
    """Tell at which bars a strategy says something: a side, or to leave."""
    names = [name for name in ("side", *FLAGS) if name in answers]
    said = np.zeros(len(answers["side"]), np.bool_)
    for name in names:
        said |= np.nan_to_num(answers[name]) != 0.0
    return said


def differing(real: Answers, other: Answers, until: int) -> dict[str, NDArray[np.int64]]:
    """Return the rows before ``until`` of which answers differ, by column; none where none do."""
    found: dict[str, NDArray[np.int64]] = {}
    for name in COLUMNS:
        if name not in real and name not in other:
            continue
        left, right = (
            answers[name][:until] if name in answers else np.full(until, np.nan)
            for answers in (real, other)
        )
        apart = (left != right) & ~(np.isnan(left) & np.isnan(right))
        if name == "risk":
            with np.errstate(invalid="ignore"):
                limit = ROUNDING * np.maximum(np.abs(left), np.abs(right))
                apart &= ~(np.abs(left - right) <= limit)
        rows = np.flatnonzero(apart)
        if rows.size:
            found[name] = rows.astype(np.int64)
    return found
