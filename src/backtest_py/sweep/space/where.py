"""Conditions such as ``rules.target > rules.stop``: a small part of Python's expressions.

Python's own parser reads the text, what may occur in it is listed here, and nothing is executed:
names, numbers, texts in quotes, ``true`` and ``false`` in any case, ``+ - * /``, comparisons,
``and``, ``or``, ``not`` and parentheses.

A chain ``a < b < c`` means ``a < b and b < c``. Times of day are minutes: they compare with each
other, with ``"HH:MM"`` and with numbers, and their difference is a number of minutes; an empty
one (off) comes before every other. Numbers are float64, and a division by zero gives what IEEE
says; ``nan`` compares false, but for ``!=``.
"""

from __future__ import annotations

import ast
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn, TypeAlias, cast

from backtest_py.errors import ConfigError
from backtest_py.parameters import parse_clock, unknown_name
from backtest_py.sweep.space.condition import OPERATORS, Apply, Column, Condition, Formula, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backtest_py.parameters import Parameter
    from backtest_py.sweep.space.condition import Kind, Steps

__all__ = ["Condition", "Formula", "NameKind", "name_kind", "parse_condition", "parse_formula"]

NameKind: TypeAlias = "Kind | tuple[str, ...]"
"""What a name stands for; a tuple is a text, and lists the values that it can take."""

MAX_LENGTH: Final = 2_000
MAX_DEPTH: Final = 50

# Python's parser skips comments, joins neighboring texts and takes look-alike letters for each
# other: only what this matches reaches it, and names and values are read from here
_TOKEN: Final = re.compile(
    r"""(?P<space>\s)
      | (?P<number>(?:[0-9]+\.[0-9]*|\.[0-9]+|0+|[1-9][0-9]*)(?:[eE][+-]?[0-9]+)?)(?![\w.])
      | (?P<logic>(?:and|or)\b) | (?P<inverse>not\b)
      | (?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)?)(?![\w.])
      | (?P<text>"[^"\\\x00-\x1f]*"|'[^'\\\x00-\x1f]*')
      | (?P<begin>\() | (?P<finish>\)) | (?P<sign>[-+]) | (?P<operator><=|>=|==|!=|[*/<>])
      | (?P<foreign>.)""",
    re.VERBOSE | re.DOTALL,
)
_INSTEAD: Final = (
    ("=>", 'write ">="'),
    ("=<", 'write "<="'),
    ("=", 'write "==" to compare'),
    ("&", 'write "and"'),
    ("|", 'write "or"'),
    ("!", 'write "not", or "!=" to compare'),
    ("#", "a condition has no comments"),
    ("\\", "a condition has no backslashes"),
    (("'", '"'), "a text needs a closing quote, and holds no backslashes"),
    ((".", *"0123456789"), "a number is written 2, 0.5 or 1e-3"),
)
_ALLOWED: Final = (
    "is not allowed; a condition is made of names, values, + - * /, comparisons, and, or, not and "
    "parentheses"
)
# kinds of words by their first letters: where one cannot follow the one before it
_MISPLACED: Final = re.compile(r"(?<![ntf])(?=[fol]|$)|(?<=[ntf])(?=[ntbi])|(?<=[os])(?=i)")


def name_kind(parameter: Parameter) -> NameKind:
    """Return what the name of a parameter stands for in conditions."""
    if parameter.kind in {"float", "int"}:
        return "number"
    return parameter.choices if parameter.kind == "choice" else cast("Kind", parameter.kind)


def parse_condition(
    text: str, names: Mapping[str, NameKind], *, source: str = "where"
) -> Condition:
    """Parse a condition.

    Parameters
    ----------
    text : str
        The condition.
    names : mapping of str to NameKind
        Names that may occur, and what they stand for. The part after the point is enough where it
        is unambiguous: ``stop`` for ``rules.stop``.
    source : str, optional
        What error messages call the condition.

    Raises
    ------
    ConfigError
        If the text is no condition; the message gives the position and what was expected.

    Examples
    --------
    >>> names = {"rules.target": "number", "rules.stop": "number"}
    >>> sorted(parse_condition("target > 2 * stop", names).names)
    ['rules.stop', 'rules.target']
    """
    return _reader(text, names, source).read()


def parse_formula(text: str, names: Mapping[str, NameKind], *, source: str) -> Formula:
    """Parse what gives a number, such as ``total_return / max_drawdown``: arithmetic on names.

    Arguments and errors as of :func:`parse_condition`.

    Examples
    --------
    >>> import numpy as np
    >>> names = {"rules.target": "number", "rules.stop": "number"}
    >>> formula = parse_formula("target / stop", names, source="by")
    >>> formula.evaluate({"rules.target": np.array([3.0]), "rules.stop": np.array([2.0])})
    array([1.5])
    """
    return _reader(text, names, source).read_formula()


def _reader(text: str, names: Mapping[str, NameKind], source: str) -> _Reader:
    if not isinstance(text, str):
        raise ConfigError(f"{source} = {text!r} is not allowed; give a condition as text")
    if len(text) > MAX_LENGTH:
        raise ConfigError(
            f"{source} has {len(text):,} characters; a condition has at most {MAX_LENGTH:,}"
        )
    return _Reader(text.strip(), names, source)


class _Part(NamedTuple):
    """A part of a condition: its meaning, and where it starts in the text."""

    steps: Steps
    kind: NameKind | Literal["string"]
    start: int

    def __str__(self) -> str:
        """Return what error messages call it."""
        if len(self.steps) == 1 and isinstance(self.steps[0], Column):
            return self.steps[0].key
        if self.kind == "string":
            return f"the text {cast('Value', self.steps[0]).value!r}"
        return "a condition" if self.kind == "bool" else "a number"


class _Reader:
    """Turns one text into a condition."""

    def __init__(self, text: str, names: Mapping[str, NameKind], source: str) -> None:
        self._text = text
        self._names = names
        self._source = source
        found = list(_TOKEN.finditer(text))
        self._words = {each.start(): each for each in found if each.lastgroup != "space"}
        # in one line, with every character in its place
        self._line = "".join(" " if each.lastgroup == "space" else each[0] for each in found)

    def read(self) -> Condition:
        parts = self._conditions(self._parsed(), 0)
        condition = Condition(self._text, tuple(part.steps for part in parts))
        if not condition.names:
            self._fail(0, "the condition names no parameter, so it is always the same")
        return condition

    def read_formula(self) -> Formula:
        formula = Formula(self._text, self._number(self._parsed(), 0).steps)
        if not formula.names:
            self._fail(0, "it names no column, so it is always the same")
        return formula

    def _parsed(self) -> ast.expr:
        for start, word in self._words.items():
            if word.lastgroup == "foreign":
                hints = (hint for sign, hint in _INSTEAD if self._text.startswith(sign, start))
                hint = "; ".join(("", *hints)[:2])
                self._fail(start, f"{word[0]!r} means nothing here{hint}")
        return self._tree()

    def _fail(self, start: int, fault: str) -> NoReturn:
        raise ConfigError(f"{self._source} = {self._text!r}, character {start + 1}: {fault}")

    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self._line, mode="eval").body
        except SyntaxError as error:
            self._explain(error)
        except (RecursionError, MemoryError):
            self._fail(0, f"the condition is nested more than {MAX_DEPTH} deep")
        except ValueError as error:  # half a character, in quotes
            self._fail(0, f"the condition cannot be read: {error}")

    def _explain(self, error: SyntaxError) -> NoReturn:
        """Fail at the first word that is out of place; Python's place differs by its version."""
        words = list(self._words.values())
        kinds = "".join(cast("str", word.lastgroup)[0] for word in words)
        misplaced = _MISPLACED.search(kinds)
        if misplaced is None:  # parentheses that do not match, or are too many
            self._fail((error.offset or 1) - 1, error.msg)
        at = misplaced.start()
        before, word = ([""] + [word[0] for word in words] + [""])[at : at + 2]
        hint = '; write "!="' if before + word == "<>" else ""
        for each in (word, before):
            if each.lower() in {"and", "or", "not"} and not each.islower():
                hint = f'; write "{each.lower()}"'
        expected = "and, or, or the end" if kinds[at - 1 : at] in {*"ntf"} else "a name or a value"
        self._fail(
            words[at].start() if word else len(self._text),
            f"expected {expected}, found {repr(word) if word else 'the end'}{hint}",
        )

    # the tree

    def _start(self, node: ast.expr) -> int:
        return len(self._line.encode()[: node.col_offset].decode())  # Python counts bytes

    def _refuse(self, node: ast.expr) -> NoReturn:
        shown = cast("str", ast.get_source_segment(self._line, node))
        self._fail(self._start(node), f"{shown!r} {_ALLOWED}")

    def _conditions(self, node: ast.expr, depth: int) -> Sequence[_Part]:
        """Return the conditions that must all hold for one to hold."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            return [part for each in node.values for part in self._conditions(each, depth + 1)]
        if isinstance(node, ast.Compare):
            return self._comparisons(node, depth)
        part = self._part(node, depth)
        if part.kind != "bool":
            self._fail(part.start, f"{part} is no condition; compare it with something")
        return [part]

    def _condition(self, node: ast.expr, depth: int) -> _Part:
        return _joined("And", self._conditions(node, depth))

    def _number(self, node: ast.expr, depth: int) -> _Part:
        part = self._part(node, depth)
        if part.kind not in {"number", "clock"}:
            self._fail(part.start, f"{part} is no number")
        return part

    def _part(self, node: ast.expr, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            self._fail(self._start(node), f"the condition is nested more than {MAX_DEPTH} deep")
        match node:
            case ast.Constant() | ast.Name() | ast.Attribute():
                return self._leaf(node)
            case ast.BinOp():
                return self._arithmetic(node, depth)
            case ast.BoolOp(op=ast.Or(), values=values):
                return _joined("Or", [self._condition(each, depth + 1) for each in values])
            case ast.BoolOp() | ast.Compare():
                return self._condition(node, depth)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                part = self._condition(operand, depth + 1)
                return _Part((*part.steps, Apply("Not", 1)), "bool", self._start(node))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                part = self._number(operand, depth + 1)
                return _Part((*part.steps, Apply("USub", 1)), "number", self._start(node))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._number(operand, depth + 1)
        return self._refuse(node)

    def _leaf(self, node: ast.Constant | ast.Name | ast.Attribute) -> _Part:
        """Return a name or a value as it was written, not as Python takes it."""
        start = self._start(node)
        word = self._words[start]
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            if word.lastgroup != "text" or word[0][1:-1] != node.value:
                self._fail(start, "a text is written 'so' or \"so\", and stands alone")
            return _Part((Value(node.value),), "string", start)
        if word.lastgroup == "number":
            value = float(word[0])
            if not math.isfinite(value):
                self._fail(start, f"{word[0]} is beyond the largest number")
            return _Part((Value(value),), "number", start)
        if word[0].lower() in {"true", "false"}:
            return _Part((Value(word[0].lower() == "true"),), "bool", start)
        key = self._resolve(word[0], start)
        kind = self._names[key]
        return _Part((Column(key, "text" if isinstance(kind, tuple) else kind),), kind, start)

    def _resolve(self, name: str, start: int) -> str:
        if name in self._names:
            return name
        full = [each for each in self._names if each.partition(".")[2] == name]
        if not full:
            self._fail(start, str(unknown_name("name", name, self._names)))
        if len(full) > 1:
            self._fail(start, f"{name!r} may be any of {', '.join(full)}; write one")
        return full[0]

    def _arithmetic(self, node: ast.BinOp, depth: int) -> _Part:
        """Return a sum or product; the left side is followed in a loop, for it may be long."""
        rest: list[ast.BinOp] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            if type(left.op).__name__ not in OPERATORS:
                self._refuse(left)
            rest.append(left)
            left = left.left
        first = self._number(left, depth + 1)
        steps, clocks = list(first.steps), int(first.kind == "clock")
        for each in reversed(rest):
            part = self._number(each.right, depth + 1)
            steps += (*part.steps, Apply(type(each.op).__name__, 2))
            # a time moved by minutes is a time; the difference of two is minutes
            sign = {ast.Add: 1, ast.Sub: -1}.get(type(each.op), 2)
            clocks += sign * (part.kind == "clock")
        return _Part(tuple(steps), "clock" if clocks == 1 else "number", first.start)

    # comparisons

    def _comparisons(self, node: ast.Compare, depth: int) -> list[_Part]:
        """Return the comparison of each two neighbors."""
        sides = [self._part(each, depth + 1) for each in (node.left, *node.comparators)]
        signs = [type(sign).__name__ for sign in node.ops]
        for at, sign in enumerate(signs):
            if sign not in OPERATORS:
                self._refuse(node)
            # a text between two others takes its meaning from the left and must fit the right
            sides[at : at + 2] = self._comparable(sign, *sides[at : at + 2])
        return [_joined(*each) for each in zip(signs, pairwise(sides), strict=True)]

    def _comparable(self, sign: str, left: _Part, right: _Part) -> tuple[_Part, _Part]:
        """Return both sides, a text in quotes with the meaning that the other side gives it."""
        kinds = {"text" if isinstance(part.kind, tuple) else part.kind for part in (left, right)}
        if kinds == {"string"}:
            self._fail(left.start, "two texts are compared, so the answer is always the same")
        if left.kind == "string":
            left = self._meant(left, right)
        elif right.kind == "string":
            right = self._meant(right, left)
        elif len(kinds) == 2 and kinds != {"number", "clock"}:
            self._fail(left.start, f"{left} cannot be compared with {right}")
        if kinds & {"bool", "text"} and sign not in {"Eq", "NotEq"}:
            self._fail(left.start, f"{left} can be compared by == and != only")
        return left, right

    def _meant(self, string: _Part, other: _Part) -> _Part:
        text = cast("str", cast("Value", string.steps[0]).value)
        if other.kind == "clock":
            try:
                return _Part((Value(float(parse_clock(text))),), "clock", string.start)
            except ConfigError as error:
                self._fail(string.start, str(error))
        if isinstance(other.kind, tuple) and text not in other.kind:
            known = ", ".join(map(repr, other.kind))
            self._fail(string.start, f"{text!r} is none of the values there: {known}")
        if not isinstance(other.kind, tuple) and other.kind != "text":
            self._fail(string.start, f"{other} cannot be compared with {string}")
        return string


def _joined(operator: str, parts: Sequence[_Part]) -> _Part:
    """Return the condition that an operator makes of parts, worked out from the left."""
    steps = list(parts[0].steps)
    for part in parts[1:]:
        steps += (*part.steps, Apply(operator, 2))
    return _Part(tuple(steps), "bool", parts[0].start)
