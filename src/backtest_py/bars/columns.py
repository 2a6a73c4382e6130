"""Tables of bars as they come: which column is what, and their numbers.

The names are those that charting platforms, exchanges and people who convert their files are known
to write, in any case, with or without accents.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars.timestamps import Times, as_times
from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "GENERIC",
    "PRICES",
    "VOLUMES",
    "Columns",
    "Synonyms",
    "assign_roles",
    "choose_volume",
    "columns_from_arrays",
    "columns_from_frame",
    "ignored_names",
    "plain_name",
    "require",
]

Synonyms = Mapping[str, Sequence[str]]
"""Names of each role, best first: the first one that is present gives the column."""

PRICES: Final = ("open", "high", "low", "close")
VOLUMES: Final = ("volume", "ticks", "money")
"""Kinds of volume, best first: units traded, ticks or trades counted, money traded."""

GENERIC: Final[Synonyms] = {
    "time": (
        "time",
        "timestamp",
        "datetime",
        "date_time",
        "data_hora",
        "open_time",
        "opentime",
        "time_open",
        "gmt_time",
        "unix",
        "unix_timestamp",
        "epoch",
        "ts",
        "t",
        "date",
        "data",
        "dia",
        "index",
        "",
        "unnamed:_0",
        "__index_level_0__",
    ),
    "date": ("date", "data", "dia"),
    "clock": ("time", "hora", "hour"),
    "open": ("open", "o", "open_price", "abertura"),
    "high": ("high", "h", "high_price", "maximo", "maxima"),
    "low": ("low", "l", "low_price", "minimo", "minima"),
    "close": ("close", "c", "close_price", "fechamento", "ultimo"),
    "volume": (
        "volume",
        "vol",
        "v",
        "base_volume",
        "real_volume",
        "quantidade",
        "contracts",
        "contratos",
    ),
    "ticks": ("tick_volume", "tickvol", "ticks", "negocios"),
    "money": ("quote_volume", "quote_asset_volume", "turnover", "volume_financeiro"),
    "symbol": ("symbol", "ticker", "ativo", "asset", "pair", "instrument"),
    "atr": ("atr",),
}
"""Names in tables of no particular origin."""

_EITHER: Final = frozenset({"time", "date", "clock", "symbol"})
"""Roles of which a table may hold several columns; elsewhere two would be a guess."""


def plain_name(name: object) -> str:
    """Return a column's name in lower case, without accents, brackets and blanks.

    Examples
    --------
    >>> plain_name("<DATE>"), plain_name(" Máximo "), plain_name("Open Time")
    ('date', 'maximo', 'open_time')
    """
    text = unicodedata.normalize("NFKD", str(name)).strip().strip('<>"').lower()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return text.strip().replace(" ", "_").replace("-", "_")


def assign_roles(
    names: Sequence[object], *, synonyms: Synonyms = GENERIC, where: str
) -> dict[str, int]:
    """Return the position of the column that fills each role that is present.

    Raises
    ------
    DataError
        If two columns could be the same price or volume.

    Examples
    --------
    >>> assign_roles(["Date", "Open", "High", "Low", "Close"], where="prices.csv")["open"]
    1
    """
    plain = [plain_name(name) for name in names]
    roles: dict[str, int] = {}
    for role, known in synonyms.items():
        found = [position for name in known for position, own in enumerate(plain) if own == name]
        if len(found) > 1 and role not in _EITHER:
            rivals = " and ".join(repr(str(names[position])) for position in found[:2])
            raise DataError(
                f"{where}: the columns {rivals} could both be the {role}; remove or rename one"
            )
        if found:
            roles[role] = found[0]
    return roles


def require(
    roles: Mapping[str, int], wanted: Sequence[str], names: Sequence[object], where: str
) -> None:
    """Raise DataError if a role that bars cannot do without has no column."""
    missing = [role for role in wanted if role not in roles]
    if missing:
        shown = ", ".join(str(name) for name in names[:20])
        raise DataError(
            f"{where}: no column for {', '.join(missing)} (the columns are: {shown}); bars need "
            "time, open, high, low and close under such names"
        )


def ignored_names(roles: Mapping[str, int], names: Sequence[object]) -> tuple[str, ...]:
    """Return the names of the columns that fill no role."""
    used = set(roles.values())
    return tuple(str(name) for position, name in enumerate(names) if position not in used)


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of bars as they were read, oldest first, not yet validated.

    ``at`` names a value in errors, from its column and its row in the source.
    """

    times: Times
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    atr: NDArray[np.float64] | None
    at: Callable[[str, int], str]

    def __len__(self) -> int:
        return len(self.open)

    def time_at(self, row: int) -> str:
        """Name the time of a row in errors."""
        return self.at("time", row)

    def take(self, rows: NDArray[Any] | slice) -> Columns:
        """Return some of the rows; errors go on naming them as the source does."""
        origin = np.arange(len(self))[rows]
        name = self.at
        return Columns(
            replace(self.times, ns=self.times.ns[rows]),
            open=self.open[rows],
            high=self.high[rows],
            low=self.low[rows],
            close=self.close[rows],
            volume=self.volume[rows],
            atr=None if self.atr is None else self.atr[rows],
            at=lambda column, row: name(column, int(origin[row])),
        )


def choose_volume(
    kinds: Container[str], read: Callable[[str], NDArray[np.float64]], n_bars: int
) -> tuple[str, NDArray[np.float64]]:
    """Return the best kind of volume that is not zero throughout, and its values.

    Units traded (contracts) come before ticks, ticks before money; of the ``kinds`` that there
    are, those after the first that serves are not read. Without any, the volume is zero and
    its kind ``none``.
    """
    present = [kind for kind in VOLUMES if kind in kinds]
    for kind in present:
        values = read(kind)
        if values.any():
            return kind, values
    return (present[0] if present else "none"), np.zeros(n_bars)


def _floats(values: Any, where: str) -> NDArray[np.float64]:
    """Return the values as float64, missing ones as nan."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{where} has shape {array.shape}; give one value per bar")
    if array.dtype.kind == "O":
        _check_objects(array, where)
    if array.dtype.kind in "fiuO":
        try:
            return array.astype(np.float64, copy=False)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{where} is not a column of numbers: {error}") from None
    raise DataError(f"{where} holds values of type {array.dtype}; give numbers")


_NUMBER: Final = re.compile(
    r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf(?:inity)?)\s*", re.ASCII | re.IGNORECASE
)
"""Texts of numbers; Python would accept ``1_000`` and digits of any script as well."""


def _check_objects(array: NDArray[Any], where: str) -> None:
    """Refuse values that Python turns into numbers but that are mistakes in a table of bars."""
    for row, item in enumerate(array.tolist()):
        if isinstance(item, (bool, np.bool_, bytes)) or (
            isinstance(item, str) and _NUMBER.fullmatch(item) is None
        ):
            raise DataError(
                f"{where} is not a column of numbers: row {row} holds {item!r}; give numbers, or "
                'texts such as "1000.5"'
            )


def columns_from_arrays(times: Times, values: Mapping[str, Any]) -> Columns:
    """Return the columns of arrays given one by one; ``None`` is an absent column.

    Raises
    ------
    DataError
        If one is not a column of numbers, or their lengths differ.
    """
    arrays = {
        name: _floats(value, f"bars.{name}") for name, value in values.items() if value is not None
    }
    for name, array in arrays.items():
        if len(array) != len(times.ns):
            raise DataError(
                f"bars.{name} has {len(array)} values but bars.time has {len(times.ns)}; give one "
                "per bar"
            )
    return Columns(
        times,
        open=arrays["open"],
        high=arrays["high"],
        low=arrays["low"],
        close=arrays["close"],
        volume=arrays.get("volume", np.zeros(len(times.ns))),
        atr=arrays.get("atr"),
        at=lambda column, row: f"bars.{column}[{row}]",
    )


def columns_from_frame(
    frame: pd.DataFrame, *, dayfirst: bool = False
) -> tuple[Columns, dict[str, str], tuple[str, ...], str]:
    """Return the columns of a DataFrame, their names, those ignored, and the kind of volume.

    ``dayfirst`` says that texts such as 01/02/2023 start with the day.

    Raises
    ------
    ConfigError
        If it is not a DataFrame.
    DataError
        If a column is missing, or could be two things.
    """
    _expect_frame(frame)
    names = list(frame.columns)
    if any(isinstance(name, tuple) for name in names):
        raise DataError("frame: the columns have several levels; keep one name per column")
    roles = assign_roles(names, where="frame")
    index = _time_index(frame, roles)
    require(roles, PRICES if index is not None else ("time", *PRICES), names, "frame")
    roles.pop("date", None)
    roles.pop("clock", None)
    if "symbol" in roles and len(frame.iloc[:, roles["symbol"]].unique()) > 1:
        raise DataError(
            f"frame: column {names[roles['symbol']]!r} names several instruments; keep one"
        )

    def at(column: str, row: int) -> str:
        if column == "time" and index is not None:
            return f"frame.index[{row}]"
        return f"frame[{str(names[roles[column]])!r}].iloc[{row}]"

    given = index if index is not None else frame.iloc[:, roles["time"]]
    times = as_times(given, lambda row: at("time", row), integers="magnitude", dayfirst=dayfirst)

    def read(role: str) -> NDArray[np.float64]:
        return _frame_floats(frame.iloc[:, roles[role]], str(names[roles[role]]))

    kind, volume = choose_volume(roles, read, len(frame))
    used = {role: str(names[position]) for role, position in roles.items()}
    ignored = ignored_names(roles, names)
    roles["volume"] = roles.get(kind, -1)
    columns = Columns(
        times,
        open=read("open"),
        high=read("high"),
        low=read("low"),
        close=read("close"),
        volume=volume,
        atr=read("atr") if "atr" in roles else None,
        at=at,
    )
    return columns, used, ignored, kind


def _expect_frame(frame: object) -> None:
    pandas = sys.modules.get("pandas")  # who has a DataFrame has imported it
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return
    advice = "give a pandas DataFrame; pandas.DataFrame(...) makes one"
    if hasattr(frame, "to_pandas"):
        advice = "give frame.to_pandas()"
    elif isinstance(frame, Mapping):
        advice = "give pandas.DataFrame(frame), or its columns to bt.Bars(time, open, ...)"
    raise ConfigError(f"frame is of type {type(frame).__name__}, no pandas DataFrame; {advice}")


def _time_index(frame: pd.DataFrame, roles: Mapping[str, int]) -> pd.Index[Any] | None:
    """Return the index if it holds the times: no column does, and it does not just count rows."""
    if "time" in roles:
        return None
    dtype = frame.index.dtype
    named = frame.index.name is not None and plain_name(frame.index.name) in GENERIC["time"]
    return frame.index if named or getattr(dtype, "kind", "O") not in "iufb" else None


def _frame_floats(column: pd.Series[Any], name: str) -> NDArray[np.float64]:
    if getattr(column.dtype, "kind", "O") in "fiu":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return _floats(column.to_numpy(), f"frame[{name!r}]")
