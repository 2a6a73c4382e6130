"""One backtest in slow, obvious Python, written from the text of docs/semantics.md alone.

It shares no code with the package: plain lists and floats, no NumPy, nothing imported from
``backtest_py``. Each function quotes the section it follows. Where the engines are clever, this
file is not; that is its whole value. Python's float is the IEEE double and rounds after every
operation, so its numbers are those of the contract, bit for bit.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from parity import reference_strategies as strategies
from parity.reference_metrics import compute_metrics, stored

NAN = float("nan")
INF = float("inf")
SECOND = 1_000_000_000
DAY = 86_400 * SECOND
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock has no zone

RULES: dict[str, Any] = {
    "stop": 2.0,
    "target": 3.0,
    "target_r": 0.0,
    "trail": 0.0,
    "unit": "atr",
    "atr_period": 14,
    "atr_method": "wilder",
    "round_to_tick": False,
    "target_through_ticks": 0.0,
    "close_time": "",
    "max_bars": 0,
    "intrabar": "stop_first",
}
CONTRACT: dict[str, float] = {
    "tick_size": 1.0,
    "point_value": 1.0,
    "quantity": 1.0,
    "fee_per_side": 0.0,
    "fee_rate": 0.0,
    "slippage_ticks": 0.0,
    "initial_capital": 10_000.0,
}
METRIC_SETTINGS: dict[str, float] = {"risk_free_rate": 0.0, "periods_per_year": 252.0}


# --- section 1: bars -------------------------------------------------------------------------


@dataclass(frozen=True)
class Bars:
    """Columns of plain numbers; ``wall`` is the session's wall clock in ns since 1970."""

    time: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    atr: list[float] | None = None
    session_timezone: str = ""
    wall: list[int] = field(init=False)
    minute: list[int] = field(init=False)
    day: list[int] = field(init=False)

    def __post_init__(self) -> None:
        wall = [wall_clock(instant, self.session_timezone) for instant in self.time]
        day = [0] * len(wall)
        for i in range(1, len(wall)):
            day[i] = day[i - 1] + (wall[i] // DAY != wall[i - 1] // DAY)
        object.__setattr__(self, "wall", wall)
        object.__setattr__(self, "minute", [clock % DAY // (60 * SECOND) for clock in wall])
        object.__setattr__(self, "day", day)


def wall_clock(instant: int, zone: str) -> int:
    """Return the wall clock of an instant in a zone, both in ns; no zone leaves it as it is."""
    if not zone:
        return instant
    seconds, rest = divmod(instant, SECOND)
    utc = EPOCH.replace(tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    local = utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return nanoseconds(local) + rest


def nanoseconds(clock: dt.datetime) -> int:
    """Return the ns from 1970 to a wall clock."""
    return (clock - EPOCH) // dt.timedelta(microseconds=1) * 1000


def bounds(bars: Bars, start: str | None, end: str | None) -> tuple[int, int]:
    """Return ``[first, last)``: the first bars at or after start and end (section 4)."""
    first, last = 0, len(bars.time)
    if start:
        first = first_at_or_after(bars, nanoseconds(dt.datetime.fromisoformat(start)))
    if end:
        last = first_at_or_after(bars, nanoseconds(dt.datetime.fromisoformat(end)))
    return first, last


def first_at_or_after(bars: Bars, clock: int) -> int:
    """Return the first bar at or after a wall clock, or the number of bars."""
    for i, wall in enumerate(bars.wall):
        if wall >= clock:
            return i
    return len(bars.wall)


# --- section 2: average true range -----------------------------------------------------------


def true_range(bars: Bars) -> list[float]:
    """Return TR of every bar."""
    result = []
    for i, (high, low) in enumerate(zip(bars.high, bars.low, strict=True)):
        if i == 0:
            result.append(high - low)
        else:
            before = bars.close[i - 1]
            result.append(max(high - low, abs(high - before), abs(low - before)))
    return result


def average_true_range(bars: Bars, period: int, method: str) -> list[float]:
    """Return ATR of every bar, nan where it is undefined."""
    if method == "column":
        if bars.atr is None:
            message = "atr_method = column without a column atr"
            raise ValueError(message)
        return list(bars.atr)
    tr = true_range(bars)
    atr = [NAN] * len(tr)
    for i in range(len(tr)):
        if method == "sma" and i >= period - 1:
            atr[i] = sum_in_order(tr[i - period + 1 : i + 1]) / period
        if method == "wilder" and i == period:
            atr[i] = sum_in_order(tr[1 : period + 1]) / period
        if method == "wilder" and i > period:
            atr[i] = (atr[i - 1] * (period - 1) + tr[i]) / period
    return atr


def sum_in_order(values: list[float]) -> float:
    """Add from left to right; the built-in sum compensates rounding since Python 3.12."""
    total = 0.0
    for value in values:
        total = total + value
    return total


# --- section 4: from signal to trade ---------------------------------------------------------


TRADE_COLUMNS = (
    "signal_bar",
    "entry_bar",
    "exit_bar",
    "side",
    "entry_price",
    "exit_price",
    "stop_price",
    "target_price",
    "points",
    "pnl",
    "fees",
    "mae",
    "mfe",
    "reason",
    "ambiguous",
)


@dataclass(frozen=True)
class Result:
    """Trades column by column, metrics by name, and the signals of all bars."""

    trades: dict[str, list[Any]]
    metrics: dict[str, Any]
    side: list[int]
    risk: list[float] | None


@dataclass(frozen=True)
class Setup:
    """The configuration with its defaults, and the evaluation range ``[first, last)``."""

    rules: dict[str, Any]
    contract: dict[str, float]
    metrics: dict[str, float]
    first: int
    last: int


@dataclass(frozen=True)
class Signal:
    """What the strategy says at one bar; ``side`` is 1 or -1, ``risk`` nan where undefined."""

    bar: int
    side: int
    risk: float


def setup(bars: Bars, config: dict[str, dict[str, Any]]) -> Setup:
    """Complete the TOML sections with their defaults."""
    rules = {**RULES, **config.get("rules", {})}
    if rules["target_r"] > 0 and "target" not in config.get("rules", {}):
        rules["target"] = 0.0
    span = config.get("range", {})
    first, last = bounds(bars, span.get("start"), span.get("end"))
    return Setup(
        rules=rules,
        contract={**CONTRACT, **config.get("contract", {})},
        metrics={**METRIC_SETTINGS, **config.get("metrics", {})},
        first=first,
        last=last,
    )


def run(
    bars: Bars,
    config: dict[str, dict[str, Any]],
    side: list[int] | None = None,
    risk: list[float] | None = None,
) -> Result:
    """Run one backtest of the TOML sections in ``config``, or of one's own signals."""
    chosen = setup(bars, config)
    if side is None:
        side, risk = strategies.signals(bars, config["strategy"])
    rows, ruined = simulate(bars, side, risk, chosen)
    trades = {name: [row[name] for row in rows] for name in TRADE_COLUMNS}
    return Result(trades, compute_metrics(bars, rows, chosen, ruined), side, risk)


def simulate(
    bars: Bars, side: list[int], risk: list[float] | None, chosen: Setup
) -> tuple[list[dict[str, Any]], bool]:
    """Return the trades of the signals at ``first <= i < last``, and whether they ruined."""
    rules = chosen.rules
    atr = [NAN] * len(bars.time)
    if rules["unit"] == "atr" and (rules["stop"] > 0 or rules["target"] > 0 or rules["trail"] > 0):
        atr = average_true_range(bars, rules["atr_period"], rules["atr_method"])
    trades: list[dict[str, Any]] = []
    equity = chosen.contract["initial_capital"]
    flat_from = chosen.first
    for i in range(chosen.first, chosen.last):
        if i < flat_from or side[i] == 0:
            continue
        signal = Signal(i, side[i], NAN if risk is None else risk[i])
        trade = Position(bars, chosen, atr, signal).trade()
        if trade is None:
            continue
        trades.append(trade)
        flat_from = trade["exit_bar"]
        equity = equity + trade["pnl"]
        if equity <= 0:
            return trades, True
    return trades, False


def minute_of(text: str) -> int | None:
    """Return the minute of the day of HH:MM, None for the empty text."""
    if text == "":
        return None
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


class Position:
    """One signal, followed from its entry to its exit."""

    def __init__(self, bars: Bars, chosen: Setup, atr: list[float], signal: Signal) -> None:
        self.bars = bars
        self.rules = rules = chosen.rules
        self.contract = contract = chosen.contract
        self.atr = atr
        self.i = signal.bar
        self.e = signal.bar + 1
        self.long = signal.side > 0
        self.risk = signal.risk
        self.close_minute = minute_of(rules["close_time"])
        self.slip: float = contract["slippage_ticks"] * contract["tick_size"]
        self.through: float = rules["target_through_ticks"] * contract["tick_size"]
        self.entry = self.stop = self.target = NAN
        self.ambiguous = False
        self.moved = False

    def trade(self) -> dict[str, Any] | None:
        """Return the trade as a row, or None where the signal is dropped."""
        bars, i, e = self.bars, self.i, self.e
        if e >= len(bars.time):
            return None
        if self.close_minute is not None and (
            bars.day[e] != bars.day[i] or bars.minute[e] >= self.close_minute
        ):
            return None
        self.entry = bars.open[e] + self.slip if self.long else bars.open[e] - self.slip
        unit = self.unit(self.entry, self.atr[i])
        if (self.rules["stop"] > 0 or self.rules["target"] > 0) and math.isnan(unit):
            return None
        self.place_stop_and_target(unit)
        first_stop = self.stop
        j = e
        while True:
            closed = self.close_at(j)
            if closed is not None:
                price, reason, at_close = closed
                return self.row(j, price, reason, at_close, first_stop)
            self.trail(j)
            j = j + 1

    def unit(self, price: float, atr: float) -> float:
        """Return u (or w): what stops, targets and trails are multiples of."""
        if self.rules["unit"] == "atr":
            return atr
        if self.rules["unit"] == "points":
            return 1.0
        if self.rules["unit"] == "percent":
            return abs(price) / 100
        return self.risk

    def place_stop_and_target(self, unit: float) -> None:
        """Set S and T; a rule that is off is infinitely far."""
        rules, entry = self.rules, self.entry
        self.stop = -INF if self.long else INF
        self.target = INF if self.long else -INF
        if rules["stop"] > 0:
            distance = rules["stop"] * unit
            stop = entry - distance if self.long else entry + distance
            self.stop = self.rounded_down(stop) if self.long else self.rounded_up(stop)
        if rules["target"] > 0:
            self.place_target(rules["target"] * unit)
        if rules["target_r"] > 0:
            self.place_target(rules["target_r"] * (rules["stop"] * unit))

    def place_target(self, distance: float) -> None:
        """Set T at a distance from the entry."""
        target = self.entry + distance if self.long else self.entry - distance
        self.target = self.rounded_up(target) if self.long else self.rounded_down(target)

    def rounded_down(self, price: float) -> float:
        """Move a finite price down to the tick grid, where the rules ask for it."""
        tick = self.contract["tick_size"]
        if not self.rules["round_to_tick"] or not math.isfinite(price):
            return price
        return price_of_tick(whole(math.floor, price / tick + 1e-9), tick)

    def rounded_up(self, price: float) -> float:
        """Move a finite price up to the tick grid, where the rules ask for it."""
        tick = self.contract["tick_size"]
        if not self.rules["round_to_tick"] or not math.isfinite(price):
            return price
        return price_of_tick(whole(math.ceil, price / tick - 1e-9), tick)

    def close_at(self, j: int) -> tuple[float, str, bool] | None:
        """Return price, reason and "at the close" of the exit at bar j, or None (lines 1 to 7)."""
        bars, e = self.bars, self.e
        market = -self.slip if self.long else self.slip
        if self.close_minute is not None and j > e and bars.minute[j] >= self.close_minute:
            return bars.open[j] + market, "session_close", False
        if self.rules["max_bars"] > 0 and j == e + self.rules["max_bars"]:
            return bars.open[j] + market, "max_bars", False
        if j > e and self.reaches_stop(bars.open[j]):
            return bars.open[j] + market, self.stop_reason(), False
        if j > e and self.reaches_target(bars.open[j]):
            return bars.open[j], "take_profit", False
        worst, best = (bars.low[j], bars.high[j]) if self.long else (bars.high[j], bars.low[j])
        stopped, reached = self.reaches_stop(worst), self.reaches_target(best)
        if stopped or reached:
            self.ambiguous = stopped and reached
            if stopped and (not reached or self.rules["intrabar"] == "stop_first"):
                return self.stop + market, self.stop_reason(), False
            return self.target, "take_profit", False
        if j == len(bars.time) - 1:
            return bars.close[j] + market, "end_of_data", True
        if self.close_minute is not None and bars.day[j + 1] != bars.day[j]:
            return bars.close[j] + market, "session_end", True
        return None

    def reaches_stop(self, price: float) -> bool:
        return price <= self.stop if self.long else price >= self.stop

    def reaches_target(self, price: float) -> bool:
        if self.long:
            return price >= self.target + self.through
        return price <= self.target - self.through

    def stop_reason(self) -> str:
        return "trailing_stop" if self.moved else "stop_loss"

    def trail(self, j: int) -> None:
        """Move the stop for the next bar by the close of bar j, never back (line 8)."""
        close = self.bars.close[j]
        unit = self.unit(close, self.atr[j])
        if self.rules["trail"] == 0 or math.isnan(unit):
            return
        distance = self.rules["trail"] * unit
        stop = close - distance if self.long else close + distance
        stop = self.rounded_down(stop) if self.long else self.rounded_up(stop)
        if stop > self.stop if self.long else stop < self.stop:
            self.stop = stop
            self.moved = True

    def row(
        self, j: int, price: float, reason: str, at_close: bool, first_stop: float
    ) -> dict[str, Any]:
        """Return the trade that ends at bar j."""
        contract, entry = self.contract, self.entry
        quantity, point_value = contract["quantity"], contract["point_value"]
        points = price - entry if self.long else entry - price
        fees = (
            2 * contract["fee_per_side"] * quantity
            + contract["fee_rate"] * (abs(entry) + abs(price)) * point_value * quantity
        )
        excursions = [0.0, points]
        for bar in range(self.e, j + 1 if at_close else j):
            high, low = self.bars.high[bar], self.bars.low[bar]
            excursions += [high - entry, low - entry] if self.long else [entry - high, entry - low]
        return {
            "signal_bar": self.i,
            "entry_bar": self.e,
            "exit_bar": j,
            "side": 1 if self.long else -1,
            "entry_price": stored(entry),
            "exit_price": stored(price),
            "stop_price": stored(first_stop),
            "target_price": stored(self.target),
            "points": stored(points),
            "pnl": stored(points * point_value * quantity - fees),
            "fees": stored(fees),
            "mae": stored(min(excursions)),
            "mfe": stored(max(excursions)),
            "reason": reason,
            "ambiguous": self.ambiguous,
        }


def whole(rounding: Any, value: float) -> float:
    """Round to a whole double; floor and ceil of Python refuse what is not finite."""
    return float(rounding(value)) if math.isfinite(value) else value


def price_of_tick(number: float, tick: float) -> float:
    """Return the price of a tick number: k/m on a decimal grid, else k*tick."""
    if math.isfinite(1 / tick):
        m = round(1 / tick)
        if m >= 1 and 1.0 / m == tick:
            return number / m
    return number * tick
