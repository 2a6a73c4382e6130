"""Words, numbers and dates of a page in its reader's language.

English stands in the code, as the key of every text; the other languages are tables in
``assets/``. A text that a table lacks is an error, so that no page mixes two languages.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backtest_py.metrics.catalogue import Unit

__all__ = ["LANGUAGES", "Language", "language"]

LANGUAGES: Final = ("en", "pt-BR")
"""Languages of a report."""

SYMBOLS: Final = {"BRL": "R$", "USD": "US$", "EUR": "€", "GBP": "£"}
"""How money is written in front of a number; the code of any other currency stands behind it."""

MISSING: Final = "n/a"
_LARGEST: Final = 1e15
"""Numbers from here on are written with an exponent."""

MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Language:
    """How a page writes texts, numbers and dates.

    Attributes
    ----------
    code : str
        One of :data:`LANGUAGES`.
    texts : mapping of str to str
        What an English text is called; empty for English.
    currency : str
        Code of the currency of all money, such as "BRL", or "" where it is not known.
    tick_decimals : int
        Decimals of a price.

    Examples
    --------
    >>> portuguese = language("pt-BR", currency="USDT")
    >>> portuguese.number(-1719.826), portuguese.share(0.3928), portuguese.percent(12.3)
    ('-1.719,83', '39,3%', '12,30%')
    >>> language("en").money(float("nan"))
    'n/a'
    """

    code: str
    texts: Mapping[str, str]
    currency: str = ""
    tick_decimals: int = 2

    def __call__(self, text: str, /, **values: object) -> str:
        """Return a text in this language, with values in its braces."""
        if self.code != "en":
            text = self.texts[text]
        return text.format(**values) if values else text

    def plural(self, one: str, many: str, n: int, /, **values: object) -> str:
        """Return the text for one, or for any other number of things, which is ``n`` in it."""
        return self(one if n == 1 else many, n=self.count(n), **values)

    def number(self, value: float, decimals: int = 2) -> str:
        """Return a number with thousands separators; nan is n/a."""
        if math.isnan(value):
            return self(MISSING)
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        text = f"{value:.6g}" if abs(value) >= _LARGEST else f"{value:,.{decimals}f}"
        if text.strip("-0.,") == "":
            text = text.lstrip("-")
        if self.code == "pt-BR":
            text = text.translate({ord(","): ".", ord("."): ","})
        return text

    def count(self, value: float) -> str:
        """Return a whole number."""
        return self.number(value, 0)

    def percent(self, value: float, decimals: int = 2) -> str:
        """Return a percentage of a number that counts in hundredths already."""
        return self.number(value, decimals) + ("%" if math.isfinite(value) else "")

    def share(self, value: float) -> str:
        """Return a fraction as a percentage."""
        return self.percent(100.0 * value, 1)

    def money(self, value: float, decimals: int = 2) -> str:
        """Return an amount in the currency of the page."""
        text = self.number(value, decimals)
        if not self.currency or math.isnan(value):
            return text
        if self.currency not in SYMBOLS:
            return f"{text}\N{NO-BREAK SPACE}{self.currency}"
        sign = "-" if text.startswith("-") else ""
        space = "\N{NO-BREAK SPACE}" if self.code == "pt-BR" else ""
        return f"{sign}{SYMBOLS[self.currency]}{space}{text.removeprefix('-')}"

    def price(self, value: float) -> str:
        """Return a price with the decimals of a tick."""
        return self.number(value, self.tick_decimals)

    def metric(self, value: float, unit: Unit) -> str:
        """Return a metric by its unit."""
        if unit == "flag":
            return self("yes") if value else self("no")
        if unit == "count":
            return self.count(value)
        if unit == "money":
            return self.money(value)
        if unit == "share":
            return self.share(value)
        if unit == "percent":
            return self.percent(value)
        return self.number(value, 3 if unit == "ratio" else 2)

    def date(self, day: np.datetime64) -> str:
        """Return a date as it is written in the language."""
        year, month, number = str(day.astype("M8[D]")).rsplit("-", 2)
        if self.code == "pt-BR":
            return f"{number}/{month}/{year}"
        return f"{int(number)} {MONTHS[int(month) - 1]} {year}"

    def moment(self, wall: int) -> str:
        """Return date and time of nanoseconds on a wall clock; seconds only where there are any."""
        date, time = str(np.datetime64(wall, "ns").astype("M8[s]")).split("T")
        return f"{self.date(np.datetime64(date))} {time.removesuffix(':00')}"

    def month(self, number: int) -> str:
        """Return the short name of a month, 1 to 12."""
        return self(MONTHS[number - 1])

    def weekday(self, number: int) -> str:
        """Return the name of a weekday, 0 for Monday."""
        return self(WEEKDAYS[number])


@cache
def _texts(code: str) -> dict[str, str]:
    if code == "en":
        return {}
    file = resources.files("backtest_py.report.html") / "assets" / f"{code}.json"
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def language(code: str = "en", *, currency: str = "", tick_size: float = 0.01) -> Language:
    """Return how a page writes in a language.

    Raises
    ------
    ConfigError
        If there is no such language, or the currency is no short word.
    """
    if code not in LANGUAGES:
        raise unknown_name("lang", code, LANGUAGES)
    if not isinstance(currency, str) or len(currency) > 10 or not currency.isprintable():
        raise ConfigError(
            f"currency = {currency!r} is not allowed; give a code of at most 10 letters, such as "
            '"BRL" or "USDT"'
        )
    return Language(code, _texts(code), currency, decimals_of(tick_size))


def decimals_of(step: float) -> int:
    """Return how many decimals a number needs, or a price whose steps are these, at most 8.

    Examples
    --------
    >>> decimals_of(5.0), decimals_of(0.01), decimals_of(0.00025), decimals_of(0.0)
    (0, 2, 5, 0)
    """
    for decimals in range(9):
        scaled = abs(step) * 10**decimals
        if abs(scaled - round(scaled)) <= 1e-9 * max(scaled, 1.0) and (round(scaled) or not step):
            return decimals
    return 8


def decimals_between(values: Sequence[float]) -> int:
    """Return how many decimals tell neighbours apart, of values that are equally far apart.

    Examples
    --------
    >>> decimals_between([0.0, 0.25, 0.5]), decimals_between([10.0, 20.0]), decimals_between([3.0])
    (2, 0, 0)
    """
    return decimals_of(values[1] - values[0]) if len(values) > 1 else 0


def json_for_page(value: Any) -> str:
    """Return JSON that can stand inside a script element, whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
