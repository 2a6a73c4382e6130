"""Tables as spreadsheets read them: CSV in the dialect of a country, and Excel's own files."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.files import replacing
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["LOCALES", "MOST_ROWS", "Dialect", "dialect_of", "safe_text", "write_workbook"]

LOCALES: Final[Mapping[str, tuple[str, str]]] = {"pt-BR": (";", ","), "en-US": (",", ".")}
"""Countries whose Excel opens the file, and its separator and decimal mark."""
SEPARATORS: Final = (",", ";", "\t", "|")
MOST_ROWS: Final = 1_048_575
"""Rows of a sheet of Excel, its header apart."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text that a spreadsheet would take for a formula."""
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written.

    Attributes
    ----------
    sep, decimal : str
        What stands between cells, and in numbers.
    locale : str
        The country, "" for none: with one, the file begins with a byte order mark, lines end as on
        Windows, and numbers that a spreadsheet cannot hold become empty cells or texts.

    Examples
    --------
    >>> dialect_of(locale="pt-BR")
    Dialect(sep=';', decimal=',', locale='pt-BR')
    """

    sep: str = ","
    decimal: str = "."
    locale: str = ""

    @property
    def plain(self) -> bool:
        """Whether this is the dialect of programs, in which every number reads back the same."""
        return self == Dialect()

    @property
    def newline(self) -> str:
        """What ends a line."""
        return "\r\n" if self.locale else "\n"

    @property
    def mark(self) -> bytes:
        """What the file begins with, by which Excel knows UTF-8."""
        return b"\xef\xbb\xbf" if self.locale else b""

    def number(self, value: float) -> str:
        """Return a number as text; with a locale nan is an empty cell."""
        if self.locale and not math.isfinite(value):
            return "" if math.isnan(value) else safe_text(repr(value))
        return repr(value).replace(".", self.decimal)


def dialect_of(sep: str | None = None, decimal: str | None = None, locale: str = "") -> Dialect:
    """Return the dialect that a user asks for; ``sep`` and ``decimal`` take precedence.

    Raises
    ------
    ConfigError
        If a choice is unknown, or both marks are the same.
    """
    if locale and locale not in LOCALES:
        raise ConfigError(
            f"locale = {locale!r} is not known; give one of {', '.join(LOCALES)}, or sep and "
            "decimal themselves"
        )
    usual = LOCALES.get(locale, (",", "."))
    chosen = Dialect(
        usual[0] if sep is None else sep, usual[1] if decimal is None else decimal, locale
    )
    if chosen.sep not in SEPARATORS:
        raise ConfigError(
            f"sep = {chosen.sep!r} is not allowed; give one of {', '.join(map(repr, SEPARATORS))}"
        )
    if chosen.decimal not in {".", ","}:
        raise ConfigError(f'decimal = {chosen.decimal!r} is not allowed; give "." or ","')
    if chosen.sep == chosen.decimal:
        raise ConfigError(
            f"sep and decimal are both {chosen.sep!r}, so that no number could be told from two "
            'cells; give sep=";" with decimal=","'
        )
    return chosen


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula.

    Examples
    --------
    >>> safe_text("=1+1"), safe_text("stop_loss")
    ("'=1+1", 'stop_loss')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_workbook(
    path: Path, sheets: Mapping[str, tuple[list[str], Iterable[Iterable[Any]]]]
) -> None:
    """Write an Excel file, whole or not at all: each sheet is a header and rows of cells.

    Numbers and times stay what they are, nan is an empty cell, and a text is never a formula.

    Raises
    ------
    ConfigError
        If openpyxl is not installed, or the file is not named ``.xlsx``.
    OSError
        If it cannot be written.
    """
    if path.suffix.lower() != ".xlsx":
        raise ConfigError(f"{path} is not the name of an Excel file; give one that ends in .xlsx")
    try:
        from openpyxl import Workbook  # noqa: PLC0415 - an optional extra
        from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
        from openpyxl.styles import Font  # noqa: PLC0415
    except ImportError:
        raise ConfigError('openpyxl is not installed: pip install "backtest-py[xlsx]"') from None
    book = Workbook(write_only=True)
    bold = Font(bold=True)
    for name, (header, rows) in sheets.items():
        sheet = book.create_sheet(name)
        sheet.freeze_panes = "A2"
        cells = []
        for title in header:
            cell = WriteOnlyCell(sheet, value=_cell_text(title))
            cell.data_type, cell.font = "s", bold
            cells.append(cell)
        sheet.append(cells)
        for row in rows:
            sheet.append([_cell(sheet, value, WriteOnlyCell) for value in row])
    with replacing(path) as file:
        book.save(file)


def _cell(sheet: Any, value: Any, kind: Any) -> Any:
    """Return what a cell holds: a plain value, or a text marked as one."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else repr(value)
    if not isinstance(value, str):
        return value
    text = _cell_text(value)
    if not text.startswith("="):
        return text
    cell = kind(sheet, value=text)
    cell.data_type = "s"  # openpyxl takes it for a formula
    return cell


def _cell_text(text: str) -> str:
    """Return a text without the characters that no cell can hold."""
    return _CONTROL.sub("?", text)
