"""Samples: distinct, admitted, the same everywhere, and spread as their kind promises."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_py import BarraElefante, Contract, ExitRules, MovingAverageCross
from backtest_py.errors import ConfigError
from backtest_py.sweep.space import sample as module
from backtest_py.sweep.space.grid import Grid, GridRange
from backtest_py.sweep.space.sample import Sample, SampledGrid, build_grid, grid_from_mapping

AXES = {
    "rules.stop": GridRange(0.5, 5.0, 0.5),
    "rules.target": GridRange(1, 8, 1),
    "strategy.lookback": GridRange(5, 30, 5),
}
CONTINUOUS = {
    "rules.stop": {"min": 0.5, "max": 3.0},
    "strategy.lookback": {"min": 5, "max": 30},
    "rules.unit": ["atr", "points"],
    "strategy.max_shadow_ratio": {"min": 0, "max": 1},
}
KINDS = ["random", "halton"]


def build(grid, sample=None, *, strategy=None, rules=None, **options):
    return build_grid(
        strategy or BarraElefante(), rules or ExitRules(), Contract(), grid, sample, **options
    )


# the generators


@given(st.integers(1, 3_000), st.integers(0, 2**64 - 1))
def test_a_permutation_reaches_everything_once(size, seed):
    reached = module._permuted(np.arange(size, dtype=np.uint64), size, seed)
    assert np.array_equal(np.sort(reached), np.arange(size))


@pytest.mark.parametrize("size", [2**62, 2**62 - 1, 2**61 + 1, 10**18])
def test_a_permutation_of_a_huge_range_stays_in_it(size):
    reached = module._permuted(np.arange(10_000, dtype=np.uint64), size, 5)
    assert len(np.unique(reached)) == 10_000
    assert reached.min() >= 0
    assert reached.max() < size
    assert abs(reached.mean() / size - 0.5) < 0.02


def test_halton_points_fill_every_dimension_evenly():
    points = module._halton(0, 1_000, 26, 3)
    assert points.min() >= 0
    assert points.max() < 1
    for column, base in zip(points.T, module._primes(26), strict=True):
        # so many in a row lie one in each cell of the base, but for the shift of the edges
        whole = len(column) // base
        counts = np.histogram(column, np.linspace(0, 1, base + 1))[0]
        assert counts.min() >= whole - 2
        assert counts.max() <= whole + 3


def test_halton_dimensions_are_not_aligned():
    points = module._halton(0, 500, 26, 0)
    correlations = np.abs(np.corrcoef(points.T) - np.eye(26))
    assert correlations.max() < 0.25
    assert np.median(correlations) < 0.05


def test_later_points_continue_earlier_ones():
    whole = module._halton(0, 100, 3, 9)
    np.testing.assert_array_equal(
        np.concatenate([module._halton(0, 37, 3, 9), module._halton(37, 100, 3, 9)]), whole
    )


# samples of a grid


@pytest.mark.parametrize(
    ("kind", "ids", "stops"),
    [
        (
            "random",
            [80, 86, 107, 125, 145, 321],
            [
                1.474574370978179,
                1.631104737528671,
                0.8356457470211216,
                2.7950489628653306,
                2.699034244069543,
                2.1864168038598466,
            ],
        ),
        (
            "halton",
            [41, 55, 262, 321, 342, 396],
            [
                2.724574370978179,
                2.099574370978179,
                0.8495743709781785,
                1.787074370978179,
                0.5370743709781785,
                2.412074370978179,
            ],
        ),
    ],
)
def test_samples_are_the_same_everywhere(kind, ids, stops):
    sample = Sample(kind=kind, n=6, seed=7)
    assert sample.combo_ids(build(AXES)).tolist() == ids
    space = build(CONTINUOUS, sample)
    assert [space.values(i)["rules.stop"] for i in range(6)] == stops


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(KINDS), st.integers(1, 200), st.integers(0, 2**64 - 1))
def test_a_sample_holds_distinct_admitted_combinations_in_order(kind, n, seed):
    grid = build(AXES, where="target > stop and lookback != 10")
    ids = Sample(kind=kind, n=n, seed=seed).combo_ids(grid)
    assert ids.dtype == np.int64
    assert len(ids) == n
    assert (np.diff(ids) > 0).all()
    assert grid.box_mask(tuple(map(range, grid.shape))).ravel()[ids].all()


def test_a_random_sample_can_be_everything():
    grid = build(AXES)
    ids = Sample(n=grid.size).combo_ids(grid)
    assert ids.tolist() == list(range(grid.size))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_other_seeds_differ(kind):
    grid = build(AXES)
    first, second = (Sample(kind=kind, n=50, seed=seed).combo_ids(grid) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_a_sample_does_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    grid = build(AXES, where="target > stop")
    samples = [Sample(kind=kind, n=100, seed=3) for kind in KINDS]
    drawn = [sample.combo_ids(grid) for sample in samples]
    points = [build(CONTINUOUS, sample, where="stop > 1") for sample in samples]
    monkeypatch.setattr(module, "_BATCH", 7)
    for sample, ids, space in zip(samples, drawn, points, strict=True):
        np.testing.assert_array_equal(sample.combo_ids(grid), ids)
        again = build(CONTINUOUS, sample, where="stop > 1")
        np.testing.assert_array_equal(again.digits, space.digits)
        assert again == space


def test_a_huge_grid_is_sampled_without_being_listed():
    names = ("stop", "target", "trail", "target_through_ticks")
    axes = {f"rules.{name}": GridRange(1, 30_000, 1) for name in names}
    grid = build(axes)
    ids = Sample(n=1_000).combo_ids(grid)
    assert grid.size == 30_000**4
    assert len(np.unique(ids)) == 1_000
    assert ids.max() > grid.size // 2


def test_a_random_sample_is_uniform():
    grid = build(AXES)
    counts = np.zeros(grid.size, int)
    for seed in range(200):
        counts[Sample(n=48, seed=seed).combo_ids(grid)] += 1
    # 200 draws of a tenth: binomial with mean 20 and standard deviation 4.2
    assert abs(counts.mean() - 20) < 1e-9
    assert 3.6 < counts.std() < 4.8
    assert counts.min() > 3
    assert counts.max() < 40


# rows


def test_rows_of_a_grid_keep_its_numbers():
    grid = build(AXES)
    space = build(AXES, Sample(n=20, seed=1))
    assert space.size == 20
    assert space.axes == grid.axes
    assert (space.strategy_axes, space.rules_axes) == ((2,), (0, 1))
    for row, combo_id in enumerate(space.combo_ids):
        assert space.row(combo_id) == row
        assert space.values(combo_id) == grid.values(combo_id)
        assert space.settings(combo_id) == grid.settings(combo_id)
        assert tuple(space.digits[row]) == grid.digits(int(combo_id))


@pytest.mark.parametrize("kind", KINDS)
def test_continuous_rows_lie_in_their_ranges(kind):
    space = build(CONTINUOUS, Sample(kind=kind, n=2_000, seed=5))
    assert space.combo_ids.tolist() == list(range(2_000))
    assert space.digits.shape == (2_000, 4)
    stops = [space.values(i)["rules.stop"] for i in range(2_000)]
    assert all(type(stop) is float for stop in stops)
    assert 0.5 <= min(stops) < 0.51
    assert 2.99 < max(stops) <= 3.0
    assert abs(np.mean(stops) - 1.75) < 0.05
    assert len(set(stops)) == len(space.axes[0]) == 2_000
    assert space.axes[0].values == tuple(sorted(stops))
    assert {space.values(i)["strategy.lookback"] for i in range(2_000)} == set(range(5, 31))
    assert {space.values(i)["rules.unit"] for i in range(2_000)} == {"atr", "points"}


def test_continuous_rows_give_settings():
    space = build(CONTINUOUS, Sample(n=10, seed=5), rules=ExitRules(close_time="12:00"))
    strategy, rules, contract = space.settings(7)
    values = space.values(7)
    assert rules == ExitRules(
        stop=values["rules.stop"], unit=values["rules.unit"], close_time="12:00"
    )
    assert strategy.lookback == values["strategy.lookback"]
    assert contract == Contract()


def test_every_continuous_row_is_admitted():
    axes = {
        "strategy.fast": {"min": 1, "max": 40},
        "strategy.slow": {"min": 2, "max": 40},
        "rules.stop": {"min": 0.5, "max": 3},
        "rules.target": {"min": 0.5, "max": 3},
    }
    space = build(
        axes,
        Sample(n=500, seed=2),
        strategy=MovingAverageCross(),
        where="target > 1.5 * stop",
        invalid="skip",
    )
    for combo_id in range(500):
        strategy, rules, _ = space.settings(combo_id)
        assert strategy.fast < strategy.slow
        assert rules.target > 1.5 * rules.stop
    with pytest.raises(ConfigError, match=r"combination \d+ of the sample .*is not below"):
        build(axes, Sample(n=500, seed=2), strategy=MovingAverageCross())
    build(axes, Sample(n=500, seed=2), strategy=MovingAverageCross(), where="fast < slow")


def test_the_default_target_is_off_where_a_drawn_target_r_is_on():
    space = build({"rules.target_r": {"min": 0.5, "max": 2}}, Sample(n=5), where="target == 0")
    assert [space.settings(i)[1].target for i in range(5)] == [0.0] * 5


@pytest.mark.parametrize("axes", [AXES, CONTINUOUS])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_goes_to_other_processes_and_files(axes, kind):
    space = build(axes, Sample(kind=kind, n=50, seed=2**64 - 1), where="stop > 1")
    assert space.admits(list(space.digits.T)).all()
    for copy in (
        pickle.loads(pickle.dumps(space)),
        grid_from_mapping(json.loads(json.dumps(space.to_mapping()))),
    ):
        assert isinstance(copy, SampledGrid)
        assert copy == space
        np.testing.assert_array_equal(copy.combo_ids, space.combo_ids)
        np.testing.assert_array_equal(copy.digits, space.digits)


def test_without_a_sample_the_whole_grid_is_taken():
    assert isinstance(build(AXES), Grid)


@pytest.mark.parametrize(
    ("axes", "options", "sample", "part"),
    [
        (AXES, {}, {"n": 481}, r"sample\.n = 481 is more than the grid's 480 combinations"),
        (AXES, {"where": "stop == 1"}, {"n": 49}, r"sample\.n = 49, but only 48 combinations"),
        (CONTINUOUS, {"where": "stop > 9"}, {"n": 5}, r"sample\.n = 5, but only 0 combinations"),
        (AXES, {"where": "stop > 9"}, {"n": 5}, "nothing is left"),
        ({"rules.stop": {"min": 2, "max": 1}}, {}, {}, r"min = 2\.0 above max = 1\.0"),
        ({"rules.stop": {"min": 1, "max": 1}}, {}, {}, r"holds 1\.0 twice"),
        ({"rules.stop": {"min": -1, "max": 1}}, {}, {}, r"rules\.stop = -1 is not allowed"),
        ({"rules.stop": {"min": 0, "max": float("inf")}}, {}, {}, r"rules\.stop = inf"),
        ({"rules.stop": {"min": 0, "max": "1"}}, {}, {}, r"rules\.stop = '1'"),
        ({"strategy.lookback": {"min": 9, "max": 5}}, {}, {}, "upwards"),
        ({"strategy.lookback": {"min": 0.5, "max": 5}}, {}, {}, r"min = 0\.5 is not allowed"),
        ({"rules.unit": {"min": 0, "max": 1}}, {}, {}, "a range needs numbers or times"),
        (AXES, {}, {"n": 0}, r"sample\.n = 0 is not allowed"),
        (AXES, {}, {"n": 1.5}, r"sample\.n = 1\.5 is not allowed"),
        (AXES, {}, {"seed": -1}, r"sample\.seed = -1 is not allowed"),
        (AXES, {}, {"seed": 2**64}, r"sample\.seed = 18446744073709551616 is not allowed"),
        (AXES, {}, {"kind": "sobol"}, r"sample\.kind = 'sobol' is not allowed; give one of"),
    ],
)
def test_a_sample_that_cannot_be_drawn_is_refused(axes, options, sample, part, monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 50_000)
    with pytest.raises(ConfigError, match=part):
        build(axes, Sample(**{"n": 10, **sample}), **options)


@pytest.mark.parametrize("combo_id", [-1, 480, 10**30, 1.0, "1", True, None])
def test_a_number_outside_the_sample_is_refused(combo_id):
    space = build(AXES, Sample(n=20))
    with pytest.raises(ConfigError, match="is not in the sample; it holds 20"):
        space.values(combo_id)
