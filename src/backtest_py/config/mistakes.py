"""What usually goes wrong in a TOML file, and what to write instead.

TOML is strict, and its errors speak of statements and key parts. Here the line at fault is compared
with a table of usual mistakes, so that a message can name the key, what was written and what to
write.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from backtest_py.config.wording import BACKSLASHES, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["explain", "unclosed_quote"]

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_KEY: Final = re.compile(r"""((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""")
_INVISIBLE: Final = re.compile("[\x00-\x08\x0b-\x1f\u00a0\u200b-\u200f\u2028-\u202f\u2060\ufeff]")
_CURLY: Final = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b"), "'"),
}
"""Typographic quotes, and the straight ones in their place."""


RULES: Final = {
    "Expected newline or end of document after a statement": (
        "nothing but a comment follows a value, and every key begins a line"
    ),
    "Expected '=' after a key in a key/value pair": "a line is a [section] or a key = value",
    "Invalid statement": "a line is a [section], a key = value or a # comment",
    "Invalid value": "a value is a number, true, false, a text in quotes or a list in brackets",
    "Invalid date or datetime": "there is no such date or time",
    "Unclosed array": "commas stand between the values of a list, and ] after the last one",
    "Unterminated string": "a quote is not closed",
    'Expected "\'"': "a quote is not closed",
}
"""What TOML's own errors mean."""


class Mistake(NamedTuple):
    """A value that TOML does not know: how it looks, what is wrong, and what to write."""

    pattern: re.Pattern[str]
    reason: str
    remedy: Callable[[str], str]


def _value(pattern: str) -> re.Pattern[str]:
    """Match a whole value: of a key, in a list or in an inline table."""
    return re.compile(rf"(?:=|\[|,|(?<=\{{))\s*(?P<value>{pattern})(?=\s*(?:[,\]}}]|$))")


def _plain(text: str) -> str:
    """Return a number without separators, with a decimal point."""
    mark = max(text.rfind("."), text.rfind(","))
    whole = re.sub("[.,_]", "", text[:mark])
    if text.count(",") == 1 and "." not in text and len(text) - mark == 4:
        return f"{whole}.{text[mark + 1 :]}, or {whole}{text[mark + 1 :]} if the comma separates"
    return f"{whole}.{text[mark + 1 :]}"


def _date(text: str) -> str:
    """Return a date as it is written here, both where day and month cannot be told apart."""
    first, second, third = re.split(r"[/.-]", text)
    if len(first) == 4:
        return f'"{first}-{second:0>2}-{third:0>2}"'
    choices = [(second, first), (first, second)]
    dates = [f'"{third:0>4}-{month:0>2}-{day:0>2}"' for month, day in choices if int(month) <= 12]
    return " or ".join(dict.fromkeys(dates)) or '"2023-03-01"'


def _clock(text: str) -> str:
    hour, minute = text.split(":")
    return f'"{int(hour):02d}:{minute}"'


def _quoted(text: str) -> str:
    mark = "'" if "\\" in text or '"' in text else '"'
    return f"{mark}{text.strip()}{mark}"


_TRUE: Final = ("true", "yes", "on")

MISTAKES: Final = (
    Mistake(
        _value(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+|[-+]?\d{1,3}(?:,\d{3})+\.\d+"),
        "a number has no separators, and a point as decimal mark",
        _plain,
    ),
    Mistake(
        re.compile(r"=\s*(?P<value>[-+]?[\d_]+,\d+)(?=\s*(?:[,}]|$))"),
        "the decimal mark is a point",
        _plain,
    ),
    Mistake(
        _value(r"(?!(?:true|false)\b)(?i:true|false|yes|no|on|off)"),
        "true and false are written in small letters, without quotes",
        lambda text: "true" if text.lower() in _TRUE else "false",
    ),
    Mistake(
        _value(r"(?!nan\b)(?i:none|null|nil|nan|undefined)"),
        "there is no empty value; leave the key out, or switch it off",
        lambda _: '0, or ""',
    ),
    Mistake(_value(r"\d{1,2}:\d{2}"), "a time of day stands in quotes", _clock),
    Mistake(
        _value(
            r"\d{1,4}/\d{1,2}/\d{1,4}|\d{1,4}\.\d{1,2}\.\d{1,4}|\d{1,2}-\d{1,2}-\d{4}"
            r"|\d{4}-(?:\d-\d{1,2}|\d\d-\d)"
        ),
        "a date stands in quotes, the year first",
        _date,
    ),
    Mistake(
        re.compile(r"^[^\[{=]*=\s*(?P<value>[^\s\[{=][^\[{]*[,;%])$"),
        "nothing follows a value",
        lambda text: text[:-1].strip(),
    ),
    Mistake(
        _value(r"[-+]?0\d+(?:\.\d+)?"),
        "a number does not begin with 0",
        lambda text: re.sub(r"(?<!\d)0+(?=\d)", "", text),
    ),
    Mistake(
        _value(r"[-+]?(?:\.\d+|\d+\.)"),
        "a decimal point stands between digits",
        lambda text: f"{text}0" if text[-1] == "." else text.replace(".", "0."),
    ),
    Mistake(
        _value(
            r"(?!(?:true|false|inf|nan)\s*(?:[,\]}]|$))"
            r"(?:[^\W\d]|[./\\~])[^\[\]{}=,\"'#]*?"
        ),
        "a text stands in quotes",
        _quoted,
    ),
)
"""Values by the first pattern that matches the line, strings blanked out."""


def explain(lines: list[str], number: int, error: str) -> str:
    """Say what is wrong with line ``number``, from 1, that TOML refused with ``error``.

    Examples
    --------
    >>> explain(["[rules]", "stop = 2,5"], 2, "")
    'stop = 2,5 is not allowed: the decimal mark is a point; write stop = 2.5'
    >>> explain(["close_time = 17:00"], 1, "")
    'close_time = 17:00 is not allowed: a time of day stands in quotes; write close_time = "17:00"'
    """
    bare = _QUOTED.sub(_blanked, lines[number - 1]).partition("#")[0].rstrip()
    line = lines[number - 1][: len(bare)]
    found = _repeated(lines, number, error) or _of_characters(line, bare)
    if not found and not bare.lstrip().startswith("["):
        in_list = "," if "array" in error and "=" not in bare else ""  # goes on from a line before
        for mistake in MISTAKES:
            match = mistake.pattern.search(in_list + bare)
            if match:
                written = (in_list + line)[match.start("value") : match.end("value")]
                key = _key_before(lines, number, match.start("value"))
                return _of_value(key, written, mistake, alone=match[0][0] not in "[,")
    found = found or _of_shape(line, bare) or _unclosed(lines, number, error)
    return f"{shortened(line.strip())}: {found or RULES.get(error, error)}"


def _blanked(quoted: re.Match[str]) -> str:
    """Return a string of the same length that holds nothing."""
    return f"{quoted[0][0]}{'_' * (len(quoted[0]) - 2)}{quoted[0][0]}"


def unclosed_quote(line: str) -> bool:
    """Tell whether a string of one line begins in it and does not end."""
    rest = _QUOTED.sub("", line).partition("#")[0]
    return "'" in rest or '"' in rest


def _of_value(key: str, written: str, mistake: Mistake, *, alone: bool) -> str:
    remedy, written = shortened(mistake.remedy(written)), shortened(written)
    if alone:
        return f"{key} = {written} is not allowed: {mistake.reason}; write {key} = {remedy}"
    return f"{written} in {key} is not allowed: {mistake.reason}; write {remedy}"


def _key_before(lines: list[str], number: int, column: int) -> str:
    """Return the key that a value belongs to, which may stand in an earlier line."""
    keys = _KEY.findall(lines[number - 1][:column])
    for line in reversed(lines[: number - 1]):
        if keys:
            break
        keys = _KEY.findall(line)
    return str(keys[-1]) if keys else "the value"


def _repeated(lines: list[str], number: int, error: str) -> str:
    """Say where a key or a section stood before."""
    if "overwrite" not in error and "twice" not in error:
        return ""
    line = lines[number - 1].strip()
    header = line.partition("]")[0] if line.startswith("[") else ""
    match = _KEY.match(line)
    name = f"{header}]" if header else f"the key {match[1]}" if match else "this key"
    start = header or (match[0] if match else line)
    start = re.sub(r"\s", "", start)
    for earlier in range(number - 1, 0, -1):
        if re.sub(r"\s", "", lines[earlier - 1]).startswith(start):
            return f"{name} stands here and in line {earlier}; keep one of them"
    return f"{name} is given twice; keep one of them"


def _of_characters(line: str, bare: str) -> str:
    """Say what is wrong with the characters of a line, ``""`` for nothing."""
    unseen = _INVISIBLE.search(line)
    if unseen:
        return (
            f"column {unseen.start() + 1} holds a character that cannot be seen "
            f"(U+{ord(unseen[0]):04X}); type the line again"
        )
    if bare.translate(_CURLY) != bare:
        straight = shortened(line.strip().translate(_CURLY))
        return f"these quotes are typographic; write straight ones: {straight}"
    return BACKSLASHES if "\\" in line and '"' in line else ""


def _of_shape(line: str, bare: str) -> str:
    """Say what is wrong with the build of a line, ``""`` where nothing is known."""
    text = bare.strip()
    if re.search(r"==|:=", text):
        written = re.sub(r"\s*(?:==|:=)\s*", " = ", line.strip(), count=1)
        return f"one = stands between a key and its value; write {shortened(written)}"
    if text.startswith("["):
        return "a section is a name in brackets in a line of its own, as in [rules]"
    if text.endswith("="):
        return "a value is missing after the ="
    if unclosed_quote(text):
        return "a quote is not closed"
    colon = re.fullmatch(r"([\w.-]+)\s*(?::|\s)\s*(\S.*)", text)
    if colon and "=" not in text:
        return f"a key and its value are joined by =; write {colon[1]} = {shortened(colon[2])}"
    if text.count("{") > text.count("}"):
        return "a table in braces stands in one line, { and } included"
    if text.count("[") > text.count("]"):
        return "a list is not closed; its last value is followed by ]"
    return ""


def _unclosed(lines: list[str], number: int, error: str) -> str:
    """Say where a list began that this line should have continued or closed."""
    if "Unclosed array" not in error:
        return ""
    for earlier in range(number - 1, 0, -1):
        match = re.match(r"""\s*([\w.-]+|"[^"]*"|'[^']*')\s*=\s*\[""", lines[earlier - 1])
        if match:
            return (
                f"the list of {match[1]} that begins in line {earlier} is not closed; commas stand "
                "between its values, and ] after the last one"
            )
    return ""
