"""One dimension of a sweep's grid: a parameter and the values that it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import clock_text, parse_clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.parameters import Parameter

__all__ = ["Axis", "GridRange", "GridSpan", "GridSpec", "build_axis", "grid_spec"]

MAX_VALUES: Final = 1_000_000
"""Values of one axis are listed, unlike combinations; more than this must be a mistake."""

RANGES: Final[Mapping[str, str]] = {
    "float": "finite numbers, as in { start = 0.5, stop = 3.0, step = 0.5 }",
    "int": "whole numbers, as in { start = 5, stop = 30, step = 5 }",
    "clock": 'times of day, as in { start = "09:00", stop = "09:40", step = 10 }',
}
"""Kinds of parameters that may run over a range, and how one is written."""

ALLOWED: Final = "give a list of values, or a range { start = 0.5, stop = 3.0, step = 0.5 }"


@dataclass(frozen=True, slots=True)
class GridRange:
    """An inclusive range of values, with its numbers as they were written.

    It has ``round((stop - start) / step) + 1`` values, computed as exact decimals: ``0.1 + 2*0.1``
    is ``0.3``. Of times of day, start and stop are ``"HH:MM"``, and step is ``"HH:MM"`` or minutes.

    Examples
    --------
    >>> GridRange(0.5, 3.0, 0.5)
    GridRange(start=0.5, stop=3.0, step=0.5)
    >>> GridRange("09:00", "09:40", 10).step
    10
    """

    start: float | str
    stop: float | str
    step: float | str


@dataclass(frozen=True, slots=True)
class GridSpan:
    """Every number from ``min`` to ``max``, of which a sample takes some.

    Of whole numbers and times of day it is every value, both ends included.
    """

    min: float | str
    max: float | str


GridSpec: TypeAlias = "tuple[Any, ...] | GridRange | GridSpan"


@dataclass(frozen=True)
class Axis:
    """One swept parameter and its values, in their order in the grid.

    Attributes
    ----------
    key : str
        Full key, such as ``"rules.stop"``.
    values : tuple
        Distinct values in their canonical types: float, int, bool or str.
    parameter : Parameter
        What the parameter accepts.
    span : GridSpan or None
        The continuous range that the values were drawn from, if they were.
    """

    key: str
    values: tuple[Any, ...]
    parameter: Parameter = field(repr=False)
    span: GridSpan | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def section(self) -> str:
        """The part of the key before the point."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """The part of the key after the point."""
        return self.key.partition(".")[2]

    @cached_property
    def column(self) -> NDArray[Any]:
        """The values as conditions see them, shape (n_values,): times of day as minutes."""
        return condition_column(self.parameter, self.values)

    def index(self, value: object) -> int:
        """Return the position of a value.

        Raises
        ------
        ConfigError
            If the value is not on the axis.
        """
        canonical = self.parameter.check(value, section=self.section)
        position = self._positions.get(canonical)
        if position is None:
            near = ", ".join(map(repr, self.values[:8])) + (", …" if len(self) > 8 else "")
            raise ConfigError(f"{self.key} = {value!r} is not in the grid; its values are {near}")
        return position

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {value: position for position, value in enumerate(self.values)}


def condition_column(parameter: Parameter, values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an array that conditions compare; minutes for times, -1 where off."""
    if parameter.kind == "clock":
        return np.array([parse_clock(value) for value in values], dtype=np.int64)
    kinds = {"float": np.float64, "int": np.int64, "bool": np.bool_}
    return np.array(values, dtype=kinds.get(parameter.kind, np.str_))


def grid_spec(key: str, value: object) -> GridSpec:
    """Return what a grid says of one key: a list of values, a range or a span.

    Raises
    ------
    ConfigError
        If it is none of these; the values themselves are checked by :func:`build_axis`.
    """
    if isinstance(value, GridRange | GridSpan):
        return value
    if isinstance(value, Mapping):
        if set(value) == {"start", "stop", "step"}:
            return GridRange(value["start"], value["stop"], value["step"])
        if set(value) == {"min", "max"}:
            return GridSpan(value["min"], value["max"])
    elif isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) == 0:
            raise ConfigError(f'the grid\'s "{key}" = {value!r} is empty; {ALLOWED}')
        if len(value) > MAX_VALUES:
            raise _too_many(key, len(value))
        return tuple(value)
    raise ConfigError(f'the grid\'s "{key}" = {value!r} is not allowed; {ALLOWED}')


def build_axis(key: str, parameter: Parameter, spec: GridSpec) -> Axis:
    """Return the axis of a parameter, every value checked.

    A span of a parameter that is no whole number and no time gives an axis with its two ends.

    Raises
    ------
    ConfigError
        If a value is not allowed or occurs twice, or if a range has no step, the wrong direction
        or too many values.
    """
    if isinstance(spec, tuple):
        return Axis(key, _checked_values(key, parameter, spec), parameter)
    if isinstance(spec, GridSpan) and parameter.kind == "float":
        ends = _checked_values(key, parameter, (spec.min, spec.max))
        if ends[0] > ends[1]:
            raise ConfigError(f'the grid\'s "{key}" has min = {ends[0]!r} above max = {ends[1]!r}')
        return Axis(key, ends, parameter, span=GridSpan(*ends))
    return Axis(
        key, _checked_values(key, parameter, _range_values(key, parameter, spec)), parameter
    )


def _checked_values(key: str, parameter: Parameter, values: Sequence[Any]) -> tuple[Any, ...]:
    checked: dict[Any, int] = {}
    for position, value in enumerate(values, start=1):
        try:
            canonical = parameter.check(value, section=key.partition(".")[0])
        except ConfigError as error:
            raise ConfigError(f'the grid\'s "{key}", value {position}: {error}') from None
        # the sum is an object of its own, where ExitRules tells its default target by identity
        canonical = canonical + 0.0 if parameter.kind == "float" else canonical
        if canonical in checked:
            raise ConfigError(
                f'the grid\'s "{key}" holds {canonical!r} twice, as values '
                f"{checked[canonical]} and {position}; leave one of them out"
            )
        checked[canonical] = position
    return tuple(checked)


def _range_values(key: str, parameter: Parameter, spec: GridRange | GridSpan) -> list[Any]:
    given = [(item.name, getattr(spec, item.name)) for item in fields(spec)]
    shown = ", ".join(f"{name} = {value!r}" for name, value in given)
    where = f'the grid\'s "{key}" = {{ {shown} }}'
    numbers = [_exact(where, parameter, name, value) for name, value in given]
    start, stop, step = (*numbers, Fraction(1))[:3]
    if step <= 0 or stop < start:
        raise ConfigError(
            f"{where} is not allowed; a range goes upwards, from its lowest value to its highest, "
            "by a step above 0"
        )
    count = round((stop - start) / step) + 1
    if count > MAX_VALUES:
        raise _too_many(key, count)
    # whole numbers over one denominator: their quotient is the double nearest to the decimal
    scale = start.denominator * step.denominator
    whole = range(
        int(start * scale), int(start * scale) + count * int(step * scale), int(step * scale)
    )
    if parameter.kind == "float":
        return [_quotient(numerator, scale) for numerator in whole]
    return list(whole) if parameter.kind == "int" else list(map(clock_text, whole))


def _quotient(numerator: int, denominator: int) -> float:
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf  # refused like any other value that is not finite


def _exact(where: str, parameter: Parameter, name: str, value: object) -> Fraction:
    """Return a number of a range exactly as it was written."""
    kind = parameter.kind
    if kind not in RANGES:
        raise ConfigError(
            f"{where} is not allowed, because a range needs numbers or times; give a list of "
            f"values, each {parameter.allowed}"
        )
    if kind == "clock" and isinstance(value, str) and value:
        try:
            return Fraction(parse_clock(value))
        except ConfigError as error:
            raise ConfigError(f"{where}: {name} = {error}") from None
    if not isinstance(value, bool):
        if isinstance(value, Integral) and (kind != "clock" or name == "step"):
            return Fraction(int(value))
        if isinstance(value, Real) and kind == "float" and math.isfinite(value):
            return Fraction(repr(float(value)))
    raise ConfigError(f"{where}: {name} = {value!r} is not allowed; give {RANGES[kind]}")


def _too_many(key: str, count: int) -> ConfigError:
    return ConfigError(
        f'the grid\'s "{key}" has {count_text(count)} values; give at most {MAX_VALUES:,}'
    )


def count_text(count: int) -> str:
    """Return a count with separators, or as a power of ten where it would be too long to read."""
    return f"{count:,}" if count < 10**36 else f"about 10^{len(str(count)) - 1}"
