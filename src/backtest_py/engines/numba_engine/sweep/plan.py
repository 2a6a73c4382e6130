"""Many combinations at once: which bars signal, joined with how trades end.

Mirrors ``engine_rust/src/sweep/plan.rs``. A plan holds what combinations share: for every source of
signals its candidates with their scores, and the outcome of every candidate under every exit.
``evaluate`` cuts the scores by the thresholds of each signal set and joins the lists with the
outcomes, eight exits at a time. Threads work on sets of their own and never change a bit. What
differs: a kernel is a task of a fixed size, which Python's threads run, so that settings go there
as arrays.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from backtest_py._forks import generation
from backtest_py._jit import kernel
from backtest_py.engines.layouts import SettingsView
from backtest_py.engines.numba_engine.backtest_engine import (
    empty_trades,
    set_trade,
    trade_outcome,
)
from backtest_py.engines.numba_engine.contract import settle
from backtest_py.engines.numba_engine.metrics import (
    accumulate,
    days_of,
    finish,
    finish_blocks,
    sum_days,
)
from backtest_py.engines.numba_engine.strategy import Scores, scored, unscored
from backtest_py.engines.numba_engine.sweep.lanes import (
    SignalList,
    empty_lane_sums,
    join,
    numbers_of_lane,
)
from backtest_py.engines.numba_engine.sweep.lists import (
    Evaluation,
    SourceScores,
    cut,
    evaluation_of,
    parts_of,
    signal_lists,
)
from backtest_py.engines.numba_engine.sweep.outcomes import (
    CHUNK,
    CONTRACT_DTYPE,
    MAX_BARS,
    RULES_DTYPE,
    Candidates,
    Cells,
    OutcomeTable,
    check_limits,
    contract_of,
    empty_cells,
    follow,
    rules_of,
)
from backtest_py.engines.numba_engine.sweep.vectors import LANES, load
from backtest_py.engines.numba_engine.types import (
    N_METRICS,
    N_REASONS,
    bar_columns,
)
from backtest_py.errors import EngineError, SweepCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import MetricSettings
    from backtest_py.engines.base import Exit
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy

__all__ = ["SweepPlan"]

GROUP = 32
"""Signal sets that share one list of what passes the loosest of their thresholds."""
MAX_BLOCKS = 16
"""Blocks of exits in one task, if it visits the bars once; with more ranges there are fewer.

A thread cannot be interrupted while it runs a task, not even by Ctrl-C.
"""

_T = TypeVar("_T")


class Passing(NamedTuple):
    """Bars of one source that pass the loosest thresholds; ``scores`` is (n_thresholds, n)."""

    bar: NDArray[np.int64]
    side: NDArray[np.int8]
    risk: NDArray[np.float64]
    scores: NDArray[np.float64]


@kernel
def evaluate_sets(bars, candidates, scores, table, settings, asked, begin, end, blocks, out):
    """Evaluate the sets from ``begin`` to ``end`` under the exits of ``blocks``; tell if it did.

    Neighbouring sets of one source share a list, at most ``GROUP`` of them.
    """
    found = empty_lane_sums(asked.ends.shape[1])
    while begin < end:
        source = asked.sets[begin]
        stop = begin + 1
        while stop < min(end, begin + GROUP) and asked.sets[stop] == source:
            stop += 1
        places, lists = signal_lists(candidates, scores, asked, begin, stop)
        parts = parts_of(candidates, places, lists, asked.ranges)
        for block in range(blocks[0], blocks[1]):
            for each in range(stop - begin):
                if asked.stop[0]:
                    return False
                signals = lists, parts[each]
                row = (begin + each) * len(table.contracts) + block * LANES
                join_set(bars, candidates, table, settings, asked, signals, block, found, row, out)
        begin = stop
    return True


@kernel(allocates=False)
def join_set(bars, candidates, table, settings, asked, signals, block, found, row, out):
    """Join a list of signals, in every range, with eight exits; fill ``out`` from ``row`` on."""
    cells = Cells(
        table.cells.pnl[block],
        table.cells.tally[block],
        table.cells.bars_held[block],
        table.cells.days[block],
    )
    rf = settings.risk_free_rate / settings.periods_per_year
    capital = load(table.capital, block)
    first_exit = block * LANES
    n_lanes = min(LANES, len(table.contracts) - first_exit)
    lists, parts = signals
    for k in range(len(parts)):
        (first, last), ends = asked.ranges[k], asked.ends[k]
        some = SignalList(lists[parts[k, 0] : parts[k, 1]], candidates.bar, bars.day)
        if len(ends) > 0:
            join(some, cells, capital, rf, table.same_day, ends, found, found.blocks)
        else:
            join(some, cells, capital, rf, table.same_day, ends, found, None)
        for lane in range(n_lanes):
            contract = contract_of(table.contracts[first_exit + lane])
            numbers_of_lane(found, lane, bars.day, contract, settings, first, last, ends)
        for column in range(found.numbers.shape[1]):
            for lane in range(n_lanes):
                out[k, column, row + lane] = found.numbers[lane, column]


@kernel
def walk_rows(bars, atr, candidates, scores, rules, contracts, settings, asked, chosen, out):
    """Follow the trades of combinations that share nothing; tell if it did."""
    numbers = np.empty(out.shape[1])
    for each in chosen:
        exit_ = rules_of(rules[each]), contract_of(contracts[each])
        if not walk_row(bars, atr, candidates, scores, exit_, settings, asked, each, numbers, out):
            return False
    return True


@kernel
def walk_row(bars, atr, candidates, scores, exit_, settings, asked, each, numbers, out):
    """Set the numbers of one combination, range by range, as the single run finds them."""
    rules, contract = exit_
    rf = settings.risk_free_rate / settings.periods_per_year
    n_blocks = asked.ends.shape[1]
    reasons, blocks = np.empty(N_REASONS, np.int64), np.empty(2 * n_blocks)
    places, lists = signal_lists(candidates, scores, asked, each, each + 1)
    parts = parts_of(candidates, places, lists, asked.ranges)[0]
    trades = empty_trades(places[1])
    for k in range(len(parts)):
        if asked.stop[0]:
            return False
        first, last, ends = asked.ranges[k, 0], asked.ranges[k, 1], asked.ends[k]
        rows = lists[parts[k, 0] : parts[k, 1]]
        count = walk(bars, atr, candidates, rows, rules, contract, trades)
        exit_day = days_of(trades.exit_bar[:count], bars.day)
        span = (bars.day[first], bars.day[last - 1])
        sums = accumulate(trades, exit_day, contract, settings, span, reasons)
        finish(sums, reasons, contract, settings, last - first, numbers[:N_METRICS])
        if n_blocks > 0:
            blocks[:] = 0.0
            sum_days(trades, exit_day, contract.initial_capital, rf, ends, blocks)
            finish_blocks(ends, bars.day[first], sums.days, blocks, numbers[N_METRICS:])
        for column in range(len(numbers)):
            out[k, column, each] = numbers[column]
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


class SweepPlan:
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
        if len(bars) > MAX_BARS:
            raise EngineError(
                f"there are {len(bars)} bars, more than {MAX_BARS}; plan shorter data"
            )
        self._bars = bar_columns(bars)
        self._threads = threads or _processors()
        self._stop = np.zeros(1, np.bool_)
        self._lock = Lock()
        self._table: OutcomeTable | None = None
        self._made_in = generation()
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
        found = self._spread([partial(passing, each, bounds, cuts) for each in compute])
        self._candidates, self._scores = collected(found, bounds)

    @property
    def n_candidates(self) -> int:
        """Return the number of candidates."""
        return len(self._candidates.bar)

    def cancel(self) -> None:
        """Make running and later evaluations stop with ``SweepCancelled``."""
        self._stop[0] = True

    def load(self, exits: Sequence[Exit]) -> None:
        """Compute the outcome of every candidate under every exit."""
        self._require_own_process()
        check_limits(self._bars)
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
        self._table = OutcomeTable(cells, contracts, capital, all(same_day))

    def evaluate(
        self,
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        metrics: MetricSettings,
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> NDArray[np.float64]:
        """Return the numbers of every set under every exit, in every range."""
        table = self._table
        if table is None:
            raise EngineError("no exits are loaded; call load before evaluate")
        asked = self._asked(sets, thresholds, ranges, n_blocks)
        n_sets, n_exits, n_vectors = len(asked.sets), len(table.contracts), len(table.capital)
        out = asked.room(n_sets * n_exits)
        step = max(1, min(GROUP, GROUP * MAX_BLOCKS // asked.visits))
        parts = max(
            -(-n_vectors * asked.visits // MAX_BLOCKS),
            -(-4 * self._threads * step // max(1, n_sets)),
        )
        edges = [n_vectors * part // parts for part in range(parts + 1)]
        self._count(
            (
                (min(begin + step, n_sets) - begin) * (min(high * LANES, n_exits) - low * LANES),
                partial(
                    evaluate_sets,
                    self._bars,
                    self._candidates,
                    self._scores,
                    table,
                    SettingsView(*metrics.values()),
                    asked,
                    begin,
                    min(begin + step, n_sets),
                    (low, high),
                    out,
                ),
            )
            for begin in range(0, n_sets, step)
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
        ranges: Sequence[tuple[int, int]],
        n_blocks: int = 0,
    ) -> NDArray[np.float64]:
        """Return the numbers of sets with one exit each, in every range."""
        asked = self._asked(sets, thresholds, ranges, n_blocks)
        if len(exits) != len(asked.sets):
            raise EngineError(f"there are {len(exits)} exits for {len(asked.sets)} sets")
        rules, contracts = _exit_rows(exits)
        out = asked.room(len(exits))
        step = max(1, GROUP // asked.visits)
        self._count(
            (
                len(rows),
                partial(
                    walk_rows,
                    self._bars,
                    atr,
                    self._candidates,
                    self._scores,
                    rules,
                    contracts,
                    SettingsView(*metrics.values()),
                    asked,
                    rows,
                    out,
                ),
            )
            for atr, chosen in _by_atr(exits, len(self._bars.open))
            for rows in np.array_split(chosen, -(-len(chosen) // step))
        )
        return out

    def _asked(
        self,
        sets: NDArray[np.uint32],
        thresholds: NDArray[np.float64],
        ranges: Sequence[tuple[int, int]],
        n_blocks: int,
    ) -> Evaluation:
        """Check what an evaluation is asked."""
        self._require_own_process()
        return evaluation_of(
            self._bars, self._scores, sets, thresholds, ranges, n_blocks, self._stop
        )

    def _require_own_process(self) -> None:
        """Refuse to go on in a forked child, which may find the plan half done."""
        if self._made_in != generation():
            raise EngineError(
                "this plan was made before the process was forked; make a new one in the child"
            )

    def _count(self, tasks: Iterable[tuple[int, Callable[[], bool]]]) -> None:
        """Run tasks, and count what they have done."""

        def counted(size: int, task: Callable[[], bool]) -> None:
            if not task():
                raise SweepCancelled("the sweep was stopped")
            with self._lock:
                self.done += size

        self._spread([partial(counted, size, task) for size, task in tasks])

    def _spread(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """Return the results of the tasks, run by threads without the interpreter's lock."""

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


def passing(
    compute: Callable[[], Scores], bounds: NDArray[np.int64], loosest: NDArray[np.float64]
) -> Passing:
    """Compute the scores of a source and keep the bars that pass the loosest thresholds."""
    scores = compute()
    holds = np.empty(len(scores.side), np.uint8)
    cut(scores.columns, bounds, 0, loosest, holds)
    bars = np.flatnonzero(holds.astype(np.bool_) & (scores.side != 0))
    risk = scores.risk[bars] if len(scores.risk) else np.full(len(bars), np.nan)
    return Passing(bars, scores.side[bars], risk, scores.columns[:, bars])


def collected(
    found: Sequence[Passing], bounds: NDArray[np.int64]
) -> tuple[Candidates, SourceScores]:
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
    return candidates, SourceScores(start, rows, scores, bounds)


def _exit_rows(exits: Sequence[Exit]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the rules and the contracts of exits as arrays."""
    return (
        np.array([rules.values() for rules, _, _ in exits], RULES_DTYPE),
        np.array([contract.values() for _, contract, _ in exits], CONTRACT_DTYPE),
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
