"""Measuring sweeps: one grid in four sizes, both engines, and the loop that a user would write.

Agreement comes before any clock: the engines' whole tables are compared bit for bit, and a sample
of rows with single runs. Contenders are then timed in turns, so that a busy machine hits all.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.backtest.run import as_strategy, prepare
from backtest_py.contract import Contract
from backtest_py.data.synthetic import splitmix64, synthetic_bars
from backtest_py.engines import resolve
from backtest_py.engines.base import Job
from backtest_py.engines.registry import engine_status
from backtest_py.errors import ConfigError, ParityError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import ExitRules
from backtest_py.strategies.barra_elefante import BarraElefante
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.run import sweep
from backtest_py.sweep.space.sample import Sample, SampledGrid, build_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.space.grid import Grid

    Chunk = Sequence[tuple[Strategy, ExitRules, Contract]]

__all__ = [
    "SIZES",
    "Case",
    "Digest",
    "Figures",
    "bench",
    "check_rows",
    "digest_of",
    "peak_memory",
    "standard_case",
    "straightforward_loop",
]

N_DAYS: Final = 1_285
"""Days of 109 five-minute bars: 140,065 bars, about five years."""
N_CHECKED: Final = 64
"""Rows that must equal a single run before anything is timed."""
N_LOOPED: Final = 2_048
"""Combinations from which the time of the straightforward loop is extrapolated."""
LOOP_CHUNK: Final = 64
"""Combinations that a process of the straightforward loop takes at a time."""
MAX_IN_MEMORY: Final = 1_000_000
"""Combinations beyond which a sweep writes its results to a temporary directory."""

_AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "strategy.min_range_mult": tuple(1.0 + 0.5 * k for k in range(7)),
    "strategy.min_volume_mult": tuple(0.5 * k for k in range(7)),
    "strategy.max_shadow_ratio": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0),
    "strategy.lookback": (5, 10, 15, 20, 25, 30),
    "strategy.entry_start": ("09:00", "09:10", "09:20", "09:30", "09:40"),
    "strategy.entry_end": ("10:30", "11:00", "11:30", "12:00", "12:30"),
    "rules.stop": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    "rules.target_r": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
    "rules.trail": (0.0, 1.0),
}
"""The standard grid: 4,233,600 combinations."""

SIZES: Final[Mapping[int, tuple[int, ...]]] = {
    1: (1, 1, 1, 1, 1, 1, 1, 1, 1),
    1_000: (5, 1, 2, 1, 1, 5, 5, 2, 2),
    100_000: (5, 5, 8, 1, 5, 5, 5, 2, 2),
    4_233_600: (7, 7, 8, 6, 5, 5, 6, 6, 2),
}
"""Values of every axis that each size takes, spread evenly over the axis."""


@dataclass(frozen=True)
class Case:
    """A sweep to be measured.

    Attributes
    ----------
    name : str
        For people.
    bars : Bars
        The market.
    strategy : Strategy or callable
        The base of the grid.
    grid : mapping
        As :func:`backtest_py.sweep` takes it.
    rules : ExitRules
        The base of the grid.
    contract : Contract
        The base of the grid.
    sample : Sample, optional
        Draw combinations instead of taking all.
    where : str
        A condition between parameters.
    """

    name: str
    bars: Bars
    strategy: Strategy | Callable[..., Any]
    grid: Mapping[str, object]
    rules: ExitRules
    contract: Contract
    sample: Sample | None = None
    where: str = ""

    @cached_property
    def space(self) -> Grid | SampledGrid:
        """The combinations, checked."""
        return build_grid(
            as_strategy(self.strategy),
            self.rules,
            self.contract,
            self.grid,
            self.sample,
            where=self.where,
            invalid="refuse",
        )

    @property
    def n_combos(self) -> int:
        """Number of combinations."""
        space = self.space
        return space.size if isinstance(space, SampledGrid) else space.count()

    def sweep(
        self, engine: str, *, threads: int = 0, out: str | None = None, gate: int | None = None
    ) -> SweepResult:
        """Sweep as a user does; without the parity gate unless it is asked for."""
        return sweep(
            self.bars,
            self.strategy,
            self.grid,
            where=self.where,
            sample=self.sample,
            rules=self.rules,
            contract=self.contract,
            engine=engine,
            threads=threads,
            out=out,
            gate=gate,
        )

    def chosen(self, count: int) -> list[int]:
        """Return ``combo_id`` of so many combinations at most, drawn from a fixed stream."""
        space = self.space
        numbers = splitmix64(3, 0, 64 * count + 64) % np.uint64(space.size)
        if isinstance(space, SampledGrid):
            return [int(space.combo_ids[row]) for row in dict.fromkeys(numbers.tolist())][:count]
        ids = np.fromiter(dict.fromkeys(numbers.tolist()), np.int64)
        admitted = np.broadcast_to(space.admits(list(space.digit_rows(ids).T)), ids.shape)
        return [int(each) for each in ids[admitted][:count]]

    def settings(self, combo_ids: Sequence[int]) -> list[tuple[Strategy, ExitRules, Contract]]:
        """Return the settings of some combinations."""
        return [self.space.settings(combo_id) for combo_id in combo_ids]


def standard_case(size: int, *, n_days: int = N_DAYS, slippage_ticks: float = 1.0) -> Case:
    """Return the standard grid, or an even part of it, on generated five-minute bars.

    Parameters
    ----------
    size : {1, 1_000, 100_000, 4_233_600}
        Combinations.
    n_days : int
        Days of 109 bars.
    slippage_ticks : float
        Of the contract, the tick being 5 points.

    Raises
    ------
    ConfigError
        If there is no such size.

    Examples
    --------
    >>> standard_case(1_000, n_days=5).n_combos
    1000
    """
    if size not in SIZES:
        given = ", ".join(f"{each:,}" for each in SIZES)
        raise ConfigError(
            f"size = {size:,} is not a size of the standard grid; take one of {given}"
        )
    grid = {
        key: _spread(values, count)
        for (key, values), count in zip(_AXES.items(), SIZES[size], strict=True)
    }
    return Case(
        f"standard grid, {size:,}",
        synthetic_bars(n_days=n_days),
        BarraElefante(),
        grid,
        ExitRules(close_time="13:30", target=0),
        Contract(
            tick_size=5,
            point_value=0.20,
            fee_per_side=0.25,
            slippage_ticks=slippage_ticks,
            initial_capital=100_000,
        ),
    )


def _spread(values: Sequence[Any], count: int) -> list[Any]:
    """Return so many of some values, in the middles of as many equal parts."""
    return [values[(2 * k + 1) * len(values) // (2 * count)] for k in range(count)]


@dataclass(frozen=True, slots=True)
class Digest:
    """What a table of results holds.

    Attributes
    ----------
    combos, distinct : int
        Rows, and different ones by their metrics.
    trades : int
        Trades of all rows.
    sha256 : str
        Hash over the bits of every metric of every row.
    """

    combos: int
    distinct: int
    trades: int
    sha256: str


def digest_of(result: SweepResult) -> Digest:
    """Return what a result holds, column by column, so that memory stays small."""
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


def _runs(engine: Engine, bars: Bars, chunk: Chunk) -> NDArray[np.float64]:
    """Return the metrics of every combination, worked out one after another."""
    found = np.empty((len(chunk), len(METRICS)))
    for row, (strategy, rules, contract) in enumerate(chunk):
        signals = strategy.compute(bars) if isinstance(strategy, FunctionStrategy) else None
        job = prepare(bars, strategy, signals, rules, contract, None, None)
        found[row] = engine.run(job).metrics
    return found


def _looped(bars: Bars, chunk: Chunk) -> NDArray[np.float64]:
    """Return the metrics of a chunk of combinations: detection, simulation and metrics of each."""
    engine, _ = resolve("numba")
    first = prepare(bars, chunk[0][0], None, *chunk[0][1:], None, None)
    found = np.empty((len(chunk), len(METRICS)))
    for row, (strategy, rules, contract) in enumerate(chunk):
        signals = strategy.compute(bars) if isinstance(strategy, FunctionStrategy) else None
        job = Job(bars, strategy, signals, rules, contract, first.metrics, 0, len(bars))
        found[row] = engine.run(job).metrics
    return found


def straightforward_loop(bars: Bars, chunk: Chunk, processes: int) -> NDArray[np.float64]:
    """Work out combinations one by one in joblib processes, as a user with Numba would.

    Parameters
    ----------
    bars : Bars
        The market, which joblib hands to its processes as memory maps.
    chunk : sequence of (Strategy, ExitRules, Contract)
        The combinations.
    processes : int
        Number of processes.

    Returns
    -------
    ndarray of float64, shape (n_combos, n_metrics)
    """
    from joblib import Parallel, delayed  # noqa: PLC0415 - only where it is used

    step = max(1, min(LOOP_CHUNK, -(-len(chunk) // processes)))
    parts = [chunk[start : start + step] for start in range(0, len(chunk), step)]
    done = Parallel(processes)(delayed(_looped)(bars, part) for part in parts)
    return np.concatenate(done)


@dataclass(frozen=True)
class Figures:
    """What was measured of one contender on one case.

    Attributes
    ----------
    case, contender : str
        What was swept, and by whom.
    combos, timed_combos : int
        Combinations of the case, and those that were really computed: a loop is extrapolated.
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
        """Return what was measured and what follows, ready for JSON."""
        middle = median(self.seconds)
        return {
            **asdict(self),
            "extrapolated_seconds": self.combos / self.rate,
            "combos_per_second": self.rate,
            "distinct_per_second": self.distinct / middle,
            "bar_combos_per_second": self.bars * self.rate,
            "ns_per_trade": 1e9 * middle * self.threads / max(1, self.trades),
        }


def peak_memory(call: Callable[[], object]) -> int | None:
    """Return the highest resident memory of this process during a call, in bytes.

    Linux only, where the peak can be reset; None elsewhere.
    """
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        call()
        return None
    call()
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))
    return 1024 * int(found.group(1)) if found else None


def bench(
    size: int = 100_000, *, rounds: int = 3, threads: int = 0, n_days: int = N_DAYS
) -> dict[str, Any]:
    """Compare the engines on the standard grid with each other and with a straightforward loop.

    Parameters
    ----------
    size : {1, 1_000, 100_000, 4_233_600}
        Combinations.
    rounds : int
        How often every contender is timed, in turns.
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
    calls = {engine: _timed_sweep(case, engine, threads) for engine in engines}
    calls["numba loop"] = _timed(lambda: straightforward_loop(case.bars, chosen, threads))
    seconds = _in_turns(calls, rounds)
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
    """Return what every engine says of a case, after checking that it is the same."""
    digests = {}
    for engine in engines:
        with _Swept(case, engine, threads, peaks) as result:
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


class _Swept:
    """The result of a sweep; files, if there are any, are gone afterwards."""

    def __init__(self, case: Case, engine: str, threads: int, peaks: dict[str, int | None]) -> None:
        self._arguments = case, engine, threads
        self._peaks = peaks
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> SweepResult:
        case, engine, threads = self._arguments
        found: list[SweepResult] = []
        out = None
        if case.n_combos > MAX_IN_MEMORY:
            self._folder = tempfile.TemporaryDirectory(prefix="backtest-py-bench-")
            out = str(Path(self._folder.name) / "sweep")

        def call() -> None:
            found.append(case.sweep(engine, threads=threads, out=out))

        try:
            self._peaks[engine] = peak_memory(call)
        except BaseException:
            self.__exit__()
            raise
        return found[0]

    def __exit__(self, *exception: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return timed


def _timed_sweep(case: Case, engine: str, threads: int) -> Callable[[], float]:
    """Return a clock of a whole sweep; deleting its files does not count."""

    def timed() -> float:
        if case.n_combos <= MAX_IN_MEMORY:
            return _timed(lambda: case.sweep(engine, threads=threads))()
        with tempfile.TemporaryDirectory(prefix="backtest-py-bench-") as folder:
            out = str(Path(folder) / "sweep")
            return _timed(lambda: case.sweep(engine, threads=threads, out=out))()

    return timed


def _in_turns(calls: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Time every contender once a round, each round starting with another one."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for name in _order(list(calls), rounds):
        gc.collect()
        samples[name].append(calls[name]())
    return samples


def _order(names: Sequence[str], rounds: int) -> Iterator[str]:
    for turn in range(rounds):
        first = turn % len(names)
        yield from (*names[first:], *names[:first])
