"""Call the extension directly, as ``backtest_py.run`` does."""

from __future__ import annotations

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import AtrMethod


def main() -> None:
    """Run one backtest, then a small series of them."""
    bars = bt.synthetic_bars(n_days=250)
    rules = bt.ExitRules(stop=2.0, target_r=2.0, close_time="17:00")
    contract = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1)
    settings = bt.MetricSettings()
    atr = _engine_rust.average_true_range(bars, rules.atr_period, AtrMethod[rules.atr_method])

    strategy = bt.BarraElefante(min_range_mult=1.5, lookback=10)
    named = (strategy.name, list(strategy.values()))
    trades, metrics = _engine_rust.run_backtest_rust(
        bars, rules, contract, settings, 0, len(bars), strategy=named, atr=atr
    )
    print(f"{len(trades['pnl'])} trades, sharpe {metrics[METRICS.index('sharpe')]:.2f}")

    runs = []
    for lookback in (5, 10, 20):
        each = bt.BarraElefante(min_range_mult=1.5, lookback=lookback)
        named = (each.name, list(each.values()))
        runs.append((named, atr, rules, contract, settings, 0, len(bars)))
    for row in _engine_rust.optimize_rust(bars, runs):
        print(" ".join(f"{name}={row[METRICS.index(name)]:.2f}" for name in ("sharpe", "sqn")))

    info = _engine_rust.build_info()
    print(f"{info['profile']} build, instructions: {info['level']} of {info['levels']}")


if __name__ == "__main__":
    main()
