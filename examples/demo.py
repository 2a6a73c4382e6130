"""The main job from end to end, on bars that it generates: ``make demo``.

Writes bars and a configuration, runs Barra Elefante on both engines, fails unless they agree bit
for bit, and shows the result with what it took. Then it sweeps 100,000 combinations.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import backtest_py as bt
from backtest_py.parity import require_same
from backtest_py.report import tables
from backtest_py.report.sweep_tables import show_best
from backtest_py.sweep.gate.gate import gate_text

if TYPE_CHECKING:
    from collections.abc import Callable

N_DAYS = 1_285  # 140,065 five-minute bars
REPEATS = 5
R = TypeVar("R")

CONFIGURATION = """\
[data]
path = "bars.parquet"
[strategy]
name = "barra_elefante"
params = { min_range_mult = 2.0, min_volume_mult = 1.0, max_shadow_ratio = 0.4, lookback = 20, \
entry_start = "09:15", entry_end = "16:00", confirm_breakout = false }
[rules]
stop = 2.0
target = 3.0
unit = "atr"
close_time = "17:00"
[contract]
tick_size = 5.0
point_value = 0.20
fee_per_side = 0.25
slippage_ticks = 1.0
initial_capital = 100000.0
[sweep.grid]
"strategy.min_range_mult" = { start = 1.0, stop = 4.0, step = 0.5 }
"strategy.min_volume_mult" = { start = 0.0, stop = 2.0, step = 0.5 }
"strategy.max_shadow_ratio" = [0.2, 0.4, 0.6, 0.8]
"strategy.lookback" = [5, 10, 20, 30]
"rules.stop" = { start = 0.5, stop = 5.0, step = 0.5 }
"rules.target" = { start = 1.0, stop = 9.0, step = 1.0 }
"rules.trail" = [0.0, 2.0]
"""


def timed(work: Callable[[], R]) -> tuple[R, float]:
    """Return what the work gives, and its seconds."""
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start


def run_engine(config: bt.Config, bars: bt.Bars, engine: str) -> tuple[bt.BacktestResult, str]:
    """Run one engine and say how long the first and the later runs took."""
    result, first = timed(lambda: config.backtest(bars, engine=engine))
    later = min(timed(lambda: config.backtest(bars, engine=engine))[1] for _ in range(REPEATS))
    return result, f"first run {first * 1e3:,.0f} ms, then {later * 1e3:.2f} ms"


def show_sweep(config: bt.Config, bars: bt.Bars, out: Path) -> None:
    """Sweep the grid of the configuration anew, and show the best combinations."""
    shutil.rmtree(out, ignore_errors=True)
    sweep, seconds = timed(lambda: config.run_sweep(bars, engine="rust", out=out))
    gate = gate_text(sweep.manifest["gate"]).removeprefix("parity gate: ")
    facts = {"Sweep": f"{len(sweep):,} combinations in {seconds:.1f} s", "Parity gate": gate}
    tables.show("", tables.facts_table(facts), "")
    show_best(sweep.top_table(4, by="sharpe", where="total_trades >= 100"), "sharpe")
    tables.show(f"All of them: .venv/bin/backtest-py top {out}")


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder to write to")
    parser.add_argument("--days", type=int, default=N_DAYS, help=f"days of bars ({N_DAYS})")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)

    generated, seconds = timed(lambda: bt.synthetic_bars(n_days=options.days))
    generated.to_frame().to_parquet(out / "bars.parquet")
    (out / "demo.toml").write_text(CONFIGURATION, encoding="utf-8")

    config = bt.Config.load(out / "demo.toml")
    bars = config.load_bars()
    numba, numba_time = run_engine(config, bars, "numba")
    rust, rust_time = run_engine(config, bars, "rust")
    require_same(numba.output, rust.output)
    rust.save(out)
    rust.plot(out / "result.png")

    facts = {
        "Bars": f"{len(bars):,}, generated in {seconds:.2f} s",
        "Numba engine": numba_time,
        "Rust engine": rust_time,
        "Parity": f"{len(rust.trades):,} trades and {len(rust.metrics)} metrics, bit for bit",
    }
    tables.show(
        tables.facts_table(facts), "", tables.metric_table(rust.metrics),
        f"Trades, metrics, manifest and chart are in {out}. Now change {out / 'demo.toml'}, "
        f"and run: .venv/bin/backtest-py run {out / 'demo.toml'}",
    )  # fmt: skip
    show_sweep(config, bars, out / "sweep")


if __name__ == "__main__":
    main()
