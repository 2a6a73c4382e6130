"""What decides the results of a sweep, and what about it has changed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from backtest_py.provenance import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["differences"]

_EXPLAINED: Final = {
    "package_code": "the code of backtest-py changed, so that new rows may not fit the old ones: ",
    "code": "the strategy's own code changed: ",
}
_MISSING: Final = object()
_NAMED: Final = 20
_WIDTH: Final = 120


def differences(stored: object, now: object) -> list[str]:
    """Name every value that differs between two objects of JSON, by its full key.

    Lists of the same length are compared place by place. Objects in a list that have a ``"key"``
    are called by it, and their order counts too.

    Returns
    -------
    list of str
        Empty exactly where both have the same canonical JSON.

    Examples
    --------
    >>> differences({"rules": {"stop": 2.0}}, {"rules": {"stop": 2.5}, "where": "a < 1"})
    ['rules.stop was 2.0, now 2.5', 'where was absent, now "a < 1"']
    """
    found = _walk(stored, now, "")
    named = list(islice(found, _NAMED))
    more = sum(1 for _ in found)
    return [*named, f"and {more:,} more"] if more else named


def _walk(stored: Any, now: Any, key: str) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(now, dict):
        for name in (*stored, *(name for name in now if name not in stored)):
            below = f"{key}.{name}" if key else name
            yield from _walk(stored.get(name, _MISSING), now.get(name, _MISSING), below)
    elif _keyed(stored) and _keyed(now):
        before, after = ({item["key"]: item for item in items} for items in (stored, now))
        yield from _walk(before, after, key)
        if set(before) == set(after) and list(before) != list(after):
            yield _changed(f"{key} order", list(before), list(after))
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        for at, pair in enumerate(zip(stored, now, strict=True)):
            yield from _walk(*pair, f"{key}[{at}]")
    elif _text(stored) != _text(now):
        yield _changed(key, stored, now)


def _keyed(items: object) -> bool:
    """Tell whether these are objects with keys that tell them apart."""
    if not isinstance(items, list) or not items:
        return False
    keys = {str(item["key"]) for item in items if isinstance(item, dict) and "key" in item}
    return len(keys) == len(items)


def _changed(key: str, stored: object, now: object) -> str:
    texts = (_text(value) for value in (stored, now))
    before, after = (text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…" for text in texts)
    return f"{_EXPLAINED.get(key, '')}{key} was {before}, now {after}"


def _text(value: object) -> str:
    return "absent" if value is _MISSING else canonical_json(value)
