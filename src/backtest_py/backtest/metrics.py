"""The metrics of a backtest, as a mapping whose names are typed attributes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from backtest_py.metrics.catalogue import CATALOGUE, METRICS, MetricAttributes
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Metrics", "number_text"]

MetricValue: TypeAlias = "float | int | bool"

_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(METRICS)}
_AS_PYTHON: Final[dict[str, type[int | float]]] = {"count": int, "flag": bool, "number": float}


class Metrics(MetricAttributes, Mapping[str, MetricValue]):
    """Metrics of one backtest: an immutable mapping whose names are attributes too.

    Counts are ``int``, flags ``bool``, the rest ``float``; nan means undefined. Two are
    equal if every number is the same bit for bit, nan included.

    Parameters
    ----------
    values : ndarray of float64, shape (n_metrics,)
        In the order of ``catalogue.METRICS``, as an engine returns them.

    Examples
    --------
    >>> import numpy as np
    >>> metrics = Metrics(np.zeros(39))
    >>> metrics["total_trades"], metrics.sharpe, metrics.ruined
    (0, 0.0, False)
    """

    __slots__ = ("_values",)
    _values: NDArray[np.float64]

    def __init__(self, values: NDArray[np.float64]) -> None:
        vector = np.array(values, dtype=np.float64)
        if vector.shape != (len(METRICS),):
            raise ValueError(
                f"metrics have the shape {vector.shape} instead of ({len(METRICS)},); "
                "give one number for each name of catalogue.METRICS"
            )
        vector.flags.writeable = False
        object.__setattr__(self, "_values", vector)

    def __getitem__(self, name: str) -> MetricValue:
        if name not in _INDEX:
            raise KeyError(str(unknown_name("metric", name, METRICS)))
        value = float(self._values[_INDEX[name]])
        return _AS_PYTHON[CATALOGUE[name].kind](value)

    if not TYPE_CHECKING:  # a type checker refuses names that are not declared

        def __getattr__(self, name: str) -> MetricValue:
            if name not in _INDEX:
                raise AttributeError(str(unknown_name("metric", name, METRICS)))
            return self[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"metrics cannot be changed: {name} = {value!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"metrics cannot be changed: {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(METRICS)

    def __len__(self) -> int:
        return len(METRICS)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *METRICS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Metrics):
            return NotImplemented
        return self._values.tobytes() == other._values.tobytes()

    def __hash__(self) -> int:
        return hash(self._values.tobytes())

    def __reduce__(self) -> tuple[type[Metrics], tuple[NDArray[np.float64]]]:
        return Metrics, (self._values,)

    def __repr__(self) -> str:
        width = max(map(len, METRICS))
        return "\n".join(f"{name:<{width}}  {number_text(self[name])}" for name in METRICS)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name}</th><td>{number_text(self[name])}</td></tr>" for name in METRICS
        )
        return f"<table>{rows}</table>"

    def to_mapping(self) -> dict[str, MetricValue | str]:
        """Return names and values, ready for JSON: nan and infinities as texts."""
        return {name: _json_number(value) for name, value in self.items()}


def number_text(value: MetricValue) -> str:
    """Format a number for people, with as many digits as they need."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:,.4g}"


def _json_number(value: MetricValue) -> MetricValue | str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
