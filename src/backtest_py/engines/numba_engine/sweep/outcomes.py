"""How the trade of every candidate ends under every exit: computed once for a sweep.

Mirrors ``engine_rust/src/sweep/outcomes.rs``. What differs is the cell: three cache lines, with the
bars held and a tally as a word, where Rust packs an exit bar and the place of a field into two. So
this engine takes more bars and days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.layouts import ContractView, RulesView, row_dtype
from backtest_py.engines.numba_engine.backtest_engine import trade_outcome
from backtest_py.engines.numba_engine.contract import settle
from backtest_py.engines.numba_engine.sweep.vectors import LANES
from backtest_py.engines.numba_engine.types import N_REASONS, reader
from backtest_py.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.engines.layouts import BarColumns

__all__ = [
    "AMBIGUOUS",
    "CELL_BYTES",
    "CHUNK",
    "CONTRACT_DTYPE",
    "FIELD_BITS",
    "LONGS",
    "LOSSES",
    "MAX_BARS",
    "MAX_DAYS",
    "MOST_COUNTED",
    "N_FIELDS",
    "RULES_DTYPE",
    "WINS",
    "Candidates",
    "Cells",
    "OutcomeTable",
    "check_limits",
    "contract_of",
    "empty_cells",
    "follow",
    "rules_of",
]

AMBIGUOUS, WINS, LOSSES, LONGS = range(N_REASONS, N_REASONS + 4)
"""Fields of a tally behind those of the reasons."""
N_FIELDS = N_REASONS + 4
FIELD_BITS = 5
"""Bits of a field; twelve fields fit a word."""
MOST_COUNTED = (1 << FIELD_BITS) - 1
"""So many tallies can be added before a field overflows."""

CELL_DTYPE = np.dtype(
    [
        ("pnl", np.float64, LANES),
        ("tally", np.int64, LANES),
        ("bars_held", np.int32, LANES),
        ("days", np.int32, LANES),
    ]
)
"""The outcomes of one candidate under eight exits: three cache lines."""
CACHE_LINE = 64
CELL_BYTES = CELL_DTYPE.itemsize // LANES
"""Bytes of the outcome of one candidate under one exit."""
MAX_BARS = MAX_DAYS = (1 << 31) - 1
"""The most bars and days: cells count both in 32 bits."""
CHUNK = 256
"""Candidates whose trades are followed in one task."""

RULES_DTYPE = row_dtype(RulesView)
CONTRACT_DTYPE = row_dtype(ContractView)
rules_of = reader(RulesView, by_name=True)
contract_of = reader(ContractView, by_name=True)


class Candidates(NamedTuple):
    """Bars at which some combination of a sweep may act on a signal, in their order.

    ``risk`` is in points, nan where undefined.
    """

    bar: NDArray[np.uint32]
    side: NDArray[np.int8]
    risk: NDArray[np.float64]


class Cells(NamedTuple):
    """The outcomes of all candidates under all exits, each of shape (n_blocks, n_candidates, 8).

    ``tally`` is 1 in each field that counts the trade. ``bars_held`` is -1 where the signal is
    dropped. ``days`` are those from the signal to the exit.
    """

    pnl: NDArray[np.float64]
    tally: NDArray[np.int64]
    bars_held: NDArray[np.int32]
    days: NDArray[np.int32]


class OutcomeTable(NamedTuple):
    """The outcome of every candidate under every exit, eight exits to a block.

    ``capital`` has shape (n_blocks, 8); ``same_day`` tells that every position closes on the day of
    its signal.
    """

    cells: Cells
    contracts: NDArray[np.void]
    capital: NDArray[np.float64]
    same_day: bool


def check_limits(bars: BarColumns) -> None:
    """Refuse bars whose outcomes do not fit into cells.

    Raises
    ------
    EngineError
        If there are more than ``MAX_BARS`` bars or ``MAX_DAYS`` days.
    """
    n_bars, n_days = len(bars.day), int(bars.day[-1]) - int(bars.day[0]) + 1
    for name, found, limit in (("bars", n_bars, MAX_BARS), ("days", n_days, MAX_DAYS)):
        if found > limit:
            raise EngineError(
                f"a sweep on the Numba engine takes at most {limit} {name}, and here are {found}; "
                "sweep shorter data"
            )


def empty_cells(n_candidates: int, n_exits: int) -> Cells:
    """Return cells in which every signal is dropped; each row of eight begins a cache line."""
    shape = (-(-n_exits // LANES), n_candidates)
    size = shape[0] * shape[1] * CELL_DTYPE.itemsize
    raw = np.zeros(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    table = raw[start : start + size].view(CELL_DTYPE).reshape(shape)
    table["bars_held"] = -1
    return Cells(table["pnl"], table["tally"], table["bars_held"], table["days"])


@kernel(allocates=False)
def tally_of(outcome, side, pnl):
    """Return a word with a 1 in every field that counts the trade."""
    tally = 1 << (FIELD_BITS * outcome.reason)
    if outcome.ambiguous:
        tally |= 1 << (FIELD_BITS * AMBIGUOUS)
    if pnl > 0.0:
        tally |= 1 << (FIELD_BITS * WINS)
    if pnl < 0.0:
        tally |= 1 << (FIELD_BITS * LOSSES)
    if side > 0:
        tally |= 1 << (FIELD_BITS * LONGS)
    return tally


@kernel(allocates=False)
def follow(bars, atr, candidates, start, stop, rules, contracts, exits, cells):
    """Fill the cells of candidates ``start`` to ``stop`` under those ``exits`` that use ``atr``.

    Tell whether every position closes on the day of its signal.
    """
    same_day = True
    for row in range(start, stop):
        bar, side = np.int64(candidates.bar[row]), candidates.side[row]
        for k in exits:
            block, lane = k // LANES, k % LANES
            contract = contract_of(contracts[k])
            outcome = trade_outcome(
                bars, atr, candidates.risk[row], rules_of(rules[k]), contract, bar, side
            )
            if outcome.exit_bar < 0:
                continue
            pnl = settle(outcome, side, contract).pnl
            days = bars.day[outcome.exit_bar] - bars.day[bar]
            same_day = same_day and days == 0
            cells.pnl[block, row, lane] = pnl
            cells.tally[block, row, lane] = tally_of(outcome, side, pnl)
            cells.bars_held[block, row, lane] = outcome.exit_bar - (bar + 1)
            cells.days[block, row, lane] = days
    return same_day
