"""A search finds what is good, and every number of it is that of a single run."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import optuna
import pandas as pd
import pytest

import backtest_py as bt
from backtest_py.metrics.catalogue import METRICS

RULES = bt.ExitRules(stop=1.5, target=2.0, close_time="17:00")
CONTRACT = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1)
SMALL = {
    "strategy.lookback": [5, 10, 20],
    "strategy.confirm_breakout": [False, True],
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "rules.target": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "contract.slippage_ticks": [0, 1],
}
"""432 combinations of every section, ordered values and choices."""
PLANTED = {
    "strategy.min_range_mult": {"start": 1.0, "stop": 2.0, "step": 0.01},
    "rules.stop": {"start": 0.5, "stop": 3.5, "step": 0.01},
    "rules.target": {"start": 0.5, "stop": 3.5, "step": 0.01},
    "rules.atr_period": {"min": 5, "max": 50},
    "rules.intrabar": ["stop_first", "target_first"],
}
"""840 million combinations."""
HUGE = {
    "strategy.min_range_mult": {"start": 0.5, "stop": 3.0, "step": 0.01},
    "strategy.lookback": {"min": 5, "max": 100},
    "strategy.max_shadow_ratio": {"start": 0.1, "stop": 1.0, "step": 0.01},
    "rules.stop": {"start": 0.5, "stop": 5.0, "step": 0.01},
    "rules.target": {"start": 0.5, "stop": 5.0, "step": 0.01},
    "rules.atr_period": {"min": 5, "max": 30},
}
"""1.2e13 combinations."""


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=15)


def peak(columns):
    """Return a hill with one top, which has the value 0: at 1.4, 1.23, 2.8, 20, target_first."""
    return -(
        ((columns["strategy.min_range_mult"] - 1.4) / 1.0) ** 2
        + ((columns["rules.stop"] - 1.23) / 3.0) ** 2
        + ((columns["rules.target"] - 2.8) / 3.0) ** 2
        + ((columns["rules.atr_period"] - 20) / 45) ** 2
        + 0.2 * (columns["rules.intrabar"] == "stop_first")
    )


def search(bars, grid=SMALL, **asked):
    how = {"rules": RULES, "contract": CONTRACT, "min_trades": 1, "n_trials": 120}
    return bt.search(bars, "barra_elefante", grid, **{**how, **asked})


def single_run(bars, values, engine, **asked):
    """Return a run of one combination, from its values alone."""
    sections = {"strategy": {}, "rules": {}, "contract": {}}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    strategy = bt.BarraElefante(**sections["strategy"])
    rules = bt.ExitRules(**{**RULES.to_mapping(), **sections["rules"]})
    contract = bt.Contract(**{**CONTRACT.to_mapping(), **sections["contract"]})
    return bt.run(bars, strategy, rules, contract, engine=engine, **asked)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_number_is_that_of_a_single_run(bars, engine, sampler):
    span = (bars.time_text(300)[:10], None)
    metrics = bt.MetricSettings(risk_free_rate=0.03, periods_per_year=250)
    how = {"range": span, "metrics": metrics}
    found = search(bars, engine=engine, sampler=sampler, n_trials=60, batch=20, seed=3, **how)
    assert found.n_trials == len(found.trials) == found.trials["combo_id"].nunique() == 60
    for row in found.trials.to_dict("records"):
        alone = single_run(bars, {key: row[key] for key in SMALL}, engine, **how)
        ours = np.array([row[name] for name in METRICS], np.float64)
        theirs = np.array([alone.metrics[name] for name in METRICS], np.float64)
        assert ours.tobytes() == theirs.tobytes()


def test_combinations_have_the_numbers_of_the_sweep(bars):
    swept = bt.sweep(bars, "barra_elefante", SMALL, rules=RULES, contract=CONTRACT)
    swept = swept.table().to_pandas().set_index("combo_id")
    found = search(bars)
    ours = found.trials.set_index("combo_id").drop(columns=["trial", "batch", "feasible"])
    pd.testing.assert_frame_equal(ours, swept.loc[ours.index], check_exact=True)


def test_all_of_a_small_grid_is_the_sweep(bars):
    swept = bt.sweep(bars, "barra_elefante", SMALL, rules=RULES, contract=CONTRACT)
    found = search(bars, n_trials=10_000)
    assert found.n_trials == len(swept) == 432
    best = swept.top(1, where="total_trades >= 1").iloc[0]
    assert found.best["combo_id"] == best["combo_id"]
    assert found.best["sharpe"] == best["sharpe"]


@pytest.mark.parametrize("objective", ["sharpe", {"sharpe": "max", "max_drawdown": "min"}])
def test_the_same_seed_gives_the_same_trials(bars, tmp_path, objective):
    """On either engine, with any number of threads."""
    files = []
    for name, engine, threads in (("a", "rust", 1), ("b", "rust", 3), ("c", "numba", 2)):
        found = search(bars, objective=objective, engine=engine, threads=threads, seed=5)
        files.append((found.save(tmp_path / name) / "trials.parquet").read_bytes())
    assert files[0] == files[1] == files[2]
    other = search(bars, objective=objective, seed=6)
    assert other.trials["combo_id"].tolist() != found.trials["combo_id"].tolist()


def test_it_finds_a_planted_optimum(bars):
    found = search(bars, PLANTED, objective=bt.ColumnMetric(peak, name="peak"), n_trials=200)
    assert found.n_trials == 200
    assert found.best["peak"] > -0.004  # the best of 200 random ones is about -0.035
    assert found.best["rules.intrabar"] == "target_first"
    assert abs(found.best["rules.stop"] - 1.23) < 0.2


def test_it_is_better_than_random(bars):
    """At equal budgets, over several seeds, on the log scale of what is missing to the top."""
    hill = bt.ColumnMetric(peak, name="peak")
    missing = {
        sampler: [
            -search(bars, PLANTED, objective=hill, sampler=sampler, seed=seed, n_trials=200).best[
                "peak"
            ]
            for seed in range(3)
        ]
        for sampler in ("tpe", "nsga2", "random")
    }
    assert np.median(missing["tpe"]) < np.median(missing["random"]) / 2
    assert np.median(missing["nsga2"]) < np.median(missing["random"])


def test_a_huge_grid_takes_no_memory(bars):
    tracemalloc.start()
    how = {"where": "rules.target > rules.stop", "sampler": "nsga2"}
    found = search(bars, HUGE, n_trials=100, **how)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100e6
    assert found.n_trials == 100
    assert (found.trials["rules.target"] > found.trials["rules.stop"]).all()
    assert found.trials["combo_id"].max() > 1e12
    row = found.best
    again = found.replay(int(row["combo_id"]))
    assert again.metrics.sharpe == row["sharpe"]
    assert again.job.rules.stop == row["rules.stop"]


def test_the_front_holds_what_no_trial_beats(bars):
    found = search(bars, objective={"sharpe": "max", "max_drawdown": "min"}, n_trials=200)
    rows = found.trials[found.trials["feasible"]]
    pairs = list(zip(rows["sharpe"], rows["max_drawdown"], strict=True))
    unbeaten = {
        int(combo_id)
        for combo_id, (ratio, loss) in zip(rows["combo_id"], pairs, strict=True)
        if not any(r >= ratio and d <= loss and (r > ratio or d < loss) for r, d in pairs)
    }
    front = found.front
    assert set(front["combo_id"]) == unbeaten
    assert front["sharpe"].is_monotonic_decreasing
    assert found.best["combo_id"] == front["combo_id"].iloc[0]
    assert len(front) > 1


def test_objectives_as_a_list_go_their_own_ways(bars):
    named = search(bars, objective={"profit_factor": "max", "max_drawdown": "min"})
    listed = search(bars, objective=["profit_factor", "max_drawdown"])
    assert listed.trials["combo_id"].tolist() == named.trials["combo_id"].tolist()


def test_a_direction_can_be_turned(bars):
    worst = search(bars, objective={"sharpe": "min"}, n_trials=10_000)
    sharpe = worst.trials["sharpe"][worst.trials["feasible"]]
    assert worst.best["sharpe"] == sharpe.min() < sharpe.max()


def test_a_metric_of_the_trades(bars, engine):
    def middle(result):
        return result.trades["pnl"].median()

    metric = bt.TradeMetric(middle)
    found = search(bars, objective=metric, engine=engine, n_trials=40, batch=20)
    for row in found.trials.head(8).to_dict("records"):
        assert row["middle"] == found.replay(row["combo_id"]).trades["pnl"].median()
    assert found.best["middle"] == found.trials["middle"][found.trials["feasible"]].max()


def test_a_function_is_a_metric_of_the_columns(bars):
    found = search(bars, objective=lambda c: c["sharpe"] * np.sqrt(c["total_trades"]))
    trials = found.trials
    expected = trials["sharpe"] * np.sqrt(trials["total_trades"])
    np.testing.assert_array_equal(trials["own_metric"], expected)
    assert found.best["own_metric"] == expected[trials["feasible"]].max()


def test_a_users_strategy(bars, engine):
    def swings(bars, *, span: int = 5, gap: float = 0.0):
        side = np.zeros(len(bars), np.int8)
        moved = bars.close[span:] - bars.close[:-span]
        side[span:] = np.where(moved > gap, 1, np.where(moved < -gap, -1, 0))
        return side

    axes = {
        "strategy.span": {"min": 1, "max": 40},
        "strategy.gap": {"start": 0.0, "stop": 200.0, "step": 5.0},
        "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.1},
    }
    found = bt.search(
        bars, swings, axes, rules=RULES, n_trials=40, batch=20, min_trades=1, engine=engine
    )
    for row in found.trials.head(10).to_dict("records"):

        def fixed(bars, span=row["strategy.span"], gap=row["strategy.gap"]):
            return swings(bars, span=span, gap=gap)

        rules = bt.ExitRules(**{**RULES.to_mapping(), "stop": row["rules.stop"]})
        alone = bt.run_signals(bars, fixed(bars), rules, engine=engine)
        assert alone.metrics.total_return == row["total_return"]


def test_the_verdict_counts_every_combination(bars):
    found = search(bars, n_trials=150)
    verdict = found.verdict()
    assert verdict.trials == found.n_trials == 150
    assert verdict.sharpe == found.best["sharpe"]
    assert "150 trials" in verdict.text
    one = search(bars, {"rules.stop": [1.5]}).verdict()
    assert one.trials == 1


def test_the_verdict_takes_the_moments_of_the_winners_days(bars):
    from backtest_py.overfitting import BestTrial, TrialSet, judge, return_moments

    found = search(bars, n_trials=100)
    result = found.replay(int(found.best["combo_id"]))
    days = bars.to_frame().index.normalize().unique()
    pnl = result.trades["pnl"].groupby(result.trades["exit_time"].dt.normalize()).sum()
    pnl = pnl.reindex(days).fillna(0.0)
    before = CONTRACT.initial_capital + pnl.cumsum() - pnl
    moments = return_moments((pnl / before).to_numpy())
    spread = found.trials["sharpe"].dropna().var(ddof=1)
    expected = judge(
        TrialSet(100, spread),
        BestTrial(
            result.metrics.sharpe,
            days=result.metrics.days,
            skew=moments.skew,
            kurtosis=moments.kurtosis,
            total_trades=result.metrics.total_trades,
        ),
    )
    assert found.verdict().dsr == pytest.approx(expected.dsr, rel=1e-9)
    assert moments.sharpe * 252**0.5 == pytest.approx(result.metrics.sharpe, rel=1e-9)


def test_optuna_is_quiet_and_left_as_it_was(bars, capfd):
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        search(bars, n_trials=20, batch=10)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")


def test_progress_never_falls_and_ends_complete(bars):
    seen = []
    search(bars, n_trials=75, batch=20, progress=seen.append)
    assert [each.combos for each in seen] == [20, 40, 60, 75]
    assert {each.total_combos for each in seen} == {75}


def test_a_long_search_passes_the_gate_first(bars):
    found = search(bars, n_trials=60, gate=50, engine="rust")
    assert found.manifest["gate"]["verdict"] == "agreed"
    assert found.manifest["gate"]["n_combos"] >= 48
    short = search(bars, n_trials=60, engine="rust")
    assert short.manifest["gate"]["verdict"] == "not needed"
    skipped = search(bars, n_trials=60, gate=None, engine="rust")
    assert skipped.manifest["gate"]["verdict"] == "skipped"


def test_saved_files(bars, tmp_path):
    found = search(bars, n_trials=30)
    directory = found.save(tmp_path / "found")
    assert sorted(file.name for file in directory.iterdir()) == ["manifest.json", "trials.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(directory / "trials.parquet"), found.trials)
    found.save(directory)  # over an earlier one
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"kind": "sweep"}')
    with pytest.raises(bt.ConfigError, match="something else"):
        found.save(tmp_path / "other")


def test_neighbours_are_neighbours_whatever_the_order_of_a_list(bars):
    """Of ordered values the search moves along their order, not along that of the list."""
    values = [round(0.5 + 0.05 * at, 2) for at in range(61)]
    mixed = [values[(17 * at) % 61] for at in range(61)]
    hill = bt.ColumnMetric(lambda c: -((c["rules.stop"] - 2.0) ** 2), name="hill")
    grids = ({"rules.stop": each, "rules.target": values} for each in (values, mixed))
    one, other = (search(bars, grid, objective=hill, n_trials=100, seed=1) for grid in grids)
    columns = ["rules.stop", "rules.target"]
    pd.testing.assert_frame_equal(one.trials[columns], other.trials[columns])
    assert one.trials["combo_id"].tolist() != other.trials["combo_id"].tolist()


def test_results_do_not_depend_on_what_was_searched_before(bars):
    first = search(bars, seed=2).trials
    for seed, sampler in itertools.product((0, 1), ("random", "tpe")):
        search(bars, seed=seed, sampler=sampler, n_trials=20)
    np.random.seed(7)  # noqa: NPY002 - a user's own seed must not matter
    pd.testing.assert_frame_equal(search(bars, seed=2).trials, first)
