"""What a condition is, and its three readings: on arrays, on bounds, and as Arrow's filter."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from backtest_py.sweep.space.bounds import BOUNDS, column_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["OPERATORS", "Apply", "Column", "Condition", "Formula", "Kind", "Steps", "Value"]

Kind: TypeAlias = Literal["number", "clock", "bool", "text"]

OPERATORS: Final[Mapping[str, Callable[..., Any]]] = {
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
    "USub": np.negative,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
}
"""Every operator of conditions, under its name in Python's ``ast``, on arrays."""


class Value(NamedTuple):
    """A step that pushes a constant."""

    value: float | str | bool


class Column(NamedTuple):
    """A step that pushes a column."""

    key: str
    kind: Kind


class Apply(NamedTuple):
    """A step that replaces the last results by what an operator makes of them."""

    operator: str
    n_operands: int


Steps: TypeAlias = tuple[Value | Column | Apply, ...]
"""An expression, each operator after its operands: however long, it needs no deep recursion."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on named columns.

    Attributes
    ----------
    text : str
        As it was written.
    parts : tuple of Steps
        Expressions that must all hold.

    Examples
    --------
    >>> a_below_2 = (Column("a", "number"), Value(2.0), Apply("Lt", 2))
    >>> condition = Condition("a < 2 and b", (a_below_2, (Column("b", "bool"),)))
    >>> condition.evaluate({"a": np.array([1.0, 1.5, 3.0]), "b": np.array([False, True, True])})
    array([False,  True, False])
    """

    text: str
    parts: tuple[Steps, ...]

    @property
    def names(self) -> frozenset[str]:
        """Full names of the columns that it looks at."""
        return _names(self.parts)

    @property
    def conjuncts(self) -> tuple[Condition, ...]:
        """Conditions that all hold where this one does, each on fewer names where it can."""
        return tuple(Condition(self.text, (part,)) for part in self.parts)

    def evaluate(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return where the condition holds.

        Parameters
        ----------
        columns : mapping of str to ndarray
            A column per name in :attr:`names`, of shapes that broadcast: numbers, minutes of the
            day (int64, -1 for off), bools or strings.

        Returns
        -------
        ndarray of bool
            Of the columns' common shape.
        """
        results = [_on_arrays(part, columns) for part in self.parts]
        return np.asarray(reduce(np.logical_and, results), dtype=np.bool_)

    def bounds(self, columns: Mapping[str, NDArray[Any]]) -> tuple[bool, bool]:
        """Return whether the condition surely holds everywhere, and whether it may hold anywhere.

        Only the least and the greatest value of every column are looked at, so that the answer
        covers all values between them, in every combination.

        Parameters
        ----------
        columns : mapping of str to ndarray
            As :meth:`evaluate` takes them.
        """
        values = {key: column_bounds(columns[key]) for key in self.names}

        def operand(step: Value | Column) -> Any:
            return (step.value, step.value) if isinstance(step, Value) else values[step.key]

        results = [_run(part, operand, BOUNDS) for part in self.parts]
        return all(least for least, _ in results), all(greatest for _, greatest in results)

    def to_arrow(self) -> Any:
        """Return the same condition as a ``pyarrow.compute`` expression on columns of those names.

        There a time of day is a string ``"HH:MM"``, or ``""`` where it is off.
        """
        import pyarrow.compute as pc  # noqa: PLC0415  # only a filter on a table needs it

        # as IEEE says, where the operators of Arrow's expressions refuse to divide by zero
        arithmetic = {"Add": pc.add, "Sub": pc.subtract, "Mult": pc.multiply, "Div": pc.divide}
        logic = {"And": operator.and_, "Or": operator.or_, "Not": operator.invert}
        operators = {**OPERATORS, **arithmetic, **logic, "USub": pc.negate}

        def operand(step: Value | Column) -> Any:
            if isinstance(step, Value):
                return pc.scalar(step.value)
            column = pc.field(step.key)
            if step.kind == "number":
                return column.cast("float64")
            return _arrow_minutes(column) if step.kind == "clock" else column

        return reduce(operator.and_, (_run(part, operand, operators) for part in self.parts))


@dataclass(frozen=True, slots=True)
class Formula:
    """A number that named columns give.

    Attributes
    ----------
    text : str
        As it was written.
    steps : Steps
        The expression.
    """

    text: str
    steps: Steps

    @property
    def names(self) -> frozenset[str]:
        """Full names of the columns that it looks at."""
        return _names((self.steps,))

    def evaluate(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the number of every row; columns as :meth:`Condition.evaluate` takes them."""
        return np.asarray(_on_arrays(self.steps, columns), dtype=np.float64)


def _names(parts: tuple[Steps, ...]) -> frozenset[str]:
    steps = (step for part in parts for step in part)
    return frozenset(step.key for step in steps if isinstance(step, Column))


def _on_arrays(steps: Steps, columns: Mapping[str, NDArray[Any]]) -> Any:
    def operand(step: Value | Column) -> Any:
        if isinstance(step, Value):
            return np.asarray(step.value)
        column = columns[step.key]
        return column.astype(np.float64) if step.kind in {"number", "clock"} else column

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _run(steps, operand, OPERATORS)


def _run(
    steps: Steps,
    operand: Callable[[Value | Column], Any],
    operators: Mapping[str, Callable[..., Any]],
) -> Any:
    """Return the result of an expression."""
    stack: list[Any] = []
    for step in steps:
        if isinstance(step, Apply):
            stack[-step.n_operands :] = [operators[step.operator](*stack[-step.n_operands :])]
        else:
            stack.append(operand(step))
    return stack.pop()


def _arrow_minutes(column: Any) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    text = pc.if_else(pc.equal(column, ""), "00:-1", column)  # off is minute -1
    hours, minutes = (
        pc.utf8_slice_codeunits(text, start=start, stop=stop).cast("float64")
        for start, stop in ((0, 2), (3, 5))
    )
    return hours * 60.0 + minutes
