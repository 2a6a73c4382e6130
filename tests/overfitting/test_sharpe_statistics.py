"""Probabilistic and deflated Sharpe ratio, minimum track record and backtest, against the papers.

Numbers of the papers stand beside those that a wrong formula gives, so that a test which holds
both can tell them apart.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import backtest_py as bt
from backtest_py.overfitting import (
    deflated_sharpe,
    expected_best_sharpe,
    expected_maximum,
    luck_benchmark,
    min_backtest_years,
    min_backtest_years_bound,
    min_track_record,
    probabilistic_sharpe,
    return_moments,
)

FUND = {"sharpe": 0.458, "skew": -2.448, "kurtosis": 10.164}
"""Hedge fund of Bailey and López de Prado 2012, monthly over two years."""
DAILY = {"sharpe": 2.5 / math.sqrt(250), "n_returns": 1250, "variance": 0.5 / 250}
TAILS = {"skew": -3.0, "kurtosis": 10.0}


def psr_by_scipy(sharpe, n, skew, kurtosis, benchmark=0.0):
    error = math.sqrt((1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (n - 1))
    return stats.norm.cdf((sharpe - benchmark) / error)


def test_probabilistic_sharpe_of_the_paper():
    assert probabilistic_sharpe(n_returns=24, **FUND) == pytest.approx(0.9134, abs=5e-5)
    assert probabilistic_sharpe(0.458, 24) == pytest.approx(0.9817, abs=5e-5)


def test_minimum_track_record_of_the_paper():
    assert min_track_record(**FUND) == pytest.approx(34.56, abs=5e-3)
    assert min_track_record(0.458) == pytest.approx(15.25, abs=5e-3)


@pytest.mark.parametrize(
    ("n_trials", "tails", "expected"),
    [(100, TAILS, 0.9004), (46, TAILS, 0.9505), (88, {}, 0.9505)],
)
def test_deflated_sharpe_of_the_paper(n_trials, tails, expected):
    found = deflated_sharpe(**DAILY, n_trials=n_trials, **tails)
    assert found == pytest.approx(expected, abs=5e-5)


def test_benchmark_of_the_paper():
    assert luck_benchmark(100, 0.5) == pytest.approx(1.7894, abs=5e-5)
    assert luck_benchmark(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)


def test_what_wrong_formulas_give_is_not_what_we_give():
    right = deflated_sharpe(**DAILY, n_trials=100, **TAILS)
    benchmark = luck_benchmark(100, 0.5 / 250)
    excess = psr_by_scipy(DAILY["sharpe"], 1250, -3.0, 7.0, benchmark)
    annual_root = math.sqrt(1 + 3 * 2.5 + 9 / 4 * 2.5**2)
    annual = stats.norm.cdf((2.5 - luck_benchmark(100, 0.5)) * math.sqrt(1249) / annual_root)
    assert excess == pytest.approx(0.9018, abs=5e-5)
    assert annual > 0.99999
    assert abs(right - excess) > 1e-3
    assert abs(right - annual) > 1e-2


@pytest.mark.parametrize("kurtosis", [0.0, 7.0 - 3.0, 9.99])
def test_an_excess_kurtosis_is_refused_where_no_returns_can_have_it(kurtosis):
    with pytest.raises(bt.ConfigError, match=r"never below 10 .*not the excess"):
        probabilistic_sharpe(0.1, 100, skew=-3.0, kurtosis=kurtosis)


@pytest.mark.parametrize(
    ("n_trials", "years"),
    [(1, 0.0), (10, 2.479), (45, 4.998), (46, 5.036), (1000, 10.596), (46_080, 17.80)],
)
def test_minimum_backtest_of_the_paper(n_trials, years):
    assert min_backtest_years(n_trials) == pytest.approx(years, abs=5e-3 if years > 11 else 5e-4)


def test_minimum_backtest_of_a_full_grid_and_for_other_sharpe_ratios():
    assert min_backtest_years(4_233_600) == pytest.approx(26.48, abs=5e-3)
    assert min_backtest_years(1000, sharpe=2.0) == pytest.approx(10.596 / 4, abs=5e-4)
    assert expected_best_sharpe(4_233_600, 3.5) == pytest.approx(math.sqrt(26.48 / 3.5), abs=1e-3)


@given(st.floats(1.0, 1e300))
def test_minimum_backtest_is_below_its_bound(n_trials):
    assert 0.0 <= min_backtest_years(n_trials) <= min_backtest_years_bound(n_trials) + 1e-9


@given(st.floats(1.0, 1e12), st.floats(1.0, 10.0))
def test_more_trials_never_show_less(n_trials, times):
    # an effective number just above 1 is as good as 1
    assert expected_maximum(n_trials) <= expected_maximum(n_trials * times) + 1e-12


@pytest.mark.parametrize("n", [5, 20, 200, 5_000])
def test_expected_maximum_is_near_the_exact_one(n):
    def density(x):
        return x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1)

    exact = integrate.quad(density, -10, 12, limit=500)[0]
    assert expected_maximum(n) == pytest.approx(exact, rel=0.03)


@given(
    st.floats(-2, 2),
    st.integers(2, 5000),
    st.floats(-4, 4),
    st.floats(0.01, 20),
    st.floats(-1, 1),
)
def test_probabilistic_sharpe_is_that_of_scipy(sharpe, n, skew, above, benchmark):
    kurtosis = 1 + skew**2 + above
    found = probabilistic_sharpe(sharpe, n, skew=skew, kurtosis=kurtosis, benchmark=benchmark)
    assert found == pytest.approx(psr_by_scipy(sharpe, n, skew, kurtosis, benchmark), abs=1e-12)


@given(st.floats(0.01, 1), st.floats(-2, 2), st.floats(0.01, 9), st.floats(0.55, 0.999))
def test_track_record_is_where_the_probability_is_reached(sharpe, skew, above, confidence):
    tails = {"skew": skew, "kurtosis": 1 + skew**2 + above}
    n = min_track_record(sharpe, confidence=confidence, **tails)
    reached = math.ceil(n)
    assert probabilistic_sharpe(sharpe, max(reached, 2), **tails) >= confidence - 1e-9
    if reached - 1 >= 2:
        assert probabilistic_sharpe(sharpe, reached - 1, **tails) <= confidence + 1e-9


@given(st.lists(st.floats(-0.5, 0.5).filter(lambda x: abs(x) > 1e-3), min_size=4, max_size=60))
def test_moments_are_those_of_scipy(returns):
    values = np.array(returns)
    found = return_moments(values, risk_free_rate=0.02)
    if np.ptp(values) < 1e-3:
        return
    excess = values - 0.02 / 252
    assert found.n_returns == len(values)
    assert found.sharpe == pytest.approx(excess.mean() / excess.std(ddof=1), rel=1e-9, abs=1e-12)
    assert found.skew == pytest.approx(stats.skew(values), rel=1e-6, abs=1e-9)
    assert found.kurtosis == pytest.approx(stats.kurtosis(values, fisher=False), rel=1e-6)
    # whatever the returns: their moments are possible ones
    assert 0.0 <= probabilistic_sharpe(
        found.sharpe, found.n_returns, skew=found.skew, kurtosis=found.kurtosis
    ) <= 1.0 or math.isnan(found.sharpe)


def test_sharpe_of_the_moments_is_the_one_of_the_metrics():
    returns = np.random.default_rng(4).normal(0.001, 0.01, 300)
    annual = return_moments(returns, risk_free_rate=0.05, periods_per_year=365).sharpe * 365**0.5
    from backtest_py.metrics import sharpe_ratio

    assert annual == pytest.approx(
        sharpe_ratio(returns, risk_free_rate=0.05, periods_per_year=365), rel=1e-12
    )


@pytest.mark.parametrize("returns", [[], [0.01], [0.01, 0.01, 0.01], [0.0] * 50])
def test_no_spread_no_sharpe(returns):
    found = return_moments(returns)
    assert found.n_returns == len(returns)
    assert all(map(math.isnan, (found.sharpe, found.skew, found.kurtosis)))


def test_undefined_in_undefined_out():
    assert math.isnan(probabilistic_sharpe(math.nan, 100))
    assert math.isnan(probabilistic_sharpe(0.1, 1))
    assert math.isnan(probabilistic_sharpe(0.1, 100, skew=math.nan))
    assert math.isnan(min_track_record(math.nan))
    assert min_track_record(-0.1) == math.inf
    assert min_track_record(0.1, benchmark=0.1) == math.inf
    assert math.isnan(deflated_sharpe(0.1, 100, n_trials=10, variance=math.nan))
    assert math.isnan(expected_maximum(math.nan))


def test_returns_of_two_values_leave_no_error():
    # heads 1, tails -1/2 with p = 1/3: the estimate's variance vanishes at one Sharpe ratio
    skew = 1.0
    assert math.isnan(probabilistic_sharpe(2.0 / skew, 50, skew=skew, kurtosis=1 + skew**2))


def test_one_trial_is_not_deflated():
    single = probabilistic_sharpe(0.1, 500)
    assert deflated_sharpe(0.1, 500, n_trials=1, variance=0.3) == single
    assert deflated_sharpe(0.1, 500, n_trials=1, variance=math.nan) == single
    assert luck_benchmark(1, 5.0) == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: expected_maximum(0),
        lambda: expected_maximum(0.5),
        lambda: expected_maximum(math.inf),
        lambda: expected_maximum("many"),
        lambda: luck_benchmark(10, -0.1),
        lambda: expected_best_sharpe(10, 0.0),
        lambda: min_backtest_years(10, sharpe=0.0),
        lambda: min_backtest_years_bound(0),
        lambda: probabilistic_sharpe(0.1, 0),
        lambda: probabilistic_sharpe(0.1, 10.5),
        lambda: probabilistic_sharpe(0.1, True),
        lambda: min_track_record(0.1, confidence=1.0),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(bt.ConfigError, match=r"is not allowed; give"):
        call()


@pytest.mark.parametrize("returns", [[0.1, math.nan], [[0.1], [0.2]], ["a", "b"]])
def test_returns_that_are_no_numbers_are_refused(returns):
    with pytest.raises(bt.DataError, match="returns"):
        return_moments(returns)
