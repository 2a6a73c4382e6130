"""Read a TOML file; every refusal says which file, line and key, and what to write."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from typing import TYPE_CHECKING, Any, Final

from backtest_py.config.wording import shortened
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_toml"]

MAX_BYTES: Final = 10_000_000
"""A grid of a million listed values fits; reading so much takes seconds."""

MAX_DEPTH: Final = 16
"""Tables and lists inside each other; a configuration has four."""

MAX_BITS: Final = 1024
"""Size of the largest whole number that a float64 can hold; Python's own have no limit."""

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_LONG_NUMBER: Final = re.compile(r"\d[\d_]{3999}")
_WORD: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"(?<![\w-]){_WORD}(?:[ \t]*+\.[ \t]*+{_WORD}){{64}}")
"""A key of so many parts takes TOML's reader a time that grows with the square of their number."""


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not TOML, or if it holds a number or a nesting that no
        setting takes, or a date or a time of day without quotes where no date stands.
    """
    text = _text(path, _content(path))
    lines = text.replace("\r\n", "\n").split("\n")
    long_key = _LONG_KEY.search(text)
    if long_key:
        number = text.count("\n", 0, long_key.start()) + 1
        raise ConfigError(
            f"{path} is not a configuration: line {number} is nested too deeply: "
            f"{shortened(long_key[0])}"
        )
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {_explained(lines, str(error))}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not a configuration: it is nested too deeply") from error
    except ValueError as error:  # Python refuses to read a whole number of so many digits
        raise _too_long(path, lines) from error
    for key, value in _values(path, document):
        _check_value(path, lines, key, value)
    return document


def _content(path: Path) -> bytes:
    if "\0" in str(path):
        raise ConfigError(f"{str(path)!r} is not the name of a file: it holds a NUL character")
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a directory; give a TOML file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist; `backtest-py init {path}` writes a commented one"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{path} is larger than the {MAX_BYTES:,} bytes that a configuration may have; is it "
            "the file with the bars? Name that one in data.path"
        )
    return content


def _text(path: Path, content: bytes) -> str:
    if content.startswith(_UTF16) or b"\0" in content[:2]:
        raise ConfigError(f"{path} is not a TOML file: it is UTF-16 text; save it as UTF-8")
    try:
        # utf-8-sig, because editors on Windows write a mark that TOML refuses
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is not a TOML file: byte {error.start} (line {line}) is not UTF-8 text; save "
            "it as UTF-8"
        ) from error


def _explained(lines: list[str], error: str) -> str:
    """Return the line that TOML's error is about, and what to write there."""
    from backtest_py.config.mistakes import explain, unclosed_quote  # noqa: PLC0415 - only errors

    words, _, place = error.rpartition(" (at ")
    match = re.match(r"line (\d+)", place)
    if match:
        number = int(match[1])
    else:  # the end of the file, which an open quote reaches too
        filled = [at for at, line in enumerate(lines, start=1) if line.strip()] or [1]
        number = next((at for at in filled if unclosed_quote(lines[at - 1])), filled[-1])
    return f"line {number}: {explain(lines, number, words or error)}"


def _too_long(path: Path, lines: list[str]) -> ConfigError:
    for number, line in enumerate(lines, start=1):
        found = _LONG_NUMBER.search(line)
        if found:
            key = line.partition("=")[0].strip()
            return ConfigError(
                f"{path}: line {number}: {shortened(key)} = {shortened(found[0])} has too many "
                "digits; no setting takes a number of that size"
            )
    return ConfigError(f"{path}: a number has too many digits")


def _values(path: Path, document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value with its keys; what lies in lists has the key of the list."""
    found: list[tuple[tuple[str, ...], int, Any]] = [((), 0, document)]
    while found:
        keys, depth, value = found.pop()
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"{path} is not a configuration: {shortened('.'.join(keys))} is nested too deeply"
            )
        if isinstance(value, Mapping):
            inner = [((*keys, key), depth + 1, each) for key, each in value.items()]
            found += reversed(inner)
        elif isinstance(value, list):
            found += [(keys, depth + 1, each) for each in reversed(value)]
        else:
            yield keys, value


def _check_value(path: Path, lines: list[str], keys: tuple[str, ...], value: object) -> None:
    name = ".".join(keys).replace("strategy.params.", "strategy.")  # as other messages have it
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        digits = round(value.bit_length() * 0.30103)
        raise ConfigError(
            f"{path}: {name} is a number of about {digits:,} digits; no setting takes a number of "
            "that size"
        )
    dated = keys[0] == "range" or keys in {("data", "start"), ("data", "end")}
    if isinstance(value, time) or (isinstance(value, date) and not dated):
        written = str(value)
        wanted = f'in quotes, as in {keys[-1]} = "{written}"'
        if isinstance(value, time):
            wanted = f'a time of day "HH:MM" in quotes: "{value:%H:%M}"'
            if dated:
                wanted = f'a date with it: "2023-03-01 {written}"'
        raise ConfigError(
            f"{path}: {_line_of(lines, keys[-1], written)}{name} = {written} is not allowed; give "
            f"{wanted}"
        )


def _line_of(lines: list[str], key: str, written: str) -> str:
    """Return where a key stands with a value, as words, ``""`` where it cannot be told."""
    for number, line in enumerate(lines, start=1):
        if written[:8] in line and re.search(rf"(?<![\w-]){re.escape(key)}[\"']?\s*=", line):
            return f"line {number}: "
    return ""
