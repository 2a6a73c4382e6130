"""What a search looks for: one metric or several, the user's own among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.fingerprints import code_hash
from backtest_py.metrics.catalogue import CATALOGUE, METRICS, SMALLER_IS_BETTER
from backtest_py.metrics.custom import ColumnMetric, TradeMetric, as_metric
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from backtest_py.metrics.custom import OwnMetric
    from backtest_py.sweep.space.combinations import Combinations

__all__ = [
    "LEFT_OUT",
    "Judged",
    "Objective",
    "judged",
    "objectives_of",
    "parameters_of",
    "trade_metrics",
]

DIRECTIONS: Final = {"max": False, "min": True}
"""How a direction is written, and whether small values are good then."""
LEFT_OUT: Final = 8.0
"""How far a combination that is not valid, or not admitted, is from what may be the best."""
RUINED: Final = 4.0
UNDEFINED: Final = 2.0

_TRADES: Final = METRICS.index("total_trades")
_RUINED: Final = METRICS.index("ruined")


@dataclass(frozen=True, slots=True)
class Objective:
    """One number that shall be large, or small.

    Attributes
    ----------
    name : str
        Its column.
    smaller_is_better : bool
        Whether it shall be small.
    own : ColumnMetric or TradeMetric or None
        What computes it, where it is no metric of the catalogue.
    """

    name: str
    smaller_is_better: bool
    own: OwnMetric | None = None

    @property
    def direction(self) -> str:
        """How it is written: ``"max"`` or ``"min"``."""
        return "min" if self.smaller_is_better else "max"

    def to_mapping(self) -> dict[str, Any]:
        """Return name and direction, and a hash of the user's own function, ready for JSON."""
        found: dict[str, Any] = {"name": self.name, "direction": self.direction}
        if self.own is not None:
            found |= {"kind": type(self.own).__name__, "code": code_hash(self.own.function)}
        return found


class Judged(NamedTuple):
    """What a search makes of some combinations.

    Attributes
    ----------
    values : ndarray of float64, shape (n_objectives, n)
        Each objective.
    violations : ndarray of float64, shape (n,)
        0 for what may be the best; the larger, the farther from it.
    """

    values: NDArray[np.float64]
    violations: NDArray[np.float64]


def objectives_of(given: object, keys: Sequence[str] = ()) -> tuple[Objective, ...]:
    """Return what a search looks for, as the user wrote it.

    Parameters
    ----------
    given : str, ColumnMetric, TradeMetric, callable, mapping, or list of these
        A metric; or several, with ``"max"`` or ``"min"`` each, or as each is good by itself.
    keys : sequence of str
        Names of the swept parameters, which own metrics cannot have.

    Raises
    ------
    ConfigError
        If a metric does not exist, a direction is none, or two objectives have one name.

    Examples
    --------
    >>> [each.direction for each in objectives_of({"sharpe": "max", "max_drawdown": "min"})]
    ['max', 'min']
    >>> [each.direction for each in objectives_of(["sharpe", "max_drawdown"])]
    ['max', 'min']
    """
    pairs: Iterable[tuple[object, object]] = [(given, None)]
    if isinstance(given, Mapping):
        pairs = given.items()
    elif isinstance(given, (list, tuple)):
        pairs = [(each, None) for each in given]
    found = tuple(_objective(metric, direction) for metric, direction in pairs)
    if not found:
        raise ConfigError('objective is empty; give a metric, as in objective="sharpe"')
    names = [each.name for each in found]
    for each in found:
        if names.count(each.name) > 1:
            raise ConfigError(f"objective has {each.name!r} twice; name each objective once")
        if each.own is not None and (each.name in METRICS or each.name in keys):
            raise ConfigError(
                f"the own metric {each.name!r} has the name of a column; give it another name"
            )
    return found


def _objective(given: object, direction: object) -> Objective:
    metric = as_metric(given, "objective")
    if isinstance(metric, str):
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        name, smaller, own = metric, metric in SMALLER_IS_BETTER, None
    else:
        name, smaller, own = metric.name, metric.smaller_is_better, metric
    if direction is not None:
        if not isinstance(direction, str) or direction not in DIRECTIONS:
            raise ConfigError(
                f'objective {name!r} = {direction!r} is not allowed; give "max" or "min"'
            )
        smaller = DIRECTIONS[direction]
    return Objective(name, smaller, own)


def trade_metrics(objectives: Iterable[Objective]) -> tuple[TradeMetric, ...]:
    """Return the own metrics that need the trades of each combination."""
    return tuple(each.own for each in objectives if isinstance(each.own, TradeMetric))


def parameters_of(grid: Combinations, combo_ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the swept parameters of some combinations, by full key, shape (n,)."""
    columns = {}
    for axis, digits in zip(grid.axes, grid.digit_rows(combo_ids).T, strict=True):
        listed = axis.values
        columns[axis.key] = np.array([listed[digit] for digit in digits.tolist()])
    return columns


def judged(
    objectives: Sequence[Objective],
    min_trades: int,
    rows: NDArray[np.float64],
    parameters: Mapping[str, NDArray[Any]],
) -> Judged:
    """Return the objectives of some combinations, and which of them may be the best.

    A ruined account, an objective that is undefined, and too few trades rule a combination out.

    Parameters
    ----------
    objectives : sequence of Objective
        What is looked for.
    min_trades : int
        Trades that it takes.
    rows : ndarray of float64, shape (n_metrics + n_trade_metrics, n)
        The catalogue's metrics, and then those that needed the trades.
    parameters : mapping of str to ndarray, shape (n,)
        The swept parameters by full key.
    """
    metrics = zip(METRICS, rows[: len(METRICS)], strict=True)
    columns = {**parameters, **{name: _typed(name, row) for name, row in metrics}}
    own = dict(zip(trade_metrics(objectives), rows[len(METRICS) :], strict=True))
    values = np.empty((len(objectives), rows.shape[1]))
    for at, each in enumerate(objectives):
        if isinstance(each.own, ColumnMetric):
            values[at] = each.own.values(columns)
        else:
            values[at] = columns[each.name] if each.own is None else own[each.own]
    violations = UNDEFINED * np.isnan(values).any(axis=0) + RUINED * (rows[_RUINED] != 0)
    missing = np.maximum(min_trades - rows[_TRADES], 0)
    return Judged(values, violations + missing / max(1, min_trades))


def _typed(name: str, row: NDArray[np.float64]) -> NDArray[Any]:
    """Return a metric in the type that its column has in a sweep."""
    kinds: dict[str, type] = {"count": np.int64, "flag": np.bool_, "number": np.float64}
    return row.astype(kinds[CATALOGUE[name].kind])
