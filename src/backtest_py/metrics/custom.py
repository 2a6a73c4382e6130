"""A user's own metrics: functions of a sweep's columns, or of one backtest's result.

A :class:`ColumnMetric` needs no backtest, so it ranks millions of rows. A :class:`TradeMetric`
sees the trades, so every combination that it judges is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from backtest_py.backtest.result import BacktestResult

__all__ = ["ColumnMetric", "Metric", "OwnMetric", "TradeMetric", "as_metric"]

_UNNAMED: Final = "own_metric"


@dataclass(frozen=True, slots=True)
class ColumnMetric:
    """A metric that a function works out from the columns of a sweep, all rows at once.

    Parameters
    ----------
    function : callable
        Takes a mapping of column names (metrics, and swept parameters by full key) to read-only
        arrays of shape (n_rows,), and returns one float for each row; nan is undefined. It sees
        only the rows that count: those that a condition admits.
    name : str
        What its column is called; the function's own name by default.
    smaller_is_better : bool
        Whether small values are good.

    Raises
    ------
    ConfigError
        If an argument is not allowed.

    Examples
    --------
    >>> robust = ColumnMetric(lambda c: c["sharpe"] * np.sqrt(c["total_trades"]), name="robust")
    >>> robust.values({"sharpe": np.array([1.0, 0.5]), "total_trades": np.array([25, 400])})
    array([ 5., 10.])
    """

    function: Callable[[Mapping[str, NDArray[Any]]], ArrayLike]
    name: str = ""
    smaller_is_better: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def values(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the metric of every row.

        Parameters
        ----------
        columns : mapping of str to ndarray, shape (n_rows,)
            At least one column. One that is read on demand is read only if the function asks.

        Returns
        -------
        ndarray of float64, shape (n_rows,)

        Raises
        ------
        ConfigError
            If the function fails, or gives anything but one number for each row.
        """
        seen = _Columns(columns)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            try:
                given: Any = np.asarray(self.function(seen))
            except Exception as error:
                raise _failed(self.name, "", error) from error
        n_rows = len(columns[next(iter(columns))])
        if given.shape != (n_rows,):
            raise ConfigError(
                f"the metric {self.name} returned shape {given.shape} for {n_rows:,} rows; return "
                f"an array with one float for each row, shape ({n_rows:,},)"
            )
        if given.dtype.kind not in "fiub":
            raise self._no_numbers(given)
        values: NDArray[np.float64] = given.astype(np.float64)
        return values

    def _no_numbers(self, given: NDArray[Any]) -> ConfigError:
        values = given.tolist()
        row = next((at for at, value in enumerate(values) if not isinstance(value, Real)), 0)
        return ConfigError(
            f"the metric {self.name} returned {_shown(values[row])} in row {row:,}; return one "
            "float for each row, nan where it is undefined"
        )


@dataclass(frozen=True, slots=True)
class TradeMetric:
    """A metric that a function works out from the result of one backtest.

    Parameters
    ----------
    function : callable
        Takes a :class:`~backtest_py.BacktestResult`, with its trades, equity and metrics, and
        returns a float; nan is undefined.
    name : str
        What its column is called; the function's own name by default.
    smaller_is_better : bool
        Whether small values are good.

    Raises
    ------
    ConfigError
        If an argument is not allowed.

    Examples
    --------
    >>> import backtest_py as bt
    >>> without_best = TradeMetric(
    ...     lambda result: result.trades["pnl"].sort_values()[:-1].sum(), name="without_best_trade"
    ... )
    >>> result = bt.run(bt.synthetic_bars(n_days=20), "barra_elefante")
    >>> bool(without_best.value(result) < result.metrics.total_return)
    True
    """

    function: Callable[[BacktestResult], float]
    name: str = ""
    smaller_is_better: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def value(self, result: BacktestResult, place: str = "") -> float:
        """Return the metric of one result.

        Parameters
        ----------
        result : BacktestResult
            Of one combination, say.
        place : str
            What errors call it, such as ``"combination 17"``.

        Raises
        ------
        ConfigError
            If the function fails, or gives no number.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            try:
                given: object = self.function(result)
            except Exception as error:
                raise _failed(self.name, place, error) from error
        if isinstance(given, np.generic | np.ndarray) and given.shape == ():
            given = given.item()
        if not isinstance(given, Real):
            raise ConfigError(
                f"the metric {self.name} returned {_shown(given)}{place and f' for {place}'}; "
                "return a float, nan where it is undefined"
            )
        return float(given)


OwnMetric: TypeAlias = ColumnMetric | TradeMetric
"""A metric of the user's own."""

Metric: TypeAlias = str | OwnMetric | Callable[[Mapping[str, Any]], Any]
"""What ranks: the name of a column, an own metric, or a function of columns."""


def as_metric(given: object, argument: str = "by") -> str | OwnMetric:
    """Return what ranks: a name as it is, and a plain function as a :class:`ColumnMetric`.

    Parameters
    ----------
    given : str, ColumnMetric, TradeMetric or callable
        What the user gave.
    argument : str
        What errors call it.

    Raises
    ------
    ConfigError
        If it is none of these.

    Examples
    --------
    >>> as_metric("sharpe")
    'sharpe'
    >>> as_metric(lambda columns: columns["sharpe"]).name
    'own_metric'
    """
    if isinstance(given, str | ColumnMetric | TradeMetric):
        return given
    if callable(given) and not isinstance(given, type):
        return ColumnMetric(given)
    raise ConfigError(
        f"{argument} = {_shown(given)} is not allowed; give the name of a metric, a ColumnMetric, "
        "a TradeMetric, or a function of the columns"
    )


class _Columns(Mapping[str, Any]):
    """Columns as a metric sees them: read-only, and a name that is not there is explained."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise unknown_name("column", name, self._columns)
        shown = np.asarray(self._columns[name]).view()
        shown.flags.writeable = False
        return shown

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._columns else default

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _check(metric: OwnMetric) -> None:
    """Refuse what is no function, name or flag; an empty name becomes the function's own."""
    kind = type(metric).__name__
    if not callable(metric.function):
        raise ConfigError(f"{kind}: function = {_shown(metric.function)} cannot be called")
    if not isinstance(metric.name, str):
        raise ConfigError(f"{kind}: name = {_shown(metric.name)} is not allowed; give a text")
    if not isinstance(metric.smaller_is_better, bool):
        raise ConfigError(
            f"{kind}: smaller_is_better = {_shown(metric.smaller_is_better)} is not allowed; give "
            "true or false"
        )
    if not metric.name:
        own = getattr(metric.function, "__name__", "")
        name = own if isinstance(own, str) and own.isidentifier() else _UNNAMED
        object.__setattr__(metric, "name", name)  # a frozen dataclass completes itself so


def _failed(name: str, place: str, error: Exception) -> ConfigError:
    said = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    return ConfigError(f"the metric {name} failed{place and f' for {place}'}: {said}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
