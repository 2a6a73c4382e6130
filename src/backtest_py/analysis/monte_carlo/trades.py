"""The trades that paths are made of, and paths of trades."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.backtest.result import BacktestResult
from backtest_py.bars import read_only
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted
from backtest_py.rules import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from backtest_py.analysis.monte_carlo.settings import MonteCarloSettings
    from backtest_py.analysis.steps import Counter
    from backtest_py.contract import Contract
    from backtest_py.engines.base import Engine

__all__ = ["NUMBERS", "Paths", "Trades", "marks_of", "observed_path", "trade_paths", "trades_of"]

NUMBERS: Final = (
    "total_trades",
    "final_equity",
    "total_return",
    "max_drawdown",
    "max_drawdown_pct",
    "max_consecutive_losses",
)
"""What an engine returns of a path, in order."""

_CODES: Final = {"bootstrap": 1, "block": 2, "shuffle": 3, "skip": 4, "noise": 5}
_OBSERVED: Final = 0
_NOTHING: Final = read_only(np.empty(0))

FAN_POINTS: Final = 100
"""Steps of a fan chart: of more trades it shows this many, evenly spread."""

FAN_PATHS: Final = 100_000
"""Paths whose equity a fan chart is made of, the first ones: 80 MB at most."""

BATCH: Final = 50_000_000
"""Trades of all paths in one call of an engine; between calls Control-C is heard."""


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades in order.

    Attributes
    ----------
    pnl : ndarray of float64, shape (n_trades,)
        Result of each trade in money, read-only.
    capital : float
        Equity at the start.
    result : BacktestResult or None
        Where they come from, None for bare numbers.
    """

    pnl: NDArray[np.float64]
    capital: float
    result: BacktestResult | None

    @property
    def contract(self) -> Contract:
        """What was traded.

        Raises
        ------
        ConfigError
            If that is not known.
        """
        return replace(self.required("its contract").job.contract, initial_capital=self.capital)

    def required(self, what: str) -> BacktestResult:
        """Return the result, which bare numbers do not have.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if self.result is None:
            raise ConfigError(
                f"this kind needs the result of a run for {what}, not its numbers alone; give what "
                "bt.run returned"
            )
        return self.result


@dataclass(frozen=True, slots=True)
class Paths:
    """What became of paths.

    Attributes
    ----------
    numbers : ndarray of float64, shape (n_paths, n_numbers)
        In the order of :data:`NUMBERS`.
    equity : ndarray of float64, shape (n_kept, n_marks)
        Equity of the first paths after some numbers of trades.
    metrics : ndarray of float64, shape (n_paths, n_metrics), or None
        Metrics of runs, None where no backtest ran.
    """

    numbers: NDArray[np.float64]
    equity: NDArray[np.float64]
    metrics: NDArray[np.float64] | None = None


def trades_of(given: Any, initial_capital: float | None) -> Trades:
    """Return the trades of a result, of a frame with a column ``pnl``, or of bare numbers.

    Raises
    ------
    ConfigError
        If there are none, if they are no finite numbers, or if the capital is missing.
    """
    capital = None if initial_capital is None else _checked_capital(initial_capital)
    result = given if isinstance(given, BacktestResult) else None
    if result is not None:
        pnl = result.columns["pnl"]
        capital = result.job.contract.initial_capital if capital is None else capital
    else:
        pnl = _numbers_of(given)
    if capital is None:
        raise ConfigError(
            "bare results of trades have no capital; give initial_capital, as in "
            "bt.monte_carlo(pnl, initial_capital=10_000)"
        )
    if not len(pnl):
        raise ConfigError("there are no trades to make paths of; give a result with trades")
    bad = np.flatnonzero(~np.isfinite(pnl))
    if bad.size:
        raise ConfigError(
            f"pnl[{bad[0]}] = {pnl[bad[0]]} is not a finite number, and paths need finite results; "
            "check prices, quantity and point value"
        )
    return Trades(read_only(np.ascontiguousarray(pnl, np.float64)), capital, result)


def _checked_capital(value: object) -> float:
    from backtest_py.contract import Contract  # noqa: PLC0415 - checks it, and names it so

    return Contract(initial_capital=value).initial_capital  # type: ignore[arg-type]


def _numbers_of(given: Any) -> NDArray[np.float64]:
    columns = getattr(given, "columns", None)
    values = given["pnl"] if columns is not None and "pnl" in columns else given
    try:
        pnl = np.array(values, np.float64)
    except (TypeError, ValueError):
        pnl = np.empty((0, 0))
    if columns is not None and values is given:
        pnl = np.empty((0, 0))  # a frame of something else
    if pnl.ndim != 1:
        raise ConfigError(
            f"result is {type(given).__name__}, of which no paths can be made; give what bt.run "
            "returned, a frame with a column pnl, or the result of each trade in money"
        )
    return pnl


def marks_of(n_trades: int) -> NDArray[np.int64]:
    """Return the numbers of trades after which a fan chart shows the equity, the start included."""
    if n_trades <= FAN_POINTS:
        return read_only(np.arange(n_trades + 1))
    points = np.arange(FAN_POINTS + 1)
    return read_only((points * n_trades + FAN_POINTS // 2) // FAN_POINTS)


def observed_path(
    engine: Engine, pnl: NDArray[np.float64], capital: float, sizing: str, marks: NDArray[np.int64]
) -> Paths:
    """Return the one path of trades as they were."""
    found = engine.monte_carlo(
        "resample_paths",
        _OBSERVED,
        pnl,
        _NOTHING,
        1,
        0,
        capital,
        sizing == "compound",
        marks,
        0,
        0,
        1,
        1,
        1,
    )
    return Paths(*found)


def trade_paths(
    engine: Engine,
    trades: Trades,
    settings: MonteCarloSettings,
    marks: NDArray[np.int64],
    threads: int,
    counter: Counter,
) -> Paths:
    """Return paths of trades in another order, drawn, left out or at other costs."""
    pnl = trades.pnl
    costs = _costs(trades, settings) if settings.kind == "noise" else _NOTHING
    n_kept = min(settings.n_paths, FAN_PATHS)
    asked = (
        _CODES[settings.kind],
        pnl,
        costs,
        block_length(settings, len(pnl)),
        round(settings.skip_probability * 2**32),
        trades.capital,
        settings.sizing == "compound",
        marks,
        settings.seed,
    )
    found = []
    for first, stop in _batches(settings.n_paths, len(pnl)):
        count, kept = stop - first, max(0, min(stop, n_kept) - first)
        found.append(engine.monte_carlo("resample_paths", *asked, first, count, kept, threads))
        counter.add(count)
    if len(found) == 1:
        return Paths(*found[0])
    return Paths(*map(np.concatenate, zip(*found, strict=True)))


def _batches(n_paths: int, n_trades: int) -> Iterator[tuple[int, int]]:
    size = max(1, BATCH // n_trades)
    for first in range(0, n_paths, size):
        yield first, min(first + size, n_paths)


def block_length(settings: MonteCarloSettings, n_trades: int) -> int:
    """Return how many trades are in a block: by default the cube root of their number, upwards.

    Raises
    ------
    ConfigError
        If a block would hold all trades.
    """
    given = settings.block_length
    if settings.kind != "block":
        return 1
    if given and n_trades > 1 and given >= n_trades:
        raise ConfigError(
            f"monte_carlo.block_length = {given} is not below the {counted(n_trades, 'trade')}: "
            "every path would be all of them from another start on, so that the total profit could "
            "not change; give a shorter block"
        )
    return given or max(1, min(cube_root(n_trades), n_trades - 1))


def cube_root(number: int) -> int:
    """Return the smallest whole number whose cube is not below ``number``.

    Examples
    --------
    >>> cube_root(1000), cube_root(1001)
    (10, 11)
    """
    root = int(number ** (1 / 3))
    while root**3 < number:
        root += 1
    while (root - 1) ** 3 >= number:
        root -= 1
    return root


def _costs(trades: Trades, settings: MonteCarloSettings) -> NDArray[np.float64]:
    """Return the most that noise costs each trade: at its entry, at its exit, and in fees."""
    if not settings.slippage_noise and not settings.fee_noise:
        raise ConfigError(
            "monte_carlo.slippage_noise and fee_noise are both 0, so that nothing would vary; give "
            "one of them"
        )
    contract, columns = trades.contract, trades.required("its contract and fees").columns
    tick = contract.tick_size * contract.point_value * contract.quantity
    most = settings.slippage_noise * tick
    # a target is a limit order: it fills at its price or not at all
    at_market = columns["reason"] != Reason.take_profit
    fees = columns["fees"] * settings.fee_noise
    entry = np.full(len(trades.pnl), most)
    return read_only(np.concatenate([entry, np.where(at_market, most, 0.0), fees]))
