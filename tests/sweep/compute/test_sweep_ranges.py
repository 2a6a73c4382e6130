"""Several ranges in one call of a plan, and sums by block of days, on both engines.

What a range gives is what the single run in that range gives, bit for bit. What a block gives is
worked out here once more, in plain Python from the trades of that run.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.plan_questions import (
    N_EXITS,
    SHARED,
    assert_same_bits,
    blocks_by_hand,
    make_exit,
    make_market,
    make_sweep,
)

import backtest_py as bt
from backtest_py.engines.base import atr_for
from backtest_py.engines.registry import resolve
from backtest_py.errors import EngineError, SweepCancelled
from backtest_py.records import METRICS

KINDS = ("barra_elefante", "moving_average_cross", "own")
MARKETS = ("session", "round the clock", *(["index"] if SHARED else []))
N_METRICS = len(METRICS)
DAYS = METRICS.index("days")


@pytest.fixture(scope="module")
def markets():
    return {name: make_market(name) for name in MARKETS}


@pytest.fixture
def runner(engine):
    return resolve(engine)[0]


def make_question(kind, bars, seed, *, same_day):
    """Return a sweep of a few sets of every source."""
    sweep = make_sweep(kind, bars, seed, same_day=same_day)
    some = np.arange(0, len(sweep.sets), 6)
    return replace(
        sweep,
        sets=np.ascontiguousarray(sweep.sets[some]),
        thresholds=sweep.thresholds[some],
        variants=[sweep.variants[k] for k in some],
    )


def make_ranges(bars):
    """Return ranges that overlap, touch, repeat and lie apart."""
    n, day = len(bars), bars.day
    third, half = n // 3, n // 2 + 5
    whole_days = (int(np.searchsorted(day, 3)), int(np.searchsorted(day, 12)))
    return [
        (half, n),
        (0, n),
        (0, third),
        (third, 2 * third),
        (third - 40, half),
        whole_days,
        (third, 2 * third),
        (7, n - 9),
    ]


def one_day(bars):
    """Return ranges of one day: a whole one, a part of one, a bar, the last bar."""
    start, stop = (int(np.searchsorted(bars.day, day)) for day in (4, 5))
    n = len(bars)
    return [(start, stop), (start + 3, stop - 2), (start + 7, start + 8), (n - 1, n)]


def days_of(bars, ranges):
    """Return the number of days of each range."""
    return [int(bars.day[last - 1] - bars.day[first]) + 1 for first, last in ranges]


def by_hand(sweep, engine, ranges, n_blocks):
    """Return what a plan must give, shape (n_ranges, n_numbers, n_sets, n_exits)."""
    shape = (len(ranges), N_METRICS + 3 * n_blocks, len(sweep.sets), len(sweep.exits))
    found = np.empty(shape)
    for place, (first, last) in enumerate(ranges):
        for row, column, output in sweep.outputs(engine, first, last):
            capital = sweep.exits[column][1].initial_capital
            found[place, :N_METRICS, row, column] = output.metrics
            found[place, N_METRICS:, row, column] = blocks_by_hand(
                sweep.bars, output, capital, first, last, n_blocks
            )
    return found


def check(sweep, engine, ranges, n_blocks):
    """Compare a plan with single runs and the oracle, and return what it gives."""
    expected = by_hand(sweep, engine, ranges, n_blocks)
    found = sweep.evaluate_ranges(engine, ranges, n_blocks)
    assert_same_bits(found, expected)
    rows = np.arange(len(sweep.sets))
    each = sweep.evaluate_each_range(engine, ranges, n_blocks)
    assert_same_bits(each, expected[:, :, rows, rows % N_EXITS])
    counted = found[:, N_METRICS + 2 :: 3].sum(axis=1)
    assert n_blocks == 0 or np.array_equal(counted, found[:, DAYS])
    return found


@pytest.mark.parametrize("same_day", [False, True], ids=["any day", "same day"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("market", MARKETS)
def test_every_range_is_its_single_run_and_every_block_its_trades(
    runner, markets, market, kind, same_day
):
    bars = markets[market]
    sweep = make_question(kind, bars, seed=20 + same_day, same_day=same_day)
    ranges = make_ranges(bars)
    found = check(sweep, runner, ranges, min(days_of(bars, ranges)))
    assert found[:, METRICS.index("total_trades")].max() > 10
    check(sweep, runner, one_day(bars), 1)
    plain = sweep.evaluate_ranges(runner, ranges)
    assert_same_bits(plain, found[:, :N_METRICS])
    whole = [(0, len(bars))]
    check(sweep, runner, whole, *days_of(bars, whole))  # a block for every day


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("market", MARKETS)
def test_engines_and_instruction_levels_agree(markets, market, kind):
    bars = markets[market]
    numba, rust = (resolve(name)[0] for name in ("numba", "rust"))
    for seed, same_day in ((22, False), (23, True)):
        sweep = make_sweep(kind, bars, seed, same_day=same_day)
        for ranges, n_blocks in (
            (make_ranges(bars), 5),
            ([(0, len(bars))], 16),
            (one_day(bars), 0),
        ):
            expected = sweep.evaluate_ranges(numba, ranges, n_blocks)
            for level in rust.build["levels"].split(","):
                found = sweep.evaluate_ranges(type(rust)(level), ranges, n_blocks)
                assert found.tobytes() == expected.tobytes()
            each = [sweep.evaluate_each_range(engine, ranges, n_blocks) for engine in (numba, rust)]
            assert each[0].tobytes() == each[1].tobytes()


def test_ruin_cuts_the_blocks_short(runner, markets):
    for market, same_day in (("session", True), ("round the clock", False)):
        bars = markets[market]
        sweep = make_question("own", bars, seed=24, same_day=same_day)
        poor = [
            (rules, replace(contract, initial_capital=bars.close[0] * 0.002))
            for rules, contract in sweep.exits
        ]
        found = check(replace(sweep, exits=poor), runner, [(0, len(bars)), (100, len(bars))], 8)
        ruined = found[:, METRICS.index("ruined")] == 1.0
        returns, squares, days = (found[:, N_METRICS + k :: 3] for k in range(3))
        assert (ruined & (days[:, 1] > 0) & (days[:, 5] == 0)).any()  # not in the last block
        assert not returns[days == 0].any()
        assert not squares[days == 0].any()


def test_an_exit_behind_the_range_is_in_the_last_block(runner, markets):
    bars = markets["round the clock"]
    sweep = make_question("own", bars, seed=25, same_day=False)
    rng = np.random.default_rng(26)
    exits = [make_exit(rng, bars, gives_risk=True, same_day=False) for _ in range(N_EXITS)]
    off = {"stop": 0.0, "target": 0.0, "target_r": 0.0, "trail": 0.0, "close_time": ""}
    held = [
        (replace(rules, **off, max_bars=bars_held), replace(contract, initial_capital=1e6))
        for (rules, contract), bars_held in zip(exits, [1, 200] * N_EXITS, strict=False)
    ]
    ranges = [(0, 700), (350, 1000), (480, 960)]
    found = check(replace(sweep, exits=held), runner, ranges, 4)
    for numbers, n_days in zip(found, days_of(bars, ranges), strict=True):
        later = numbers[DAYS] == n_days + 1
        assert later.any()
        assert np.array_equal(numbers[-1], n_days - 3 * n_days // 4 + later)


def test_one_block_has_the_sums_of_the_metric(runner, markets):
    bars = markets["session"]
    sweep = make_question("barra_elefante", bars, seed=27, same_day=True)
    settings = sweep.metrics
    rf = settings.risk_free_rate / settings.periods_per_year
    chosen = [METRICS.index("sharpe"), -3, -2, -1]
    seen = 0
    for numbers in sweep.evaluate_ranges(runner, make_ranges(bars), 1):
        for sharpe, total, squares, days in numbers[chosen].reshape(4, -1).T:
            if days < 2:
                continue
            variance = (squares - total * total / days) / (days - 1.0)
            if variance > 1e-9 * (squares / days):
                found = (total / days - rf) / math.sqrt(variance)
                assert found * math.sqrt(settings.periods_per_year) == sharpe
                seen += 1
    assert seen > 300


def test_a_range_is_what_the_public_run_gives(engine, markets):
    bars = markets["session"]
    strategy = bt.BarraElefante(lookback=5)
    rules = bt.ExitRules(close_time="13:30")
    runner, _ = resolve(engine)
    names = [spec.name for spec in strategy.parameters()]
    values = dict(zip(names, strategy.values(), strict=True))
    cuts = [values[threshold.parameter] for threshold in strategy.thresholds]
    plan = runner.sweep_plan(bars, strategies=[strategy], signals=None, loosest=cuts, threads=1)
    plan.load([(rules, bt.Contract(), atr_for(runner, bars, rules))])
    spans = [tuple(bars.time_text(bar) for bar in span) for span in ((200, 900), (50, 999))]
    ranges = [bars.bounds(*span) for span in spans]
    found = plan.evaluate(np.zeros(1, np.uint32), np.array(cuts), bt.MetricSettings(), ranges)
    for span, numbers in zip(spans, found, strict=True):
        result = bt.run(bars, strategy, rules, range=span, engine=engine)
        expected = np.array([getattr(result.metrics, name) for name in METRICS], np.float64)
        assert_same_bits(numbers[:, 0], expected)


def test_threads_and_the_place_in_the_list_do_not_matter(runner, markets):
    bars = markets["session"]
    sweep = make_sweep("moving_average_cross", bars, seed=28)
    ranges = make_ranges(bars)
    expected = sweep.evaluate_ranges(runner, ranges, 6, threads=1)
    each = sweep.evaluate_each_range(runner, ranges, 6, threads=1)
    for order in (slice(None, None, -1), [3], [5, 2, 5]):
        some = [ranges[k] for k in np.arange(len(ranges))[order]]
        assert_same_bits(sweep.evaluate_ranges(runner, some, 6), expected[order])
        assert_same_bits(sweep.evaluate_each_range(runner, some, 6), each[order])
    none = sweep.evaluate_ranges(runner, [], 6)
    assert none.shape == (0, *expected.shape[1:])


def test_money_beyond_all_bounds(runner, markets):
    bars = markets["session"]
    sweep = make_question("own", bars, seed=29, same_day=False)
    exits = [(rules, replace(contract, point_value=1e306)) for rules, contract in sweep.exits]
    found = check(replace(sweep, exits=exits), runner, make_ranges(bars), 3)
    assert np.isnan(found[:, N_METRICS:]).any()


def test_wrong_calls_are_refused(runner, markets):
    bars = markets["session"]
    sweep = make_sweep("own", bars, seed=30)
    n, n_days = len(bars), *days_of(bars, [(0, len(bars))])
    half = int(np.searchsorted(bars.day, n_days // 2))
    for evaluate in (sweep.evaluate_ranges, sweep.evaluate_each_range):
        for ranges, n_blocks, said in (
            ([(0, n)], n_days + 1, f"n_blocks = {n_days + 1} is not allowed"),
            ([(0, n), (0, half)], n_days, "at most one for each day of a range"),
            ([(0, n), (3, 4)], 2, "n_blocks = 2 is not allowed"),
            ([(0, n)], -1, "n_blocks = -1 is not allowed"),
            ([(0, n), (5, 5)], 0, "empty or not within"),
            ([(0, n), (9, 5)], 1, "empty or not within"),
            ([(0, n + 1), (0, n)], 0, "empty or not within"),
            ([(-1, n)], 0, "not"),
        ):
            with pytest.raises(EngineError, match=said):
                evaluate(runner, ranges, n_blocks)


@pytest.mark.parametrize("threads", [1, 2])
def test_many_ranges_stop_within_a_second(runner, threads):
    bars = bt.synthetic_bars(n_days=400)
    sweep = make_sweep("own", bars, seed=31)
    plan = sweep.plan(runner, threads)
    plan.load(sweep.with_atr(runner))
    sets = np.zeros(300, np.uint32)
    ranges = [(first, len(bars)) for first in range(100)]
    stopped = []

    def stop():
        time.sleep(0.3)
        stopped.append(time.perf_counter())
        plan.cancel()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(SweepCancelled):
        plan.evaluate(sets, np.empty(0), sweep.metrics, ranges, 4)
    took = time.perf_counter() - stopped[0]
    stopper.join()
    assert took < 1.0
    assert plan.done < len(sets) * N_EXITS
