"""Answers of the local exchange, before they are sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

__all__ = ["Reply", "error_reply", "json_reply"]


@dataclass
class Reply:
    """An answer before it is sent; a fault may change it.

    Attributes
    ----------
    status : int
        HTTP status.
    body : bytes
        What is sent.
    headers : dict of str to str
        Beside the usual ones.
    cut_at : int
        Bytes after which the connection breaks, -1 for none.
    delay : float
        Seconds before the answer begins.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int = -1
    delay: float = 0.0


def json_reply(value: object, status: int = 200) -> Reply:
    """Return an answer in JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(status, body, {"Content-Type": "application/json;charset=UTF-8"})


def error_reply(status: int, code: int, message: str) -> Reply:
    """Return an error as the exchange words it."""
    return json_reply({"code": code, "msg": message}, status)
