"""Neighbours in the grid against a loop over coordinates."""

from __future__ import annotations

import itertools
import math
import statistics
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backtest_py as bt
from backtest_py.overfitting import GridValues, plateaus


def loop(values, shape, ids, sign):
    """Return worst, median and number of the neighbours of every row."""
    places = list(itertools.product(*map(range, shape)))
    row_of = {places[combo]: row for row, combo in enumerate(ids)}
    found = []
    for combo in ids:
        around = []
        for axis, step in itertools.product(range(len(shape)), (-1, 1)):
            place = list(places[combo])
            place[axis] += step
            if tuple(place) in row_of:
                value = values[row_of[tuple(place)]]
                around.append(-math.inf if math.isnan(value) else sign * value)
        around.sort()
        if not around:
            found.append((math.nan, math.nan, 0))
            continue
        low = statistics.median_low(around)
        worst = math.nan if around[0] == -math.inf else sign * around[0]
        middle = math.nan if low == -math.inf else sign * statistics.median(around)
        found.append((worst, middle, len(around)))
    return [np.array(column) for column in zip(*found, strict=True)]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 999),
    st.sampled_from(["large", "small"]),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_equals_a_loop(shape, seed, better, left_out, undefined):
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    ids = np.flatnonzero(rng.random(size) >= left_out)
    if not ids.size:
        ids = np.array([seed % size])
    values = rng.integers(-3, 4, ids.size) / 4
    values[rng.random(ids.size) < undefined] = math.nan
    sign = 1 if better == "large" else -1
    grid = GridValues(values, shape, ids, better=better)
    found = grid.plateaus()
    worst, median, counts = loop(values, shape, ids.tolist(), sign)
    np.testing.assert_array_equal(found.worst, worst)
    np.testing.assert_array_equal(found.median, median)
    np.testing.assert_array_equal(found.n_neighbours, counts)
    score = np.fmin(sign * values, sign * worst)
    score[np.isnan(values) | np.isnan(worst)] = math.nan
    np.testing.assert_array_equal(found.score, sign * score)
    assert found.best == (-1 if np.isnan(score).all() else np.nanargmax(score))
    around = grid.winner()
    if np.isnan(values).all():
        assert around.row == -1
        assert math.isnan(around.value)
    else:
        assert around.row == np.nanargmax(sign * values)
        row = around.row
        np.testing.assert_array_equal(
            (around.worst, around.median, around.n_neighbours),
            (worst[row], median[row], counts[row]),
        )


def test_rows_in_chunks_are_the_same(monkeypatch):
    values = np.random.default_rng(0).normal(size=5 * 6 * 7)
    whole = GridValues(values, (5, 6, 7)).plateaus()
    monkeypatch.setattr(plateaus, "_CHUNK", 11)
    parts = GridValues(values, (5, 6, 7)).plateaus()
    for name in ("worst", "median", "score", "n_neighbours"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes()


def test_all_ids_given_is_as_none_given():
    values = np.random.default_rng(0).normal(size=24)
    given_, none = (GridValues(values, (4, 6), ids).plateaus() for ids in (np.arange(24), None))
    np.testing.assert_array_equal(given_.median, none.median)


def test_a_plateau_beats_a_lonely_peak():
    values = np.zeros((9, 9))
    values[1, 1] = 5.0
    values[4:8, 4:8] = 2.0
    grid = GridValues(values.ravel(), (9, 9))
    around = grid.winner()
    assert divmod(around.row, 9) == (1, 1)
    assert (around.value, around.worst, around.median) == (5.0, 0.0, 0.0)
    assert {(cliff.axis, cliff.step) for cliff in around.cliffs} == {
        (0, -1),
        (0, 1),
        (1, -1),
        (1, 1),
    }
    assert around.edges == ()
    best = grid.plateaus().best
    assert divmod(best, 9) == (5, 5)


def test_a_gentle_slope_has_no_cliff_and_an_edge():
    values = np.add.outer(np.arange(6.0), np.zeros(2)).ravel()
    around = GridValues(values, (6, 2)).winner(cliff=0.9)
    assert around.cliffs == ()
    assert around.edges == (0,)  # an axis of two values has nothing but edges


def test_an_undefined_neighbour_is_a_cliff():
    around = GridValues([1.05, 1.1, math.nan, 0.5, 0.4], [5]).winner()
    assert [(cliff.axis, cliff.step, cliff.row) for cliff in around.cliffs] == [(0, 1, 2)]
    assert math.isnan(around.worst)
    assert math.isnan(around.cliffs[0].value)


def test_infinite_values_rank_and_do_not_break():
    found = GridValues([math.inf, 2.0, math.inf, math.inf], [4], better="large")
    assert found.plateaus().worst.tolist() == [2.0, math.inf, 2.0, math.inf]
    assert found.plateaus().median.tolist() == [2.0, math.inf, math.inf, math.inf]
    assert found.winner().row == 0
    assert found.sensitivity()[0].counts.tolist() == [0, 1, 0, 0]


def test_sensitivity_is_an_analysis_of_variance():
    rng = np.random.default_rng(3)
    shape = (4, 3, 5)
    full = np.add.outer(np.array([0.0, 1.0, 2.0, 9.0]), np.zeros((3, 5)))
    values = (full + rng.normal(0.0, 0.5, shape)).ravel()
    ids = np.flatnonzero(rng.random(60) < 0.7)
    chosen = values[ids]
    chosen[5] = math.nan
    found = GridValues(chosen, shape, ids).sensitivity()
    known = ~np.isnan(chosen)
    total = np.sum((chosen[known] - chosen[known].mean()) ** 2)
    for axis, one in enumerate(found):
        places = np.unravel_index(ids, shape)[axis]
        groups = [chosen[known & (places == k)] for k in range(shape[axis])]
        np.testing.assert_allclose(one.means, [group.mean() for group in groups])
        between = sum(len(g) * (g.mean() - chosen[known].mean()) ** 2 for g in groups)
        assert one.explained == pytest.approx(between / total)
        assert one.range_of_means == pytest.approx(np.ptp([g.mean() for g in groups]))
        assert one.counts.tolist() == [len(group) for group in groups]
    assert found[0].explained > 0.9
    assert max(found[1].explained, found[2].explained) < 0.1


@pytest.mark.parametrize("values", [[math.nan] * 6, [1.5] * 6])
def test_nothing_varies(values):
    for one in GridValues(values, (2, 3)).sensitivity():
        assert math.isnan(one.explained)
        assert one.range_of_means == 0.0 or math.isnan(one.range_of_means)


def test_a_grid_of_one():
    grid = GridValues([1.0], [1, 1])
    found = grid.plateaus()
    assert np.isnan(found.worst).all()
    assert found.n_neighbours.tolist() == [0]
    assert found.best == -1
    around = grid.winner()
    assert (around.row, around.value, around.n_neighbours, around.edges) == (0, 1.0, 0, ())


def test_a_sample_of_a_huge_grid():
    shape = (1000,) * 6
    ids = np.array([0, 1, 10**17, 10**17 + 1000, 10**18 - 1])
    found = GridValues([1.0, 2.0, 3.0, 4.0, 5.0], shape, ids).plateaus()
    assert found.n_neighbours.tolist() == [1, 1, 1, 1, 0]


def test_four_million_rows():
    shape = (7, 8, 6, 10, 7, 6, 6, 5)
    values = np.random.default_rng(0).normal(size=math.prod(shape))
    start = time.process_time()
    GridValues(values, shape).plateaus()
    assert time.process_time() - start < 10.0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: GridValues([], [1]), bt.DataError, "empty"),
        (lambda: GridValues([1.0, 2.0], [3]), bt.DataError, "2 rows and the grid has 3"),
        (lambda: GridValues([1.0], []), bt.ConfigError, "shape is empty"),
        (lambda: GridValues([1.0], [0]), bt.ConfigError, "shape"),
        (lambda: GridValues([1.0], [10**10, 10**10]), bt.ConfigError, "below 2"),
        (lambda: GridValues([1.0], [1], better="big"), bt.ConfigError, "better"),
        (lambda: GridValues([1.0, 2.0], [3], [2, 1]), bt.DataError, "ascend"),
        (lambda: GridValues([1.0, 2.0], [3], [1, 1]), bt.DataError, "ascend"),
        (lambda: GridValues([1.0, 2.0], [3], [1, 3]), bt.DataError, "below 3"),
        (lambda: GridValues([1.0, 2.0], [3], [-1, 2]), bt.DataError, "from 0"),
        (lambda: GridValues([1.0, 2.0], [3], [1.0, 2.0]), bt.DataError, "whole number"),
        (lambda: GridValues([1.0, 2.0], [3], [1]), bt.DataError, "each of the 2 rows"),
        (lambda: GridValues([1.0], [1]).winner(cliff=0.0), bt.ConfigError, "cliff"),
    ],
)
def test_what_cannot_be_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
