"""The gate looks at every way in which the sweep that follows computes its rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.engines.rust_engine import engine as rust_engine
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.compute import evaluator as evaluate
from backtest_py.sweep.gate import verdicts

TRADES = METRICS.index("total_trades")
RULES = bt.ExitRules(close_time="13:30")


def each_bar(bars):
    return np.ones(len(bars), np.int8)


SETS = {"strategy.lookback": {"start": 3, "stop": 14, "step": 1}}
EXITS = {"rules.stop": {"start": 1.0, "stop": 4.0, "step": 0.25}, "rules.target": [2.0, 4.0]}
SWEEPS = {
    "tables": ("evaluate", {"grid": {**SETS, **EXITS}, "rules": RULES}),
    "tables, with a condition": (
        "evaluate",
        {"grid": {**SETS, **EXITS}, "rules": RULES, "where": "rules.target > rules.stop"},
    ),
    "apart, few sets": ("evaluate_each", {"strategy": each_bar, "grid": EXITS}),
    "apart, a sparse condition": (
        "evaluate_each",
        {
            "grid": {
                "strategy.lookback": {"start": 1, "stop": 30, "step": 1},
                "rules.max_bars": {"start": 1, "stop": 30, "step": 1},
            },
            "where": "strategy.lookback == rules.max_bars",
        },
    ),
    "apart, a sample": (
        "evaluate_each",
        {"grid": {**SETS, **EXITS}, "sample": bt.Sample(n=30), "rules": RULES},
    ),
    "single runs": ("run", {"grid": SETS, "rules": RULES}),
    "two single runs": ("run", {"grid": {"rules.stop": [1.0, 2.0]}, "rules": RULES}),
}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=20)


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """Keep verdicts apart from those of the user."""
    monkeypatch.setattr(verdicts, "cache_directory", lambda kind: tmp_path / "cache" / kind)


def flip_a_bit(values):
    """Flip the lowest bit of the number of trades."""
    changed = np.ascontiguousarray(values).copy()
    trades = changed[..., TRADES, :] if changed.ndim > 1 else changed[TRADES : TRADES + 1]
    trades[...] = (trades.view(np.int64) ^ 1).view(np.float64)
    return changed


def plant(monkeypatch, method):
    """Plant a fault in one way of the Rust engine, and return how often it was met."""
    met = []
    owner = rust_engine.RustEngine if method == "run" else rust_engine._RustSweepPlan
    genuine = getattr(owner, method)

    def faulty(self, *arguments, **options):
        met.append(1)
        found = genuine(self, *arguments, **options)
        if method == "run":
            return type(found)(found.trades, flip_a_bit(found.metrics))
        return flip_a_bit(found)

    monkeypatch.setattr(owner, method, faulty)
    return met


@pytest.mark.parametrize("name", SWEEPS)
def test_a_fault_in_the_way_that_the_sweep_takes_is_found(bars, monkeypatch, tmp_path, name):
    method, asked = SWEEPS[name]
    genuine = bt.sweep(bars, engine="rust", gate=None, **asked).table()
    met = plant(monkeypatch, method)
    faulty = bt.sweep(bars, engine="rust", gate=None, **asked).table()
    assert met
    assert faulty.drop_columns("total_trades").equals(genuine.drop_columns("total_trades"))
    met.clear()
    with pytest.raises(bt.ParityError, match="metric total_trades"):
        bt.sweep(bars, engine="rust", gate=1, out=tmp_path / "out", **asked)
    assert met
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["status"] == "refused"
    assert not list((tmp_path / "out" / "results").iterdir())


@pytest.mark.parametrize("name", SWEEPS)
def test_the_sweep_takes_no_way_that_the_gate_did_not_look_at(bars, monkeypatch, name):
    _, asked = SWEEPS[name]
    taken = set()
    by = evaluate.Evaluator.values_by
    cross = evaluate.Evaluator.cross
    monkeypatch.setattr(
        evaluate.Evaluator,
        "values_by",
        lambda self, path, *given: taken.add(path.value) or by(self, path, *given),
    )
    monkeypatch.setattr(
        evaluate.Evaluator,
        "cross",
        lambda self, *given: taken.add(evaluate.Path.TABLES.value) or cross(self, *given),
    )
    bt.sweep(bars, engine="rust", gate=None, **asked)
    in_sweep = set(taken)
    assert in_sweep
    verdict = bt.sweep(bars, engine="rust", gate=1, **asked).manifest["gate"]
    assert verdict["bit_for_bit"]
    assert in_sweep <= set(verdict["paths"])


@pytest.mark.parametrize("apart_cost", [0.0, np.inf])
def test_either_choice_of_a_grid_is_looked_at(bars, monkeypatch, apart_cost):
    monkeypatch.setattr(evaluate, "APART_COST", apart_cost)
    asked = {"grid": {**SETS, **EXITS}, "rules": RULES, "engine": "rust"}
    with monkeypatch.context() as patch:
        plant(patch, "evaluate" if apart_cost else "evaluate_each")
        with pytest.raises(bt.ParityError, match="rust's sweep by "):
            bt.sweep(bars, gate=1, **asked)
    assert bt.sweep(bars, gate=1, **asked).manifest["gate"]["verdict"] == "agreed"
