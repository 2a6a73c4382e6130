"""The local exchange itself: routes, request weight, and faults that can be switched on."""

from __future__ import annotations

import math
import threading
import time
import zipfile
from collections import OrderedDict, deque
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from backtest_py.data.demo_exchange.faults import (
    FAULTS,
    ONLY,
    ActiveFault,
    active_fault,
    changed_lines,
    changed_rows,
)
from backtest_py.data.demo_exchange.reply import Reply, error_reply, json_reply
from backtest_py.data.demo_exchange.server import Server
from backtest_py.data.market.intervals import DAY, INTERVALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backtest_py.data.demo_exchange.faults import Stage
    from backtest_py.data.demo_exchange.market import DemoMarket

__all__ = ["DemoExchange"]

LIMIT: Final = 2_400
WINDOW: Final = 60.0
STRIKES: Final = 5
"""Requests in spite of 429 before the address is banned."""
BAN_SECONDS: Final = 120.0
ARCHIVE_LAG: Final = DAY
CACHE_BYTES: Final = 256 << 20
KEPT_REQUESTS: Final = 200_000
HEADER_SINCE: Final = np.datetime64("2022-05", "M")
HEADER: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
_NOT_FOUND: Final = (404, b"not found", {"Content-Type": "text/plain"})


class DemoExchange:
    """An HTTP server on loopback that answers like the exchange.

    Parameters
    ----------
    markets : sequence of DemoMarket
        What is traded.
    now : callable, optional
        Its clock, milliseconds since 1970, UTC; the machine's by default.
    port : int
        Where it listens, 0 for any free port.
    limit : int
        Request weight in any ``window`` seconds; beyond it the answer is 429, and soon 418.
    window : float
        A minute, or less in tests.
    latency : float
        Seconds that every answer takes.
    ban_seconds : float
        How long an address is banned that ignores 429.

    Attributes
    ----------
    faults : list
        :class:`ActiveFault`, or callables that are given path, query and :class:`Reply` and
        return another.
    requests : deque of tuple
        Time, path, query and weight of every request.
    most_weight : int
        The largest weight that was used in any sliding window.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> from backtest_py.data.demo_exchange import DemoMarket
    >>> with DemoExchange((DemoMarket("BTCUSDT", 0, DAY),), lambda: DAY) as exchange:
    ...     urlopen(f"{exchange.url}/fapi/v1/time").read()
    b'{"serverTime":86400000}'
    """

    def __init__(
        self,
        markets: tuple[DemoMarket, ...],
        now: Callable[[], int] | None = None,
        *,
        port: int = 0,
        limit: int = LIMIT,
        window: float = WINDOW,
        latency: float = 0.0,
        ban_seconds: float = BAN_SECONDS,
    ) -> None:
        self.markets = {market.symbol: market for market in markets}
        self.now = now or (lambda: int(time.time() * 1000))
        self.limit = limit
        self.window = window
        self.latency = latency
        self.ban_seconds = ban_seconds
        self.faults: list[ActiveFault | Callable[[str, dict[str, str], Reply], Reply]] = []
        self.requests: deque[tuple[float, str, dict[str, str], int]] = deque(maxlen=KEPT_REQUESTS)
        self.most_weight = 0
        self._used: deque[tuple[float, int]] = deque()
        self._strikes = 0
        self._banned_until = -math.inf
        self._lock = threading.Lock()
        self._zips: OrderedDict[str, bytes] = OrderedDict()
        self._server = Server(port, self)

    @property
    def url(self) -> str:
        """Return its address, for REST and archive alike."""
        return self._server.url

    def start(self) -> DemoExchange:
        """Begin to answer."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Answer no more; all threads have ended when this returns."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fault(self, name: str, times: int | None = None, every: int = 1) -> None:
        """Switch a fault on: ``times`` times or always, and in one of ``every`` cases.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        self.faults.append(active_fault(name, times, every))

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self.faults.clear()

    def state(self) -> dict[str, Any]:
        """Return what ``/demo/faults`` shows."""
        active = [fault for fault in self.faults if isinstance(fault, ActiveFault)]
        return {
            "active": [
                {"name": each.name, "times": each.times, "every": each.every} for each in active
            ],
            "known": {name: fault.about for name, fault in FAULTS.items()},
            "most_weight": self.most_weight,
        }

    def answer(self, path: str, query: dict[str, str]) -> Reply:
        """Return what a request is answered with."""
        weight = _weight(path, query)
        used, refused = self._weighed(path, query, weight)
        reply = refused or self._routed(path, query)
        if path.startswith("/fapi"):
            name = "1M" if self.window == WINDOW else f"{math.ceil(self.window)}S"
            reply.headers[f"X-MBX-USED-WEIGHT-{name}"] = str(used)
        reply.delay = self.latency
        for fault in list(self.faults):
            if not isinstance(fault, ActiveFault):
                reply = fault(path, query, reply)
                continue
            if path == "/fapi/v1/klines":
                if fault.strikes("answer"):
                    reply = fault.change(reply)
                elif fault.strikes("rows") or fault.strikes("history"):
                    reply = changed_rows(reply, fault.change)
            elif path.startswith("/data/") and ONLY.get(fault.name, "") in path:
                reply = fault.change(reply) if fault.strikes("archive") else reply
        return reply

    def _weighed(self, path: str, query: dict[str, str], weight: int) -> tuple[int, Reply | None]:
        """Count a request; return the weight used, and the answer where it is refused."""
        with self._lock:
            at = time.monotonic()
            self.requests.append((at, path, query, weight))
            if not weight:
                return 0, None
            while self._used and self._used[0][0] <= at - self.window:
                self._used.popleft()
            self._used.append((at, weight))
            used = sum(each for _, each in self._used)
            self.most_weight = max(self.most_weight, used)
            if at < self._banned_until:
                return used, _too_many(418, self._banned_until - at)
            if used <= self.limit:
                self._strikes = 0
                return used, None
            self._strikes += 1
            if self._strikes > STRIKES:
                self._banned_until = at + self.ban_seconds
                return used, _too_many(418, self.ban_seconds)
            freed = np.cumsum([each for _, each in self._used])
            oldest = self._used[int(np.searchsorted(freed, used - self.limit))][0]
            return used, _too_many(429, oldest + self.window - at)

    def _routed(self, path: str, query: dict[str, str]) -> Reply:
        if path == "/fapi/v1/ping":
            return json_reply({})
        if path == "/fapi/v1/time":
            return json_reply({"serverTime": self.now()})
        if path == "/fapi/v1/exchangeInfo":
            return json_reply(self._information())
        if path == "/fapi/v1/klines":
            return self._klines(query)
        if path.startswith("/data/futures/um/"):
            return self._archived(path)
        return Reply(*_NOT_FOUND)

    def _information(self) -> dict[str, Any]:
        minute = self.window == WINDOW
        rate = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE" if minute else "SECOND",
            "intervalNum": 1 if minute else math.ceil(self.window),
        }
        return {
            "timezone": "UTC",
            "serverTime": self.now(),
            "rateLimits": [
                {**rate, "limit": self.limit},
                {**rate, "rateLimitType": "ORDERS", "limit": 1_200},
            ],
            "symbols": [
                {
                    "symbol": market.symbol,
                    "contractType": "PERPETUAL",
                    "status": "TRADING",
                    "onboardDate": market.listed_at,
                    "baseAsset": market.symbol.removesuffix("USDT"),
                    "quoteAsset": "USDT",
                }
                for market in self.markets.values()
                if not market.delisted
            ],
        }

    def _klines(self, query: dict[str, str]) -> Reply:
        for name in ("symbol", "interval"):
            if not query.get(name):
                words = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                return error_reply(400, -1102, words)
        market = self.markets.get(query["symbol"])
        if market is None or market.delisted:
            return error_reply(400, -1121, "Invalid symbol.")
        interval = INTERVALS.get(query["interval"])
        if interval is None:
            return error_reply(400, -1120, "Invalid interval.")
        try:
            limit = int(query.get("limit", "500"))
            start = int(query["startTime"]) if "startTime" in query else None
            end = int(query["endTime"]) if "endTime" in query else None
        except ValueError:
            return error_reply(400, -1100, "Illegal characters found in a parameter.")
        if not 1 <= limit <= 1_500:
            return error_reply(400, -1130, "Data sent for parameter 'limit' is not valid.")
        now = self.now()
        until = now + 1 if end is None else min(end, now) + 1
        first = market.listed_at if start is None else start
        rows = market.rows(interval, first, until, limit, now, newest=start is None)
        return json_reply(rows)

    def _archived(self, path: str) -> Reply:
        """Answer with a month or a day as a zip, or with its checksum."""
        name = path.removesuffix(".CHECKSUM")
        content = self._zip(name)
        if content is None:
            return Reply(*_NOT_FOUND)
        content = self._through("zip", content)
        if path.endswith(".CHECKSUM"):
            text = f"{sha256(content).hexdigest()}  {name.rpartition('/')[2]}\n"
            return Reply(200, text.encode(), {"Content-Type": "binary/octet-stream"})
        return Reply(200, content, {"Content-Type": "application/zip"})

    def _through(self, stage: Stage, thing: Any) -> Any:
        """Pass something through the faults of a stage, which strike always or never."""
        for fault in list(self.faults):
            if not isinstance(fault, ActiveFault):
                continue
            kind = FAULTS[fault.name].stage
            if kind == stage:
                thing = fault.change(thing)
            elif (kind, stage) == ("history", "table"):
                thing = changed_lines(thing, fault.change)
        return thing

    def _zip(self, name: str) -> bytes | None:
        faulty = any(
            isinstance(fault, ActiveFault) and FAULTS[fault.name].stage in {"table", "history"}
            for fault in list(self.faults)
        )
        with self._lock:
            if name in self._zips and not faulty:
                self._zips.move_to_end(name)
                return self._zips[name]
        content = self._packed(name)
        if content is not None and not faulty:
            with self._lock:
                self._zips[name] = content
                while sum(map(len, self._zips.values())) > CACHE_BYTES:
                    self._zips.popitem(last=False)
        return content

    def _packed(self, name: str) -> bytes | None:
        """Make the zip of a month or a day."""
        try:
            _, _, _, _, kind, _, symbol, interval_name, file = name.split("/")
            date = file.removeprefix(f"{symbol}-{interval_name}-").removesuffix(".zip")
            unit = {"monthly": "M8[M]", "daily": "M8[D]"}[kind]
            start = np.datetime64(date)
        except (ValueError, KeyError):
            return None
        interval = next((i for i in INTERVALS.values() if i.archive_name == interval_name), None)
        market = self.markets.get(symbol)
        if start.dtype != np.dtype(unit) or market is None or interval is None:
            return None
        first, end = np.array([start, start + 1]).astype("M8[ms]").astype(np.int64).tolist()
        now = self.now()
        if end > now - ARCHIVE_LAG:
            return None
        lines = market.csv_lines(interval, first, end, now)
        if not lines:
            return None
        lines = [HEADER, *lines] if start.astype("M8[M]") >= HEADER_SINCE else lines
        sink = BytesIO()
        with zipfile.ZipFile(sink, "w") as zipped:
            member = zipfile.ZipInfo(file.removesuffix(".zip") + ".csv", (2024, 1, 1, 0, 0, 0))
            text = "\n".join(self._through("table", lines)) + "\n"
            zipped.writestr(member, text, zipfile.ZIP_DEFLATED, compresslevel=1)
        return sink.getvalue()


def _weight(path: str, query: dict[str, str]) -> int:
    if not path.startswith("/fapi"):
        return 0
    if path != "/fapi/v1/klines":
        return 1
    try:
        limit = int(query.get("limit", "500"))
    except ValueError:
        return 1
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


def _too_many(status: int, wait: float) -> Reply:
    reply = error_reply(status, -1003, "Too many requests; please use the websocket for updates.")
    reply.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return reply
