"""The verdict: its numbers are those of the statistics, its words say them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.overfitting import (
    BestTrial,
    GridValues,
    TrialSet,
    deflated_sharpe,
    expected_best_sharpe,
    expected_maximum,
    judge,
    min_backtest_years,
    probabilistic_sharpe,
    return_moments,
)


def test_numbers_are_those_of_the_statistics():
    found = judge(
        TrialSet(100, 0.5, pbo=0.31, spa=0.02),
        BestTrial(2.5, days=1250, skew=-3.0, kurtosis=10.0, total_trades=900),
        periods_per_year=250,
    )
    daily = 2.5 / math.sqrt(250)
    assert found.trials == found.effective_trials == 100
    assert found.years == 5.0
    assert found.dsr == pytest.approx(0.9004, abs=5e-5)
    assert found.psr == probabilistic_sharpe(daily, 1250, skew=-3.0, kurtosis=10.0)
    assert found.expected_best_of_luck == expected_best_sharpe(100, 5.0)
    assert found.min_backtest_years == min_backtest_years(100)
    assert (found.pbo, found.spa, found.plateau) == (0.31, 0.02, None)
    assert not found.significant


def test_words_of_a_large_sweep():
    text = judge(TrialSet(4_233_600, 0.4), BestTrial(2.6, days=882, total_trades=300)).text
    assert (
        "With 4,233,600 trials and 3.5 years, a Sharpe of 2.75 is expected from luck alone; "
        "yours is 2.60." in text
    )
    assert text.startswith("Luck alone can explain")
    assert "26.5 years" in text
    assert "PBO" not in text
    assert "SPA" not in text


def test_effective_trials_take_the_place_of_their_number():
    best = BestTrial(1.6, days=1250, total_trades=900)
    many, few = judge(TrialSet(1000, 0.2), best), judge(TrialSet(1000, 0.2, 12.4), best)
    assert few.trials == 1000
    assert few.effective_trials == 12.4
    assert few.expected_best_of_luck < many.expected_best_of_luck
    assert few.dsr > many.dsr
    assert "1,000 trials (worth 12 independent ones)" in few.text


def test_a_clear_edge():
    found = judge(
        TrialSet(50, 0.3, pbo=0.04, spa=0.001), BestTrial(4.0, days=1250, total_trades=900)
    )
    assert found.significant
    assert found.text.startswith("The best result is more than luck")
    assert "4.0 % of all splits (PBO" in found.text
    assert "0.1 % (SPA" in found.text


@pytest.mark.parametrize("more", [{"pbo": 0.5}, {"pbo": 0.9}, {"spa": 0.06}])
def test_any_doubt_counts(more):
    assert not judge(TrialSet(50, 0.3, **more), BestTrial(4.0, days=1250)).significant


@pytest.mark.parametrize(
    ("variance", "sharpe", "said", "significant"),
    [
        (0.01, 1.5, "luck alone would show 0.33.", True),  # alike: below 1.74, and yet significant
        (1.0, 2.5, "luck alone would show 3.26.", False),  # unlike: above 1.74, and yet luck
        (1.0, 1.5, "", False),
        (0.1, 1.4, "", False),  # below 1.74 and above 1.03, but not by enough
        (0.01, 2.5, "", True),
    ],
)
def test_words_and_conclusion_do_not_contradict_each_other(variance, sharpe, said, significant):
    best = BestTrial(sharpe, days=882, total_trades=400)
    found = judge(TrialSet(1000, variance), best)
    assert found.significant == significant
    assert f"a Sharpe of 1.74 is expected from luck alone; yours is {sharpe:.2f}." in found.text
    assert found.luck_benchmark == pytest.approx(math.sqrt(variance) * expected_maximum(1000))
    assert ("Judged by how much these trials differ from each other" in found.text) == bool(said)
    assert said in found.text


@pytest.mark.parametrize("sharpe", [1.0, 4.0])
def test_the_combination_is_named(sharpe):
    best = BestTrial(sharpe, days=1250, total_trades=900, combo_id=1234)
    found = judge(TrialSet(50, 0.3), best)
    assert "(combination 1,234)" in found.text.split("\n")[0]
    assert found.significant == (sharpe > 3)


def test_few_trades_are_named():
    best = BestTrial(4.0, days=1250, total_trades=12)
    assert "rests on 12 trades, and fewer than 30 say little" in judge(TrialSet(5, 0.1), best).text
    assert "rests on" not in judge(TrialSet(5, 0.1), best, min_trades=12).text


def test_surroundings_are_told():
    values = np.full(25, 0.5)
    values[0] = 3.0
    best = BestTrial(3.0, days=500, plateau=GridValues(values, (5, 5)).winner())
    text = judge(TrialSet(25, 0.2), best).text
    assert "the Sharpe of 3.00 is 0.50 in the median and 0.50 at worst" in text
    assert "2 of 2 neighbours in the grid lose most" in text
    assert "edge of the grid" in text


def test_an_undefined_sharpe():
    found = judge(TrialSet(200, math.nan), BestTrial(math.nan, 300, math.nan, math.nan))
    assert all(map(math.isnan, (found.sharpe, found.psr, found.dsr, found.min_track_record_years)))
    assert found.text.startswith("There is nothing to judge")
    assert "yours is undefined" in found.text
    assert "nan" not in found.text
    assert not found.significant


def test_a_grid_of_one():
    found = judge(TrialSet(1, math.nan), BestTrial(1.0, days=504, total_trades=100))
    assert found.dsr == found.psr == probabilistic_sharpe(1.0 / 252**0.5, 504)
    assert found.expected_best_of_luck == 0.0
    assert found.min_backtest_years == 0.0
    assert "With 1 trial and" in found.text
    assert "deflated" not in found.text


def test_trials_of_unknown_spread_are_taken_to_have_no_edge():
    found = judge(TrialSet(20, math.nan), BestTrial(2.0, days=504))
    expected = deflated_sharpe(2.0 / 252**0.5, 504, n_trials=20, variance=1 / 504)
    assert found.dsr == pytest.approx(expected)


def test_no_day_at_all():
    found = judge(TrialSet(3, math.nan), BestTrial(math.nan, days=0))
    assert math.isnan(found.expected_best_of_luck)
    assert "no trading day" in found.text


def test_a_loss_is_not_significant():
    found = judge(TrialSet(10, 0.1), BestTrial(-0.5, days=500))
    assert found.min_track_record_years == math.inf
    assert found.dsr < 0.5


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: judge(TrialSet(0, 0.1), BestTrial(1.0, 9)), "trials = 0"),
        (lambda: judge(TrialSet(5, -0.1), BestTrial(1.0, 9)), "sharpe_variance"),
        (lambda: judge(TrialSet(5, 0.1, 0.5), BestTrial(1.0, 9)), "effective_trials"),
        (lambda: judge(TrialSet(5, 0.1), BestTrial(1.0, -1)), "days"),
        (lambda: judge(TrialSet(5, 0.1), BestTrial(1.0, 9, kurtosis=0.0)), "not the excess"),
        (lambda: judge(TrialSet(5, 0.1), BestTrial(1.0, 9), periods_per_year=0), "periods"),
    ],
)
def test_what_cannot_be_is_refused(call, match):
    with pytest.raises(bt.ConfigError, match=match):
        call()


def test_str_is_the_text():
    found = judge(TrialSet(10, 0.1), BestTrial(1.5, days=500))
    assert str(found) == found.text


# ---------------------------------------------------------------- noise and a planted edge


def judged(seed, edge=0.0):
    """Judge the best of 200 strategies on 500 days, of which one may have an edge."""
    returns = np.random.default_rng(seed).normal(0.0, 0.01, (500, 200))
    returns[:, 17] += edge
    ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    moments = return_moments(returns[:, ratios.argmax()])
    best = BestTrial(moments.sharpe * 252**0.5, 500, moments.skew, moments.kurtosis, 500)
    return judge(TrialSet(200, float(np.var(ratios * 252**0.5, ddof=1))), best)


def test_the_best_of_noise_is_not_significant():
    found = [judged(seed) for seed in range(200)]
    assert sum(each.dsr >= 0.95 for each in found) <= 0.05 * 200
    assert sum(each.psr >= 0.95 for each in found) == 200  # what nobody who counts would believe
    luck = np.mean([each.sharpe for each in found])
    assert luck == pytest.approx(found[0].expected_best_of_luck, rel=0.03)


def test_a_planted_edge_is_found():
    assert all(judged(seed, edge=0.004).dsr >= 0.95 for seed in range(50))
