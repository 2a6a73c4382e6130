"""What the statistics ask of their arguments, in one place."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np

from backtest_py.engines.numba_engine.metrics import NEGLIGIBLE
from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["column", "matrix", "moves", "real", "share", "whole"]


def whole(value: object, name: str, *, least: int) -> int:
    """Return a whole number that is not below ``least``."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise ConfigError(f"{name} = {value!r} is not allowed; give a whole number, {least} or more")


def real(value: object, name: str, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Return a number, nan included, that is not below ``least`` and is above ``above``."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isnan(number) or (number >= least and (number > above or above == -math.inf)):
            return number
    limit = f" above {above:g}" if above > -math.inf else ""
    limit = f" of {least:g} or more" if least > -math.inf else limit
    raise ConfigError(f"{name} = {value!r} is not allowed; give a number{limit}")


def share(value: object, name: str) -> float:
    """Return a number strictly between 0 and 1."""
    if isinstance(value, Real) and 0.0 < float(value) < 1.0:
        return float(value)
    raise ConfigError(f"{name} = {value!r} is not allowed; give a number between 0 and 1")


def column(values: ArrayLike, name: str, *, finite: bool = True) -> NDArray[np.float64]:
    """Return one contiguous column of float64."""
    return _numbers(values, name, 1, finite=finite)


def matrix(values: ArrayLike, name: str, *, finite: bool = True) -> NDArray[np.float64]:
    """Return a table of float64, which is a view where it can be one."""
    return _numbers(values, name, 2, finite=finite)


def moves(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which columns hold values that differ by more than rounding."""
    found: NDArray[np.bool_] = table.var(axis=0) > NEGLIGIBLE * np.mean(table**2, axis=0)
    return found


def _numbers(values: ArrayLike, name: str, n_dim: int, *, finite: bool) -> NDArray[np.float64]:
    given = np.asarray(values)
    if given.dtype.kind not in "iuf":
        raise DataError(f"{name} holds {given.dtype}, not numbers; give float64")
    if given.ndim != n_dim:
        wanted = "one column" if n_dim == 1 else "rows and columns"
        raise DataError(f"{name} has the shape {given.shape}; give {wanted}")
    numbers = given.astype(np.float64, copy=False)
    if finite and not (good := np.isfinite(numbers)).all():
        bad = np.argwhere(~good)
        place = ", ".join(map(str, bad[0]))
        raise DataError(
            f"{name}[{place}] = {numbers[tuple(bad[0])]} is not finite ({len(bad):,} such values); "
            "drop or fill them"
        )
    return numbers
