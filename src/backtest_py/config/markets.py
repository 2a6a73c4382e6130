"""Configurations that fit a market and a file: what ``backtest-py init --market --data`` writes."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import BacktestWarning, ConfigError, DataError
from backtest_py.parameters import clock_text, parse_clock, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backtest_py.bars import Bars
    from backtest_py.data.inspection import Inspection

__all__ = ["KNOWN_MARKETS", "NOT_KNOWN", "Fitted", "fitted"]

NOT_KNOWN: Final = "NOT KNOWN"
"""How the remark on a value begins that nobody knows but the user."""

_UNKNOWN_FEE: Final = (
    f"{NOT_KNOWN}: fees of exchange and broker, in money per contract and side; a brokerage note "
    "tells them"
)
_SLIPPAGE: Final = "an assumption: one tick lost on every market order"

_SLIPPAGE_NOW: Final = "an assumption: one tick of today lost on every market order"

_EMPTY: Final = ("refuse", "drop")


@dataclass(frozen=True, slots=True)
class _Market:
    """What is known of a contract; ``session`` are opening and close, () where it never closes.

    ``fee_rate`` is 0 where no reliable source tells the costs.
    """

    about: str
    timezone: str
    session: tuple[str, ...]
    tick_size: float
    point_value: float
    fee_rate: float = 0.0
    quantity: float = 1.0


def _b3(about: str, close: str, tick_size: float, point_value: float) -> _Market:
    return _Market(about, "America/Sao_Paulo", ("09:00", close), tick_size, point_value)


def _perpetual(coin: str, tick_size: float, quantity: float) -> _Market:
    about = f"Binance's perpetual future of {coin} in USDT, quantities in {coin}"
    return _Market(about, "UTC", (), tick_size, 1.0, 0.0005, quantity)


KNOWN_MARKETS: Final[Mapping[str, _Market]] = {
    "win": _b3("B3's mini-index future, R$ 0.20 a point", "17:55", 5.0, 0.2),
    "ind": _b3("B3's index future, R$ 1.00 a point", "17:55", 5.0, 1.0),
    "wdo": _b3("B3's mini-dollar future, US$ 10,000", "18:00", 0.5, 10.0),
    "dol": _b3("B3's dollar future, US$ 50,000", "18:00", 0.5, 50.0),
    "btcusdt": _perpetual("BTC", 0.1, 0.1),
    "ethusdt": _perpetual("ETH", 0.01, 1.0),
}
"""Contracts whose ticks and values are known. The closes are the earlier ones of the year: until
March 2024 B3 closed half an hour later in New York's winter, and since then all year."""


@dataclass(slots=True)
class Fitted:
    """Values that take the place of defaults, with what is said of them.

    Attributes
    ----------
    values : dict of str to dict of str to object
        By section and key.
    remarks : dict of str to str
        Comments on keys, by ``section.key``.
    head : list of str
        Comments at the head of the file.
    warnings : list of str
        What looks wrong in the file of bars.
    """

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def set(self, section: str, key: str, value: object, remark: str = "") -> None:
        """Set a value, and say something of it."""
        self.values.setdefault(section, {})[key] = value
        if remark:
            self.remarks[f"{section}.{key}"] = remark


def fitted(market: str, data: Path | None, directory: Path) -> Fitted:
    """Return the values that fit a market, a file of bars, or both.

    Parameters
    ----------
    market : str
        One of :data:`KNOWN_MARKETS` in any case, or "" for what the file alone tells.
    data : Path or None
        The file of bars, which is read.
    directory : Path
        Where the configuration will lie, which names the file as seen from there.

    Raises
    ------
    ConfigError
        If the market is unknown, or the file does not exist.
    DataError
        If the file is not one of bars.
    """
    found = Fitted()
    known = None
    if market:
        if market.lower() not in KNOWN_MARKETS:
            raise unknown_name("market", market, KNOWN_MARKETS)
        known = KNOWN_MARKETS[market.lower()]
        _of_market(found, market.lower(), known)
    if data is not None:
        bars = _read(found, data, directory, known.timezone if known else "")
        _of_file(found, bars, known)
    unknown = [key for key, remark in found.remarks.items() if remark.startswith(NOT_KNOWN)]
    if unknown:
        verb = "is" if len(unknown) == 1 else "are"
        found.warnings.append(
            f"{' and '.join(unknown)} {verb} not known here; set what is missing before you trust "
            "a result"
        )
    return found


def _of_market(found: Fitted, name: str, market: _Market) -> None:
    found.head.append(f"Made for {name.upper()}: {market.about}.")
    found.set("contract", "tick_size", market.tick_size)
    found.set("contract", "point_value", market.point_value)
    found.set("contract", "quantity", market.quantity)
    found.set("contract", "slippage_ticks", 1.0, _SLIPPAGE)
    if market.fee_rate:
        remark = "Binance's rate of a regular user's market orders, 0.05 %; compare with your own"
        found.set("contract", "fee_rate", market.fee_rate, remark)
    else:
        found.remarks["contract.fee_per_side"] = _UNKNOWN_FEE
    found.set("data", "timezone", market.timezone, "of a file whose times name no zone")
    found.set("data", "session_timezone", market.timezone)
    if market.session:
        opens, closes = map(parse_clock, market.session)
        _set_session(found, opens, closes - 5)
    else:
        found.set("metrics", "periods_per_year", 365.0, "it trades on weekends")


def _set_session(found: Fitted, opens: int, last: int, remark: str = "") -> None:
    """Set window and close so that every position ends before the session does."""
    found.set("rules", "close_time", clock_text(last), remark or "before the session ends")
    found.set("strategy.params", "entry_start", clock_text(opens))
    found.set("strategy.params", "entry_end", clock_text(last))


def _read(found: Fitted, data: Path, directory: Path, zone: str) -> Bars:
    """Read the bars as the configuration will, and say how."""
    from backtest_py.data.readers import load_bars  # noqa: PLC0415 - pyarrow, only when used

    if not data.is_file():
        raise ConfigError(f"{data} is not a file; give the file with the bars")
    full = os.path.realpath(data)
    near = os.path.relpath(full, os.path.realpath(directory))
    path = full if near.startswith("..") else near
    found.set("data", "path", path.replace(os.sep, "/"))
    # a file whose times carry a zone refuses another, and empty bars are refused unless asked for
    tries = list(dict.fromkeys((clock, empty) for empty in _EMPTY for clock in (zone, "")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)  # inspect_bars tells them
        refused: DataError | None = None
        for clock, empty in tries:
            try:
                bars = load_bars(data, timezone=clock, session_timezone=zone, empty=empty)
                break
            except DataError as error:
                refused = refused or error
        else:
            raise refused or DataError(f"{data} holds no bars")
    found.set("data", "timezone", clock)
    if empty == "drop":
        found.set("data", "empty", empty, "the file has bars in which nothing traded")
    if not zone:
        found.set("data", "session_timezone", bars.session_timezone)
    return bars


def _of_file(found: Fitted, bars: Bars, known: _Market | None) -> None:
    from backtest_py.data.inspection import inspect_bars  # noqa: PLC0415 - only where it is used

    facts = inspect_bars(bars)
    found.head.append(
        f"The file has {facts.rows:,} bars from {facts.first} to {facts.last}, one every "
        f"{facts.interval_minutes or 0:g} minutes."
    )
    found.warnings += facts.warnings
    if facts.trades_weekends:
        found.set("metrics", "periods_per_year", 365.0, "it trades on weekends")
        # the configuration says it, so nobody need be told
        found.warnings = [each for each in found.warnings if "periods_per_year" not in each]
    _fit_tick(found, facts, known)
    if not facts.has_volume:
        found.set("strategy.params", "min_volume_mult", 0.0, "the file has no volume")
    if len(bars) == facts.days:  # one bar a day
        for section, key, value in (
            ("rules", "close_time", ""),
            ("strategy.params", "entry_start", "00:00"),
            ("strategy.params", "entry_end", "23:59"),
        ):
            found.set(section, key, value)
    elif not facts.trades_weekends and not (known and not known.session):
        _fit_session(found, bars, facts, known)


def _fit_tick(found: Fitted, facts: Inspection, known: _Market | None) -> None:
    tick = facts.tick_size
    if known is None:
        if tick is not None:
            found.set("contract", "tick_size", tick, "the grid of the file's prices")
        found.remarks["contract.point_value"] = f"{NOT_KNOWN} without --market: money per point"
        found.remarks["contract.fee_per_side"] = _UNKNOWN_FEE
    elif tick is not None and not known.session and _is_multiple(known.tick_size, tick):
        if tick < known.tick_size <= 1_000 * tick:
            found.set("contract", "tick_size", tick, "the grid of the file's prices")
            found.set(
                "contract", "slippage_ticks", float(round(known.tick_size / tick)), _SLIPPAGE_NOW
            )
    elif tick is None or not _is_multiple(tick, known.tick_size):
        shown = "on no grid" if tick is None else f"multiples of {tick:g}"
        found.warnings.append(
            f"the prices are {shown}, and the contract's tick is {known.tick_size:g}: the series "
            "is adjusted, of another contract, or older than this tick; points and money are then "
            "not those of the market"
        )


def _is_multiple(tick: float, of: float) -> bool:
    times = tick / of
    return abs(times - round(times)) < 1e-9


def _fit_session(found: Fitted, bars: Bars, facts: Inspection, known: _Market | None) -> None:
    """Close at the earliest last bar that is usual in a month, so that no day ends too early."""
    opens = min(parse_clock(month.first) for month in facts.sessions)
    last = min(parse_clock(month.last) for month in facts.sessions)
    if last <= opens:
        return
    remark = "where the last bar of a day usually opens, in the month in which that is earliest"
    _set_session(found, opens, last, remark)
    if known and abs(opens - parse_clock(known.session[0])) > 60:
        found.warnings.append(
            f"the day's first bar usually opens at {clock_text(opens)}, and the market at "
            f"{known.session[0]}: the file may show another clock; see data.timezone"
        )
    short = int(np.count_nonzero(_last_minutes(bars) < last))
    if short:
        found.remarks["rules.close_time"] = (
            f"{remark}; {short:,} shorter days end before, and close at their last bar"
        )


def _last_minutes(bars: Bars) -> Any:
    return bars.minute[np.append(np.flatnonzero(np.diff(bars.day)), len(bars) - 1)]
