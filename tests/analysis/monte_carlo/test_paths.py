"""Paths of trades: both engines against plain Python, bit for bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.monte_carlo_oracle import below, path_of, walk, word

import backtest_py as bt
from backtest_py.analysis.monte_carlo import trades as trades_module
from backtest_py.engines.registry import resolve
from backtest_py.engines.rust_engine import RustEngine

CAPITAL = 1_000.0
PNL = np.round(np.random.default_rng(5).normal(4, 60, 137), 2)
KINDS = ("bootstrap", "block", "shuffle", "skip", "noise")


@pytest.fixture(scope="module")
def result():
    """Return a backtest with stops and targets, costs of all kinds."""
    bars = bt.synthetic_bars(n_days=40)
    rules = bt.ExitRules(stop=1.0, target=1.5, close_time="17:00")
    contract = bt.Contract(
        tick_size=5, point_value=0.2, fee_per_side=0.25, slippage_ticks=1, initial_capital=2_000
    )
    found = bt.run(bars, bt.BarraElefante(min_range_mult=1.5), rules, contract)
    assert len(found) > 60
    return found


@pytest.mark.parametrize(
    ("counter", "seed", "expected"),
    [
        ((0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (2**32 - 1, 2**32 - 1, 2**64 - 1),
            2**64 - 1,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x0370734413198A2E),
            0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_gives_its_published_numbers(engine, counter, seed, expected):
    # kat_vectors of Random123: philox4x32, 10 rounds
    block, attempt, path = counter
    draws = [4 * block + place for place in range(4)]
    runner = resolve(engine)[0]
    for given in (
        lambda *asked: runner.monte_carlo("random_word", *asked),
        word,
    ):
        assert tuple(given(seed, path, draw, attempt) for draw in draws) == expected


@pytest.mark.parametrize("bound", [1, 2, 3, 1_000, 2**31 + 1, 3 * 2**30, 2**32 - 1])
def test_whole_numbers_are_drawn_again_where_some_would_be_likelier(engine, bound):
    drawn = resolve(engine)[0].monte_carlo("delays", bound - 1, 300, 9, 2**40 + 3)
    assert drawn.tolist() == [below(bound, 9, 2**40 + 3, i) for i in range(300)]
    again = [i for i in range(300) if word(9, 2**40 + 3, i) * bound % 2**32 < 2**32 % bound]
    assert bool(again) == (bound in {3 * 2**30, 2**31 + 1})


def check(found, pnl, capital, n_paths, **how):
    compound = found.settings.sizing == "compound"
    marks = found.fan.index
    equities = []
    for path in range(n_paths):
        steps = path_of(found.settings.kind, pnl, found.settings.seed, path, **how)
        equity, expected = walk(steps, capital, compound=compound)
        row = found.table.loc[path]
        for name, value in expected.items():
            if name not in found.left_out:
                assert row[name] == value, (path, name)
        equities.append([equity[min(mark, len(equity) - 1)] for mark in marks])
    expected = np.quantile(np.array(equities), [0.05, 0.5, 0.95], axis=0)
    np.testing.assert_allclose(found.fan[["p05", "p50", "p95"]].T, expected, rtol=1e-12)


@pytest.mark.parametrize("sizing", ["fixed", "compound"])
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_paths_are_those_of_plain_python(engine, kind, sizing):
    found = bt.monte_carlo(
        PNL.tolist(),
        kind,
        n_paths=70,
        seed=2**63 + 11,
        sizing=sizing,
        block_length=7,
        skip_probability=0.3,
        initial_capital=CAPITAL,
        engine=engine,
    )
    assert found.engine == engine
    assert found.table["ruined"].any() == (sizing == "fixed")
    check(found, PNL.tolist(), CAPITAL, 70, block=7, skip=0.3)


@pytest.mark.parametrize("sizing", ["fixed", "compound"])
def test_noise_is_that_of_plain_python(engine, result, sizing):
    found = bt.monte_carlo(
        result,
        "noise",
        n_paths=30,
        seed=1,
        sizing=sizing,
        slippage_noise=2.5,
        fee_noise=0.4,
        engine=engine,
    )
    trades = result.trades
    at_market = (trades["reason"] != "take_profit").to_numpy()
    assert 0 < at_market.sum() < len(trades)
    most = 2.5 * (5 * 0.2 * 1.0)
    costs = [[most] * len(trades), np.where(at_market, most, 0.0), trades["fees"] * 0.4]
    costs = [list(each) for each in costs]
    check(found, trades["pnl"].tolist(), 2_000.0, 30, costs=costs)
    assert (found.table["total_return"] < found.observed["total_return"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_engines_threads_and_batches_change_nothing(monkeypatch, result, kind):
    def found(n_paths=500, **how):
        return bt.monte_carlo(result, kind, n_paths=n_paths, seed=3, **how)

    first = found(engine="numba", threads=1)
    assert first.table["max_drawdown"].nunique() > 100
    others = [found(engine=name, threads=n) for name in ("numba", "rust") for n in (1, 2, 5, 0)]
    monkeypatch.setattr(trades_module, "BATCH", 37 * len(result))
    others += [found(engine="numba"), found(engine="rust")]
    for other in others:
        pd.testing.assert_frame_equal(other.table, first.table, check_exact=True)
        pd.testing.assert_frame_equal(other.fan, first.fan, check_exact=True)
    fewer = found(n_paths=77, engine="rust")
    pd.testing.assert_frame_equal(fewer.table, first.table.head(77), check_exact=True)
    seeds = [bt.monte_carlo(result, kind, n_paths=50, seed=seed) for seed in (3, 4)]
    assert not seeds[0].table.equals(seeds[1].table)


@pytest.mark.parametrize("kind", ["bootstrap", "skip"])
def test_instruction_levels_change_nothing(kind):
    levels = resolve("rust")[0].build["levels"].split(",")
    assert levels[0] == "baseline"
    code = trades_module._CODES[kind]
    marks, none = np.arange(0, 138, 10), np.empty(0)
    asked = (code, PNL, none, 1, 2**30, 500.0, True, marks, 3, 0, 77, 70, 2)
    first, *others = [RustEngine(level).monte_carlo("resample_paths", *asked) for level in levels]
    for other in others:
        for mine, yours in zip(first, other, strict=True):
            np.testing.assert_array_equal(mine.view(np.int64), yours.view(np.int64))


def test_numbers_of_one_seed_stay(engine):
    # golden: whoever changes one of these changes every published result
    found = bt.monte_carlo(
        [30.0, -10.0, 5.0, -20.0, 15.0], n_paths=4, seed=42, initial_capital=100, engine=engine
    )
    assert found.table["total_return"].tolist() == [20.0, 60.0, -15.0, 25.0]


def test_what_was_observed_is_what_the_run_says(engine, result):
    observed = bt.monte_carlo(result, "shuffle", n_paths=1, engine=engine).observed
    for name in ("max_drawdown", "max_drawdown_pct", "max_consecutive_losses", "total_trades"):
        assert observed[name] == result.metrics[name]
    observed = bt.monte_carlo(result, n_paths=1, engine=engine).observed
    assert observed["total_return"] == result.metrics.total_return
    assert observed["total_return_pct"] == result.metrics.total_return_pct
    assert observed["final_equity"] == result.balance[-1]


def test_fixed_lots_add_money_and_compounding_multiplies(engine):
    how = {"n_paths": 5, "initial_capital": 200.0, "engine": engine}
    fixed = bt.monte_carlo([20.0] * 10, **how).table
    grown = bt.monte_carlo([20.0] * 10, sizing="compound", **how).table
    assert fixed["final_equity"].tolist() == [400.0] * 5
    np.testing.assert_allclose(grown["final_equity"], 200.0 * 1.1**10, rtol=1e-14)
    # a loss of half the capital, ten times: fixed lots are ruined at the second, shares never
    lost = bt.monte_carlo([-100.0] * 10, **how)
    halved = bt.monte_carlo([-100.0] * 10, sizing="compound", **how)
    assert lost.probability_of_ruin == 1.0
    assert lost.table["total_trades"].tolist() == [2] * 5
    assert halved.probability_of_ruin == 0.0
    assert halved.table["final_equity"].tolist() == [200.0 / 2**10] * 5


def test_capital_and_level_can_be_asked_about(result):
    own = bt.monte_carlo(result, n_paths=300, initial_capital=150.0)
    assert own.probability_of_ruin > bt.monte_carlo(result, n_paths=300).probability_of_ruin
    found = bt.monte_carlo(result, n_paths=300, level=1_900.0)
    final = found.table["final_equity"]
    assert found.probability_below() == (final < 1_900.0).mean()
    assert found.probability_below() == found.table["below_level"].mean()
    assert found.probability_below(2_100) == (final < 2_100).mean()
    assert bt.monte_carlo(result, n_paths=300).probability_below() == (final < 2_000.0).mean()


def test_bootstrap_means_are_those_of_the_trades():
    found = bt.monte_carlo(PNL, n_paths=20_000, initial_capital=1e6).table["total_return"]
    error = PNL.std() * np.sqrt(len(PNL)) / np.sqrt(20_000)
    assert abs(found.mean() - PNL.sum()) < 5 * error
    assert found.std() == pytest.approx(PNL.std() * np.sqrt(len(PNL)), rel=0.03)


def test_blocks_keep_streaks_that_single_draws_break():
    streaks = ([-10.0] * 8 + [12.0] * 8) * 20
    how = {"n_paths": 400, "initial_capital": 1e4}
    single = bt.monte_carlo(streaks, "bootstrap", **how).table["max_consecutive_losses"]
    blocks = bt.monte_carlo(streaks, "block", block_length=32, **how)
    assert blocks.table["max_consecutive_losses"].median() > single.median() + 3
    default = bt.monte_carlo(streaks, "block", **how)
    assert default.table.equals(bt.monte_carlo(streaks, "block", block_length=7, **how).table)


def test_a_frame_with_results_will_do(result):
    how = {"n_paths": 50, "initial_capital": 2_000}
    expected = bt.monte_carlo(result, n_paths=50).table
    assert bt.monte_carlo(result.trades, **how).table.equals(expected)
    assert bt.monte_carlo(result.trades["pnl"], **how).table.equals(expected)
