"""Run in a tree with all four additions: both engines know them, in a run and in a sweep."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import backtest_py as bt
from backtest_py import _engine_rust


def main(tree: Path) -> None:
    assert Path(bt.__file__).is_relative_to(tree)
    assert Path(_engine_rust.__file__).is_relative_to(tree)

    bars = bt.synthetic_bars(n_days=40)
    strategy = bt.InsideBar(inner=1)
    rules = bt.ExitRules(unit="points", stop=300, target=400, max_loss=100, close_time="17:00")
    contract = bt.Contract(tick_size=5, point_value=0.2, fee_per_trade=1.25)
    numba, rust = (
        bt.run(bars, strategy, rules, contract, engine=name) for name in ("numba", "rust")
    )

    # one run: the same bits, and each addition does what it says
    assert numba.metrics == rust.metrics
    for name, column in numba.columns.items():
        assert column.tobytes() == rust.columns[name].tobytes(), name
    # bar by bar, too, with the bars that the strategy says it looks back on
    for name in ("numba", "rust"):
        pieces = (bars[first : first + 7] for first in range(0, len(bars), 7))
        streamed = bt.run_chunked(pieces, strategy, rules, contract, engine=name)
        assert streamed.metrics == rust.metrics
    trades, metrics = rust.trades, rust.metrics
    assert metrics.total_trades > 50
    assert metrics.exits_max_loss == (trades["reason"] == "max_loss").sum() > 0
    assert metrics.exits_max_loss < metrics.total_trades
    assert (trades["fees"] == 1.25).all()
    pnl = trades["pnl"].to_numpy()
    moment = ((pnl - pnl.mean()) ** 3).mean() / pnl.std() ** 3
    np.testing.assert_allclose(metrics.skewness, moment, rtol=1e-6)

    # sweeps, which the gate lets both engines compute: the same rows, and each is the single run
    grid = {
        "strategy.inner": [1, 2],
        "rules.max_loss": [0.0, 50.0, 100.0],
        "rules.stop": [200.0, 300.0, 450.0],
        "contract.fee_per_trade": [0.0, 2.0],
    }
    sweeps = [
        bt.sweep(bars, strategy, grid=grid, rules=rules, contract=contract, engine=name)
        for name in ("numba", "rust")
    ]
    frames = [sweep.top(1000, by="skewness").sort_values("combo_id") for sweep in sweeps]
    assert len(frames[0]) == 36
    assert frames[0].to_csv() == frames[1].to_csv()
    assert frames[0]["exits_max_loss"].nunique() > 3
    assert frames[0]["skewness"].nunique() > 10
    for row in frames[0].to_dict("records"):
        replayed = sweeps[1].replay(row["combo_id"]).metrics
        for name in ("skewness", "exits_max_loss", "total_return", "exits_end_of_data", "ruined"):
            assert replayed[name] == row[name], (row["combo_id"], name)

    print("all four work")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
