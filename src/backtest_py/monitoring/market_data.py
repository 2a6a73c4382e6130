"""What the feed, its tiers and exchanges record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from backtest_py.monitoring import catalogue as metrics
from backtest_py.monitoring.instruments import recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["answered", "exchange_events", "fetched", "looked_up", "read", "result_of", "wrote"]


def looked_up(looks: Iterable[tuple[str, bool]]) -> None:
    """Count questions to tiers, each with whether it was answered in full."""
    if recording():
        for tier, full in looks:
            (metrics.HITS if full else metrics.MISSES).add(tier)


def answered(tier: str, began: float, n_bytes: int | None) -> None:
    """Record a question that began at a time of ``time.perf_counter``; None is a miss."""
    if recording():
        looked_up(((tier, n_bytes is not None),))
        read(tier, began, n_bytes or 0)


def read(tier: str, began: float, n_bytes: int) -> None:
    """Record a read that began at a time of ``time.perf_counter``."""
    if recording():
        metrics.READ_SECONDS.observe(time.perf_counter() - began, tier)
        metrics.READ_BYTES.add(tier, amount=n_bytes)


def wrote(tier: str, began: float, n_bytes: int) -> None:
    """Record that a tier on disk was given something to keep."""
    if recording():
        metrics.PUTS.add(tier)
        metrics.WRITE_SECONDS.observe(time.perf_counter() - began, tier)
        metrics.WRITTEN_BYTES.add(tier, amount=n_bytes)


_STATUS: Final = {
    "200": "ok",
    "404": "not_found",
    "408": "timeout",
    "418": "banned",
    "429": "rate_limited",
    "content": "unusable",
    "ConnectError": "unreachable",
    "ConnectTimeout": "unreachable",
    "ProxyError": "unreachable",
    "UnsupportedProtocol": "unreachable",
}
_STATUSES: Final = {"2": "unusable", "3": "redirected", "4": "refused", "5": "server_error"}


def result_of(label: str) -> str:
    """Return how a request ended, from its status or the name of its error.

    Examples
    --------
    >>> [result_of(label) for label in ("200", "503", "451", "ReadTimeout", "RemoteProtocolError")]
    ['ok', 'server_error', 'refused', 'timeout', 'cut']
    """
    if label in _STATUS:
        return _STATUS[label]
    if label.isdecimal():
        return _STATUSES.get(label[:1], "unusable")
    return "timeout" if label.endswith("Timeout") else "cut"


def exchange_events(
    exchange: str, endpoint_of: Callable[[str], str], weight_limit: int
) -> Callable[[str, str, float, str], None]:
    """Return what records the events of one exchange's requests.

    Parameters
    ----------
    exchange : str
        Its name.
    endpoint_of : callable
        Returns the kind of question that a path asks, one of ``catalogue.ENDPOINTS``.
    weight_limit : int
        Request weight that this machine may use in a minute.

    Returns
    -------
    callable
        Takes an event, a label, an amount and a path, see
        :class:`~backtest_py.data.providers.transport.Transport`.
    """
    _begin(exchange)
    metrics.WEIGHT_LIMIT.set(weight_limit, exchange)

    def tell(event: str, label: str, amount: float, path: str) -> None:
        if not recording():
            return
        endpoint = endpoint_of(path)
        if event == "request":
            metrics.REQUESTS.add(exchange, endpoint, result_of(label), amount=amount)
        elif event == "retry":
            metrics.RETRIES.add(exchange, result_of(label), amount=amount)
        elif event == "seconds":
            metrics.REQUEST_TIME.observe(amount, exchange, endpoint)
        elif event == "bytes":
            metrics.RECEIVED_BYTES.add(exchange, endpoint, amount=amount)
        elif event == "weight":
            metrics.WEIGHT.add(exchange, amount=amount)
            metrics.WEIGHT_LIMIT.set(weight_limit, exchange)
        elif event == "used":
            metrics.WEIGHT_USED.set(amount, exchange)
        elif event == "wait":
            metrics.WEIGHT_WAIT.observe(amount, exchange)
        elif event == "fallback":
            metrics.FALLBACKS.add(exchange, label, amount=amount)

    return tell


def _begin(exchange: str) -> None:
    """Show zeros for an exchange before its first request, so that a first ban is a rise."""
    for metric in metrics.METRICS:
        if next(iter(metric.labels), "") == "exchange":
            metric.begin(exchange)


def fetched(exchange: str, n_candles: int, holes: Iterable[int]) -> None:
    """Count candles that an exchange gave, and those that each of its holes lacks."""
    if recording():
        metrics.CANDLES.add(exchange, amount=n_candles)
        for lacking in holes:
            metrics.HOLES.add(exchange)
            metrics.HOLE_CANDLES.add(exchange, amount=lacking)
