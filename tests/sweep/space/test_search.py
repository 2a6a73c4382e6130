"""Counting and finding combinations: as a look at each would, at a fraction of its cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest_py import (
    BarraElefante,
    Contract,
    ExitRules,
    MovingAverageCross,
    Sample,
    plan_sweep,
    sweep,
    synthetic_bars,
)
from backtest_py.errors import ConfigError
from backtest_py.sweep.space import sample as sample_module
from backtest_py.sweep.space import search
from backtest_py.sweep.space.condition import Condition
from backtest_py.sweep.space.grid import Grid, GridRange
from backtest_py.sweep.space.sample import SampledGrid
from backtest_py.sweep.space.space import RuleProbe


def build(grid, *, strategy=None, rules=None, **options):
    return Grid.build(
        strategy or MovingAverageCross(), rules or ExitRules(), Contract(), grid, **options
    )


AXES = {
    "strategy.fast": st.integers(1, 12),
    "strategy.slow": st.integers(2, 12),
    "strategy.entry_start": st.sampled_from(["08:00", "09:00", "10:30", "12:00"]),
    "rules.stop": st.floats(0, 4, allow_subnormal=False),
    "rules.target": st.floats(0, 4, allow_subnormal=False),
    "rules.unit": st.sampled_from(["atr", "points", "percent"]),
    "rules.round_to_tick": st.booleans(),
    "rules.close_time": st.sampled_from(["", "08:30", "11:00", "17:00"]),
}
CONDITIONS = [
    "",
    "target > stop",
    "fast < slow",
    "fast * stop < slow and target != 2",
    "stop < target < slow / 2",
    "unit == 'atr' and target > stop or unit != 'points' and slow - fast > 3",
    "round_to_tick == (target > stop)",
    "entry_start + 30 * fast < close_time or slow == 7",
    "stop * target / fast > 1 / (slow - 5)",
    "fast + slow + stop + target > 14",
    "not (fast < slow or stop > 1)",
    "target == stop",
    "stop > 9",
]


@st.composite
def grids(draw):
    keys = draw(st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=4, unique=True))
    return {key: draw(st.lists(AXES[key], min_size=1, max_size=9, unique=True)) for key in keys}


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(grids(), st.sampled_from(CONDITIONS), st.integers(1, 40), st.data())
def test_count_and_first_are_those_of_a_look_at_each(monkeypatch, axes, where, leaf, data):
    monkeypatch.setattr(search, "LEAF", leaf)
    grid = build(axes, where=where, invalid="skip")
    mask = grid.box_mask(tuple(map(range, grid.shape)))
    assert grid.count() == mask.sum()
    axis = data.draw(st.integers(0, len(grid.shape) - 1))
    digit = data.draw(st.integers(0, grid.shape[axis] - 1))
    fixed = np.take(mask, [digit], axis)
    found = grid.first_with({axis: digit})
    if not fixed.any():
        assert found is None
    else:
        at = list(np.unravel_index(int(np.argmax(fixed)), fixed.shape))
        at[axis] = digit
        assert grid.digits(found) == tuple(at)


@pytest.fixture
def looked_at(monkeypatch):
    """Count the combinations that conditions and rules are asked about one by one."""
    counts = {"conditions": 0, "rules": 0}
    evaluate, call = Condition.evaluate, RuleProbe.__call__

    def evaluating(self, columns):
        result = evaluate(self, columns)
        counts["conditions"] += result.size
        return result

    def calling(self, names, values):
        counts["rules"] += 1
        return call(self, names, values)

    monkeypatch.setattr(Condition, "evaluate", evaluating)
    monkeypatch.setattr(RuleProbe, "__call__", calling)
    return counts


def steps(n):
    return GridRange(1, n, 1)


TWO = {"rules.stop": steps(100_000), "rules.target": steps(100_000)}
THREE = {key: steps(2_155) for key in ("rules.stop", "rules.target", "rules.trail")}
FAST = {"strategy.fast": steps(3_000), "strategy.slow": steps(3_000), "rules.stop": steps(1_200)}
FIVE = {f"rules.{key}": steps(100) for key in ("stop", "target", "trail", "max_bars")} | {
    "strategy.fast": GridRange(1, 100, 1)
}


@pytest.mark.parametrize("engine", ["numba", "rust"])
@pytest.mark.parametrize("kind", ["random", "halton"])
@pytest.mark.parametrize(
    ("axes", "where", "invalid"),
    [
        (TWO, "target > stop", "refuse"),
        (TWO, "target > 1.5 * stop and stop > 40", "skip"),
        (THREE, "stop < trail < target", "refuse"),
        (THREE, "stop * trail < 1000 * target", "skip"),
        (FAST, "fast < slow", "refuse"),
        (FAST, "fast + 100 < slow and stop < fast", "skip"),
        (FAST, "slow - fast > stop", "refuse"),
        (FIVE, "stop + target + trail + max_bars > 2.5 * fast", "refuse"),
    ],
)
def test_a_sample_costs_what_it_draws(looked_at, engine, kind, axes, where, invalid):
    bars = synthetic_bars(n_days=2)
    asked = {"grid": axes, "where": where, "invalid": invalid, "engine": engine}
    asked |= {"strategy": MovingAverageCross(slow=300), "sample": Sample(kind=kind, n=10)}
    assert sweep(bars, **asked).n_combos == 10
    assert looked_at["conditions"] < 1_000_000
    assert looked_at["rules"] < 300_000
    looked_at.update(conditions=0, rules=0)
    assert plan_sweep(bars, **asked).combos == 10
    assert looked_at["conditions"] < 1_000_000
    assert looked_at["rules"] < 300_000


@pytest.mark.parametrize(
    ("axes", "where", "fault"),
    [
        (TWO, "target == stop", r"only \d+ combinations .* in 1,000,000 draws; give a smaller n"),
        (TWO, "target * stop == 7.77", "nothing is left of the grid's 10,000,000,000"),
        (TWO, "target > stop + 100000", "nothing is left of the grid's 10,000,000,000"),
        (THREE, "stop * stop + target * target + trail * trail < 0", "nothing is left"),
        (THREE, "stop * target * trail == 9973 * 7919", r"only 0 combinations|nothing is left"),
        (FAST, "fast > slow + 100", r"fast = \d+ is not below strategy.slow"),
        (FAST, "stop > 9999", "nothing is left"),
    ],
)
def test_what_is_almost_never_true_is_refused_after_so_many_looks(looked_at, axes, where, fault):
    with pytest.raises(ConfigError, match=fault):
        sweep(
            synthetic_bars(n_days=2),
            strategy=MovingAverageCross(),
            grid=axes,
            where=where,
            sample=Sample(n=10),
        )
    # the draws, and the boxes of at most two searches
    assert looked_at["conditions"] < 1_100_000 + 2 * 4_096 * search.LEAF
    assert looked_at["rules"] < 300_000


def test_counting_looks_at_the_border_alone(looked_at):
    grid = build(TWO, where="target > stop")
    assert grid.count() == 100_000 * 99_999 // 2
    grid.check()
    assert looked_at["conditions"] < 10_000 * search.LEAF


def test_a_search_may_be_too_long():
    grid = build(THREE, where="stop * target * trail == 9973 * 7919")
    with pytest.raises(search.Unsettled):
        search.first(grid.shape, grid.conditions, boxes=10)
    assert search.first(grid.shape, grid.conditions[:0], boxes=10) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["random", "halton"])
@pytest.mark.parametrize("invalid", ["refuse", "skip"])
def test_a_sample_is_the_same_however_little_is_searched(monkeypatch, kind, invalid):
    axes = {"strategy.fast": steps(40), "strategy.slow": steps(40), "rules.stop": steps(30)}
    drawn = []
    for boxes, judged in [(None, 10**6), (1, 10**6), (1, 1)]:
        monkeypatch.setattr(sample_module, "_BOXES", boxes)
        monkeypatch.setattr(sample_module, "_TRIED", judged)
        grid = build(axes, where="stop < slow - fast", invalid=invalid)
        drawn.append(Sample(kind=kind, n=200, seed=4).combo_ids(grid))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_a_random_sample_is_the_start_of_a_permutation():
    """The rows do not depend on how admitted ones are found: the first n of all, shuffled."""
    grid = build(
        {"strategy.fast": steps(40), "strategy.slow": steps(40), "rules.stop": steps(30)},
        where="fast < slow and stop * 2 < slow",
    )
    shuffled = sample_module._permuted(np.arange(grid.size, dtype=np.uint64), grid.size, 11)
    admitted = grid.box_mask(tuple(map(range, grid.shape))).ravel()[shuffled]
    for n in (1, 10, 3_000):
        expected = np.sort(shuffled[admitted][:n])
        np.testing.assert_array_equal(Sample(n=n, seed=11).combo_ids(grid), expected)


def test_what_the_rules_refuse_is_found_in_the_sample_where_the_grid_is_too_large():
    axes = {"strategy.fast": steps(3_000), "strategy.slow": steps(3_000)}
    arguments = (MovingAverageCross(), ExitRules(), Contract(), axes, Sample(n=50))
    with pytest.raises(ConfigError, match=r"combination [\d,]+ of the grid is not allowed.*below"):
        SampledGrid.build(*arguments)
    space = SampledGrid.build(*arguments, invalid="skip")
    for combo_id in space.combo_ids:
        values = space.values(int(combo_id))
        assert values["strategy.fast"] < values["strategy.slow"]


def test_one_combination_in_a_large_grid_that_the_rules_refuse_is_found():
    axes = {
        "rules.stop": [0, *range(1, 2_000)],
        "rules.target_r": [0, *range(1, 100)],
        "strategy.lookback": GridRange(2, 1_001, 1),
    }
    arguments = (BarraElefante(), ExitRules(target=0), Contract(), axes, Sample(n=2))
    where = "lookback > 1000 or stop > 0 or target_r == 0"
    bad = next(
        at
        for at, (stop, target_r, lookback) in enumerate(
            itertools.product(axes["rules.stop"], axes["rules.target_r"], range(2, 1_002))
        )
        if stop == 0 and target_r > 0 and lookback > 1000
    )
    with pytest.raises(ConfigError, match=f"combination {bad:,} of the grid is not allowed"):
        SampledGrid.build(*arguments, where=where)
