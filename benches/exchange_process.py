"""The local exchange in a process of its own, so that it does not share ours with who is timed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Final, Self

import numpy as np

from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.market.intervals import DAY
from benches.timing import ROOT

__all__ = ["LISTED", "NOW", "SYMBOLS", "ExchangeProcess"]

NOW: Final = int(np.datetime64("2026-01-05T12:34:56.789", "ms").astype(np.int64))
"""What its clock says, for ever."""
LISTED: Final = NOW // DAY * DAY - 375 * DAY
SYMBOLS: Final = tuple(
    f"{name}USDT"
    for name in ["BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "LINK", "LTC", "DOT"]
)


class ExchangeProcess:
    """Ten markets that have traded for a year, at an address on loopback.

    Parameters
    ----------
    latency : float
        Seconds that every answer takes.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.exchange_process", "--latency", str(latency)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        out = self._process.stdout
        self.url = out.readline().strip() if out is not None else ""
        if not self.url:
            raise RuntimeError("the local exchange did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input, at which it ends


def main() -> None:
    """Answer until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    markets = tuple(DemoMarket(symbol, LISTED, NOW) for symbol in SYMBOLS)
    with DemoExchange(markets, lambda: NOW, latency=options.latency) as exchange:
        print(exchange.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
