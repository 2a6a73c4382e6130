"""Searches in which little is to be found, and arguments that are not allowed."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

import backtest_py as bt

RULES = bt.ExitRules(close_time="17:00")
STOPS = {"start": 0.5, "stop": 3.0, "step": 0.01}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=8)


def search(bars, grid, **asked):
    how = {"rules": RULES, "min_trades": 1, "n_trials": 40, "batch": 10}
    return bt.search(bars, "barra_elefante", grid, **{**how, **asked})


def test_a_grid_of_one(bars, engine):
    for grid in ({"rules.stop": [1.5]}, {}, None):
        found = search(bars, grid, engine=engine)
        assert found.n_trials == 1
        assert found.best["combo_id"] == 0
        assert found.verdict().trials == 1
    rules = bt.ExitRules(close_time="17:00")
    assert found.best["sharpe"] == bt.run(bars, "barra_elefante", rules).metrics.sharpe


def test_what_is_printed_says_what_is_best(bars):
    grid = {"rules.stop": [1.0, 2.0], "rules.target": [1.0, 2.0]}
    found = search(bars, grid)
    best = found.best
    text = repr(found)
    assert f"best combination {int(best['combo_id'])}: sharpe {best['sharpe']:.4g}" in text
    assert f"total_trades {int(best['total_trades'])}, total_return" in text
    assert f"rules.stop = {best['rules.stop']}, rules.target = {best['rules.target']}" in text
    assert "Pareto" not in text
    two = search(bars, grid, objective=["sharpe", "max_drawdown"])
    assert f"{len(two.front)} combination" in repr(two).splitlines()[-1]
    assert "best combination" not in repr(search(bars, grid, min_trades=10_000))


@pytest.mark.parametrize("n_trials", [39, 40, 41, 1_000])
def test_a_grid_of_as_many_as_are_asked_for(bars, n_trials):
    grid = {"rules.stop": {"start": 0.5, "stop": 2.4, "step": 0.1}, "rules.target": [1.0, 2.0]}
    found = search(bars, grid, n_trials=n_trials)
    assert found.n_trials == min(40, n_trials)
    assert found.trials["combo_id"].nunique() == found.n_trials


def test_one_axis(bars):
    found = search(bars, {"rules.stop": STOPS}, n_trials=60)
    assert found.n_trials == 60
    assert found.front["sharpe"].nunique() == 1


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_most_of_a_grid_is_evaluated_without_repetition(bars, sampler):
    """A sampler that proposes the same again and again does not end the search."""
    grid = {"rules.stop": STOPS}
    found = search(bars, grid, n_trials=240, sampler=sampler)
    assert found.n_trials == found.trials["combo_id"].nunique() == 240


def test_all_accounts_are_ruined(bars, engine):
    poor = bt.Contract(point_value=1_000.0, initial_capital=10.0, fee_per_side=5.0)
    found = search(bars, {"rules.stop": STOPS}, contract=poor, engine=engine)
    assert found.trials["ruined"].all()
    assert found.best is None
    assert len(found.front) == 0
    assert not found.trials["feasible"].any()
    assert np.isnan(found.verdict().sharpe)
    assert "nothing to judge" in found.verdict().text
    assert "none may be the best" in repr(found)


def test_all_is_undefined(bars):
    undefined = bt.ColumnMetric(lambda c: np.full(len(c["sharpe"]), np.nan), name="undefined")
    found = search(bars, {"rules.stop": STOPS}, objective=undefined)
    assert found.best is None
    assert found.n_trials == 40


def test_no_trade_at_all(bars):
    found = search(bars, {"strategy.min_range_mult": [1e6, 2e6], "rules.stop": STOPS})
    assert (found.trials["total_trades"] == 0).all()
    assert found.best is None


def test_ruined_and_undefined_and_few_trades_are_never_the_best(bars):
    """Each would win by far."""

    def tempting(columns):
        value = columns["sharpe"].copy()
        value[columns["rules.stop"] < 1.0] = np.nan
        value[columns["total_trades"] < 15] = 1e9
        value[columns["ruined"]] = 1e12
        return value

    grid = {
        "rules.stop": STOPS,
        "strategy.min_range_mult": [1.0, 1.5, 2.0, 2.5, 3.0],
        "contract.point_value": [0.2, 200.0],
    }
    found = search(bars, grid, objective=bt.ColumnMetric(tempting), min_trades=15, n_trials=150)
    rows = found.trials
    assert rows["ruined"].any()
    assert (rows["total_trades"] < 15).any()
    assert rows["tempting"].isna().any()
    best = found.best
    assert not best["ruined"]
    assert best["total_trades"] >= 15
    assert best["tempting"] == best["sharpe"]
    good = ~rows["ruined"] & (rows["total_trades"] >= 15) & rows["tempting"].notna()
    assert (rows["feasible"] == good).all()
    assert good.iloc[-50:].mean() > good.iloc[:50].mean()  # the sampler learned to avoid them


def test_infinite_values_rank_as_they_are(bars):
    infinite = bt.ColumnMetric(
        lambda c: np.where(c["rules.stop"] > 2.9, np.inf, c["sharpe"]), name="infinite"
    )
    for objective in (infinite, [infinite, "max_drawdown"]):
        found = search(bars, {"rules.stop": STOPS}, objective=objective, n_trials=200)
        assert found.best["infinite"] == np.inf


@pytest.mark.parametrize(
    ("where", "n_left"),
    [
        ("rules.stop == 1.5 and rules.target == 2.0 and strategy.lookback > 98", 2),
        ("rules.stop * 100 == rules.target * 100 and strategy.lookback == 7", 251),
    ],
)
def test_where_leaves_out_nearly_everything(bars, where, n_left):
    grid = {
        "rules.stop": STOPS,
        "rules.target": STOPS,
        "strategy.lookback": {"min": 1, "max": 100},
    }
    found = search(bars, grid, where=where)
    assert found.n_trials == min(40, n_left)
    kept = found.trials.rename(columns=lambda name: name.replace(".", "_"))
    assert (
        len(
            kept.query(
                where.replace(".stop", "_stop")
                .replace("rules.t", "rules_t")
                .replace("strategy.", "strategy_")
            )
        )
        == found.n_trials
    )


def test_a_condition_that_joins_many_parameters_does_not_scan_the_grid(bars):
    """As a sweep would, before it begins: 2e13 combinations, hardly a box of which is settled."""
    grid = {
        "strategy.min_range_mult": {"start": 0.5, "stop": 3.0, "step": 0.01},
        "strategy.lookback": {"min": 5, "max": 100},
        "rules.stop": {"start": 0.5, "stop": 5.0, "step": 0.01},
        "rules.target": {"start": 0.5, "stop": 5.0, "step": 0.01},
        "rules.atr_period": {"min": 5, "max": 200},
    }
    where = (
        "rules.target * strategy.lookback > rules.stop * rules.atr_period + strategy.min_range_mult"
    )
    began = time.perf_counter()
    rows = search(bars, grid, where=where, sampler="random").trials
    assert time.perf_counter() - began < 30.0
    left = rows["rules.target"] * rows["strategy.lookback"]
    right = rows["rules.stop"] * rows["rules.atr_period"] + rows["strategy.min_range_mult"]
    assert (left > right).all()
    assert len(rows) == 40


def test_combinations_that_the_rules_refuse_are_left_out(bars):
    grid = {"strategy.fast": {"min": 1, "max": 60}, "strategy.slow": {"min": 1, "max": 60}}
    found = bt.search(bars, "moving_average_cross", grid, n_trials=60, min_trades=1)
    assert (found.trials["strategy.fast"] < found.trials["strategy.slow"]).all()


def test_where_that_leaves_nothing_is_refused(bars):
    with pytest.raises(bt.ConfigError, match="nothing is left"):
        search(bars, {"rules.stop": STOPS}, where="rules.stop > 5")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n_trials": 0}, "n_trials"),
        ({"n_trials": 2.5}, "n_trials"),
        ({"batch": 1}, "batch"),
        ({"sampler": "grid"}, "'tpe'"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"min_trades": -1}, "min_trades"),
        ({"objective": "sharp"}, "did you mean 'sharpe'"),
        ({"objective": {"sharpe": "up"}}, '"max" or "min"'),
        ({"objective": []}, "objective is empty"),
        ({"objective": {}}, "objective is empty"),
        ({"objective": 3}, "objective = 3"),
        ({"objective": ["sharpe", "sharpe"]}, "twice"),
        ({"objective": bt.ColumnMetric(len, name="sharpe")}, "another name"),
        ({"objective": bt.ColumnMetric(len, name="rules.stop")}, "another name"),
        ({"objective": ["sharpe", "max_drawdown"], "sampler": "tpe"}, "nsga2"),
        ({"objective": lambda c: c["sharp"]}, "did you mean 'sharpe'"),
        ({"objective": lambda c: 1.0}, "one float for each row"),
        ({"objective": bt.TradeMetric(lambda r: "much", name="much")}, "return a float"),
        ({"threads": -1}, "threads"),
        ({"batches": 3}, "batch"),
        ({"where": "rules.stop >"}, "where"),
    ],
)
def test_what_is_not_allowed_is_refused(bars, asked, said):
    with pytest.raises(bt.BacktestError) as refused:
        search(bars, {"rules.stop": STOPS}, **asked)
    assert said in str(refused.value)


def test_without_optuna_the_error_says_what_to_install(bars, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(bt.ConfigError, match=r'pip install "backtest-py\[search\]"'):
        search(bars, {"rules.stop": STOPS})
