"""SPA and StepM against arch itself."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from arch import bootstrap as arch

import backtest_py as bt
from backtest_py.overfitting import effective_trials, spa, stepm


def oracle_losses():
    rng = np.random.default_rng(0)
    benchmark = rng.normal(size=500)
    models = benchmark[:, None] + 0.5 * rng.normal(size=(500, 20))
    models[:, 3] -= 0.06
    return benchmark, models


def test_oracle():
    benchmark, models = oracle_losses()
    found = spa(-models, -benchmark, block_size=10, n_resamples=2000, seed=42)
    assert (found.lower, found.consistent, found.upper) == (0.005, 0.0065, 0.007)
    assert found.n_strategies == 20
    # the sign matters: losses are not returns
    assert spa(models, benchmark, block_size=10, n_resamples=200, seed=42).consistent > 0.1


@pytest.mark.parametrize("kind", ["stationary", "circular", "moving block"])
def test_spa_is_that_of_arch(kind):
    returns = np.random.default_rng(7).normal(0.0004, 0.01, (250, 12))
    test = arch.SPA(np.zeros(250), -returns, reps=300, seed=5, bootstrap=kind)
    test.compute()
    found = spa(returns, seed=5, n_resamples=300, bootstrap=kind)
    assert [found.lower, found.consistent, found.upper] == test.pvalues.tolist()


def test_stepm_is_that_of_arch():
    named = 0
    for seed in range(12):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (200, 8))
        returns[:, :3] += (0.01, 0.0015, 0.0012)
        test = arch.StepM(np.zeros(200), -returns, reps=200, seed=1)
        test.compute()
        found = stepm(returns, seed=1, n_resamples=200)
        assert found.tolist() == sorted(test.superior_models)
        named += len(found)
    assert named > 14


def test_stepm_may_name_every_strategy():
    # arch 8.0.0 fails where they are named in more than one step
    returns = np.random.default_rng(5).normal(0.0, 0.01, (200, 3))
    returns += (0.01, 0.0012, 0.0012)
    assert stepm(returns, seed=1, n_resamples=200).tolist() == [0, 1, 2]


def test_strategies_that_do_nothing_are_left_out():
    returns = np.random.default_rng(7).normal(0.0004, 0.01, (250, 12))
    padded = np.insert(returns, 4, 0.0, axis=1)
    alone, among = (spa(table, seed=5, n_resamples=200) for table in (returns, padded))
    assert alone == among
    returns[:, 6] += 0.01
    padded = np.insert(returns, 4, 0.0, axis=1)
    assert stepm(padded, seed=5, n_resamples=200).tolist() == [7]


def test_nothing_to_compare():
    found = spa(np.zeros((50, 3)), seed=1)
    assert found.n_strategies == 0
    assert all(map(math.isnan, (found.lower, found.consistent, found.upper)))
    assert stepm(np.zeros((50, 3)), seed=1).size == 0
    assert stepm(np.zeros((50, 0)), seed=1).size == 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: spa(np.ones((2, 3)), seed=1), bt.DataError, "at least 3"),
        (lambda: spa(np.ones((9, 3)), np.ones(8), seed=1), bt.DataError, "same days"),
        (lambda: spa(np.full((9, 3), np.inf), seed=1), bt.DataError, "not finite"),
        (lambda: spa(np.ones((9, 3)), seed=-1), bt.ConfigError, "seed"),
        (lambda: spa(np.ones((9, 3)), seed=None), bt.ConfigError, "seed"),
        (lambda: spa(np.ones((9, 3)), seed=1, block_size=10), bt.ConfigError, "block_size"),
        (lambda: spa(np.ones((9, 3)), seed=1, bootstrap="x"), bt.ConfigError, "bootstrap"),
        (lambda: spa(np.ones((9, 3)), seed=1, n_resamples=0), bt.ConfigError, "n_resamples"),
        (lambda: stepm(np.ones((9, 3)), seed=1, size=1.0), bt.ConfigError, "size"),
    ],
)
def test_what_cannot_be_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("arch.bootstrap", lambda x: spa(x, seed=1)),
        ("arch.bootstrap", lambda x: stepm(x, seed=1)),
        ("scipy.cluster.hierarchy", effective_trials),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(bt.ConfigError, match=r'pip install "backtest-py\[overfitting\]"'):
        call(np.random.default_rng(0).normal(size=(50, 4)))
