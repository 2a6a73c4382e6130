"""Words that several messages about a configuration share."""

from __future__ import annotations

from typing import Final

__all__ = ["BACKSLASHES", "shortened"]

BACKSLASHES: Final = (
    "between double quotes a backslash begins an escape; write a path with forward slashes, or "
    "between single quotes"
)

_SHOWN: Final = 80
"""Characters of a line that a message repeats."""


def shortened(text: str) -> str:
    """Return a text that fits into a message.

    Examples
    --------
    >>> len(shortened("9" * 5_000))
    81
    """
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
