"""Conditions such as ``rules.target > rules.stop``: parsed, never evaluated as Python.

    condition   and_ ("or" and_)*
    and_        not_ ("and" not_)*
    not_        "not" not_ | comparison
    comparison  sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*
    sum         product (("+" | "-") product)*
    product     sign (("*" | "/") sign)*
    sign        ("-" | "+") sign | atom
    atom        number | string | "true" | "false" | name | "(" condition ")"

A chain ``a < b < c`` means ``a < b and b < c``. Times of day are minutes: they compare with each
other, with ``"HH:MM"`` and with numbers, and their difference is a number of minutes; an empty
one (off) comes before every other. Numbers are float64, and a division by zero gives what IEEE
says; ``nan`` compares false, but for ``!=``.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, TypeAlias, cast

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import parse_clock, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from backtest_py.parameters import Parameter

__all__ = ["Condition", "NameKind", "name_kind", "parse_condition"]

Kind: TypeAlias = Literal["number", "clock", "bool", "text"]
NameKind: TypeAlias = "Kind | tuple[str, ...]"
"""What a name stands for; a tuple is a text, and lists the values that it can take."""

MAX_LENGTH: Final = 2_000
MAX_DEPTH: Final = 50

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)?)(?![\w.])
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<mark><=|>=|==|!=|[-+*/<>()])
    )""",
    re.VERBOSE,
)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_INSTEAD: Final = {
    "=": 'write "==" to compare',
    "&": 'write "and"',
    "|": 'write "or"',
    "!": 'write "not", or "!=" to compare',
}


def name_kind(parameter: Parameter) -> NameKind:
    """Return what the name of a parameter stands for in conditions."""
    if parameter.kind in {"float", "int"}:
        return "number"
    return parameter.choices if parameter.kind == "choice" else cast("Kind", parameter.kind)


# Nodes. Chains of one precedence are one node, so that depth comes from parentheses alone.


@dataclass(frozen=True, slots=True)
class _Literal:
    value: float | str | bool


@dataclass(frozen=True, slots=True)
class _Name:
    key: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Chain:
    """A sum, a product or a comparison: operands, with a mark between each two."""

    operands: tuple[_Node, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Logic:
    operator: Literal["and", "or", "not"]
    operands: tuple[_Node, ...]


_Node: TypeAlias = _Literal | _Name | _Chain | _Logic


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


class _Typed(NamedTuple):
    """A parsed part: its node, what it stands for, where it starts."""

    node: _Node
    kind: NameKind | Literal["string"]
    start: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on named columns.

    Attributes
    ----------
    text : str
        As it was written.
    names : frozenset of str
        Full names of the columns that it looks at.

    Examples
    --------
    >>> condition = parse_condition("a < 2 or b", {"a": "number", "b": "bool"})
    >>> condition.evaluate({"a": np.array([1.0, 2.0, 3.0]), "b": np.array([False, False, True])})
    array([ True, False,  True])
    """

    text: str
    names: frozenset[str]
    _node: _Node

    @property
    def conjuncts(self) -> tuple[Condition, ...]:
        """The conditions that all hold where this one does, each on fewer names where it can."""
        if isinstance(self._node, _Logic) and self._node.operator == "and":
            parts = (Condition(self.text, _names(node), node) for node in self._node.operands)
            return tuple(leaf for part in parts for leaf in part.conjuncts)
        return (self,)

    def evaluate(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return where the condition holds.

        Parameters
        ----------
        columns : mapping of str to ndarray
            A column per name in :attr:`names`, of shapes that broadcast: numbers, minutes of the
            day (int64, -1 for off), bools or strings.

        Returns
        -------
        ndarray of bool
            Of the columns' common shape.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(_evaluate(self._node, columns), dtype=np.bool_)

    def to_arrow(self) -> Any:
        """Return the same condition as a ``pyarrow.compute`` expression on columns of those names.

        There a time of day is a string ``"HH:MM"``, or ``""`` where it is off.
        """
        return _to_arrow(self._node)


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
    return _Parser(text, names, source).parse()


class _Parser:
    def __init__(self, text: str, names: Mapping[str, NameKind], source: str) -> None:
        self.text = text
        self.names = names
        self.source = source
        if len(text) > MAX_LENGTH:
            raise ConfigError(
                f"{source} has {len(text):,} characters; a condition has at most {MAX_LENGTH:,}"
            )
        self.tokens = self._tokenize()
        self.at = 0
        self.depth = 0

    def parse(self) -> Condition:
        part = self._or()
        if self._next.kind != "end":
            self._fail(self._next.start, f"expected and, or, or the end, found {self._found()}")
        self._need_condition(part)
        names = _names(part.node)
        if not names:
            self._fail(part.start, "the condition names no parameter, so it is always the same")
        return Condition(self.text, names, part.node)

    # tokens

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        at, end = 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                character = self.text[start]
                hint = _INSTEAD.get(character, "")
                if character in "\"'":
                    hint = "a text needs a closing quote"
                elif character.isdigit() or character == ".":
                    hint = "a number is written 2, 0.5 or 1e-3"
                self._fail(start, f"{character!r} means nothing here" + (hint and f"; {hint}"))
            kind = cast("str", match.lastgroup)
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        tokens.append(_Token("end", "", end))
        return tokens

    @property
    def _next(self) -> _Token:
        return self.tokens[self.at]

    def _accept(self, *texts: str) -> _Token | None:
        token = self._next
        if token.text in texts and token.kind in {"mark", "name"}:
            self.at += 1
            return token
        return None

    def _found(self) -> str:
        return "the end" if self._next.kind == "end" else repr(self._next.text)

    def _fail(self, start: int, fault: str) -> NoReturn:
        raise ConfigError(f"{self.source} = {self.text!r}, character {start + 1}: {fault}")

    # grammar

    def _or(self) -> _Typed:
        return self._logic("or", self._and)

    def _and(self) -> _Typed:
        return self._logic("and", self._not)

    def _logic(self, word: Literal["and", "or"], operand: Callable[[], _Typed]) -> _Typed:
        parts = [operand()]
        while self._accept(word):
            parts.append(operand())
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            self._need_condition(part)
        return _Typed(_Logic(word, tuple(part.node for part in parts)), "bool", parts[0].start)

    def _not(self) -> _Typed:
        token = self._accept("not")
        if token is None:
            return self._comparison()
        part = self._nested(token.start, self._not)
        self._need_condition(part)
        return _Typed(_Logic("not", (part.node,)), "bool", token.start)

    def _comparison(self) -> _Typed:
        parts, marks = [self._sum()], []
        while (token := self._accept(*_COMPARE)) is not None:
            marks.append(token)
            parts.append(self._sum())
        if not marks:
            return parts[0]
        nodes: list[_Node] = [parts[0].node]
        for mark, left, right in zip(marks, parts, parts[1:], strict=False):
            first, second = self._comparable(mark, left, right)
            # a text between two others takes its meaning from the left, and must keep it
            nodes[-1] = first
            nodes.append(second)
        chain = _Chain(tuple(nodes), tuple(mark.text for mark in marks))
        return _Typed(chain, "bool", parts[0].start)

    def _comparable(self, mark: _Token, left: _Typed, right: _Typed) -> tuple[_Node, _Node]:
        """Return both nodes, a text in quotes with the meaning that the other side gives it."""
        kinds = {"text" if isinstance(part.kind, tuple) else part.kind for part in (left, right)}
        fault = f"{_words(left)} cannot be compared with {_words(right)}"
        if "string" in kinds:
            if kinds == {"string"}:
                self._fail(left.start, "two texts are compared, so the answer is always the same")
            string, other = (left, right) if left.kind == "string" else (right, left)
            kind = "text" if isinstance(other.kind, tuple) else other.kind
            if kind not in {"clock", "text"}:
                self._fail(string.start, fault)
            meant = self._meant(string, other)
            nodes = (meant, right.node) if string is left else (left.node, meant)
        else:
            if len(kinds) == 2 and kinds != {"number", "clock"}:
                self._fail(mark.start, fault)
            kind = min(kinds)
            nodes = (left.node, right.node)
        if kind in {"bool", "text"} and mark.text not in {"==", "!="}:
            self._fail(mark.start, f"{_words(left)} can be compared by == and != only")
        return nodes

    def _meant(self, string: _Typed, other: _Typed) -> _Node:
        text = cast("str", cast("_Literal", string.node).value)
        if other.kind == "clock":
            try:
                return _Literal(float(parse_clock(text)))
            except ConfigError as error:
                self._fail(string.start, str(error))
        if isinstance(other.kind, tuple) and text not in other.kind:
            known = ", ".join(map(repr, other.kind))
            self._fail(string.start, f"{text!r} is none of the values there: {known}")
        return string.node

    def _sum(self) -> _Typed:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> _Typed:
        return self._arithmetic(("*", "/"), self._sign)

    def _arithmetic(self, marks: tuple[str, ...], operand: Callable[[], _Typed]) -> _Typed:
        parts, used = [operand()], []
        while (token := self._accept(*marks)) is not None:
            used.append(token.text)
            parts.append(operand())
        if not used:
            return parts[0]
        for part in parts:
            self._need_number(part)
        # a time moved by minutes is a time; the difference of two is minutes
        signs = [{"+": 1, "-": -1}.get(mark, 2) for mark in ["+", *used]]
        clocks = sum(sign for sign, part in zip(signs, parts, strict=True) if part.kind == "clock")
        chain = _Chain(tuple(part.node for part in parts), tuple(used))
        return _Typed(chain, "clock" if clocks == 1 else "number", parts[0].start)

    def _sign(self) -> _Typed:
        token = self._accept("-", "+")
        if token is None:
            return self._atom()
        part = self._nested(token.start, self._sign)
        self._need_number(part)
        if token.text == "+":
            return part
        return _Typed(_Chain((_Literal(-0.0), part.node), ("-",)), "number", token.start)

    def _atom(self) -> _Typed:
        token = self._next
        if self._accept("("):
            part = self._nested(token.start, self._or)
            if not self._accept(")"):
                self._fail(self._next.start, f'expected ")", found {self._found()}')
            return part._replace(start=token.start)
        if token.kind not in {"number", "string", "name"} or token.text in {"and", "or", "not"}:
            self._fail(token.start, f"expected a name or a value, found {self._found()}")
        self.at += 1
        if token.kind == "string":
            return _Typed(_Literal(token.text[1:-1]), "string", token.start)
        if token.kind == "number":
            value = float(token.text)
            if not np.isfinite(value):
                self._fail(token.start, f"{token.text} is beyond the largest number")
            return _Typed(_Literal(value), "number", token.start)
        if token.text.lower() in {"true", "false"}:
            return _Typed(_Literal(token.text.lower() == "true"), "bool", token.start)
        key = self._resolve(token)
        kind = self.names[key]
        plain: Kind = "text" if isinstance(kind, tuple) else kind
        return _Typed(_Name(key, plain), kind, token.start)

    def _resolve(self, token: _Token) -> str:
        if token.text in self.names:
            return token.text
        full = [name for name in self.names if name.partition(".")[2] == token.text]
        if not full:
            self._fail(token.start, str(unknown_name("name", token.text, self.names)))
        if len(full) > 1:
            self._fail(token.start, f"{token.text!r} may be any of {', '.join(full)}; write one")
        return full[0]

    def _nested(self, start: int, rule: Callable[[], _Typed]) -> _Typed:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(start, f"the condition is nested more than {MAX_DEPTH} deep")
        part = rule()
        self.depth -= 1
        return part

    # kinds

    def _need_condition(self, part: _Typed) -> None:
        if part.kind != "bool":
            self._fail(part.start, f"{_words(part)} is no condition; compare it with something")

    def _need_number(self, part: _Typed) -> None:
        if part.kind not in {"number", "clock"}:
            self._fail(part.start, f"{_words(part)} is no number")


def _words(part: _Typed) -> str:
    if part.kind == "string":
        return f"the text {cast('_Literal', part.node).value!r}"
    if isinstance(part.node, _Name):
        return part.node.key
    return "a condition" if part.kind == "bool" else "a number"


def _names(node: _Node) -> frozenset[str]:
    if isinstance(node, _Name):
        return frozenset({node.key})
    if isinstance(node, _Literal):
        return frozenset()
    return frozenset[str]().union(*map(_names, node.operands))


def _evaluate(node: _Node, columns: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(node, _Literal):
        return node.value
    if isinstance(node, _Name):
        column = columns[node.key]
        return column.astype(np.float64) if node.kind in {"number", "clock"} else column
    if isinstance(node, _Logic):
        if node.operator == "not":
            return np.logical_not(_evaluate(node.operands[0], columns))
        join = np.logical_and if node.operator == "and" else np.logical_or
        result = _evaluate(node.operands[0], columns)
        for operand in node.operands[1:]:
            result = join(result, _evaluate(operand, columns))
        return result
    parts = [np.asarray(_evaluate(part, columns)) for part in node.operands]
    return _chain(node, parts, _ARITHMETIC, np.logical_and)


def _chain(
    node: _Chain,
    parts: list[Any],
    arithmetic: Mapping[str, Callable[[Any, Any], Any]],
    both: Callable[[Any, Any], Any],
) -> Any:
    """Return the value of a chain whose parts have theirs: a fold, or pairs that all compare."""
    if node.marks[0] in arithmetic:
        result = parts[0]
        for mark, part in zip(node.marks, parts[1:], strict=True):
            result = arithmetic[mark](result, part)
        return result
    pairs = zip(node.marks, parts[:-1], parts[1:], strict=True)
    return reduce(both, (_COMPARE[mark](left, right) for mark, left, right in pairs))


def _to_arrow(node: _Node) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415  # only a filter on a table needs it

    if isinstance(node, _Literal):
        return pc.scalar(node.value)
    if isinstance(node, _Name):
        field = pc.field(node.key)
        if node.kind == "number":
            return field.cast("float64")
        return _arrow_minutes(field) if node.kind == "clock" else field
    if isinstance(node, _Logic):
        first, *others = map(_to_arrow, node.operands)
        if node.operator == "not":
            return ~first
        for other in others:
            first = first & other if node.operator == "and" else first | other
        return first
    # as IEEE says, where the operators of Arrow's expressions refuse to divide by zero
    arithmetic = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}
    return _chain(node, [_to_arrow(part) for part in node.operands], arithmetic, operator.and_)


def _arrow_minutes(field: Any) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    text = pc.if_else(pc.equal(field, ""), "00:-1", field)  # off is minute -1
    hours, minutes = (
        pc.utf8_slice_codeunits(text, start=start, stop=stop).cast("float64")
        for start, stop in ((0, 2), (3, 5))
    )
    return hours * 60.0 + minutes
