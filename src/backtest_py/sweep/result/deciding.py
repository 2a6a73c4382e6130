"""From a row to a decision: which row is meant, and its inputs for MetaTrader."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, Any, Final

from backtest_py.errors import ConfigError
from backtest_py.parameters import counted, unknown_name
from backtest_py.sweep.store.tables import COMBO_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from backtest_py.metrics.custom import Metric
    from backtest_py.sweep.space.axis import Axis
    from backtest_py.sweep.space.combinations import Combinations

__all__ = ["chosen_row", "set_file"]

_DEFAULT: Final = "sharpe"
_HEAD: Final = (
    "{note}",
    "this file contains input parameters for testing/optimizing an expert advisor",
    "to use it in the strategy tester, click Load in the context menu of the Inputs tab",
)
_INPUT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
"""What MQL5 takes for the name of an input."""


def chosen_row(
    top: Callable[[int, Metric], pa.Table], combo_id: object, by: Metric | None, rank: int | None
) -> int:
    """Return the number of the combination that a user means.

    Parameters
    ----------
    top : callable
        Gives the best so many rows by a metric.
    combo_id : int or None
        The number itself.
    by, rank : metric and int, or None
        Or the place in a ranking, from 1.

    Raises
    ------
    ConfigError
        If both are given, or neither, or the ranking has no such place.
    """
    if combo_id is not None:
        if by is not None or rank is not None:
            raise ConfigError(
                f"combo_id = {combo_id!r} and a rank ({by or _DEFAULT}, {rank or 1}) both name a "
                "row; give one of the two"
            )
        try:
            return index(combo_id)  # type: ignore[arg-type]  # what is no integer raises
        except TypeError:
            raise ConfigError(
                f"combo_id = {combo_id!r} is not allowed; give a whole number"
            ) from None
    if by is None and rank is None:
        raise ConfigError(
            'no row is named; give its combo_id, or its place in a ranking: by="sharpe", rank=1 '
            "(--by sharpe --rank 1)"
        )
    place = 1 if rank is None else rank
    if isinstance(place, bool) or not isinstance(place, int) or place < 1:
        raise ConfigError(f"rank = {place!r} is not allowed; give a whole number of at least 1")
    rows = top(place, by or _DEFAULT)
    if rows.num_rows < place:
        raise ConfigError(
            f"rank = {place:,} is not in the ranking, which has {counted(rows.num_rows, 'row')}"
        )
    found: int = rows[COMBO_ID][place - 1].as_py()
    return found


def set_file(
    grid: Combinations, combo_id: int, *, names: Mapping[str, str] | None, note: str
) -> bytes:
    """Return the inputs of a combination as MetaTrader 5 saves them: UTF-16 with a mark, CRLF.

    Numbers and truth values stand with the range of the grid, where their axis has a constant step:
    ``stop=2.0||0.5||0.5||3.0||N``. Texts and times of day, which MetaTrader does not step through,
    stand alone.

    Raises
    ------
    ConfigError
        If ``names`` names no parameter, gives a name that MQL5 does not take, or one twice.
    """
    strategy, rules, contract = grid.settings(combo_id)
    axes = {axis.key: axis for axis in grid.axes}
    values: dict[str, Any] = {}
    for settings in (strategy, rules, contract):
        for name, value in settings.to_mapping().items():
            key = f"{settings.section}.{name}"
            # costs and the account belong to the terminal, unless the grid varied them
            if settings is not contract or key in axes or name == "quantity":
                values[key] = value
    inputs = _input_names(list(values), names or {})
    lines = [f"; {line}" for line in (each.format(note=note) for each in _HEAD)] + [";"]
    for key, value in values.items():
        lines.append(f"{inputs[key]}={_input(value, axes.get(key))}")
    return b"\xff\xfe" + "\r\n".join([*lines, ""]).encode("utf-16-le")


def _input_names(keys: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the input of each parameter: the last part of its key where only one has it."""
    for key in given:
        if key not in keys:
            raise unknown_name("parameter", key, keys)
    last = [key.rpartition(".")[2] for key in keys]
    inputs = {
        key: given.get(key, name if last.count(name) == 1 else key.replace(".", "_"))
        for key, name in zip(keys, last, strict=True)
    }
    for key, name in inputs.items():
        if not isinstance(name, str) or _INPUT.fullmatch(name) is None:
            raise ConfigError(
                f"{name!r} cannot be the input of {key}; give letters, digits and _, at most 63"
            )
        if list(inputs.values()).count(name) > 1:
            raise ConfigError(f"{name!r} names two inputs; give each parameter a name of its own")
    return inputs


def _input(value: Any, axis: Axis | None) -> str:
    if isinstance(value, bool):
        return f"{_text(value)}||false||0||true||N"
    if isinstance(value, str):
        return value
    start, step, stop = (value, 0, value) if axis is None else _even_steps(axis.values, value)
    return "||".join((*map(_text, (value, start, step, stop)), "N"))


def _even_steps(values: Sequence[Any], value: Any) -> tuple[Any, Any, Any]:
    """Return start, step and stop of values, or of the one that is chosen where no step is even."""
    ordered = sorted(Decimal(repr(each)) for each in values)
    steps = {after - before for before, after in pairwise(ordered)}
    if len(steps) != 1:
        return value, 0, value
    return ordered[0], steps.pop(), ordered[-1]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # never with an exponent, which MetaTrader may not read
    return format(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), "f")
