"""HTTP as an exchange wants it: retries, allowances, and nothing that is not an answer."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from backtest_py.data.extras import http_client, required
from backtest_py.errors import ConfigError, ExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backtest_py.data.providers.budget import Budget, Spending

__all__ = ["NotThere", "Refused", "Stopped", "Transport", "Unusable"]

ATTEMPTS: Final = 8
FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 5.0
TOTAL_SECONDS: Final = 60.0
"""After so long no attempt begins any more; waits that the exchange asks for come on top."""
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
"""Longest silence."""
ANSWER_SECONDS: Final = 45.0
"""Longest answer, however it trickles; less than a request may stand in the budget."""
FILE_SECONDS: Final = 300.0
MAX_BODY: Final = 32 << 20
"""Bytes of an answer that is no file."""
MAX_FILE: Final = 256 << 20
MAX_ASKED_WAIT: Final = 65.0
"""A longer wait than this that the exchange asks for is the user's."""
BAN_SECONDS: Final = 120.0
"""The shortest ban that the exchange documents, where it does not say how long it is."""
LIMITED_SECONDS: Final = 2.0
"""How long to wait after a first 429 that does not say so; twice as long after each further one."""
LIMITED_ATTEMPTS: Final = 6
"""The waits between them, 2 to 32 s, are longer than the minute in which weight is counted."""
_USED: Final = re.compile(r"x-mbx-used-weight-(\d{1,4})([smhd])", re.IGNORECASE)
UNIT_MS: Final = {"S": 1_000, "M": 60_000, "H": 3_600_000, "D": 86_400_000}

T = TypeVar("T")


class NotThere(ExchangeError):  # noqa: N818 - an answer, not a fault
    """The exchange has nothing under this address."""


class Refused(ExchangeError):  # noqa: N818 - an answer, not a fault
    """The exchange says that a request is wrong; ``code`` is its own number for why, or 0."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Stopped(ExchangeError):  # noqa: N818 - a wish, not a fault
    """Whoever asked wants no answer any more."""


class Unusable(ExchangeError):  # noqa: N818 - one answer of several that are tried
    """An answer that cannot be used; another attempt may bring a better one.

    Attributes
    ----------
    attempts : int
        How many to make in all.
    seconds : float
        How long this one took.
    label : str
        Its status or error in a word, for metrics.
    """

    attempts = ATTEMPTS
    seconds = 0.0
    label = "content"


class _Unreachable(Unusable):
    """Nobody answers at all; that seldom passes within seconds."""

    attempts = 4


class _Busy(Unusable):
    """The exchange wants everybody to wait before the next attempt."""

    attempts = LIMITED_ATTEMPTS

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class Transport:
    """Requests to one exchange; safe to use from several threads, and after a fork.

    Parameters
    ----------
    base : str
        Address that paths are relative to.
    budget : Budget or None
        What requests weigh against; None where nothing is weighed.
    connections : int
        Connections at a time.
    tell : callable, optional
        For metrics, called from any thread with an event, a label, an amount and the path:
        ``"request"`` with the status or the name of the error, and 1; ``"retry"`` likewise;
        without a label ``"seconds"`` and ``"bytes"`` of an answer, ``"weight"`` and ``"wait"`` (in
        seconds) of a request, and ``"used"``, the weight of a minute that the exchange counts.

    Examples
    --------
    >>> Transport("ftp://files", None)
    Traceback (most recent call last):
    backtest_py.errors.ConfigError: 'ftp://files' is no address of an exchange; give http:// or ...
    """

    def __init__(
        self,
        base: str,
        budget: Budget | None,
        *,
        connections: int = 16,
        tell: Callable[[str, str, float, str], None] | None = None,
    ) -> None:
        parts, shown = urlsplit(base), "what was given" if "@" in base else repr(base[:80])
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"{shown} is no address of an exchange; give http:// or https:// and a host"
            )
        if parts.query or parts.fragment:
            raise ConfigError("the address of an exchange ends with its path; leave out ? and #")
        # apart from the address, which clients write into their logs
        self._base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._user: dict[str, Any] = {}
        if parts.username is not None:
            self._user["auth"] = (unquote(parts.username), unquote(parts.password or ""))
        self._secure = parts.scheme == "https"
        port = "" if parts.port is None else f":{parts.port}"
        self.shown = f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"
        self._budget = budget
        self._connections = connections
        self._tell = tell or (lambda *_: None)
        self._session: _Session | None = None
        self._opening: dict[int, threading.Lock] = {}

    def json(
        self,
        path: str,
        query: Mapping[str, str | int],
        read: Callable[[Any], T],
        *,
        weight: int,
        stop: threading.Event | None = None,
    ) -> T:
        """Return what ``read`` makes of the JSON that a path answers with.

        Where it raises :class:`Unusable`, the request is sent again.

        Raises
        ------
        Refused
            If the exchange does not take the request.
        ExchangeError
            If there is no answer that can be used, after all attempts.
        """

        def parsed(body: bytes) -> T:
            try:
                found = json.loads(body, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                start = body[:60].decode("ascii", "replace")
                raise Unusable(f"an answer that is no JSON, but begins {start!r}") from error
            if isinstance(found, dict) and "code" in found and "msg" in found:
                raise Unusable(f"status 200, but {_words(found)}")
            return read(found)

        return self._tried(_Request(path, query, weight, MAX_BODY, ANSWER_SECONDS), parsed, stop)

    def file(self, path: str, *, stop: threading.Event | None = None) -> bytes:
        """Return the bytes of a file.

        Raises
        ------
        NotThere
            If there is none.
        ExchangeError
            If it cannot be had, after all attempts.
        """
        return self._tried(_Request(path, {}, 0, MAX_FILE, FILE_SECONDS), bytes, stop)

    def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None and self._session.pid == os.getpid():
            self._session.client.close()
            self._session = None

    def _tried(
        self, request: _Request, read: Callable[[bytes], T], stop: threading.Event | None
    ) -> T:
        """Ask until there is an answer that can be used, a bounded number of times."""
        stop = stop or threading.Event()
        seconds = 0.0
        for attempt in count(1):
            try:
                found = read(self._once(request._replace(attempt=attempt), stop))
            except Unusable as error:
                if error.label == Unusable.label:  # the answer came, and only then was judged
                    self._tell("request", error.label, 1, request.path)
                seconds += error.seconds
                if attempt >= error.attempts or seconds > TOTAL_SECONDS:
                    raise ExchangeError(
                        f"{self.shown}{request.path} gave no usable answer in {attempt} attempts; "
                        f"the last one: {error}; try again later"
                    ) from error
                self._tell("retry", error.label, 1, request.path)
                wait = self._back_off(error, attempt)
                if stop.wait(wait):
                    raise Stopped("the download was stopped") from error
                seconds += wait
            else:
                self._tell("request", "200", 1, request.path)
                return found
        raise AssertionError  # the loop returns or raises

    def _back_off(self, error: Unusable, attempt: int) -> float:
        """Return the seconds until the next attempt: random, so that not all come at once."""
        if isinstance(error, _Busy):  # where there is a budget, it holds everybody back
            return error.wait if self._budget is None else 0.0
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def _once(self, request: _Request, stop: threading.Event) -> bytes:
        """Return the body of one attempt."""
        session = self._opened()
        with session.turn(stop):
            if self._budget is None:
                return self._timed(session, request, None, stop)
            with self._budget.spending(request.weight, stop=stop) as spending:
                self._tell("wait", "", spending.waited, request.path)
                self._tell("weight", "", request.weight, request.path)
                return self._timed(session, request, spending, stop)

    def _timed(
        self,
        session: _Session,
        request: _Request,
        spending: Spending | None,
        stop: threading.Event,
    ) -> bytes:
        import httpx2  # noqa: PLC0415 - of the extra `data`

        began = time.monotonic()
        try:
            return self._sent(session, request, spending, stop)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            unreachable = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
            kind = _Unreachable if unreachable else Unusable
            fault = kind(f"{type(error).__name__}: {error}")
            fault.label, fault.seconds = type(error).__name__, time.monotonic() - began
            self._tell("request", fault.label, 1, request.path)
            raise fault from error
        except Unusable as error:
            error.seconds = time.monotonic() - began
            raise
        finally:
            self._tell("seconds", "", time.monotonic() - began, request.path)

    def _sent(
        self,
        session: _Session,
        request: _Request,
        spending: Spending | None,
        stop: threading.Event,
    ) -> bytes:
        if stop.is_set():
            raise Stopped("the download was stopped")
        began = time.monotonic()
        url, query = self._base + request.path, dict(request.query)
        with session.client.stream("GET", url, params=query or None, **self._user) as answer:
            if spending is not None:
                spending.used = _used(answer.headers)
                if UNIT_MS["M"] in spending.used:
                    self._tell("used", "", spending.used[UNIT_MS["M"]], request.path)
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > request.most_bytes:
                    self._tell("request", Unusable.label, 1, request.path)
                    raise ExchangeError(
                        f"{self.shown}{request.path} answers with more than "
                        f"{request.most_bytes:,} bytes, which is refused"
                    )
                if time.monotonic() - began > request.most_seconds:
                    raise Unusable(f"no end of the answer after {request.most_seconds:.0f} s")
                if stop.is_set():
                    raise Stopped("the download was stopped")
            self._tell("bytes", "", len(body), request.path)
            if answer.status_code != 200:
                self._tell("request", str(answer.status_code), 1, request.path)
            try:
                self._judge(answer.status_code, answer.headers, request, bytes(body))
            except Unusable as error:
                error.label = str(answer.status_code)
                raise
            return bytes(body)

    def _judge(
        self, status: int, headers: Mapping[str, str], request: _Request, body: bytes
    ) -> None:
        """Raise unless an answer is one that was wanted."""
        if status == 200:
            return
        if status < 300:
            raise Unusable(f"status {status}, which is no whole answer")
        path = request.path
        code, said = _said(body)
        if status in {418, 429}:
            self._hold(status, headers, request, said)
        if status >= 500 or status == 408:
            raise Unusable(f"status {status}{said}")
        if status == 404 or (status == 403 and self._budget is None):  # so a bucket may say it
            raise NotThere(f"{self.shown}{path} is not there (status {status}{said})")
        if 300 <= status < 400:
            raise Refused(
                f"{self.shown}{path} leads to another address (status {status}), which is "
                "refused; check the address of the exchange"
            )
        raise Refused(f"{self.shown}{path} was refused (status {status}{said})", code)

    def _hold(self, status: int, headers: Mapping[str, str], request: _Request, said: str) -> None:
        """Hold everybody on this machine back for as long as the exchange wants."""
        wait = _seconds(headers.get("retry-after"), headers.get("date"))
        if wait is None:
            doubled = LIMITED_SECONDS * 2.0 ** (request.attempt - 1)
            wait = BAN_SECONDS if status == 418 else doubled
        if self._budget is not None:
            self._budget.pause(wait)
        if wait > MAX_ASKED_WAIT:
            raise ExchangeError(
                f"{self.shown}{request.path}: the exchange wants this address to wait "
                f"{wait:,.0f} s (status {status}{said}); nothing is sent until then; try again "
                "later"
            )
        raise _Busy(f"status {status}{said}", wait)

    def _opened(self) -> _Session:
        """Return the connections of this process: after a fork, two would share one."""
        pid = os.getpid()
        with self._opening.setdefault(pid, threading.Lock()):
            if self._session is None or self._session.pid != pid:
                self._session = _Session.opened(
                    self._connections, self._session, secure=self._secure
                )
            return self._session


class _Request(NamedTuple):
    path: str
    query: Mapping[str, str | int]
    weight: int
    most_bytes: int
    most_seconds: float
    attempt: int = 1


class _Session(NamedTuple):
    """Connections of one process, and turns at them."""

    pid: int
    client: Any
    turns: threading.BoundedSemaphore
    inherited: _Session | None
    """Of the parent process: kept, as closing it would end the parent's connections too."""

    @classmethod
    def opened(
        cls, connections: int, inherited: _Session | None = None, *, secure: bool = True
    ) -> _Session:
        httpx2 = required("httpx2")
        client = http_client(
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            follow_redirects=False,
            verify=secure,  # where nothing is encrypted, no certificate is read, which is slow
            headers={"User-Agent": "backtest-py", "Accept-Encoding": "gzip"},
        )
        return cls(os.getpid(), client, threading.BoundedSemaphore(connections), inherited)

    @contextmanager
    def turn(self, stop: threading.Event) -> Iterator[None]:
        """Wait for a free connection: weight is spent only when a request can leave at once."""
        while not self.turns.acquire(timeout=0.5):
            if stop.is_set():
                raise Stopped("the download was stopped")
        try:
            yield
        finally:
            self.turns.release()


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _used(headers: Mapping[str, str]) -> dict[int, int]:
    """Return the weight that the exchange counts, by milliseconds of its window."""
    found = {}
    for name, value in headers.items():
        match = _USED.fullmatch(name)
        if match and re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
            found[int(match[1]) * UNIT_MS[match[2].upper()]] = int(value)
    return found


def _said(body: bytes) -> tuple[int, str]:
    """Return the exchange's own code and words, or 0 and nothing."""
    try:
        found = json.loads(body[:4096])
        return int(found["code"]), f", {_words(found)}"
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return 0, ""


def _words(found: dict[str, Any]) -> str:
    return f"code {str(found['code'])[:10]}: {str(found['msg'])[:200]}"


def _seconds(text: str | None, date: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which may also be an instant.

    That instant is one of the exchange's clock, which its header ``Date`` tells.
    """
    if text is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]{1,6})?\s*", text):
        return max(0.5, float(text))
    until = _instant(text)
    if until is None:
        return None
    now = _instant(date or "")
    return max(0.5, until - (time.time() if now is None else now))


def _instant(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, None where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
