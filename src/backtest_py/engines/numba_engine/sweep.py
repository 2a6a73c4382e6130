"""Many combinations at once: which bars signal, joined with how trades end.

Mirrors ``engine_rust/src/sweep.rs``. A plan holds what combinations share: for every source of
signals its candidates with their scores, and the outcome of every candidate under every exit.
``evaluate`` cuts the scores by the thresholds of each signal set and joins the lists with the
outcomes, eight exits at a time. Threads work on sets of their own and never change a bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.backtest_engine import (
    empty_trades,
    set_trade,
    settle,
    trade_outcome,
)
from backtest_py.engines.numba_engine.lanes import (
    N_SUMS,
    SignalList,
    join,
    metrics_of_lane,
)
from backtest_py.engines.numba_engine.metrics import accumulate, finish
from backtest_py.engines.numba_engine.outcomes import (
    CONTRACT_DTYPE,
    N_FIELDS,
    RULES_DTYPE,
    Candidates,
    Cells,
    contract_of,
    empty_cells,
    follow,
    rules_of,
)
from backtest_py.engines.numba_engine.strategy import Scores, scored, unscored
from backtest_py.engines.numba_engine.types import (
    N_METRICS,
    N_REASONS,
    bar_columns,
    contract_view,
    rules_view,
    settings_view,
)
from backtest_py.engines.numba_engine.vectors import LANES
from backtest_py.errors import EngineError, SweepCancelled
from backtest_py.strategies.base import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import MetricSettings
    from backtest_py.engines.base import Exit
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy

__all__ = ["NumbaSweepPlan"]

GROUP = 32
"""Signal sets that share one list of what passes the loosest of their thresholds."""
CHUNK = 256
"""Candidates whose trades are followed in one task."""
MAX_BLOCKS = 16
"""Blocks of exits in one task; a thread that runs it hears of nothing else, Ctrl-C included."""
AT_LEAST_OR_OFF, AT_MOST = int(Bound.AtLeastOrOff), int(Bound.AtMost)

_T = TypeVar("_T")


class Passing(NamedTuple):
    """Bars of one source that pass the loosest thresholds; ``scores`` is (n_thresholds, n)."""

    bar: NDArray[np.int64]
    side: NDArray[np.int8]
    risk: NDArray[np.float64]
    scores: NDArray[np.float64]


class Sources(NamedTuple):
    """Candidates of every source of signals that pass the loosest thresholds of the sweep.

    Those of source ``k`` are places ``start[k]`` to ``start[k + 1]``: ``rows`` in the table of
    candidates, and ``scores`` of shape (n_thresholds, n_places). ``bounds`` are those of the
    thresholds.
    """

    start: NDArray[np.int64]
    rows: NDArray[np.uint32]
    scores: NDArray[np.float64]
    bounds: NDArray[np.int64]


class Table(NamedTuple):
    """The outcome of every candidate under every exit, eight exits to a block.

    ``capital`` has shape (n_blocks, 8); ``same_day`` tells that every position closes on the day of
    its signal.
    """

    cells: Cells
    contracts: NDArray[np.void]
    capital: NDArray[np.float64]
    same_day: bool


class Evaluation(NamedTuple):
    """What all sets of one call of ``evaluate`` share."""

    sets: NDArray[np.uint32]
    thresholds: NDArray[np.float64]
    first: int
    last: int
    stop: NDArray[np.bool_]


@kernel(allocates=False)
def place_of(candidates, sources, begin, end, bar):
    """Return the first place of ``[begin, end)`` whose bar is not before ``bar``."""
    while begin < end:
        middle = (begin + end) // 2
        if candidates.bar[sources.rows[middle]] < bar:
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel(allocates=False)
def cut(scores, bounds, begin, thresholds, holds):
    """Set ``holds`` where the scores from place ``begin`` on pass all thresholds."""
    n = len(holds)
    for t in range(n):
        holds[t] = 1
    for k in range(len(bounds)):
        threshold = thresholds[k]
        column = scores[k, begin : begin + n]
        if bounds[k] == AT_MOST:
            for t in range(n):
                holds[t] &= column[t] <= threshold
        elif bounds[k] != AT_LEAST_OR_OFF or threshold != 0.0:
            for t in range(n):
                holds[t] &= column[t] >= threshold


@kernel(allocates=False)
def loosen(bounds, thresholds, begin, end, loosest):
    """Set the loosest of the thresholds of the sets from ``begin`` to ``end``."""
    for k in range(len(bounds)):
        loosest[k] = thresholds[begin, k]
        for each in range(begin + 1, end):
            other = thresholds[each, k]
            looser = other > loosest[k] if bounds[k] == AT_MOST else other < loosest[k]
            loosest[k] = other if looser else loosest[k]


@kernel(allocates=False)
def pick(values, holds, out):
    """Move the values that hold to the front of ``out``, which needs room for one more."""
    count = 0
    for t in range(len(holds)):
        out[count] = values[t]
        count += holds[t]
    return count


@kernel
def evaluate_sets(bars, candidates, sources, table, settings, asked, begin, end, blocks, out):
    """Evaluate the sets from ``begin`` to ``end`` under the exits of ``blocks``; tell if it did.

    Neighbouring sets of one source share a list, at most ``GROUP`` of them.
    """
    while begin < end:
        source = asked.sets[begin]
        stop = begin + 1
        while stop < min(end, begin + GROUP) and asked.sets[stop] == source:
            stop += 1
        places, lists = signal_lists(candidates, sources, asked, begin, stop)
        for block in range(blocks[0], blocks[1]):
            if asked.stop[0]:
                return False
            join_sets(bars, candidates, table, settings, asked, places, lists, begin, block, out)
        begin = stop
    return True


@kernel
def signal_lists(candidates, sources, asked, begin, end):
    """Return the rows that signal in the sets from ``begin`` to ``end``, and where each begins."""
    source = asked.sets[begin]
    low, high = sources.start[source], sources.start[source + 1]
    low = place_of(candidates, sources, low, high, asked.first)
    high = place_of(candidates, sources, low, high, asked.last)
    loosest = np.empty(len(sources.bounds))
    loosen(sources.bounds, asked.thresholds, begin, end, loosest)
    holds = np.empty(high - low, np.uint8)
    cut(sources.scores, sources.bounds, low, loosest, holds)
    rows = np.empty(high - low, np.uint32)
    count = pick(sources.rows[low:high], holds, rows)
    scores = np.empty((len(sources.bounds), count + 1))
    for k in range(len(sources.bounds)):
        pick(sources.scores[k, low:high], holds, scores[k])
    places = np.empty(end - begin + 1, np.int64)
    lists = np.empty((end - begin) * count, np.uint32)
    places[0] = 0
    for each in range(end - begin):
        cut(scores, sources.bounds, 0, asked.thresholds[begin + each], holds[:count])
        place = places[each]
        places[each + 1] = place + pick(rows[:count], holds[:count], lists[place:])
    return places, lists


@kernel
def join_sets(bars, candidates, table, settings, asked, places, lists, begin, block, out):
    """Join the lists of neighbouring sets with eight exits."""
    cells = Cells(
        table.cells.pnl[block],
        table.cells.tally[block],
        table.cells.bars_held[block],
        table.cells.days[block],
    )
    rf = settings.risk_free_rate / settings.periods_per_year
    n_exits = len(table.contracts)
    first_exit = block * LANES
    n_lanes = min(LANES, n_exits - first_exit)
    sums, counts = np.empty((N_SUMS, LANES)), np.empty((N_FIELDS, LANES), np.int64)
    reasons, metrics = np.empty(N_REASONS, np.int64), np.empty((LANES, N_METRICS))
    for each in range(len(places) - 1):
        rows = lists[places[each] : places[each + 1]]
        signals = SignalList(rows, candidates.bar, bars.day)
        join(signals, cells, table.capital, block, rf, table.same_day, sums, counts)
        for lane in range(n_lanes):
            metrics_of_lane(
                sums,
                counts,
                lane,
                bars.day,
                contract_of(table.contracts[first_exit + lane]),
                settings,
                asked.first,
                asked.last,
                reasons,
                metrics[lane],
            )
        column = (begin + each) * n_exits + first_exit
        for k in range(N_METRICS):
            for lane in range(n_lanes):
                out[k, column + lane] = metrics[lane, k]


@kernel
def walk_rows(bars, atr, candidates, sources, rules, contracts, settings, asked, chosen, out):
    """Follow the trades of combinations that share nothing, as the single run does."""
    reasons, metrics = np.empty(N_REASONS, np.int64), np.empty(N_METRICS)
    for each in chosen:
        if asked.stop[0]:
            return False
        places, lists = signal_lists(candidates, sources, asked, each, each + 1)
        contract = contract_of(contracts[each])
        rows = lists[: places[1]]
        trades = empty_trades(len(rows))
        count = walk(bars, atr, candidates, rows, rules_of(rules[each]), contract, trades)
        sums = accumulate(
            trades, count, bars.day, contract, settings, asked.first, asked.last, reasons
        )
        finish(sums, reasons, contract, settings, asked.first, asked.last, metrics)
        for k in range(N_METRICS):
            out[k, each] = metrics[k]
    return True


@kernel(allocates=False)
def walk(bars, atr, candidates, rows, rules, contract, trades):
    """Follow the signals of ``rows`` one after another, fill the trades and return their number."""
    count = 0
    free = 0
    equity = contract.initial_capital
    for row in rows:
        bar, side = np.int64(candidates.bar[row]), candidates.side[row]
        if bar < free:
            continue
        risk = candidates.risk[row]
        outcome = trade_outcome(bars, atr, risk, rules, contract, bar, side)
        if outcome.exit_bar < 0:
            continue
        settled = settle(outcome, side, contract)
        set_trade(trades, count, bar, side, outcome, settled)
        count += 1
        equity += settled.pnl
        if equity <= 0.0:
            break
        free = outcome.exit_bar
    return count


class NumbaSweepPlan:
    """What the combinations of a sweep share; see :class:`backtest_py.engines.base.SweepPlan`.

    Safe to use from several threads. A call that is interrupted cancels the plan.
    """

    def __init__(
        self,
        bars: Bars,
        *,
        strategies: Sequence[Strategy] | None,
        signals: Sequence[Signals] | None,
        loosest: Sequence[float],
        threads: int,
    ) -> None:
        self._bars = bar_columns(bars)
        self._threads = threads or _processors()
        self._stop = np.zeros(1, np.bool_)
        self._lock = Lock()
        self._table: Table | None = None
        self.done = 0
        bounds = np.zeros(0, np.int64)
        if strategies and signals is None:
            if len({type(strategy) for strategy in strategies}) > 1:
                raise EngineError("the strategies of a sweep are of several classes; plan each")
            bounds = np.array([each.bound for each in strategies[0].thresholds], np.int64)
            compute = [partial(scored, bars, strategy) for strategy in strategies]
        elif signals and strategies is None:
            for given in signals:
                _check_length("side", given.side, len(bars))
                _check_length("risk", given.risk, len(bars))
            compute = [partial(unscored, given) for given in signals]
        else:
            raise EngineError("a sweep needs either strategies or signals, at least one")
        if len(loosest) != len(bounds):
            raise EngineError(f"loosest has {len(loosest)} elements for {len(bounds)} thresholds")
        cuts = np.array(loosest, np.float64)
        found = self._spread([partial(_passing, each, bounds, cuts) for each in compute])
        self._candidates, self._sources = _collected(found, bounds)

    @property
    def n_candidates(self) -> int:
        """Return the number of candidates."""
        return len(self._candidates.bar)

    def cancel(self) -> None:
        """Make running and later evaluations stop with ``SweepCancelled``."""
        self._stop[0] = True

    def load(self, exits: Sequence[Exit]) -> None:
        """Compute the outcome of every candidate under every exit."""
        self._table = None  # before the next one takes memory
        rules, contracts = _exit_rows(exits)
        capital = np.ones((-(-len(exits) // LANES), LANES))
        capital.ravel()[: len(exits)] = contracts["initial_capital"]
        cells = empty_cells(self.n_candidates, len(exits))
        same_day = self._spread(
            [
                partial(
                    follow,
                    self._bars,
                    atr,
                    self._candidates,
                    start,
                    min(start + CHUNK, self.n_candidates),
                    rules,
                    contracts,
                    chosen,
                    cells,
                )
                for atr, chosen in _by_atr(exits, len(self._bars.open))
                for start in range(0, self.n_candidates, CHUNK)
            ]
        )
        self._table = Table(cells, contracts, capital, all(same_day))

    def evaluate(
        self,
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        first: int,
        last: int,
    ) -> NDArray[np.float64]:
        """Return the metrics of every set under every exit, shape (n_metrics, n_sets*n_exits)."""
        table = self._table
        if table is None:
            raise EngineError("no exits are loaded; call load before evaluate")
        asked = self._asked(sets, thresholds, first, last)
        n_sets, n_exits, n_blocks = len(asked.sets), len(table.contracts), len(table.capital)
        out = np.empty((N_METRICS, n_sets * n_exits))
        parts = max(-(-n_blocks // MAX_BLOCKS), -(-4 * self._threads * GROUP // max(1, n_sets)))
        edges = [n_blocks * part // parts for part in range(parts + 1)]
        self._count(
            (
                (min(begin + GROUP, n_sets) - begin) * (min(high * LANES, n_exits) - low * LANES),
                partial(
                    evaluate_sets,
                    self._bars,
                    self._candidates,
                    self._sources,
                    table,
                    settings_view(metrics),
                    asked,
                    begin,
                    min(begin + GROUP, n_sets),
                    (low, high),
                    out,
                ),
            )
            for begin in range(0, n_sets, GROUP)
            for low, high in pairwise(edges)
            if low < high
        )
        return out

    def evaluate_each(
        self,
        exits: Sequence[Exit],
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        first: int,
        last: int,
    ) -> NDArray[np.float64]:
        """Return the metrics of sets with one exit each, shape (n_metrics, n_sets)."""
        asked = self._asked(sets, thresholds, first, last)
        if len(exits) != len(asked.sets):
            raise EngineError(f"there are {len(exits)} exits for {len(asked.sets)} sets")
        rules, contracts = _exit_rows(exits)
        out = np.empty((N_METRICS, len(exits)))
        self._count(
            (
                len(rows),
                partial(
                    walk_rows,
                    self._bars,
                    atr,
                    self._candidates,
                    self._sources,
                    rules,
                    contracts,
                    settings_view(metrics),
                    asked,
                    rows,
                    out,
                ),
            )
            for atr, chosen in _by_atr(exits, len(self._bars.open))
            for rows in np.array_split(chosen, -(-len(chosen) // GROUP))
        )
        return out

    def _asked(
        self, sets: NDArray[np.uint32], thresholds: NDArray[np.float64], first: int, last: int
    ) -> Evaluation:
        """Check what an evaluation is asked; a wrong call must not read out of bounds."""
        n_bars, n_sources = len(self._bars.open), len(self._sources.start) - 1
        sets = np.ascontiguousarray(sets, np.uint32)
        shape = (len(sets), len(self._sources.bounds))
        if not 0 <= first < last <= n_bars:
            raise EngineError(f"the range [{first}, {last}) is empty or not within {n_bars} bars")
        if len(sets) and sets.max() >= n_sources:
            raise EngineError(f"set {sets.max()} does not exist; there are {n_sources} sources")
        if np.size(thresholds) != shape[0] * shape[1]:
            raise EngineError(f"thresholds has {np.size(thresholds)} elements, not {shape}")
        cuts = np.ascontiguousarray(thresholds, np.float64).reshape(shape)
        return Evaluation(sets, cuts, first, last, self._stop)

    def _count(self, tasks: Iterable[tuple[int, Callable[[], bool]]]) -> None:
        """Run tasks, and count what they have done."""

        def counted(size: int, task: Callable[[], bool]) -> None:
            if not task():
                raise SweepCancelled("the sweep was stopped")
            with self._lock:
                self.done += size

        self._spread([partial(counted, size, task) for size, task in tasks])

    def _spread(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """Return what the tasks give, done by several threads that let go of the interpreter."""

        def unless_stopped(task: Callable[[], _T]) -> _T:
            if self._stop[0]:
                raise SweepCancelled("the sweep was stopped")
            return task()

        if self._threads == 1 or len(tasks) < 2:
            return [unless_stopped(task) for task in tasks]
        with ThreadPoolExecutor(min(self._threads, len(tasks))) as pool:
            try:
                return list(pool.map(unless_stopped, tasks))
            except BaseException:
                self.cancel()
                pool.shutdown(cancel_futures=True)
                raise


def _processors() -> int:
    from joblib import cpu_count  # noqa: PLC0415 - knows affinity and containers, takes its time

    return int(cpu_count())


def _passing(
    compute: Callable[[], Scores], bounds: NDArray[np.int64], loosest: NDArray[np.float64]
) -> Passing:
    """Compute the scores of a source and keep the bars that pass the loosest thresholds."""
    scores = compute()
    holds = np.empty(len(scores.side), np.uint8)
    cut(scores.columns, bounds, 0, loosest, holds)
    bars = np.flatnonzero(holds.astype(np.bool_) & (scores.side != 0))
    risk = scores.risk[bars] if len(scores.risk) else np.full(len(bars), np.nan)
    return Passing(bars, scores.side[bars], risk, scores.columns[:, bars])


def _collected(found: Sequence[Passing], bounds: NDArray[np.int64]) -> tuple[Candidates, Sources]:
    """Return the candidates of all sources, shared where bar, side and risk are the same."""
    bar, side, risk = (np.concatenate(column) for column in list(zip(*found, strict=True))[:3])
    bits = risk.view(np.int64)
    order = np.lexsort((bits, side, bar))
    new = np.ones(len(order), np.bool_)
    new[1:] = False
    for key in (bar, side, bits):
        new[1:] |= np.diff(key[order]) != 0
    rows = np.empty(len(order), np.uint32)
    rows[order] = np.cumsum(new) - 1
    chosen = order[new]
    start = np.cumsum([0, *(len(each.bar) for each in found)])
    scores = np.ascontiguousarray(np.concatenate([each.scores for each in found], axis=1))
    candidates = Candidates(bar[chosen].astype(np.uint32), side[chosen], risk[chosen])
    return candidates, Sources(start, rows, scores, bounds)


def _exit_rows(exits: Sequence[Exit]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the rules and the contracts of exits as arrays."""
    return (
        np.array([rules_view(rules) for rules, _, _ in exits], RULES_DTYPE),
        np.array([contract_view(contract) for _, contract, _ in exits], CONTRACT_DTYPE),
    )


def _check_length(name: str, column: NDArray[Any] | None, n_bars: int) -> None:
    """Refuse a column with which a kernel would read out of bounds."""
    if column is not None and column.shape != (n_bars,):
        raise EngineError(f"{name} has shape {column.shape}, but there are {n_bars} bars")


def _by_atr(
    exits: Sequence[Exit], n_bars: int
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return each average true range, empty where there is none, with the exits that use it."""
    columns = {id(atr): atr for _, _, atr in exits}
    for atr in columns.values():
        _check_length("atr", atr, n_bars)
    users: dict[int, list[int]] = {key: [] for key in columns}
    for place, (_, _, atr) in enumerate(exits):
        users[id(atr)].append(place)
    return [
        (np.empty(0) if atr is None else atr, np.array(users[key], np.int64))
        for key, atr in columns.items()
    ]
