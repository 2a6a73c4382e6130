"""Golden cases: reading them, reading their bars, and judging a result by them.

Bars are read here by plain csv and pyarrow code, so that the reference's answer to a case does
not depend on the readers of the package.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from parity import reference

COMMITTED = Path(__file__).parent / "golden"
TOLERANCE = 1e-9
SPREAD_METRICS = ("sharpe", "sqn")


@dataclass(frozen=True)
class Golden:
    """One golden case; ``exact`` tells that its metrics, too, must agree bit for bit."""

    name: str
    bars: reference.Bars
    config: dict[str, Any]
    signals: int
    trades: dict[str, list[Any]]
    metrics: dict[str, Any]
    condition: float
    exact: bool


def shared_folder() -> Path | None:
    """Return the folder of shared data and golden cases, None where there is none."""
    folder = os.environ.get("BACKTEST_PY_SHARED", "")
    return Path(folder) if folder else None


def case_paths() -> list[Path]:
    """Return the files of all golden cases at hand: the committed and the shared ones."""
    paths = sorted(COMMITTED.glob("*.json.gz"))
    shared = shared_folder()
    if shared is not None:
        paths += sorted((shared / "golden").glob("*.json.gz"))
    return paths


def load_case(path: Path) -> Golden:
    """Read one golden case with its bars."""
    content = json.loads(gzip.decompress(path.read_bytes()))
    committed = path.parent == COMMITTED
    data = COMMITTED if committed else path.parent.parent / "data"
    bars = load_bars(data / content["data"])
    trades = {name: [number(v) for v in column] for name, column in content["trades"].items()}
    metrics = {name: number(value) for name, value in content["metrics"].items()}
    return Golden(
        name=f"{'committed' if committed else 'shared'}/{path.name.removesuffix('.json.gz')}",
        bars=bars,
        config=content["config"],
        signals=content["signals"],
        trades=trades,
        metrics=metrics,
        condition=content.get("condition", 1.0),
        exact=committed,
    )


def number(value: Any) -> Any:
    """Turn the strings that stand for nan and the infinities into floats."""
    return float(value) if value in {"nan", "inf", "-inf"} else value


@lru_cache(maxsize=8)
def load_bars(path: Path) -> reference.Bars:
    """Read a CSV or Parquet file of bars whose first column is the time."""
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
    time, *prices = zip(*rows, strict=True)
    columns = [[float(value) for value in column] for column in prices]
    opening, high, low, closing, volume = columns[:5]
    atr = columns[5] if len(columns) > 5 else None
    return reference.Bars(list(time), opening, high, low, closing, volume, atr)


def _csv_rows(path: Path) -> list[tuple[Any, ...]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        return [
            (reference.nanoseconds(dt.datetime.fromisoformat(row[0])), *row[1:]) for row in reader
        ]


def _parquet_rows(path: Path) -> list[tuple[Any, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    names = ["open", "high", "low", "close", "volume"]
    time = table.column(0).cast(pa.timestamp("ns", table.schema.field(0).type.tz)).cast(pa.int64())
    columns = [time.to_pylist(), *(table.column(name).to_pylist() for name in names)]
    return list(zip(*columns, strict=True))


def metric_faults(case: Golden, metrics: dict[str, Any]) -> list[str]:
    """Return what is wrong with the metrics of a result, one line for each wrong metric."""
    wrong = []
    for name, expected in case.metrics.items():
        allowed = 0.0 if case.exact else TOLERANCE
        if not case.exact and name in SPREAD_METRICS:
            allowed *= max(case.condition, 1.0)
        if not agrees(expected, metrics[name], allowed):
            wrong.append(f"metric {name}: {metrics[name]!r}, golden {expected!r}")
    return wrong


def agrees(expected: float, actual: float, allowed: float) -> bool:
    """Compare within a relative difference, absolute below 1; without one the bits must agree."""
    if math.isnan(expected) or math.isnan(actual):
        return math.isnan(expected) and math.isnan(actual)
    if allowed == 0.0:
        return repr(float(expected)) == repr(float(actual))
    if math.isinf(expected) or math.isinf(actual):
        return expected == actual
    return abs(expected - actual) <= allowed * max(1.0, abs(expected))
