"""The HTTP side of the local exchange: loopback only, HTTP/1.1, threads that end on stop."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.data.demo_exchange.reply import Reply

__all__ = ["Server"]

HOST: Final = "127.0.0.1"
CONTROL: Final = "/demo/faults"
IDLE_SECONDS: Final = 60.0
MAX_ORDER: Final = 4_096


class Answering(Protocol):
    """What the HTTP side asks of an exchange."""

    def answer(self, path: str, query: dict[str, str]) -> Reply:
        """Return the answer to one request."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return what there is to know of it, for orders of tests."""
        ...

    def fault(self, name: str, times: int | None = None, every: int = 1) -> None:
        """Switch a fault on."""
        ...

    def clear_faults(self) -> None:
        """Switch all faults off."""
        ...


class Server:
    """Threads that answer for an exchange."""

    def __init__(self, port: int, exchange: Answering) -> None:
        try:
            self._listener = _Listener((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"port {port} of this machine cannot be used ({error}); give another one, or 0 "
                "for any that is free"
            ) from error
        self._listener.exchange = exchange
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://{HOST}:{self._listener.server_address[1]}"

    def start(self) -> None:
        """Begin to answer, in threads."""
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End all connections and threads."""
        if self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._thread = None
        self._listener.server_close()
        self._listener.end_connections()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    exchange: Answering

    def __init__(self, *arguments: Any) -> None:
        self.stopped = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Bind without asking a name server for the machine's name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer what one connection asks, and remember the connection meanwhile."""
        with self._lock:
            self._open[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no fault of the exchange."""

    def end_connections(self) -> None:
        """End all connections, and wait for their threads."""
        self.stopped.set()
        with self._lock:
            opened = dict(self._open)
        for connection in opened:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in opened.values():
            thread.join(5.0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet
    timeout = IDLE_SECONDS
    server: _Listener

    def do_GET(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        exchange = self.server.exchange
        if parts.path == CONTROL:
            self._say(200, exchange.state())
            return
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        reply = exchange.answer(parts.path, query)
        if reply.delay and self.server.stopped.wait(reply.delay):
            self.close_connection = True
            return
        self._send(reply)

    def do_POST(self) -> None:
        """Switch a fault on: ``{"name": "html", "times": 2, "every": 1}``."""
        try:
            length = int(self.headers.get("Content-Length", "0"))
            name, times, every = _order(self.rfile.read(min(max(length, 0), MAX_ORDER)))
            if self._is_control():
                self.server.exchange.fault(name, times, every)
                self._say(200, self.server.exchange.state())
                return
            problem = f"orders go to {CONTROL} of this machine"
        except (ValueError, RecursionError) as error:
            problem = str(error)
        self.close_connection = True
        self._say(400, {"error": problem})

    def do_DELETE(self) -> None:
        """Switch all faults off."""
        if not self._is_control():
            self._say(400, {"error": f"only {CONTROL} can be deleted"})
            return
        self.server.exchange.clear_faults()
        self._say(200, self.server.exchange.state())

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are kept in a list."""

    def _is_control(self) -> bool:
        """Tell whether an order is for this machine's own exchange, and not sent by a web page."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        return (
            urlsplit(self.path).path == CONTROL
            and host in {HOST, "localhost"}
            and self.headers.get("Origin") is None
        )

    def _say(self, status: int, value: object) -> None:
        from backtest_py.data.demo_exchange.reply import json_reply  # noqa: PLC0415

        self._send(json_reply(value, status))

    def _send(self, reply: Reply) -> None:
        if reply.cut_at == -2:
            self.close_connection = True
            return
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut_at] if reply.cut_at >= 0 else reply.body)
        if reply.cut_at >= 0 or headers["Content-Length"] != str(len(reply.body)):
            self.close_connection = True


def _order(body: bytes) -> tuple[str, int | None, int]:
    """Return name, times and every of an order to switch a fault on."""
    order = json.loads(body)
    if not isinstance(order, dict) or set(order) - {"name", "times", "every"}:
        raise ConfigError("an order is an object in JSON with name, times and every")
    times, every = order.get("times"), order.get("every", 1)
    numbers = [every] if times is None else [every, times]
    if any(type(each) is not int or each < 1 for each in numbers):
        raise ConfigError("times and every are whole numbers from 1 on")
    return str(order.get("name")), times, every
