"""The gate sees faults that lie between an engine's numbers and the rows of a shard."""

from __future__ import annotations

import pytest

import backtest_py as bt
from backtest_py.errors import ParityError
from backtest_py.sweep.compute import tabulate
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.gate import gate, verdicts

GRIDS = {
    "whole boxes": ({"strategy.lookback": range(5, 25), "rules.stop": range(1, 21)}, ""),
    "boxes with holes": (
        {"strategy.lookback": range(5, 25), "rules.stop": range(1, 21)},
        "rules.stop * 2 > strategy.lookback - 4",
    ),
}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=40)


@pytest.fixture(autouse=True)
def no_verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "cache_directory", lambda kind: tmp_path / kind)


def swept(bars, name, **settings):
    axes, where = GRIDS[name]
    grid = {key: [float(v) if "stop" in key else v for v in values] for key, values in axes.items()}
    base = bt.BarraElefante(min_range_mult=1.0, min_volume_mult=0.0, max_shadow_ratio=1.0)
    return bt.sweep(bars, base, grid, where=where, engine="rust", gate=10, **settings)


def rolled(original):
    def mixed_up(self, *arguments):
        values = original(self, *arguments)
        return values[..., ::-1]

    return mixed_up


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("scenarios", [False, True])
def test_rows_in_the_wrong_order_are_seen(bars, name, scenarios, monkeypatch):
    assert swept(bars, name, scenarios=scenarios).manifest["gate"]["verdict"] == "agreed"
    part = {"whole boxes": "_whole_box", "boxes with holes": "_part_of_box"}[name]
    monkeypatch.setattr(Evaluator, part, rolled(getattr(Evaluator, part)))
    monkeypatch.setattr(gate, "recall", lambda key: None)
    with pytest.raises(ParityError, match="shard by"):
        swept(bars, name, scenarios=scenarios)


def test_metrics_under_the_wrong_name_are_seen(bars, monkeypatch):
    genuine = tabulate.shard_table
    monkeypatch.setattr(
        tabulate,
        "shard_table",
        lambda ids, parameters, metrics, *rest: genuine(ids, parameters, metrics[::-1], *rest),
    )
    with pytest.raises(ParityError, match="shard by"):
        swept(bars, "whole boxes")
