"""Faults of the local exchange, each by its name: what real exchanges and networks have done."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from backtest_py.data.demo_exchange.reply import Reply, error_reply, json_reply
from backtest_py.data.market.intervals import DAY
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Stage = Literal["answer", "rows", "history", "table", "zip", "archive"]

__all__ = ["FAULTS", "Fault", "active_fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes
    ----------
    about : str
        What goes wrong.
    stage : str
        What it changes: the answer to a question for klines, their rows, the rows of REST and
        archive alike (its history), the lines of an archived table, its zip (the checksum
        follows), or any answer of the archive.
    change : callable
        Returns the changed thing.
    """

    about: str
    stage: Stage
    change: Callable[[Any], Any]


class ActiveFault:
    """A fault that is switched on.

    Parameters
    ----------
    name : str
        One of ``FAULTS``.
    times : int or None
        How often it strikes, or None for always.
    every : int
        It strikes one in so many chances.
    """

    def __init__(self, name: str, times: int | None, every: int) -> None:
        self.name = name
        self.times = times
        self.every = every
        self._chances = 0
        self._lock = threading.Lock()

    def strikes(self, stage: Stage) -> bool:
        """Tell whether it strikes this time."""
        if FAULTS[self.name].stage != stage:
            return False
        with self._lock:
            self._chances += 1
            if self.times == 0 or self._chances % self.every:
                return False
            if self.times is not None:
                self.times -= 1
            return True

    def change(self, thing: Any) -> Any:
        """Return what it makes of something."""
        return FAULTS[self.name].change(thing)


def active_fault(name: str, times: int | None = None, every: int = 1) -> ActiveFault:
    """Return a fault that is switched on; the arguments are those of :class:`ActiveFault`.

    Raises
    ------
    ConfigError
        If there is no fault of that name.
    """
    if name not in FAULTS:
        raise unknown_name("fault", name, FAULTS)
    return ActiveFault(name, times, max(1, every))


def _headers(**headers: str) -> Callable[[Reply], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda reply: replace(reply, headers={**reply.headers, **named})


def _refused(status: int, **headers: str) -> Callable[[Reply], Reply]:
    words = "Way too many requests; banned." if status == 418 else "Too many requests."
    code = -1003 if status in {418, 429} else -1001
    return lambda reply: _headers(**headers)(
        replace(
            error_reply(status, code, words if code == -1003 else "Internal error."),
            delay=reply.delay,
        )
    )


def _page(body: bytes, kind: str = "text/html") -> Callable[[Reply], Reply]:
    return lambda reply: Reply(200, body, {"Content-Type": kind}, delay=reply.delay)


def _gzip_cut(reply: Reply) -> Reply:
    packed = gzip.compress(reply.body)
    cut = _headers(Content_Encoding="gzip")(reply)
    return replace(cut, body=packed[: len(packed) * 2 // 3])


def _other_length(more: int) -> Callable[[Reply], Reply]:
    return lambda reply: _headers(Content_Length=str(max(1, len(reply.body) + more)))(reply)


def _row(place: int, value: Callable[[list[Any]], Any]) -> Callable[[list[Any]], list[Any]]:
    """Change one item of the middle row."""

    def change(rows: list[Any]) -> list[Any]:
        middle = len(rows) // 2
        if rows:
            rows[middle] = [*rows[middle]]
            rows[middle][place] = value(rows[middle])
        return rows

    return change


def _overlap(rows: list[Any]) -> list[Any]:
    """Put the row before the page at its front, as a page by end time would have it."""
    if len(rows) < 2:
        return rows
    step = rows[1][0] - rows[0][0]
    return [[rows[0][0] - step, *rows[0][1:6], rows[0][6] - step, *rows[0][7:]], *rows[:-1]]


def _doubled(rows: list[Any]) -> list[Any]:
    middle = len(rows) // 2
    if len(rows) < 2:
        return rows
    other = [*rows[middle][:4], rows[middle][3], "0.001", *rows[middle][6:]]
    return [*rows[:middle], other, *rows[middle:-1]]


def _swapped(rows: list[Any]) -> list[Any]:
    middle = len(rows) // 2
    if middle:
        rows[middle - 1], rows[middle] = rows[middle], rows[middle - 1]
    return rows


def _without_middle(rows: list[Any]) -> list[Any]:
    middle = len(rows) // 2
    return rows[:middle] + rows[middle + 1 :] if middle else rows


def _zipped(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, text in members:
            member = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(member, text)
    return sink.getvalue()


def _member(content: bytes) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        name = file.namelist()[0]
        return name, file.read(name)


def _bomb(content: bytes) -> bytes:
    return _zipped([(_member(content)[0], bytes(32 << 20))])


def _microseconds(lines: list[str]) -> list[str]:
    def changed(line: str) -> str:
        items = line.split(",")
        if items[0].isdigit():
            items[0], items[6] = items[0] + "000", items[6] + "999"
        return ",".join(items)

    return list(map(changed, lines))


def _rewritten(rows: list[Any]) -> list[Any]:
    """Raise the high of the first candle of each day."""
    return [
        [*row[:2], f"{float(row[2]) + 1.0:.1f}", *row[3:]] if int(row[0]) % DAY == 0 else row
        for row in rows
    ]


def _not_there(reply: Reply) -> Reply:
    return Reply(404, b"not found", {"Content-Type": "text/plain"}, delay=reply.delay)


_HTML: Final = b"<!doctype html><title>Maintenance</title><h1>We are back soon</h1>"
_ERROR: Final = json.dumps({"code": -1000, "msg": "An unknown error occurred."}).encode()

FAULTS: Final = {
    "body-cut": Fault(
        "the connection breaks in the middle of an answer",
        "answer",
        lambda reply: replace(reply, cut_at=len(reply.body) // 2),
    ),
    "no-answer": Fault(
        "the connection ends without an answer",
        "answer",
        lambda reply: replace(reply, cut_at=-2),
    ),
    "gzip-cut": Fault("a packed answer lacks its end", "answer", _gzip_cut),
    "length-too-long": Fault("Content-Length is more than comes", "answer", _other_length(100)),
    "length-too-short": Fault("Content-Length is less than comes", "answer", _other_length(-9)),
    "html": Fault("a page for people, with status 200", "answer", _page(_HTML)),
    "error-json": Fault("an error with status 200", "answer", _page(_ERROR, "application/json")),
    "wrong-type": Fault(
        "a right answer under the wrong type", "answer", _headers(Content_Type="text/plain")
    ),
    "slow": Fault("an answer takes 2 s more", "answer", lambda reply: replace(reply, delay=2.0)),
    "redirect": Fault(
        "an answer that leads to another host",
        "answer",
        lambda _: Reply(302, b"", {"Location": "http://127.0.0.2:9/fapi/v1/klines"}),
    ),
    "status-429": Fault("429, wait for 1 s", "answer", _refused(429, Retry_After="1")),
    "status-429-bare": Fault("429 without Retry-After", "answer", _refused(429)),
    "status-418": Fault("418, wait for 2 s", "answer", _refused(418, Retry_After="2")),
    "status-418-bare": Fault("418 without Retry-After", "answer", _refused(418)),
    "status-418-long": Fault("418, wait for a day", "answer", _refused(418, Retry_After="86400")),
    "status-503": Fault("503, a server that is overloaded", "answer", _refused(503)),
    "empty-page": Fault("a page without a candle", "rows", lambda _: []),
    "overlap": Fault("a page that begins before it should", "rows", _overlap),
    "doubled-times": Fault("two candles of one time, with other values", "rows", _doubled),
    "out-of-order": Fault("two candles in the wrong order", "rows", _swapped),
    "off-interval": Fault("a candle a second off", "rows", _row(0, lambda row: row[0] + 1_000)),
    "wrong-close-time": Fault(
        "a candle that closes at a wrong time", "rows", _row(6, lambda row: row[6] + 1)
    ),
    "high-below-low": Fault("a high below the low", "rows", _row(2, lambda _: "0.1")),
    "negative-volume": Fault("a negative volume", "rows", _row(5, lambda row: "-" + row[5])),
    "not-a-number": Fault("a price that is no number", "rows", _row(4, lambda _: "NaN")),
    "number-with-comma": Fault("a price as people write it", "rows", _row(4, lambda _: "5,000.1")),
    "short-row": Fault("a candle of three items", "rows", lambda rows: [row[:3] for row in rows]),
    "missing-row": Fault("a page that lacks a candle", "rows", _without_middle),
    "short-page": Fault(
        "a page of half as many candles as there are",
        "rows",
        lambda rows: rows[: -(-len(rows) // 2)],
    ),
    "rewritten": Fault(
        "history with other values than before, and files with other checksums",
        "history",
        _rewritten,
    ),
    "no-archive": Fault("the archive answers 503", "archive", _refused(503)),
    "archive-cut": Fault(
        "the connection to the archive breaks",
        "archive",
        lambda reply: replace(reply, cut_at=len(reply.body) // 2),
    ),
    "no-months": Fault("the archive has days, but no months", "archive", _not_there),
    "bad-checksum": Fault(
        "a checksum of something else",
        "archive",
        lambda reply: replace(reply, body=b"0" * 64 + reply.body[64:]),
    ),
    "two-members": Fault(
        "a zip with two tables",
        "zip",
        lambda content: _zipped([_member(content), ("other.csv", b"1\n")]),
    ),
    "other-member": Fault(
        "a zip with a table of another name",
        "zip",
        lambda content: _zipped([("../" + _member(content)[0], _member(content)[1])]),
    ),
    "zip-bomb": Fault("a zip that unpacks to 32 MB of nothing", "zip", _bomb),
    "zip-cut": Fault(
        "a zip without its end, stored like that",
        "zip",
        lambda content: content[: len(content) // 2],
    ),
    "archive-missing-rows": Fault(
        "a table that lacks rows", "table", lambda lines: lines[: len(lines) // 2] + lines[-3:]
    ),
    "archive-doubled-rows": Fault("a table with a row twice", "table", lambda ls: [*ls, ls[-1]]),
    "microseconds": Fault("a table with times in microseconds", "table", _microseconds),
    "archive-no-table": Fault("a table of something else", "table", lambda _: ["a,b", "1,2"]),
}
"""Every fault by its name."""

ONLY: Final = {
    "no-months": "/monthly/",
    "bad-checksum": ".CHECKSUM",
}
"""What is in the paths of the archive that some faults are limited to."""


def changed_lines(lines: list[str], change: Callable[[list[Any]], list[Any]]) -> list[str]:
    """Return a table with other rows; its header stays."""
    n_header = not lines[0][:1].isdigit()
    rows = change([line.split(",") for line in lines[n_header:]])
    return [*lines[:n_header], *(",".join(row) for row in rows)]


def changed_rows(reply: Reply, change: Callable[[list[Any]], list[Any]]) -> Reply:
    """Return an answer with other rows; one that has none stays."""
    if reply.status != 200:
        return reply
    other = json_reply(change(json.loads(reply.body)))
    return replace(reply, body=other.body)
