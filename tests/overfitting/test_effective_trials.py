"""Effective number of trials: planted clusters are found, and noise is not one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial import distance

import backtest_py as bt
from backtest_py.overfitting import effective_trials
from backtest_py.overfitting.trials import _best_clusters


def ideas(n_ideas, n_each, correlation, n_days, seed=0):
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n_days, n_ideas * n_each))
    shared = np.repeat(rng.normal(size=(n_days, n_ideas)), n_each, axis=1)
    return 0.01 * (math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)


@pytest.mark.parametrize(
    ("n_ideas", "n_each", "correlation"), [(5, 20, 0.9), (5, 20, 0.3), (20, 10, 0.5), (2, 3, 0.8)]
)
def test_planted_clusters_are_counted(n_ideas, n_each, correlation):
    found = effective_trials(ideas(n_ideas, n_each, correlation, 500))
    assert found.clustered
    assert found.number == n_ideas
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(n_ideas), n_each))


@pytest.mark.parametrize(("n", "n_days"), [(10, 1000), (60, 100), (60, 1000), (150, 250)])
@pytest.mark.parametrize("seed", range(3))
def test_noise_stays_as_many(n, n_days, seed):
    found = effective_trials(np.random.default_rng(seed).normal(size=(n_days, n)))
    assert not found.clustered
    assert found.number == pytest.approx(n, rel=0.02)
    np.testing.assert_array_equal(found.labels, np.arange(n))


def test_one_idea_is_one_trial():
    copies = ideas(1, 40, 0.99, 500)
    assert effective_trials(copies).number < 1.5
    exact = effective_trials(np.repeat(copies[:, :1], 30, axis=1))
    assert exact.number == pytest.approx(1.0)


def test_equal_correlation_gives_the_formula_of_the_paper():
    found = effective_trials(ideas(1, 50, 0.4, 2000, seed=3))
    assert not found.clustered
    mean = found.mean_correlation
    assert mean == pytest.approx(0.4, abs=0.03)
    assert found.number == pytest.approx(mean + (1 - mean) * 50)


@pytest.mark.parametrize("n", [3, 4, 9, 25])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_have_the_largest_silhouette_of_scipys_tree(n, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3)) + rng.integers(0, 4, (n, 1))
    apart = distance.squareform(distance.pdist(points))
    labels, score = _best_clusters(apart.copy())

    def silhouette(groups):
        values = []
        for i in range(n):
            own = (groups == groups[i]) & (np.arange(n) != i)
            if not own.any():
                values.append(0.0)
                continue
            inside = apart[i, own].mean()
            others = set(groups) - {groups[i]}
            nearest = min(apart[i, groups == g].mean() for g in others)
            values.append((nearest - inside) / max(nearest, inside))
        return np.mean(values)

    tree = hierarchy.linkage(distance.squareform(apart), "average")
    cuts = [hierarchy.fcluster(tree, k, "maxclust") for k in range(2, n)]
    assert score == pytest.approx(max(map(silhouette, cuts)))
    assert silhouette(labels) == pytest.approx(score)
    assert list(dict.fromkeys(labels.tolist())) == list(range(labels.max() + 1))


@given(st.integers(3, 12), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_number_is_possible_and_does_not_hang_on_scale_or_idle_series(n, seed):
    table = np.random.default_rng(seed).normal(size=(30, n))
    found = effective_trials(table)
    assert 1.0 <= found.number <= n
    idle = np.hstack([np.zeros((30, 2)), table * 1e-4])
    among = effective_trials(idle)
    assert among.number == pytest.approx(found.number)
    assert among.labels[:2].tolist() == [-1, -1]
    np.testing.assert_array_equal(among.labels[2:], found.labels)


def test_few_series():
    rng = np.random.default_rng(0)
    one = effective_trials(rng.normal(size=(50, 1)))
    assert one.number == 1.0
    assert math.isnan(one.mean_correlation)
    pair = rng.normal(size=(500, 2))
    assert effective_trials(pair).number == pytest.approx(2.0, abs=0.1)
    pair[:, 1] = -pair[:, 0]
    assert effective_trials(pair).number == 2.0


@pytest.mark.parametrize(
    ("returns", "error", "match"),
    [
        (np.zeros((50, 3)), bt.DataError, "no series in returns moves"),
        (np.zeros((50, 0)), bt.DataError, "no series in returns moves"),
        (np.zeros((2, 3)), bt.DataError, "at least 3"),
        (np.zeros((5, 1001)), bt.ConfigError, "too many to cluster"),
        (np.full((5, 3), np.nan), bt.DataError, "not finite"),
        (np.zeros(5), bt.DataError, "rows and columns"),
    ],
)
def test_what_cannot_be_is_refused(returns, error, match):
    with pytest.raises(error, match=match):
        effective_trials(returns)
