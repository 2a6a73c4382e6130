"""What the kernels are given and give back. Mirrors ``engine_rust/src/types.rs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backtest_py._jit import Kernel, kernel
from backtest_py.engines.layouts import BarColumns, Metric
from backtest_py.rules import Reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest_py.bars import Bars

__all__ = [
    "N_METRICS",
    "N_REASONS",
    "Course",
    "Outcome",
    "Position",
    "Settlement",
    "Trades",
    "bar_columns",
    "reader",
]

N_REASONS: Final = len(Reason)
N_METRICS: Final = len(Metric)


class Outcome(NamedTuple):
    """How a trade that starts at a signal ends; ``exit_bar`` is -1 where there is no trade."""

    exit_bar: int
    entry_price: float
    exit_price: float
    stop_price: float
    target_price: float
    mae: float
    mfe: float
    reason: int
    ambiguous: bool


class Position(NamedTuple):
    """A position as it stands before ``next_bar``; ``side`` is 0 where there is none.

    ``stop_price`` is the first stop, ``stop`` the present one, ``moved`` tells that it has moved.
    ``highest`` and ``lowest`` are the extremes of the bars that it was held through.
    """

    entry_bar: int
    next_bar: int
    side: int
    risk: float
    entry_price: float
    stop_price: float
    target_price: float
    stop: float
    highest: float
    lowest: float
    moved: bool


class Course(NamedTuple):
    """Where a backtest stands between two bars: what goes over the edge of a chunk.

    ``next_bar`` is the first whose signal may be acted on once nothing is held. An account that is
    not above zero is ruined.
    """

    equity: float
    next_bar: int
    position: Position


class Settlement(NamedTuple):
    """What a trade earned: points, and fees and gain in money."""

    points: float
    fees: float
    pnl: float


class Trades(NamedTuple):
    """The columns of ``layouts.TRADE_DTYPE``."""

    signal_bar: NDArray[np.int64]
    entry_bar: NDArray[np.int64]
    exit_bar: NDArray[np.int64]
    side: NDArray[np.int8]
    entry_price: NDArray[np.float64]
    exit_price: NDArray[np.float64]
    stop_price: NDArray[np.float64]
    target_price: NDArray[np.float64]
    points: NDArray[np.float64]
    pnl: NDArray[np.float64]
    fees: NDArray[np.float64]
    mae: NDArray[np.float64]
    mfe: NDArray[np.float64]
    reason: NDArray[np.uint8]
    ambiguous: NDArray[np.bool_]


def bar_columns(bars: Bars) -> BarColumns:
    """Return the columns of bars, uncopied."""
    return BarColumns(
        bars.open, bars.high, bars.low, bars.close, bars.volume, bars.minute, bars.day
    )


def reader(view: Any, *, by_name: bool) -> Kernel:
    """Return a kernel that makes a NamedTuple of the items of a row.

    Numba cannot loop over fields of different types, so the kernel is written out, as namedtuple
    and dataclass write theirs.

    Parameters
    ----------
    view : type
        The NamedTuple, known by its name in its own module.
    by_name : bool
        Whether the row is one of a structured array, with the fields' names; otherwise its items
        are counted from 0.
    """
    keys = view._fields if by_name else range(len(view._fields))
    items = ", ".join(f"row[{key!r}]" for key in keys)
    scope: dict[str, Any] = {view.__name__: view, "__name__": __name__}
    exec(f"def read(row):\n    return {view.__name__}({items})", scope)  # noqa: S102
    function = scope["read"]
    function.__qualname__ = f"read_{view.__name__}"
    function.__doc__ = f"Return the {view.__name__} of a row."
    return kernel(allocates=False)(function)
