"""A second exchange, written from the documented interface alone.

It shares no code with ``data demo-exchange`` and differs from it wherever the documents leave room:
the case of headers, how many digits a number has, chunked and packed answers, connections that are
closed, what is said of a file that is not there, and where the used weight is counted.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import time
import zipfile
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import numpy as np

MINUTE, DAY = 60_000, 86_400_000
LENGTHS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240,
           "6h": 360, "8h": 480, "12h": 720, "1d": 1_440}  # fmt: skip
"""Minutes of a candle."""
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)


class Market:
    """Trades of a market, minute by minute, from its listing to its end; none in its holes."""

    def __init__(self, seed, listed, until, holes=()):
        self.listed, self.until = listed // MINUTE * MINUTE, until
        random = np.random.default_rng(seed)
        times = np.arange(self.listed, until, MINUTE, dtype=np.int64)
        for first, last in holes:
            times = times[(times < first) | (times >= last)]
        n = len(times)
        self.times = times
        # whole numbers: prices in hundredths, amounts in thousandths
        self.close = 500_000 + np.cumsum(random.integers(-40, 41, n))
        self.open = np.concatenate([[500_000], self.close[:-1]])
        self.high = np.maximum(self.open, self.close) + random.integers(0, 20, n)
        self.low = np.minimum(self.open, self.close) - random.integers(0, 20, n)
        self.volume = random.integers(0, 9_000, n)
        self.trades = random.integers(0, 300, n)
        self.taker = self.volume * random.integers(0, 101, n) // 100
        self._kept = {}

    def candles(self, interval):
        """Return the rows of an interval: whole numbers, in the order of the interface."""
        if interval not in self._kept:
            step = LENGTHS[interval] * MINUTE
            opens = self.times // step * step
            at, first = np.unique(opens, return_index=True)
            last = np.append(first[1:], len(opens)) - 1

            def total(column):
                return np.add.reduceat(column, first)

            self._kept[interval] = np.column_stack([
                at, self.open[first], np.maximum.reduceat(self.high, first),
                np.minimum.reduceat(self.low, first), self.close[last], total(self.volume),
                at + step - 1, total(self.volume * self.close), total(self.trades),
                total(self.taker), total(self.taker * self.close),
            ])  # fmt: skip
        return self._kept[interval]

    def closed(self, interval, start, end, now):
        """Return the times, prices and volumes of what had closed by ``now``: the truth."""
        rows = self.candles(interval)
        rows = rows[(rows[:, 0] >= start) & (rows[:, 0] < end) & (rows[:, 6] < now)]
        return {
            "time": rows[:, 0] * 1_000_000,
            **{name: rows[:, 1 + n] / 100 for n, name in enumerate(("open", "high", "low"))},
            "close": rows[:, 4] / 100,
            "volume": rows[:, 5] / 1_000,
        }


@dataclass
class Manners:
    """How the exchange behaves where the documents leave room."""

    chunked: bool = True
    packed: bool = True
    closing: bool = False
    header: str = "x-mbx-used-weight-1m"
    limits: tuple = (("ORDERS", "SECOND", 10, 300), ("REQUEST_WEIGHT", "MINUTE", 1, 2_400))
    monthly: bool = False
    absent: int = 403
    sums: str = "{0} *{1}\r\n"
    table_header: bool = False
    micro: bool = False
    files: bool = True
    digits: int = 8
    latency: float = 0.0
    retry_after: str = "seconds"
    """What goes with 429: "seconds", "date" (by the exchange's own clock) or "" for nothing."""
    ahead: float = 0.0
    """Seconds by which the exchange's clock is ahead of the machine's, in its ``Date`` header."""


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict = field(default_factory=dict)


def said(status, code, text):
    return Answer(status, json.dumps({"code": code, "msg": text}).encode())


class SecondExchange:
    """The server; ``markets`` by symbol, ``now`` a function that gives its clock in ms.

    ``plan`` is a list of functions ``(path, query) -> Answer or None``: the first that answers
    takes the place of the right answer.
    """

    def __init__(self, markets, now, **manners):
        self.markets, self.now = markets, now
        self.manners = Manners(**manners)
        self.plan = []
        self.requests = []
        self.refused = 0
        self.most = Counter()
        self._weights = deque()
        self._lock = threading.Lock()
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                with suppress(ConnectionError):
                    exchange._serve(self)

            def date_time_string(self, timestamp=None):
                at = time.time() if timestamp is None else timestamp
                return formatdate(at + exchange.manners.ahead, usegmt=True)

            def log_message(self, *_):
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.request_queue_size = 64
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def paths(self, part=""):
        return [path for path, _ in list(self.requests) if part in path]

    def bars(self, symbol, interval, start, end):
        return self.markets[symbol].closed(interval, start, end, self.now())

    # weight

    def _weigh(self, weight):
        """Count a request; return the weight used in the calendar window, and whether it is too
        much. The sliding window is measured beside it, for the tests.
        """
        _, unit, count, limit = next(
            each for each in self.manners.limits if each[0] == "REQUEST_WEIGHT"
        )
        seconds = {"SECOND": 1, "MINUTE": 60}[unit] * count
        at = time.monotonic()
        with self._lock:
            self._weights.append((at, weight))
            while self._weights[0][0] < at - 120:
                self._weights.popleft()
            sliding = sum(w for t, w in self._weights if t > at - seconds)
            calendar = sum(w for t, w in self._weights if t // seconds == at // seconds)
            self.most["sliding"] = max(self.most["sliding"], sliding)
            self.most["calendar"] = max(self.most["calendar"], calendar)
            over = calendar > limit
            self.refused += over
        return calendar, over

    # answers

    def _serve(self, handler):
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        self.requests.append((parts.path, query))
        if self.manners.latency:
            time.sleep(self.manners.latency)
        answer = next((a for a in (each(parts.path, query) for each in self.plan) if a), None)
        rest = parts.path.startswith("/fapi/")
        used, over = self._weigh(self._weight(query)) if rest else (0, False)
        if answer is None and over:
            answer = self.limited()
        if answer is None:
            answer = self._rest(parts.path, query) if rest else self._file(parts.path)
        if rest:
            answer.headers.setdefault(self.manners.header, str(used))
        self._send(handler, answer)

    def limited(self, seconds=2):
        """Return a refusal because of the weight."""
        answer = said(429, -1003, "Too many requests; current limit is 2400 per minute.")
        if self.manners.retry_after == "seconds":
            answer.headers["retry-after"] = str(seconds)
        elif self.manners.retry_after == "date":
            at = time.time() + self.manners.ahead + seconds
            answer.headers["RETRY-AFTER"] = formatdate(at, usegmt=True)
        return answer

    def _send(self, handler, answer):
        body = answer.body
        handler.send_response(answer.status)
        handler.send_header("content-type", answer.kind)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if self.manners.packed and answer.kind == "application/json":
            body = gzip.compress(body, 1)
            handler.send_header("content-encoding", "gzip")
        if self.manners.closing:
            handler.send_header("connection", "close")
            handler.close_connection = True
        if self.manners.chunked and answer.kind == "application/json":
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            for at in range(0, len(body), 3_000):
                part = body[at : at + 3_000]
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

    @staticmethod
    def _weight(query):
        if "interval" not in query:
            return 1
        limit = int(query.get("limit", 500))
        return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10

    def _rest(self, path, query):
        if path == "/fapi/v1/time":
            return Answer(body=json.dumps({"serverTime": self.now()}).encode())
        if path == "/fapi/v1/exchangeInfo":
            return Answer(body=json.dumps(self._information()).encode())
        if path == "/fapi/v1/klines":
            return self._klines(query)
        return Answer(404, b"<html>no such path</html>", "text/html")

    def _information(self):
        states = ("TRADING", "SETTLING", "PENDING_TRADING", "CLOSE", "PRE_SETTLE")
        others = [f"OTHER{n}USDT" for n in range(300)]
        return {
            "exchangeFilters": [],
            "timezone": "UTC",
            "serverTime": self.now(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": k, "interval": u, "intervalNum": n, "limit": m}
                for k, u, n, m in self.manners.limits
            ],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": None}],
            "symbols": [
                {"symbol": name, "pair": name, "contractType": "PERPETUAL", "status": states[n % 5],
                 "deliveryDate": 4133404800000, "onboardDate": 1569398400000,
                 "pricePrecision": 2, "underlyingSubType": ["PoW"], "liquidationFee": "0.012500",
                 "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}]}
                for n, name in enumerate([*self.markets, *others])
            ],
        }  # fmt: skip

    def _klines(self, query):
        market = self.markets.get(query.get("symbol", ""))
        if market is None:
            return said(400, -1121, "Invalid symbol.")
        if query.get("interval") not in {*LENGTHS, "3d", "1w", "1M"}:
            return said(400, -1120, "Invalid interval.")
        try:
            limit = int(query.get("limit", 500))
            start, end = int(query.get("startTime", -1)), int(query.get("endTime", 2**62))
        except ValueError:
            return said(400, -1100, "Illegal characters found in a parameter.")
        if not 1 <= limit <= 1_500:
            return said(400, -1130, "Data sent for parameter 'limit' is not valid.")
        rows = market.candles(query["interval"])
        rows = rows[(rows[:, 0] <= min(self.now(), end)) & (rows[:, 0] >= start)]
        rows = rows[:limit] if "startTime" in query else rows[-limit:]
        return Answer(body=json.dumps([self._row(row) for row in rows.tolist()]).encode())

    def _row(self, row):
        """Return a candle as JSON has it; the open one closes at the end of its interval too."""
        price = [f"{n / 100:.{self.manners.digits}f}" for n in row[1:5]]
        base = [f"{row[5] / 1_000:.3f}", f"{row[9] / 1_000:g}"]
        quote = [f"{row[7] / 100_000:.8f}", f"{row[10] / 100_000!r}"]
        return [row[0], *price, base[0], row[6], quote[0], row[8], base[1], quote[1], "0"]

    # files

    def _file(self, path):
        wanted, is_sum = path.removesuffix(".CHECKSUM"), path.endswith(".CHECKSUM")
        content = self._zip(wanted)
        name = wanted.rpartition("/")[2]
        if content is None:
            code = "AccessDenied" if self.manners.absent == 403 else "NoSuchKey"
            text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
            return Answer(self.manners.absent, text.encode(), "application/xml")
        if is_sum:
            text = self.manners.sums.format(hashlib.sha256(content).hexdigest(), name)
            return Answer(200, text.encode(), "binary/octet-stream")
        return Answer(200, content, "application/zip", {"ETag": '"abc"', "Accept-Ranges": "bytes"})

    def _zip(self, path):
        try:
            *_, unit, kind, symbol, interval, name = path.split("/")
            stem = name.removeprefix(f"{symbol}-{interval}-").removesuffix(".zip")
            pattern = "%Y-%m" if unit == "monthly" else "%Y-%m-%d"
            day = datetime.strptime(stem, pattern).replace(tzinfo=UTC)
        except ValueError:
            return None
        start = int(day.timestamp()) * 1_000
        month = np.datetime64(start, "ms").astype("M8[M]") + 1
        end = int(month.astype("M8[ms]").astype(int)) if unit == "monthly" else start + DAY
        wrong = kind != "klines" or symbol not in self.markets or interval not in LENGTHS
        late = end > self.now() - DAY  # of the last day there is no file yet
        if wrong or late or not self.manners.files:
            return None
        if unit == "monthly" and not self.manners.monthly:
            return None
        rows = self.markets[symbol].candles(interval)
        rows = rows[(rows[:, 0] >= start) & (rows[:, 0] < end)]
        if not len(rows):
            return None
        lines = [HEADER] if self.manners.table_header else []
        for row in rows.tolist():
            cells = self._row(row)
            if self.manners.micro:
                cells[0], cells[6] = cells[0] * 1_000, cells[6] * 1_000 + 999
            lines.append(",".join(map(str, cells)))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            member = zipfile.ZipInfo(f"{symbol}-{interval}-{stem}.csv", (2024, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(member, "\n".join(lines) + "\n")
        return buffer.getvalue()
