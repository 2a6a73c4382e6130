"""Measure sweeps: the standard grid on both engines, and as the loop that a user would write."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py.bench.agreement import N_CHECKED, check_rows, digest_of
from backtest_py.bench.cases import N_DAYS, standard_case
from backtest_py.bench.loop import N_LOOPED, straightforward_loop
from backtest_py.bench.timing import SweptOnce, in_turns, timed, timed_sweep
from backtest_py.engines.registry import engine_status
from backtest_py.errors import ConfigError, ParityError
from backtest_py.records import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest_py.bench.agreement import Digest
    from backtest_py.bench.cases import Case

__all__ = ["Figures", "bench"]


@dataclass(frozen=True)
class Figures:
    """The measurements of one contender on one case.

    Attributes
    ----------
    case, contender : str
        The name of the case, and what computed it.
    combos, timed_combos : int
        Combinations of the case, and those that were computed: a loop is extrapolated.
    distinct, trades : int
        Of the whole case, or of the sample where it is extrapolated.
    bars, threads : int
        Length of the data, and threads or processes.
    seconds : list of float
        Every round, of ``timed_combos``.
    peak_bytes : int or None
        Highest resident memory, where the system tells.
    """

    case: str
    contender: str
    combos: int
    timed_combos: int
    distinct: int
    trades: int
    bars: int
    threads: int
    seconds: list[float]
    peak_bytes: int | None

    @property
    def rate(self) -> float:
        """Combinations per second, by the median of the rounds."""
        return self.timed_combos / median(self.seconds)

    def to_mapping(self) -> dict[str, Any]:
        """Return the measurements and what follows from them, ready for JSON."""
        middle = median(self.seconds)
        return {
            **asdict(self),
            "extrapolated_seconds": self.combos / self.rate,
            "combos_per_second": self.rate,
            "distinct_per_second": self.distinct / middle,
            "bar_combos_per_second": self.bars * self.rate,
            "ns_per_trade": 1e9 * middle * self.threads / max(1, self.trades),
        }


def bench(
    size: int = 100_000, *, rounds: int = 3, threads: int = 0, n_days: int = N_DAYS
) -> dict[str, Any]:
    """Compare the engines on the standard grid with each other and with a straightforward loop.

    Parameters
    ----------
    size : {1, 1_000, 100_000, 4_233_600}
        Combinations.
    rounds : int
        How often each contender is timed; they take turns.
    threads : int
        Threads, and processes of the loop; 0 for one per processor.
    n_days : int
        Days of 109 five-minute bars.

    Returns
    -------
    dict
        Ready for JSON: ``rows`` as :meth:`Figures.to_mapping`, ``ratios`` to the loop, ``engines``
        with their builds, and ``agreement``.

    Raises
    ------
    ParityError
        If the engines, or a sweep and single runs, differ in one bit.
    ConfigError
        If there is no such size, or rounds or threads are not allowed.

    Examples
    --------
    >>> report = bench(1, rounds=1, n_days=10)
    >>> report["rows"][-1]["contender"]
    'numba loop'
    """
    if rounds < 1 or threads < 0:
        raise ConfigError(
            f"rounds = {rounds} and threads = {threads} are not allowed; give at least 1 round, "
            "and 0 threads (one per processor) or more"
        )
    case = standard_case(size, n_days=n_days)
    threads = threads or _processors()
    engines = [status.name for status in engine_status() if status.available]
    engines.sort(reverse=True)  # the fastest first
    peaks: dict[str, int | None] = {}
    digest = _agreed(case, engines, threads, peaks)
    chosen = case.settings(case.chosen(min(size, N_LOOPED)))
    looped = straightforward_loop(case.bars, chosen, threads)  # starts the processes
    calls = {engine: timed_sweep(case, engine, threads) for engine in engines}
    calls["numba loop"] = timed(lambda: straightforward_loop(case.bars, chosen, threads))
    seconds = in_turns(calls, rounds)
    place = METRICS.index("total_trades")
    figures = [
        Figures(
            case.name, engine, size, size, digest.distinct, digest.trades, len(case.bars),
            threads, seconds[engine], peaks[engine],
        )
        for engine in engines
    ]  # fmt: skip
    figures.append(
        Figures(
            case.name, "numba loop", size, len(chosen), len(np.unique(looped, axis=0)),
            int(looped[:, place].sum()), len(case.bars), threads, seconds["numba loop"], None,
        )
    )  # fmt: skip
    return {
        "kind": "bench",
        "rows": [each.to_mapping() for each in figures],
        "ratios": {each.contender: each.rate / figures[-1].rate for each in figures[:-1]},
        "agreement": {
            "engines": engines,
            "rows_compared": size if len(engines) > 1 else 0,
            "single_runs": min(size, N_CHECKED),
            "sha256": digest.sha256,
        },
        "engines": {status.name: dict(status.build) for status in engine_status()},
    }


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _agreed(
    case: Case, engines: Sequence[str], threads: int, peaks: dict[str, int | None]
) -> Digest:
    """Return the summary of a case, after checking that it is the same on every engine."""
    digests = {}
    for engine in engines:
        with SweptOnce(case, engine, threads, peaks) as result:
            check_rows(case, result, engine)
            digests[engine] = digest_of(result)
    first = digests[engines[0]]
    for engine, digest in digests.items():
        if digest != first:
            raise ParityError(
                f"{case.name}: {engines[0]} and {engine} differ; the parity gate of a sweep, or "
                "backtest-py parity, names the first divergent trade"
            )
    return first
