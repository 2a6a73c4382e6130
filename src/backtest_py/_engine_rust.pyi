"""The compiled engine: thin functions over plain Rust; columns are borrowed, never copied."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest_py.contract import Contract, MetricSettings
from backtest_py.rules import ExitRules

__version__: str
SEMANTICS_VERSION: int

Floats: TypeAlias = NDArray[np.float64]
Strategy: TypeAlias = tuple[str, Sequence[float]]
Run: TypeAlias = tuple[Strategy, Floats | None, ExitRules, Contract, MetricSettings, int, int]

class BarColumns(Protocol):
    """What has the columns of bars, such as :class:`backtest_py.Bars`."""

    @property
    def open(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...
    @property
    def low(self) -> Floats: ...
    @property
    def close(self) -> Floats: ...
    @property
    def volume(self) -> Floats: ...
    @property
    def minute(self) -> NDArray[np.int32]: ...
    @property
    def day(self) -> NDArray[np.int32]: ...

def run_backtest_rust(
    bars: BarColumns,
    rules: ExitRules,
    contract: Contract,
    metrics: MetricSettings,
    first: int,
    last: int,
    *,
    strategy: Strategy | None = None,
    side: NDArray[np.int8] | None = None,
    risk: Floats | None = None,
    atr: Floats | None = None,
    level: str | None = None,
) -> tuple[dict[str, NDArray[np.generic]], Floats]:
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
        The columns of ``records.TRADE_DTYPE``.
    metrics : ndarray of float64, shape (n_metrics,)
        In the order of ``records.METRICS``.

    Raises
    ------
    EngineError
        If an array is not contiguous or has the wrong length, the range is empty, or there is no
        such strategy or level.
    """

def optimize_rust(
    bars: BarColumns, runs: Sequence[Run], *, level: str | None = None
) -> Floats:
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
    bars: BarColumns, strategy: Strategy, *, level: str | None = None
) -> tuple[NDArray[np.int8], Floats | None]:
    """Return side and risk of every bar, the risk None where the strategy gives none."""

def signals_of_chunk(
    bars: BarColumns, strategy: Strategy, start: int, stop: int, *, level: str | None = None
) -> tuple[NDArray[np.int8], Floats | None]:
    """Return side and risk of bars ``start`` to ``stop``, equal to the same slice of all bars."""

def average_true_range(
    bars: BarColumns, period: int, method: int, *, level: str | None = None
) -> Floats:
    """Return the average true range of every bar; ``method`` is a code of ``AtrMethod``."""

def column_addresses(bars: BarColumns) -> list[int]:
    """Return where the engine reads the seven columns: the arrays' own memory."""

def strategies() -> dict[str, list[str]]:
    """Return the strategies of the engine and the names of their parameters, in order."""

def build_info() -> dict[str, str]:
    """Return version, profile, compiler, target and instruction levels of the extension."""
