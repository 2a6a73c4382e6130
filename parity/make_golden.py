"""Write the committed golden cases: ``python -m parity.make_golden``.

Bars come from the package's generator, with holes cut into them; answers come from the reference.
Both are stored, so that a case stays what it is when generator or reference change. Run this only
to add cases or after a change of the contract, and say so in the commit.
"""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import backtest_py as bt
from parity import golden, reference
from parity.reference import sum_in_order

INDEX = "index_5m.csv.gz"
COIN = "coin_30m.csv.gz"

INDEX_CONTRACT = {
    "tick_size": 5.0,
    "point_value": 0.2,
    "fee_per_side": 0.25,
    "slippage_ticks": 1.0,
}
COIN_CONTRACT = {
    "tick_size": 0.01,
    "quantity": 10.0,
    "fee_rate": 0.0004,
    "slippage_ticks": 2.0,
}
YEAR = {"periods_per_year": 365.0, "risk_free_rate": 0.02}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "elephant_day": (
        INDEX,
        {
            "strategy": {"name": "barra_elefante", "params": {"lookback": 20}},
            "rules": {"close_time": "17:00"},
            "contract": INDEX_CONTRACT,
        },
    ),
    "elephant_confirmed_r": (
        INDEX,
        {
            "strategy": {
                "name": "barra_elefante",
                "params": {
                    "min_range_mult": 1.5,
                    "min_volume_mult": 0.0,
                    "lookback": 5,
                    "entry_start": "09:15",
                    "entry_end": "16:00",
                    "confirm_breakout": True,
                },
            },
            "rules": {"stop": 1.0, "target_r": 1.5, "close_time": "17:30", "round_to_tick": True},
            "contract": INDEX_CONTRACT,
        },
    ),
    "elephant_tight_pessimist": (
        INDEX,
        {
            "strategy": {
                "name": "barra_elefante",
                "params": {"min_range_mult": 1.0, "min_volume_mult": 0.0, "lookback": 4},
            },
            "rules": {"atr_method": "sma", "atr_period": 8, "stop": 0.3, "target": 0.3},
            "contract": INDEX_CONTRACT,
        },
    ),
    "elephant_tight_optimist": (
        INDEX,
        {
            "strategy": {
                "name": "barra_elefante",
                "params": {"min_range_mult": 1.0, "min_volume_mult": 0.0, "lookback": 4},
            },
            "rules": {
                "atr_method": "sma",
                "atr_period": 8,
                "stop": 0.3,
                "target": 0.3,
                "intrabar": "target_first",
                "close_time": "18:00",
            },
            "contract": INDEX_CONTRACT,
        },
    ),
    "elephant_atr_column": (
        INDEX,
        {
            "strategy": {"name": "barra_elefante", "params": {"min_range_mult": 1.5}},
            "rules": {"atr_method": "column", "stop": 1.0, "target": 0.0, "trail": 1.5},
            "contract": INDEX_CONTRACT,
        },
    ),
    "elephant_ruined": (
        INDEX,
        {
            "strategy": {
                "name": "barra_elefante",
                "params": {"min_range_mult": 1.0, "max_shadow_ratio": 1.0, "lookback": 3},
            },
            "rules": {"stop": 0.5, "target": 0.5, "close_time": "17:00"},
            "contract": {**INDEX_CONTRACT, "quantity": 10.0, "slippage_ticks": 2.0},
        },
    ),
    "elephant_range_and_bars": (
        COIN,
        {
            "strategy": {
                "name": "barra_elefante",
                "params": {"min_range_mult": 1.2, "lookback": 10, "max_shadow_ratio": 0.6},
            },
            "rules": {"target": 4.0, "max_bars": 6},
            "contract": COIN_CONTRACT,
            "metrics": YEAR,
            "range": {"start": "2021-03-15", "end": "2021-04-09 12:00"},
        },
    ),
    "elephant_percent_trail": (
        COIN,
        {
            "strategy": {"name": "barra_elefante", "params": {"min_range_mult": 1.5}},
            "rules": {
                "unit": "percent",
                "stop": 0.2,
                "target": 0.8,
                "trail": 0.3,
                "round_to_tick": True,
            },
            "contract": COIN_CONTRACT,
            "metrics": YEAR,
        },
    ),
    "elephant_no_exit": (
        COIN,
        {
            "strategy": {"name": "barra_elefante", "params": {"lookback": 30}},
            "rules": {"stop": 0.0, "target": 0.0},
            "contract": COIN_CONTRACT,
        },
    ),
    "opening_range_risk": (
        INDEX,
        {
            "strategy": {
                "name": "opening_range_breakout",
                "params": {"range_minutes": 30, "entry_end": "15:00"},
            },
            "rules": {"unit": "strategy", "stop": 0.5, "target": 1.0, "close_time": "17:45"},
            "contract": INDEX_CONTRACT,
        },
    ),
    "opening_range_through": (
        COIN,
        {
            "strategy": {"name": "opening_range_breakout", "params": {"range_minutes": 120}},
            "rules": {
                "unit": "strategy",
                "stop": 1.0,
                "target_r": 0.75,
                "trail": 0.8,
                "round_to_tick": True,
                "target_through_ticks": 1.0,
                "close_time": "23:00",
            },
            "contract": COIN_CONTRACT,
            "metrics": YEAR,
        },
    ),
    "average_cross_overnight": (
        COIN,
        {
            "strategy": {"name": "moving_average_cross", "params": {"fast": 5, "slow": 20}},
            "rules": {"stop": 3.0, "target": 0.0, "trail": 2.0},
            "contract": COIN_CONTRACT,
            "metrics": YEAR,
        },
    ),
    "average_cross_points": (
        INDEX,
        {
            "strategy": {
                "name": "moving_average_cross",
                "params": {"fast": 3, "slow": 12, "entry_end": "16:30"},
            },
            "rules": {
                "unit": "points",
                "stop": 150.0,
                "target": 200.0,
                "max_bars": 24,
                "close_time": "17:00",
            },
            "contract": INDEX_CONTRACT,
        },
    ),
    "average_cross_never": (
        INDEX,
        {
            "strategy": {"name": "moving_average_cross", "params": {"fast": 10, "slow": 100_000}},
            "rules": {"close_time": "17:00"},
            "contract": INDEX_CONTRACT,
        },
    ),
}


def bars_text(bars: bt.Bars) -> str:
    """Return the bars as CSV, with holes, short sessions and a column of true ranges."""
    lines = ["time,open,high,low,close,volume,atr"]
    last_of_day = {int(day): i for i, day in enumerate(bars.day)}
    for i, day in enumerate(bars.day.tolist()):
        short_session = day % 7 == 3 and i > last_of_day[day] - 25
        if i % 97 == 50 or short_session:
            continue
        row = [float(getattr(bars, name)[i]) for name in ("open", "high", "low", "close", "volume")]
        ranges = [float(bars.high[j] - bars.low[j]) for j in range(i - 9, i + 1)] if i > 8 else []
        row.append(sum_in_order(ranges) / 10 if ranges else math.nan)
        lines.append(",".join([bars.time_text(i), *map(repr, row)]))
    return "\n".join(lines) + "\n"


def json_number(value: Any) -> Any:
    """Return nan and infinities as texts."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def answer(data: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a golden case as the file holds it."""
    result = reference.run(golden.load_bars(golden.COMMITTED / data), config)
    return {
        "data": data,
        "config": config,
        "signals": sum(side != 0 for side in result.side),
        "trades": {name: list(map(json_number, col)) for name, col in result.trades.items()},
        "metrics": {name: json_number(value) for name, value in result.metrics.items()},
    }


def write(name: str, text: str) -> None:
    """Write a compressed file whose bytes depend on the text alone."""
    (golden.COMMITTED / name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main() -> None:
    """Write the bars, then every case."""
    golden.COMMITTED.mkdir(exist_ok=True)
    index = bt.synthetic_bars(n_days=24, start="2023-02-01", seed=11)
    coin = bt.synthetic_bars(
        n_days=45,
        bars_per_day=48,
        start="2021-03-01",
        first_minute=0,
        interval_minutes=30,
        tick_size=0.01,
        seed=12,
    )
    write(INDEX, bars_text(index))
    write(COIN, bars_text(coin))
    for name, (data, config) in CASES.items():
        case = answer(data, config)
        write(f"{name}.json.gz", json.dumps(case, allow_nan=False))
        metrics = case["metrics"]
        print(f"{name}: {case['signals']} signals, {metrics['total_trades']} trades")


if __name__ == "__main__":
    main()
