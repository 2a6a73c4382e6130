"""What crosses the border to an engine, and how it is laid out. Both engines follow it.

The layouts of settings and metrics are made of their declarations: a new field of
:class:`~backtest_py.rules.ExitRules` is a new field of :data:`RulesView`. The Rust engine declares
its own in ``engine_rust/src``; tests/engines/test_layouts.py holds the two against each other.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from backtest_py.contract import Contract, MetricSettings
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import ExitRules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.parameters import Settings

__all__ = [
    "MEASURED",
    "SEMANTICS_VERSION",
    "TRADE_DTYPE",
    "BarColumns",
    "ContractView",
    "Metric",
    "RulesView",
    "SettingsView",
    "row_dtype",
]

SEMANTICS_VERSION: Final = 1
"""Version of the contract in docs/semantics.md that every number follows."""


class BarColumns(NamedTuple):
    """The columns of bars that kernels see, each of shape (n_bars,)."""

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    minute: NDArray[np.int32]
    day: NDArray[np.int32]


TRADE_DTYPE: Final = {
    "signal_bar": np.dtype(np.int64),
    "entry_bar": np.dtype(np.int64),
    "exit_bar": np.dtype(np.int64),
    "side": np.dtype(np.int8),
    "entry_price": np.dtype(np.float64),
    "exit_price": np.dtype(np.float64),
    "stop_price": np.dtype(np.float64),
    "target_price": np.dtype(np.float64),
    "points": np.dtype(np.float64),
    "pnl": np.dtype(np.float64),
    "fees": np.dtype(np.float64),
    "mae": np.dtype(np.float64),
    "mfe": np.dtype(np.float64),
    "reason": np.dtype(np.uint8),
    "ambiguous": np.dtype(np.bool_),
}
"""The columns that an engine returns, in order. Times and bars_held are derived from them."""

MEASURED: Final = ("entry_bar", "exit_bar", "side", "pnl", "reason", "ambiguous")
"""The columns of trades that metrics are made of, in the order of the extension."""

Metric = cast("Any", IntEnum("Metric", METRICS, start=0))
"""The place of every metric in the vector that an engine returns."""

_TYPES: Final = {
    "float": np.float64,
    "int": np.int64,
    "bool": np.bool_,
    "clock": np.int64,
    "choice": np.int64,
}
"""How a value of each kind of parameter is stored, as ``Settings.values`` gives it."""


def _view(name: str, settings: type[Settings]) -> Any:
    """Return the NamedTuple that kernels see of settings; it takes what ``values()`` gives."""
    fields = [(spec.name, _TYPES[spec.kind]) for spec in settings.parameters()]
    view: Any = NamedTuple(name, fields)  # type: ignore[misc]  # as many fields as parameters
    view.__doc__ = f"The values of :class:`~{settings.__module__}.{settings.__qualname__}`."
    return view


# The disk cache of kernels finds these classes by their names in this module.
RulesView = _view("RulesView", ExitRules)
ContractView = _view("ContractView", Contract)
SettingsView = _view("SettingsView", MetricSettings)


def row_dtype(view: Any) -> np.dtype[np.void]:
    """Return the dtype of an array whose rows hold the items of a view.

    Examples
    --------
    >>> row_dtype(SettingsView).names
    ('risk_free_rate', 'periods_per_year')
    """
    return np.dtype(list(view.__annotations__.items()), align=True)
