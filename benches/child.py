"""Time one full Rust backtest for each line on standard input: `python -m benches.child`."""

from __future__ import annotations

import sys

import backtest_py as bt
from benches.datasets import WORKLOADS, load_market
from benches.timing import clock


def main() -> None:
    """Answer every line with the nanoseconds of a run."""
    bars, work = load_market("b3_m5_140k"), WORKLOADS["elephant_2k"]
    timed = clock(
        lambda: bt.run(bars, work.strategy, work.rules, work.contract, engine="rust"), repeats=9
    )
    for _ in sys.stdin:
        sys.stdout.write(f"{timed()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
