"""The same trades on vectorbt: what it can express of a workload, and how that is put to it.

vectorbt tells positions apart by the bar, not by the trade: an order fills at a bar, and stops are
looked at from the next bar on. What follows from that, and how it is met here:

* Entries are moved to the bar of the fill, and signals that our rules drop are left out.
* Stops and targets are fractions of the fill, so our distances are divided by the entry price.
* A stop within a bar comes before an exit at its open. From the close time on, every bar is given
  to vectorbt as its open alone, so that both leave at that open.
* A signal against an open position is ignored, as it is here.
* Slippage is 0 on both sides: vectorbt has none on stops at their price, and none in ticks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import vectorbt as vbt

import backtest_py as bt
from backtest_py.engines import resolve
from backtest_py.parameters import parse_clock
from benches.datasets import WORKLOADS, load_market

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "MARKET",
    "WORKLOAD",
    "differences",
    "from_signals",
    "inputs_of",
    "our_signals",
    "peer_inputs",
]

MARKET: Final = "b3_m5_140k"
WORKLOAD: Final = "elephant_2k"
CONTRACT: Final = bt.Contract(tick_size=5, fee_per_side=0.25, initial_capital=10_000_000)


def our_signals() -> NDArray[np.int8]:
    """Return the sides of every bar."""
    engine, _ = resolve("rust")
    return engine.signals(load_market(MARKET), WORKLOADS[WORKLOAD].strategy).side


def peer_inputs() -> dict[str, Any]:
    """Return the arguments of ``Portfolio.from_signals`` for the workload."""
    return inputs_of(load_market(MARKET), our_signals(), WORKLOADS[WORKLOAD].rules)


def inputs_of(bars: bt.Bars, side: NDArray[np.int8], rules: bt.ExitRules) -> dict[str, Any]:
    """Return the arguments of ``Portfolio.from_signals``, all arrays made ready."""
    engine, _ = resolve("rust")
    atr = engine.atr(bars, rules.atr_period, rules.atr_method)
    signals = np.flatnonzero(side[:-1])
    entries = signals + 1
    admitted = (
        (bars.day[signals] == bars.day[entries])
        & (bars.minute[entries] < parse_clock(rules.close_time))
        & ~np.isnan(atr[signals])
    )
    signals, entries = signals[admitted], entries[admitted]

    longs, shorts = np.zeros(len(bars), np.bool_), np.zeros(len(bars), np.bool_)
    longs[entries], shorts[entries] = side[signals] > 0, side[signals] < 0
    stops, targets = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
    stops[entries] = rules.stop * atr[signals] / bars.open[entries]
    target = rules.target or rules.target_r * rules.stop
    targets[entries] = target * atr[signals] / bars.open[entries]
    late = bars.minute >= parse_clock(rules.close_time)
    return {
        "close": np.where(late, bars.open, bars.close),
        "entries": longs,
        "exits": late,
        "short_entries": shorts,
        "short_exits": late,
        "price": bars.open,
        "open": bars.open,
        "high": np.where(late, bars.open, bars.high),
        "low": np.where(late, bars.open, bars.low),
        "sl_stop": stops,
        "tp_stop": targets,
        "size": 1.0,
        "fixed_fees": CONTRACT.fee_per_side,
        "init_cash": CONTRACT.initial_capital,
        "stop_entry_price": "fillprice",
        "stop_exit_price": "stoplimit",
        "upon_opposite_entry": "ignore",
    }


def from_signals(inputs: dict[str, Any], engine: str) -> vbt.Portfolio:
    """Simulate on one of vectorbt's engines."""
    return vbt.Portfolio.from_signals(**inputs, engine=engine)


def differences(result: bt.BacktestResult, portfolio: vbt.Portfolio) -> dict[str, int]:
    """Compare the trades of every day, and fail where a difference has no reason.

    There are two reasons. An exit of ours on its entry bar, which vectorbt puts off. And a bar
    whose extreme is the very price of a stop or target: turned into a fraction and back, that
    price is off by its last bit, and the bar misses it. Either may make later signals of the day
    count or not, but positions end with the day. So the trades of all other days must be the
    same: bars and entry prices exactly, exit prices to the last bits.
    """
    bars, ours, theirs = result.job.bars, result.columns, portfolio.trades.records
    on_entry_bar = ours["exit_bar"] == ours["entry_bar"]
    touched = _touched(bars, ours)
    our_days = bars.day[ours["entry_bar"]]
    excused = set(our_days[on_entry_bar | touched].tolist())
    mine = _by_day(our_days, ours, ("entry_bar", "exit_bar", "entry_price", "exit_price"))
    other = _by_day(
        bars.day[theirs["entry_idx"].to_numpy()],
        theirs,
        ("entry_idx", "exit_idx", "entry_price", "exit_price"),
    )
    different = {
        day
        for day in mine.keys() | other.keys()
        if not _same(mine.get(day, []), other.get(day, []))
    }
    if different - excused:
        day = min(different - excused)
        raise AssertionError(
            f"day {day} has no reason to differ: {mine.get(day)} here, {other.get(day)} there"
        )
    return {
        "our_trades": len(result),
        "their_trades": len(theirs),
        "equal_trades": sum(len(rows) for day, rows in mine.items() if day not in different),
        "exits_on_entry_bar": int(np.count_nonzero(on_entry_bar)),
        "different_days": len(different),
        "days": len(mine.keys() | other.keys()),
    }


Row = tuple[float, ...]


def _by_day(
    days: NDArray[np.int32], trades: Mapping[str, Any], names: tuple[str, ...]
) -> dict[int, list[Row]]:
    """Return the rows of some columns by the day they belong to."""
    rows: dict[int, list[Row]] = {}
    columns = (np.asarray(trades[name]).tolist() for name in names)
    for day, row in zip(days.tolist(), zip(*columns, strict=True), strict=True):
        rows.setdefault(day, []).append(row)
    return rows


def _same(ours: list[Row], theirs: list[Row]) -> bool:
    """Tell whether rows agree: all exactly but the last number, the exit price."""
    return len(ours) == len(theirs) and all(
        mine[:-1] == other[:-1] and abs(mine[-1] - other[-1]) <= 1e-13 * mine[-1]
        for mine, other in zip(ours, theirs, strict=True)
    )


def _touched(bars: bt.Bars, trades: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which trades end on a bar whose extreme is their stop or target, to the last bits."""
    near = np.zeros(len(trades["exit_bar"]), np.bool_)
    for extreme in (bars.high, bars.low):
        for level in ("stop_price", "target_price"):
            price = trades[level]
            near |= np.abs(extreme[trades["exit_bar"]] - price) <= 1e-13 * price
    return near
