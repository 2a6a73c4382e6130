"""A Parquet file of bars that need not fit into memory: `python -m benches.long_file PATH ROWS`.

Index points on a grid of 5, one-minute bars from 09:00, 540 a day. The file is written group by
group, and its name stands for its content: rows and generator never change.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_long_file"]

GROUP: Final = 1_000_000
BARS_PER_DAY: Final = 540
MINUTE: Final = 60_000_000_000
TICK: Final = 5.0
LOWEST, WIDTH = 10_000, 10_000
PRICES: Final = ("open", "high", "low", "close", "volume")
SCHEMA: Final = pa.schema(
    [("time", pa.timestamp("ns")), *((name, pa.float64()) for name in PRICES)]
)


def write_long_file(path: Path | str, n_rows: int) -> None:
    """Write so many bars, in memory for one group of rows."""
    random = np.random.default_rng(20_240_102)
    walked = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for first in range(0, n_rows, GROUP):
            n = min(GROUP, n_rows - first)
            calm = random.integers(-4, 5, n)
            steps = np.where(random.integers(0, 50, n) == 0, 6 * calm, calm)
            walk = walked + np.cumsum(steps)
            close, open_ = _reflected(walk), _reflected(walk - steps)
            high = np.maximum(open_, close) + random.integers(0, 4, n)
            low = np.minimum(open_, close) - random.integers(0, 4, n)
            volume = random.integers(1, 500, n) * (1 + np.abs(steps))
            row = np.arange(first, first + n)
            day, minute = row // BARS_PER_DAY, 540 + row % BARS_PER_DAY
            time = pa.array((day * 1440 + minute) * MINUTE).cast(pa.timestamp("ns"))
            prices = [column * TICK for column in (open_, high, low, close)]
            writer.write_table(
                pa.table([time, *prices, volume.astype(np.float64)], schema=SCHEMA),
                row_group_size=GROUP,
            )
            walked = int(walk[-1])


def _reflected(walk: np.ndarray) -> np.ndarray:
    """Turn a walk back at both ends of a span of prices."""
    return LOWEST + np.abs((walk + WIDTH) % (2 * WIDTH) - WIDTH)


if __name__ == "__main__":
    write_long_file(sys.argv[1], int(sys.argv[2]))
