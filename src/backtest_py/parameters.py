"""Typed, validated, immutable settings: one mechanism for rules, contract, metrics and strategies.

A settings class is a frozen dataclass whose fields are made with :func:`parameter`. The same
declaration validates Python arguments and TOML values, writes the commented configuration,
orders the numbers that reach the engines, and tells a sweep what may vary.
"""

from __future__ import annotations

import json
import math
import operator
import re
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, cast

from backtest_py.errors import ArgumentError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Parameter",
    "Settings",
    "clock_text",
    "counted",
    "parameter",
    "parse_clock",
    "toml_value",
    "unknown_name",
]

Kind = Literal["float", "int", "bool", "clock", "choice", "text", "texts"]
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


@cache
def parse_clock(text: str) -> int:
    """Return the minute of the day of ``HH:MM``, or -1 for the empty string.

    Examples
    --------
    >>> parse_clock("09:15"), parse_clock("")
    (555, -1)
    """
    if text == "":
        return -1
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a time of day; write HH:MM from 00:00 to 23:59")
    return int(match[1]) * 60 + int(match[2])


def clock_text(minute: int) -> str:
    """Return ``HH:MM`` of a minute of the day, or the empty string for -1."""
    return "" if minute < 0 else f"{minute // 60:02d}:{minute % 60:02d}"


def unknown_name(
    what: str, name: object, known: Iterable[str], kind: type[ConfigError] = ConfigError
) -> ConfigError:
    """Build the error for a name that does not exist, with the nearest one that does."""
    from difflib import get_close_matches  # noqa: PLC0415  # only an error needs it

    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return kind(f"unknown {what} {name!r}{hint} (known: {', '.join(names)})")


def counted(number: int, noun: str) -> str:
    """Return a count with its noun, singular or plural.

    Examples
    --------
    >>> counted(1, "day"), counted(4360, "bar")
    ('1 day', '4,360 bars')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def toml_value(value: object) -> str:
    """Return a parameter's value as a TOML file writes it.

    Examples
    --------
    >>> toml_value(False), toml_value("09:15"), toml_value(2.0)
    ('false', '"09:15"', '2.0')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    # the one character that JSON leaves as it is and TOML refuses
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one field of a settings class accepts.

    ``minimum`` is inclusive unless ``above`` is true; ``optional`` lets a clock be ``""`` (off).
    """

    name: str
    kind: Kind
    default: Any
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def allowed(self) -> str:
        """Say in words what is allowed."""
        if self.kind == "choice":
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.kind == "bool":
            return "true or false"
        if self.kind == "text":
            return "a text in quotes"
        if self.kind == "texts":
            return "a text in quotes, or a list of them"
        if self.kind == "clock":
            off = ', or "" for off' if self.optional else ""
            return f'a time of day "HH:MM" from {clock_text(int(self.minimum or 0))} to 23:59{off}'
        number = "a whole number" if self.kind == "int" else "a finite number"
        if self.minimum is not None and self.maximum is not None:
            return f"{number} from {self.minimum:,} to {self.maximum:,}"
        if self.minimum is not None:
            return f"{number} {'above' if self.above else 'of at least'} {self.minimum:g}"
        return number

    def check(self, value: object, *, section: str) -> Any:
        """Return the value in its canonical type, or raise ConfigError.

        Raises
        ------
        ConfigError
            If the type is wrong or the value out of range.
        """
        if value is self.default:
            return value
        try:
            if self.kind == "float":
                return self._number(value)
            if self.kind == "int":
                return self._integer(value)
            if self.kind == "clock":
                return self._clock(value)
            if self.kind == "bool" and (isinstance(value, bool) or _is_numpy_bool(value)):
                return bool(value)
            if self.kind == "choice" and isinstance(value, str) and value in self.choices:
                return str(value)
            if self.kind in {"text", "texts"} and isinstance(value, str):
                return str(value)
            if self.kind == "texts" and _is_texts(value):
                return tuple(cast("list[str]", value))
        except (TypeError, ValueError, OverflowError):
            pass
        raise ConfigError(
            f"{section}.{self.name} = {_shown(value)} is not allowed; give {self.allowed}"
        )

    def _number(self, value: object) -> float:
        if isinstance(value, (bool, str, bytes)) or _is_numpy_bool(value):
            raise TypeError
        number = float(cast("float", value))
        if not math.isfinite(number) or not self._within(number):
            raise ValueError
        return number + 0.0

    def _integer(self, value: object) -> int:
        if isinstance(value, bool) or _is_numpy_bool(value):
            raise TypeError
        number = operator.index(cast("int", value))
        if not self._within(number):
            raise ValueError
        return number

    def _clock(self, value: object) -> str:
        if not isinstance(value, str) or (value == "" and not self.optional):
            raise TypeError
        minute = parse_clock(value)
        if value and not self._within(minute):
            raise ValueError
        return str(value)

    def _within(self, number: float) -> bool:
        if self.minimum is not None and (
            number <= self.minimum if self.above else number < self.minimum
        ):
            return False
        return self.maximum is None or number <= self.maximum

    def encode(self, value: Any) -> float:
        """Return the number by which the engines know a checked value.

        A clock is its minute of the day, -1 when it is off; a choice is its place among the
        choices. Numbers and truth values are what they are.
        """
        if self.kind == "clock":
            return parse_clock(value)
        if self.kind == "choice":
            return self.choices.index(value)
        return cast("float", value)


def _shown(value: object) -> str:
    """Return a value for a message, shortened; Python refuses to write thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return f"({type(value).__name__} of too many digits)"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _is_texts(value: object) -> bool:
    """Tell whether this is a list of texts, and of at least one."""
    listed = isinstance(value, (list, tuple)) and len(value) > 0
    return listed and all(isinstance(item, str) for item in cast("list[object]", value))


def _is_numpy_bool(value: object) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}


def parameter(
    default: Any,
    kind: Kind,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: bool = False,
    choices: Iterable[str] = (),
    optional: bool = False,
) -> Any:
    """Declare one field of a :class:`Settings` class; arguments as in :class:`Parameter`."""
    options = {
        "kind": kind,
        "doc": doc,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "choices": tuple(choices),
        "optional": optional,
    }
    return field(default=default, metadata={"parameter": options})


def _reader(names: list[str]) -> Callable[[object], tuple[Any, ...]]:
    """Return a function that reads attributes of an object: every run of a backtest calls it."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda settings: tuple(getattr(settings, name) for name in names)


class _Schema(NamedTuple):
    """What a class declares: its parameters, what reads their values, and which are texts."""

    parameters: tuple[Parameter, ...]
    read: Callable[[object], tuple[Any, ...]]
    texts: tuple[tuple[int, Parameter], ...]


class Settings:
    """Base of the frozen settings dataclasses.

    Subclasses set ``section`` (the TOML section that errors name) and may override
    :meth:`validate` for rules between fields.
    """

    __slots__ = ()
    section: ClassVar[str]

    def __new__(cls, /, *positional: object, **named: object) -> Self:
        """Refuse arguments that the dataclass's own ``__init__`` would refuse in its own words."""
        if not is_dataclass(cls):
            raise ConfigError(
                f"{cls.__qualname__} is no dataclass; decorate the class with "
                "@dataclass(frozen=True, slots=True, kw_only=True)"
            )
        known = [item.name for item in fields(cls)]
        if positional and all(item.kw_only for item in fields(cls)):
            example = f", as in {cls.__name__}({known[0]}=...)" if known else ""
            raise ArgumentError(
                f"{cls.__name__} was given {positional[0]!r} without a name; name its "
                f"arguments{example}"
            )
        for name in named:
            if name not in known:
                raise unknown_name(f"argument of {cls.__name__}", name, known, ArgumentError)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every field and store it in its canonical type."""
        for spec in self.parameters():
            value = spec.check(getattr(self, spec.name), section=self.section)
            object.__setattr__(self, spec.name, value)
        self.validate()

    def validate(self) -> None:
        """Check rules between fields; nothing by default."""

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """Return the declared parameters in order."""
        return cls._schema().parameters

    @classmethod
    def _schema(cls) -> _Schema:
        cached: _Schema | None = cls.__dict__.get("_parameters")
        if cached is None:
            specs = tuple(
                Parameter(name=item.name, default=item.default, **item.metadata["parameter"])
                for item in fields(cast("Any", cls))
                if "parameter" in item.metadata and item.default is not MISSING
            )
            texts = [pair for pair in enumerate(specs) if pair[1].kind in {"clock", "choice"}]
            cached = _Schema(specs, _reader([spec.name for spec in specs]), tuple(texts))
            cls._parameters = cached  # type: ignore[attr-defined]
        return cached

    def values(self) -> tuple[float, ...]:
        """Return the parameters as the engines take them, in order; see :meth:`Parameter.encode`.

        Examples
        --------
        >>> from backtest_py import ExitRules
        >>> ExitRules(unit="points", close_time="09:15").values()
        (2.0, 3.0, 0.0, 0.0, 1, 14, 0, False, 0.0, 555, 0, 0)
        """
        _, read, texts = self._schema()
        values = read(self)
        if not texts:
            return values
        encoded = [*values]
        for place, spec in texts:
            encoded[place] = spec.encode(values[place])
        return tuple(encoded)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from names and values, as a TOML table gives them.

        Raises
        ------
        ConfigError
            If a name is unknown or a value not allowed.
        """
        known = [spec.name for spec in cls.parameters()]
        for name in values:
            if name not in known:
                raise unknown_name(f"parameter of [{cls.section}]", name, known)
        return cls(**dict(values))

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, ready for JSON or TOML."""
        return {
            spec.name: float(value) if spec.kind == "float" else value
            for spec in self.parameters()
            for value in (getattr(self, spec.name),)
        }
