"""The local exchange on its own, until Control-C: ``backtest-py data demo-exchange``."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from backtest_py.data.demo_exchange.exchange import DemoExchange
from backtest_py.data.demo_exchange.market import demo_markets
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["serve"]


def serve(
    port: int = 8_700,
    *,
    days: int = 730,
    faults: Iterable[str] = (),
    latency: float = 0.0,
    ready: Callable[[DemoExchange], None] | None = None,
) -> None:
    """Run the local exchange, with the machine's clock, until Control-C.

    Parameters
    ----------
    port : int
        Where it listens, on loopback; 0 for any free port.
    days : int
        How long ago its markets were listed.
    faults : iterable of str
        Names of faults to switch on.
    latency : float
        Seconds that every answer takes.
    ready : callable, optional
        Called with the exchange when it answers.

    Raises
    ------
    ConfigError
        If the port cannot be used, or there is no such fault.
    """
    if days < 1:
        raise ConfigError(f"days = {days} is too few; give at least 1")
    now = int(time.time() * 1000)
    exchange = DemoExchange(demo_markets(now, days), port=port, latency=latency)
    try:
        for name in faults:
            exchange.fault(name)
        exchange.start()
        if ready is not None:
            ready(exchange)
        with suppress(KeyboardInterrupt):
            for market in exchange.markets.values():  # while nobody waits for it yet
                market.prepare()
            threading.Event().wait()
    finally:
        exchange.stop()
