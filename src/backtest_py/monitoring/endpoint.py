"""The page on which Prometheus reads the metrics, served by a thread of this process."""

from __future__ import annotations

import os
import platform
import sys
import threading
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Self, cast

from backtest_py._io.versions import package_version
from backtest_py.errors import ConfigError
from backtest_py.monitoring.catalogue import BUILD, METRICS
from backtest_py.monitoring.instruments import Histogram, switch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backtest_py.monitoring.instruments import Counter, Gauge

__all__ = ["LOOPBACK", "MetricsServer", "serve_metrics", "serve_metrics_unless_served"]

LOOPBACK: Final = "127.0.0.1"
PATHS: Final = ("/metrics", "/metrics/")
STALL_SECONDS: Final = 10.0
"""A reader that says nothing for so long is left."""
END_SECONDS: Final = 5.0

_changing: Final = threading.RLock()
_running: list[_Endpoint] = []


class MetricsServer:
    """The page of metrics while it is served; as a context manager it ends with its block.

    Attributes
    ----------
    host : str
        Address on which it listens.
    port : int
        Port on which it listens.
    """

    def __init__(self, endpoint: _Endpoint) -> None:
        self._endpoint: _Endpoint | None = endpoint
        self.host = endpoint.host
        self.port = endpoint.port

    @property
    def url(self) -> str:
        """Return the address of the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def __repr__(self) -> str:
        return f"MetricsServer({self.url})"

    def close(self) -> None:
        """End the page, unless others in this process want it too; a second time does nothing."""
        with _changing:
            endpoint, self._endpoint = self._endpoint, None
            if endpoint is not None and endpoint in _running:
                endpoint.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_metrics(port: int = 0, host: str = LOOPBACK) -> MetricsServer:
    """Serve this process's metrics for Prometheus, and begin to record them.

    What happened before is not counted. Whoever can reach the page can read it: it holds numbers
    and names of tiers and exchanges, no symbols, parameters, paths or secrets.

    Parameters
    ----------
    port : int
        Where the page is served, 0 for any free port. A port that this process serves already is
        shared.
    host : str
        Address to listen on. Another than that of this machine alone must be given on purpose.

    Returns
    -------
    MetricsServer
        Its ``url`` is the page's address; ``close()`` ends it.

    Raises
    ------
    ConfigError
        If port or host cannot be used, or the extra ``monitoring`` is not installed.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> with serve_metrics() as server:
    ...     page = urlopen(server.url).read().decode()
    >>> "backtest_py_build_info" in page
    True
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise ConfigError(f"metrics port {port!r} is not allowed; give a number from 0 to 65535")
    host = host or LOOPBACK  # to a socket, an empty one is every address of the machine
    with _changing:
        for endpoint in _running:
            if port and (endpoint.host, endpoint.port) == (host, port):
                return endpoint.join()
        return _Endpoint(port, host).join()


def serve_metrics_unless_served(port: int, host: str) -> MetricsServer:
    """Serve as :func:`serve_metrics` does, or share what this process serves elsewhere already."""
    with _changing:
        return _running[0].join() if _running else serve_metrics(port, host)


class _Endpoint:
    """A listening server, and how many want it."""

    def __init__(self, port: int, host: str) -> None:
        self.host = host
        self._users = 0
        self._server = _server(port, host)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        _running.append(self)
        switch(on=True)
        BUILD.set(1, package_version(), platform.python_version())
        self._thread.start()

    def join(self) -> MetricsServer:
        """Return the page for one more."""
        self._users += 1
        return MetricsServer(self)

    def leave(self) -> None:
        """Count one less, and end with the last."""
        self._users -= 1
        if self._users:
            return
        _running.remove(self)
        if not _running:
            switch(on=False)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(END_SECONDS)

    def abandon(self) -> None:
        """Let go of the parent's port in a child, where no thread serves it."""
        self._server.socket.close()


def _server(port: int, host: str) -> Any:
    """Return a server that listens.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    from http.server import ThreadingHTTPServer  # noqa: PLC0415 - only where metrics are served
    from socket import AF_INET, AF_INET6  # noqa: PLC0415

    page: Any = _client().MetricsHandler

    class Handler(page):  # type: ignore[misc]
        registry = _registry()
        timeout = STALL_SECONDS

        def do_GET(self) -> None:  # noqa: N802 - as http.server names it
            if self.path.partition("?")[0] in PATHS:
                super().do_GET()
            else:
                self.send_error(404, "the metrics are at /metrics")

    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in host else AF_INET
        allow_reuse_address = sys.platform != "win32"  # there, two could listen on one port

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a reader that went away."""
            if not isinstance(sys.exception(), OSError):
                super().handle_error(request, client_address)

    try:
        return Server((host, port), Handler)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"metrics cannot be served on {host} port {port}: {reason}; give another port, or end "
            "what uses this one"
        ) from None


def _client(module: str = "prometheus_client") -> Any:
    """Return prometheus-client, which only a process needs that serves."""
    from backtest_py.data.extras import required  # noqa: PLC0415 - with it come readers of bars

    return required(module, "monitoring")


def _registry() -> Any:
    client = _client()
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(_client("prometheus_client.core")))
    client.ProcessCollector(registry=registry)
    return registry


class _Collector:
    """Gives prometheus-client what was recorded.

    Reading the page imports nothing: a fork in the midst of an import would leave its lock held.
    """

    def __init__(self, core: Any) -> None:
        self._families = {
            "counter": core.CounterMetricFamily,
            "gauge": core.GaugeMetricFamily,
            "histogram": core.HistogramMetricFamily,
        }

    def collect(self) -> Iterator[Any]:
        """Yield every metric of the catalogue with its samples."""
        for metric in METRICS:
            family = self._families[metric.kind](metric.name, metric.about, labels=[*metric.labels])
            if isinstance(metric, Histogram):
                for labels, sums in metric.values().items():
                    family.add_metric(labels, _buckets(metric, sums.counts), sums.total)
            else:
                for labels, value in cast("Counter | Gauge", metric).values().items():
                    family.add_metric(labels, value)
            yield family


def _buckets(metric: Histogram, counts: list[int]) -> list[tuple[str, int]]:
    """Return upper bounds, each with how many values lie at or below it."""
    bounds = [*(f"{bound:g}" for bound in metric.buckets), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))


def _leave_to_parent() -> None:
    for endpoint in _running:
        endpoint.abandon()
    _running.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_leave_to_parent)
