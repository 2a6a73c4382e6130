"""The compiled engine: thin functions over plain Rust; columns are borrowed, never copied."""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from backtest_py.contract import Contract, MetricSettings
from backtest_py.rules import ExitRules

__all__ = [
    "SEMANTICS_VERSION",
    "Stream",
    "SweepPlan",
    "__version__",
    "annual_return_pct",
    "average_true_range",
    "avg_loss",
    "avg_win",
    "bootstrap_bars",
    "build_info",
    "calmar_ratio",
    "choose_bars",
    "column_addresses",
    "delays",
    "drawdown_pct_series",
    "drawdown_series",
    "equity_from_pnl",
    "expectancy",
    "max_drawdown",
    "max_drawdown_pct",
    "measure",
    "metric_names",
    "optimize_rust",
    "payoff_ratio",
    "profit_factor",
    "random_word",
    "recovery_factor",
    "resample_paths",
    "returns_from_equity",
    "run_backtest_rust",
    "settings",
    "sharpe_ratio",
    "shuffle_directions",
    "signals",
    "signals_of_chunk",
    "sortino_ratio",
    "sqn",
    "strategies",
    "volatility",
    "win_rate",
]

__version__: str
SEMANTICS_VERSION: int

_Floats: TypeAlias = NDArray[np.float64]
_Strategy: TypeAlias = tuple[str, Sequence[float]]
_Exit: TypeAlias = tuple[ExitRules, Contract, _Floats | None]
_Run: TypeAlias = tuple[_Strategy, _Floats | None, ExitRules, Contract, MetricSettings, int, int]

class _BarColumns(Protocol):
    """What has the columns of bars, such as :class:`backtest_py.Bars`."""

    @property
    def open(self) -> _Floats: ...
    @property
    def high(self) -> _Floats: ...
    @property
    def low(self) -> _Floats: ...
    @property
    def close(self) -> _Floats: ...
    @property
    def volume(self) -> _Floats: ...
    @property
    def minute(self) -> NDArray[np.int32]: ...
    @property
    def day(self) -> NDArray[np.int32]: ...

def run_backtest_rust(
    bars: _BarColumns,
    rules: ExitRules,
    contract: Contract,
    metrics: MetricSettings,
    first: int,
    last: int,
    *,
    strategy: _Strategy | None = None,
    side: NDArray[np.int8] | None = None,
    risk: _Floats | None = None,
    atr: _Floats | None = None,
    level: str | None = None,
) -> tuple[dict[str, NDArray[np.generic]], _Floats]:
    """Run one backtest: detection, simulation and metrics.

    Parameters
    ----------
    bars : Bars
        Contiguous columns of equal length.
    rules, contract, metrics : ExitRules, Contract, MetricSettings
        Validated settings.
    first, last : int
        Signals at bars ``first <= i < last`` count.
    strategy : tuple of str and sequence of float, optional
        Name and values, as ``strategy.name`` and ``strategy.values()`` give them.
    side : ndarray of int8, shape (n_bars,), optional
        Signals instead of a strategy.
    risk : ndarray of float64, shape (n_bars,), optional
        Risk of each signal in points.
    atr : ndarray of float64, shape (n_bars,), optional
        Average true range, where the rules measure in it.
    level : {"baseline", "avx2", "avx512"}, optional
        Instructions to use, by default the widest of the machine; all give the same bits.

    Returns
    -------
    trades : dict of str to ndarray, shape (n_trades,)
        The columns of ``layouts.TRADE_DTYPE``.
    metrics : ndarray of float64, shape (n_metrics,)
        In the order of ``catalogue.METRICS``.

    Raises
    ------
    EngineError
        If an array is not contiguous or has the wrong length, the range is empty, or there is no
        such strategy or level.
    """

def measure(
    entry_bar: NDArray[np.int64],
    exit_bar: NDArray[np.int64],
    side: NDArray[np.int8],
    pnl: _Floats,
    reason: NDArray[np.uint8],
    ambiguous: NDArray[np.bool_],
    exit_day: NDArray[np.int32],
    contract: Contract,
    metrics: MetricSettings,
    span: tuple[int, int],
    n_bars: int,
) -> _Floats:
    """Return the metrics of trades, shape (n_metrics,); see ``engines.base.Engine.measure``.

    Raises
    ------
    EngineError
        If columns differ in length, or a reason is unknown.
    """

def optimize_rust(bars: _BarColumns, runs: Sequence[_Run], *, level: str | None = None) -> _Floats:
    """Return the metrics of many backtests on the same bars, shape (n_runs, n_metrics).

    Parameters
    ----------
    bars : Bars
        Contiguous columns of equal length.
    runs : sequence of tuple
        Strategy (name and values), average true range or None, rules, contract, metric settings,
        first and last.
    level : {"baseline", "avx2", "avx512"}, optional
        Instructions to use.

    Raises
    ------
    EngineError
        As :func:`run_backtest_rust`.
    """

def signals(
    bars: _BarColumns, strategy: _Strategy, *, level: str | None = None
) -> tuple[NDArray[np.int8], _Floats | None]:
    """Return side and risk of every bar, the risk None where the strategy gives none."""

def signals_of_chunk(
    bars: _BarColumns, strategy: _Strategy, start: int, stop: int, *, level: str | None = None
) -> tuple[NDArray[np.int8], _Floats | None]:
    """Return side and risk of bars ``start`` to ``stop``, equal to the same slice of all bars."""

def average_true_range(
    bars: _BarColumns, period: int, method: int, *, level: str | None = None
) -> _Floats:
    """Return the average true range of every bar; ``method`` is a code of ``AtrMethod``."""

def column_addresses(bars: _BarColumns) -> list[int]:
    """Return where the engine reads the seven columns: the arrays' own memory."""

def strategies() -> dict[str, list[str]]:
    """Return the strategies of the engine and the names of their parameters, in order."""

def settings() -> dict[str, list[tuple[str, str, list[str]]]]:
    """Return the fields of rules, contract and metric settings: name, kind and choices of each."""

def metric_names() -> list[str]:
    """Return the names of the metrics in the order in which the engine returns them."""

def build_info() -> dict[str, str]:
    """Return version, profile, compiler, target and instruction levels of the extension."""

# Mirrors engines/numba_engine/series_metrics.py; backtest_py.metrics validates and documents.

def equity_from_pnl(pnl: _Floats, start: float) -> _Floats:
    """Return the equity after each trade."""

def returns_from_equity(equity: _Floats, start: float) -> _Floats:
    """Return the change of each element as a share of the one before."""

def drawdown_series(equity: _Floats, start: float) -> _Floats:
    """Return how far each element is below the running maximum."""

def drawdown_pct_series(equity: _Floats, start: float) -> _Floats:
    """Return how far each element is below the running maximum, in percent of it."""

def max_drawdown(equity: _Floats, start: float) -> float:
    """Return the largest fall below the peak."""

def max_drawdown_pct(equity: _Floats, start: float) -> float:
    """Return the largest fall below the peak, in percent of the peak."""

def annual_return_pct(equity: _Floats, start: float, periods_per_year: float) -> float:
    """Return the change of the whole curve in percent of the start, per year."""

def calmar_ratio(equity: _Floats, start: float, periods_per_year: float) -> float:
    """Return the annual return over the largest drawdown, both in percent."""

def volatility(returns: _Floats, periods_per_year: float) -> float:
    """Return the standard deviation of the returns, annualised."""

def sharpe_ratio(returns: _Floats, rf: float, periods_per_year: float) -> float:
    """Return the mean excess return over the standard deviation, annualised."""

def sortino_ratio(returns: _Floats, rf: float, periods_per_year: float) -> float:
    """Return the mean excess return over the downside deviation of all periods, annualised."""

def win_rate(pnl: _Floats) -> float:
    """Return the share of the trades that win."""

def expectancy(pnl: _Floats) -> float:
    """Return the mean result of a trade."""

def avg_win(pnl: _Floats) -> float:
    """Return the mean of the wins."""

def avg_loss(pnl: _Floats) -> float:
    """Return the mean of the losses, negative."""

def profit_factor(pnl: _Floats) -> float:
    """Return gross profit over gross loss, inf with a win and no loss."""

def payoff_ratio(pnl: _Floats) -> float:
    """Return the mean win over the mean loss."""

def sqn(pnl: _Floats) -> float:
    """Return the system quality number."""

def recovery_factor(pnl: _Floats, start: float) -> float:
    """Return the sum of the results over the largest drawdown of the equity they make."""

# Mirrors engines/numba_engine/monte_carlo.py; backtest_py.analysis.monte_carlo validates.

_Integers: TypeAlias = NDArray[np.int64]

def random_word(seed: int, path: int, draw: int, attempt: int) -> int:
    """Return the word of one draw of a path."""

def resample_paths(
    kind: int,
    pnl: _Floats,
    costs: _Floats,
    block_length: int,
    skip_below: int,
    capital: float,
    compound: bool,
    marks: _Integers,
    seed: int,
    first_path: int,
    n_paths: int,
    n_kept: int,
    threads: int,
    *,
    level: str | None = None,
) -> tuple[_Floats, _Floats]:
    """Return the numbers of paths, a row each, and the equity of the first ones at the marks.

    Parameters
    ----------
    kind : int
        0 as they were, 1 bootstrap, 2 block, 3 shuffle, 4 skip, 5 noise.
    pnl : ndarray of float64, shape (n_trades,)
        Result of each trade.
    costs : ndarray of float64, shape (3*n_trades,)
        The most that noise costs at entries, at exits and in fees; empty for other kinds.
    block_length : int
        Trades in a block.
    skip_below : int
        A trade is left out where its word is below this, 0 to 2**32.
    capital : float
        Equity at the start.
    compound : bool
        Whether lots grow with the equity.
    marks : ndarray of int64, shape (n_marks,)
        Numbers of trades, ascending, after which the equity is kept.
    seed, first_path, n_paths, n_kept, threads : int
        Key of the generator, the paths, how many keep their equity, 0 or threads.
    level : {"baseline", "avx2", "avx512"}, optional
        Instructions to use, by default the widest of the machine; all give the same bits.

    Returns
    -------
    numbers : ndarray of float64, shape (n_paths, 6)
        Trades, final equity, total, the largest drawdown in money and in percent, the longest
        losing streak.
    equity : ndarray of float64, shape (n_kept, n_marks)
    """

def choose_bars(bars: _Integers, count: int, seed: int, path: int) -> _Integers:
    """Return different elements, drawn without replacement."""

def delays(most: int, count: int, seed: int, path: int) -> _Integers:
    """Return whole numbers from 0 to ``most``, each as likely."""

def shuffle_directions(
    open: _Floats,  # noqa: A002 - the column's name
    high: _Floats,
    low: _Floats,
    close: _Floats,
    seed: int,
    path: int,
) -> list[_Floats]:
    """Turn each bar upside down with probability one half: open, high, low and close."""

def bootstrap_bars(
    open: _Floats,  # noqa: A002 - the column's name
    high: _Floats,
    low: _Floats,
    close: _Floats,
    order: _Integers,
    first: _Integers,
    size: _Integers,
    block_length: int,
    seed: int,
    path: int,
) -> tuple[list[_Floats], _Integers]:
    """Chain blocks of bars that begin at the time of day they had; also which bar each was."""

@final
class Stream:
    """One backtest that goes on from chunk to chunk; see ``engines.base.Stream``."""

    def __new__(
        cls,
        strategy: _Strategy,
        rules: ExitRules,
        contract: Contract,
        *,
        level: str | None = None,
    ) -> Stream: ...
    @property
    def entered(self) -> int: ...
    def advance(
        self,
        bars: _BarColumns,
        base: int,
        start: int,
        until: int,
        first: int,
        last: int,
        *,
        atr: _Floats | None = None,
    ) -> NDArray[np.int64]:
        """Go through the new bars of a window.

        Raises
        ------
        EngineError
            If an array is not contiguous or has the wrong length, the new bars do not lie within
            the window, or the rules measure in a column that is not given.
        """

    def finish(
        self, metrics: MetricSettings, first: int, last: int, span: tuple[int, int]
    ) -> tuple[dict[str, NDArray[np.generic]], _Floats]:
        """Return all trades and their metrics."""

@final
class SweepPlan:
    """What the combinations of a sweep share; safe to use from several threads."""

    LANES: Final[int]
    CELL_BYTES: Final[int]
    MAX_BARS: Final[int]
    MAX_DAYS: Final[int]

    def __new__(
        cls,
        bars: _BarColumns,
        *,
        strategies: Sequence[_Strategy] | None = None,
        signals: Sequence[tuple[NDArray[np.int8], _Floats | None]] | None = None,
        loosest: Sequence[float] = ...,
        threads: int = 0,
        level: str | None = None,
    ) -> SweepPlan: ...
    @property
    def n_candidates(self) -> int: ...
    @property
    def done(self) -> int: ...
    def cancel(self) -> None: ...
    def load(self, exits: Sequence[_Exit]) -> None: ...
    def evaluate(
        self,
        sets: NDArray[np.uint32],
        thresholds: _Floats,
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> _Floats: ...
    def evaluate_each(
        self,
        exits: Sequence[_Exit],
        sets: NDArray[np.uint32],
        thresholds: _Floats,
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> _Floats: ...
