"""PBO by CSCV against an implementation that follows the paper day by day."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import backtest_py as bt
from backtest_py.overfitting import cscv, pbo, pbo_from_blocks


def naive(blocks, rf=0.0):
    """Return chosen, logits, in sample and out of sample of every split.

    ``blocks`` are tables of daily returns with nan on days that do not count.
    """

    def sharpe(days):
        counted = days[~np.isnan(days)]
        if counted.size < 2:
            return math.nan
        variance = counted.var(ddof=1)
        if variance <= 1e-9 * np.mean(counted**2):
            return math.nan
        return (counted.mean() - rf) / math.sqrt(variance)

    everyone = range(blocks[0].shape[1])
    found = []
    for taken in itertools.combinations(range(len(blocks)), len(blocks) // 2):
        inside = np.concatenate([blocks[b] for b in taken])
        outside = np.concatenate([blocks[b] for b in range(len(blocks)) if b not in taken])
        a = np.array([sharpe(inside[:, k]) for k in everyone])
        b = np.array([sharpe(outside[:, k]) for k in everyone])
        if np.isnan(a).all():
            found.append((-1, math.nan, math.nan, math.nan))
            continue
        best = int(np.nanargmax(a))
        ranked = [k for k in everyone if k == best or not math.isnan(b[k])]
        ranks = stats.rankdata(np.nan_to_num(b[ranked], nan=-np.inf))
        share = ranks[ranked.index(best)] / (len(ranked) + 1)
        differ = len(ranked) > 1 and len(set(np.nan_to_num(b[ranked], nan=-np.inf))) > 1
        logit = math.log(share / (1 - share)) if differ else math.nan
        found.append((best, logit, a[best], b[best]))
    return [np.array(column) for column in zip(*found, strict=True)]


def sums_of(blocks):
    return (
        np.array([np.nansum(block, axis=0) for block in blocks]),
        np.array([np.nansum(block**2, axis=0) for block in blocks]),
        np.array([(~np.isnan(block)).sum(axis=0) for block in blocks]),
    )


def assert_equal_to_naive(blocks, rate=0.0):
    found = pbo_from_blocks(*sums_of(blocks), risk_free_rate=rate)
    chosen, logits, inside, outside = naive(blocks, rate / 252)
    np.testing.assert_array_equal(found.chosen, chosen)
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    np.testing.assert_allclose(found.in_sample, inside * math.sqrt(252), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.out_of_sample, outside * math.sqrt(252), rtol=1e-9, atol=1e-9)
    valid = logits[~np.isnan(logits)]
    assert found.n_left_out == np.isnan(logits).sum()
    if valid.size:
        assert found.pbo == (valid <= 0).mean()
    else:
        assert math.isnan(found.pbo)
    return found


@pytest.mark.parametrize("n_blocks", [2, 4, 6, 8])
@pytest.mark.parametrize("n_combos", [1, 2, 15, 16, 17, 40])
def test_equals_the_paper(n_blocks, n_combos):
    rng = np.random.default_rng(n_blocks * 100 + n_combos)
    blocks = [rng.normal(0.001, 0.01, (5 + b % 3, n_combos)) for b in range(n_blocks)]
    found = assert_equal_to_naive(blocks, rate=0.05)
    assert found.n_splits == math.comb(n_blocks, n_blocks // 2)
    both = ~np.isnan(found.out_of_sample)
    if n_blocks > 2 and n_combos > 1:
        line = stats.linregress(found.in_sample[both], found.out_of_sample[both])
        assert found.degradation_slope == pytest.approx(line.slope)
        assert found.degradation_intercept == pytest.approx(line.intercept)
    assert found.probability_of_loss == (found.out_of_sample[both] < 0).mean()


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.just(4), st.integers(2, 4), st.integers(1, 20)),
        elements=st.sampled_from([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0, math.nan]),
    )
)
@settings(max_examples=60, deadline=None)
def test_ties_days_without_trades_and_ruin_are_as_documented(table):
    # whole numbers: equal Sharpe ratios are equal bits, however they are summed
    assert_equal_to_naive(list(table))


def test_a_column_that_wins_every_block_is_not_overfitted():
    rng = np.random.default_rng(0)
    returns = rng.normal(0.0, 0.01, (400, 30))
    returns[:, 11] = 0.02 + rng.normal(0.0, 0.001, 400)
    found = pbo(returns)
    assert found.pbo == 0.0
    assert set(found.chosen) == {11}
    assert found.probability_of_loss == 0.0


def test_two_columns_that_are_each_others_mirror_are():
    # an odd number of blocks goes up, so that one of both is ahead in every half
    ahead = np.repeat([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0], 20) * 0.01
    noise = np.random.default_rng(1).normal(0.0, 0.001, 160)
    returns = ahead + noise
    returns -= returns.mean()
    found = pbo(np.column_stack([returns, -returns]), n_blocks=8)
    assert found.pbo == 1.0
    assert found.probability_of_loss == 1.0
    assert found.degradation_slope < 0.0


def test_noise_is_a_coin_toss():
    found = [
        pbo(np.random.default_rng(seed).normal(0.0, 0.01, (250, 50)), n_blocks=10).pbo
        for seed in range(60)
    ]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert error < 0.06
    assert abs(np.mean(found) - 0.5) < 3 * error


def test_combinations_that_do_nothing_do_not_help():
    noise = np.random.default_rng(8).normal(0.0, 0.01, (160, 10))
    padded = np.hstack([noise, np.zeros((160, 90)), np.full((160, 20), 0.01)])
    alone, among = pbo(noise, n_blocks=8), pbo(padded, n_blocks=8)
    np.testing.assert_array_equal(alone.logits, among.logits)


def test_a_choice_that_then_does_nothing_ranks_last():
    returns = np.random.default_rng(2).normal(0.0, 0.01, (40, 5))
    returns[:20, 2] = 0.05 + returns[:20, 2]
    returns[20:, 2] = 0.0
    found = pbo(returns, n_blocks=2)
    assert found.chosen[0] == 2
    assert math.isnan(found.out_of_sample[0])
    assert found.logits[0] == pytest.approx(math.log(1 / 5))


@pytest.mark.parametrize(
    "returns",
    [np.random.default_rng(0).normal(size=(32, 1)), np.zeros((32, 5)), np.ones((16, 3))],
    ids=["one combination", "none trades", "constant"],
)
def test_nothing_to_rank_is_undefined(returns):
    found = pbo(returns)
    assert math.isnan(found.pbo)
    assert found.n_left_out == found.n_splits == 12_870
    # a single combination is still seen on both halves
    assert math.isnan(found.degradation_slope) == (returns.shape[1] > 1)


def test_equal_combinations_leave_nothing_to_choose():
    # of a parameter that changes nothing, for one; as a rank it would be the middle in every split
    one = np.random.default_rng(3).normal(0.0, 0.01, (320, 1))
    for copies in (2, 300):
        found = pbo(np.repeat(one, copies, axis=1), n_blocks=8)
        assert math.isnan(found.pbo)
        assert found.n_left_out == found.n_splits == 70
    worse = np.hstack([one, one, one - 0.02])  # two that are equal, and one that always loses
    assert pbo(worse, n_blocks=8).pbo == 0.0


def test_one_day_for_each_block():
    blocks = list(np.random.default_rng(5).normal(size=(6, 1, 9)))
    found = pbo(np.concatenate(blocks), n_blocks=6)
    np.testing.assert_allclose(found.logits, naive(blocks)[1])


def test_blocks_are_cut_as_a_sweep_cuts_them():
    returns = np.random.default_rng(6).normal(size=(37, 12))
    cut = [returns[37 * b // 8 : 37 * (b + 1) // 8] for b in range(8)]
    np.testing.assert_array_equal(
        pbo(returns, n_blocks=8).logits, pbo_from_blocks(*sums_of(cut)).logits
    )


def test_threads_pieces_and_strides_do_not_matter(monkeypatch):
    rng = np.random.default_rng(9)
    rows = np.abs(rng.normal(size=(24, 500)))
    rows[0::3] = rng.normal(size=(8, 500))
    rows[2::3] = 30.0
    one = pbo_from_blocks(rows[0::3], rows[1::3], rows[2::3], threads=1)
    monkeypatch.setattr(cscv, "_PIECE", 32)  # 16 pieces instead of one
    for threads in (1, 2, 5):
        found = pbo_from_blocks(*(np.asfortranarray(rows[k::3]) for k in range(3)), threads=threads)
        for name in ("logits", "chosen", "in_sample", "out_of_sample"):
            assert getattr(found, name).tobytes() == getattr(one, name).tobytes()


def test_the_first_of_equal_combinations_is_chosen_across_pieces(monkeypatch):
    monkeypatch.setattr(cscv, "_PIECE", 16)
    one = np.random.default_rng(3).normal(0.001, 0.01, (64, 1))
    equal = np.repeat(one, 50, axis=1)
    found = pbo(np.hstack([equal, one - 1.0]), n_blocks=4)
    assert set(found.chosen) == {0}
    assert found.logits == pytest.approx(math.log(26.5 / 25.5))  # they share ranks 2 to 51 of 51
    assert found.pbo == 0.0


def test_a_hundred_thousand_combinations():
    rng = np.random.default_rng(0)
    n_combos = 100_000
    sums = rng.normal(0.0, 0.08, (16, n_combos))
    squares = 0.006 + np.abs(rng.normal(0.0, 0.001, (16, n_combos))) + sums**2 / 55
    days = np.full((16, n_combos), 55.0)
    pbo_from_blocks(sums[:, :20], squares[:, :20], days[:, :20])  # compiles
    tracemalloc.start()
    start = time.process_time()  # of all threads; other work on the machine does not count
    found = pbo_from_blocks(sums, squares, days)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n_splits == 12_870
    assert 0.0 < found.pbo < 1.0
    assert seconds < 20.0
    assert peak < 2**28


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pbo(np.ones((50, 3)), n_blocks=7), bt.ConfigError, "even number from 2 to 20"),
        (lambda: pbo(np.ones((50, 3)), n_blocks=0), bt.ConfigError, "2 or more"),
        (lambda: pbo(np.ones((50, 3)), n_blocks=22), bt.ConfigError, "even number"),
        (lambda: pbo(np.ones((10, 3))), bt.ConfigError, "at most one for each day"),
        (lambda: pbo(np.ones(10)), bt.DataError, "rows and columns"),
        (lambda: pbo(np.ones((50, 0))), bt.DataError, "no combination"),
        (lambda: pbo(np.full((50, 2), np.nan)), bt.DataError, r"returns\[0, 0\] = nan"),
        (lambda: pbo(np.ones((50, 3)), threads=-1), bt.ConfigError, "threads"),
        (lambda: pbo(np.ones((50, 3)), periods_per_year=0), bt.ConfigError, "periods_per_year"),
        (
            lambda: pbo_from_blocks(np.ones((4, 2)), np.ones((4, 3)), np.ones((4, 2))),
            bt.DataError,
            "shapes",
        ),
        (
            lambda: pbo_from_blocks(np.ones((4, 2)), -np.ones((4, 2)), np.ones((4, 2))),
            bt.DataError,
            "never below 0",
        ),
        (
            lambda: pbo_from_blocks(np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 2))),
            bt.ConfigError,
            "n_blocks = 3",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("n_blocks", [2, 8, 16])
def test_arrays_and_kernels_give_the_same_bits(monkeypatch, n_blocks):
    """Few combinations are compared without Numba; ties and idle ones among them."""
    rng = np.random.default_rng(n_blocks)
    returns = rng.normal(0.0, 0.01, (6 * n_blocks, 40))
    returns[:, ::5] = 0.0
    returns[3 * n_blocks :, 3::6] = 0.0
    returns[:, 7] = returns[:, 8]
    few = pbo(returns, n_blocks=n_blocks)
    monkeypatch.setattr("backtest_py.overfitting.cscv.FEW", 0)
    many = pbo(returns, n_blocks=n_blocks)
    for name in ("logits", "chosen", "in_sample", "out_of_sample"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name))
    assert len(set(few.chosen)) > 1
