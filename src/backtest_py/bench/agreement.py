"""Agreement before any clock: rows against single runs, and engines against each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.backtest.job import prepare
from backtest_py.engines import resolve
from backtest_py.errors import ParityError
from backtest_py.records import METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.bench.cases import Case, Settings
    from backtest_py.engines.base import Engine
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["N_CHECKED", "Digest", "check_rows", "digest_of"]

N_CHECKED: Final = 64
"""Rows that must equal a single run before anything is timed."""


@dataclass(frozen=True, slots=True)
class Digest:
    """The summary of a table of results, by which two tables are compared.

    Attributes
    ----------
    combos, distinct : int
        Rows, and rows whose metrics differ.
    trades : int
        Trades of all rows.
    sha256 : str
        Hash of every bit of every metric of every row.
    """

    combos: int
    distinct: int
    trades: int
    sha256: str


def digest_of(result: SweepResult) -> Digest:
    """Summarize a result column by column, so that memory stays small."""
    rows = np.zeros(len(result), np.uint64)
    trades = 0
    for name in METRICS:
        column = np.asarray(result.table([name])[name].to_numpy())
        if name == "total_trades":
            trades = int(column.sum())
        rows ^= column.astype(np.float64).view(np.uint64)
        rows *= np.uint64(0x9E3779B97F4A7C15)
        rows ^= rows >> np.uint64(29)
        rows *= np.uint64(0xBF58476D1CE4E5B9)
        rows ^= rows >> np.uint64(32)
    return Digest(
        len(rows), len(np.unique(rows)), trades, hashlib.sha256(rows.tobytes()).hexdigest()
    )


def check_rows(case: Case, result: SweepResult, engine: str, count: int = N_CHECKED) -> None:
    """Compare some rows with single runs, bit for bit.

    Raises
    ------
    ParityError
        With the first row that differs.
    """
    chosen = case.chosen(count)
    runs = _runs(resolve(engine)[0], case.bars, case.settings(chosen))
    ids = np.asarray(result.table(["combo_id"])["combo_id"].to_numpy())
    places = np.searchsorted(ids, chosen)
    for at, name in enumerate(METRICS):
        swept = np.asarray(result.table([name])[name].to_numpy()).astype(np.float64)[places]
        for combo_id, left, right in zip(chosen, swept, runs[:, at], strict=True):
            if left.tobytes() != right.tobytes():
                raise ParityError(
                    f"{case.name}, {engine}: {name} of combination {combo_id:,} is {left!r} in "
                    f"the sweep and {right!r} in a single run"
                )


def _runs(engine: Engine, bars: Bars, settings: Settings) -> NDArray[np.float64]:
    """Return the metrics of every combination, each by a run of its own."""
    found = np.empty((len(settings), len(METRICS)))
    for row, (strategy, rules, contract) in enumerate(settings):
        signals = strategy.compute(bars)
        job = prepare(bars, strategy, signals, rules, contract, None, None)
        found[row] = engine.run(job).metrics
    return found
