"""Rankings, fronts and reductions, batch by batch, against what one pass over all rows gives."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_py.sweep.result.ranking import BestRows, ParetoFront
from backtest_py.sweep.result.reductions import ReducedGroups

values = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, np.inf, -np.inf, np.nan])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.tuples(values, st.booleans()), max_size=12), max_size=5),
    st.integers(1, 8),
    st.randoms(),
)
def test_ranking_in_batches_is_one_sort(batches, n, chance):
    rows = list(itertools.chain(*batches))
    keys = np.array([key for key, _ in rows])
    ruined = np.array([ruin for _, ruin in rows], np.bool_)
    ids = np.arange(len(keys))
    chance.shuffle(ids)
    ranking, start = BestRows(n), 0
    for source, batch in enumerate(batches):
        end = start + len(batch)
        ranking.add(keys[start:end], ids[start:end], ruined=ruined[start:end], source=source)
        start = end
    expected = pd.DataFrame({"ruined": ruined, "key": keys, "id": ids})
    expected = expected.sort_values(["ruined", "key", "id"])["id"][:n]
    assert ranking.ids.tolist() == expected.tolist()
    sources = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    assert ranking.sources.tolist() == [sources[ids.tolist().index(i)] for i in ranking.ids]


def unbeaten(keys):
    """Return the front of rows, one pair at a time."""
    defined = [row for row in range(len(keys)) if not np.isnan(keys[row]).any()]
    return {
        row
        for row in defined
        if not any(
            (keys[rival] <= keys[row]).all() and (keys[rival] < keys[row]).any()
            for rival in defined
        )
    }


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 4), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 2**32))
def test_front_in_batches_is_the_front_of_all(n_keys, sizes, seed):
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 7, (sum(sizes), n_keys)).astype(float)
    keys[rng.random(keys.shape) < 0.05] = np.nan
    keys[rng.random(keys.shape) < 0.05] = np.inf
    front, ends = ParetoFront(n_keys), np.cumsum([0, *sizes])
    for source, (start, end) in enumerate(itertools.pairwise(ends)):
        front.add(keys[start:end].T, np.arange(start, end), source=source)
    assert set(front.ids.tolist()) == unbeaten(keys)
    assert len(front.ids) == len(set(front.ids.tolist()))
    np.testing.assert_array_equal(front.keys, keys[front.ids].T)
    np.testing.assert_array_equal(front.sources, np.searchsorted(ends, front.ids, "right") - 1)


def test_front_of_many_rows():
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(3, 2000))
    keys[2] -= keys[0]  # a trade-off, so that hundreds stand on the front
    front = ParetoFront(3)
    for at in range(0, 2000, 500):
        front.add(keys[:, at : at + 500], np.arange(at, at + 500), source=0)
    assert len(front.ids) > 64
    assert set(front.ids.tolist()) == unbeaten(keys.T)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), values), max_size=30),
    st.sampled_from(["max", "min", "mean", "median"]),
)
def test_groups_are_what_numpy_gives(rows, reduction):
    codes = np.array([row[0] for row in rows], np.int64)
    numbers = np.array([row[1] for row in rows])
    groups = ReducedGroups(4, reduction)
    for at in range(0, len(rows), 7):
        groups.add(codes[at : at + 7], numbers[at : at + 7])
    for code, found in enumerate(groups.values()):
        own = numbers[(codes == code) & ~np.isnan(numbers)]
        with np.errstate(invalid="ignore"):
            expected = getattr(np, reduction)(own) if len(own) else np.nan
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_median_of_numbers_whose_sum_is_too_large():
    groups = ReducedGroups(1, "median")
    groups.add(np.array([0, 0]), np.array([1.7e308, 1.5e308]))
    np.testing.assert_allclose(groups.values(), [1.6e308])
