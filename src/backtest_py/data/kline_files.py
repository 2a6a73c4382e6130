"""Files of klines that a user has: zips of the exchange, CSV and Parquet; and what is wrong there.

A file is read into columns by name. Whatever speaks against storing them is collected, with rows
and values, so that one look shows all of it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.files import read_regular
from backtest_py.data.market.candles import COLUMNS, Candles
from backtest_py.data.market.differences import as_table
from backtest_py.data.market.spans import instant_text
from backtest_py.data.providers.bulk import candles_of_zip, checksum_in
from backtest_py.data.providers.klines import candles_of_csv
from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.data.market.candles import Series

__all__ = ["CERTIFICATE", "SUFFIXES", "KlineFile", "read_klines", "sidecar"]

CERTIFICATE: Final = b"backtest_py.certificate"
"""Key of the metadata of an exported Parquet file."""
SUFFIXES: Final = (".parquet", ".csv", ".zip")
MAX_FILE: Final = 1 << 30
MAX_CHECKSUM: Final = 4_096
MAX_CELLS: Final = 120_000_000
"""Of a Parquet file, before it is unpacked: 20 years of 1m candles."""
NAMES: Final = {
    "open_time": ("open_time", "timestamp", "time", "opentime"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
    "quote_volume": ("quote_volume", "quote_asset_volume", "quotevolume"),
    "trades": ("trades", "count", "number_of_trades"),
    "taker_base": ("taker_base", "taker_buy_volume", "taker_buy_base_asset_volume"),
    "taker_quote": ("taker_quote", "taker_buy_quote_volume", "taker_buy_quote_asset_volume"),
    "close_time": ("close_time", "closetime"),
}
"""What each column is called, in small letters."""
UNITS: Final = ((10**17, 1_000_000), (10**14, 1_000), (10**11, 1))
"""Least time in ns, us and ms, and how many of them a millisecond has."""


@dataclass(slots=True)
class KlineFile:
    """What a file of klines holds.

    Attributes
    ----------
    path : Path
        Where it lies.
    sha256 : str
        Of its bytes.
    columns : dict of str to ndarray
        By the names of candles, with ``close_time`` where the file has it; all of one length.
    verified : bool
        Whether a checksum beside it is right.
    certificate : dict
        What an export says of itself; empty where there is nothing.
    lacking : list of str
        Columns that it does not have.
    """

    path: Path
    sha256: str
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    verified: bool = False
    certificate: dict[str, Any] = field(default_factory=dict)

    @property
    def lacking(self) -> list[str]:
        """Columns of candles that it does not have."""
        return [name for name in COLUMNS if name not in self.columns]

    @property
    def candles(self) -> Candles:
        """All columns as candles."""
        return Candles(**{name: self.columns[name] for name in COLUMNS})

    def row(self, number: int) -> str:
        """Return a row's number with its time."""
        return f"row {number} ({instant_text(int(self.columns['open_time'][number]))})"


def sidecar(path: Path) -> Path:
    """Return where the certificate of an exported CSV file lies."""
    return path.with_name(f"{path.name}.certificate.json")


def read_klines(path: Path, series: Series) -> KlineFile:
    """Return what a file holds.

    Raises
    ------
    ConfigError
        If there is no such file, or its suffix is none of those that are read.
    DataError
        If its checksum is wrong, or it is no table of klines.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} is of no kind that is read; give {', '.join(SUFFIXES)}")
    try:
        content = read_regular(path, MAX_FILE)
        verified = _verified(path, content)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise ConfigError(f"{path} does not exist; correct the path") from None
        raise DataError(f"{path} cannot be read: {error}") from error
    file = KlineFile(path, sha256(content).hexdigest(), verified=verified)
    try:
        if path.suffix.lower() == ".zip":
            file.columns = as_table(_zipped(path, content, series))
        elif path.suffix.lower() == ".parquet":
            table = _parquet(content)
            file.columns = _named(table)
            stated = (table.schema.metadata or {}).get(CERTIFICATE, b"{}")
            file.certificate = _stated(stated)
        elif content.lstrip(b"\xef\xbb\xbf")[:1].isdigit():
            file.columns = as_table(candles_of_csv(content, series))
        else:
            file.columns = _named(_csv(content))
            beside = sidecar(path)
            if beside.exists():
                file.certificate = _stated(read_regular(beside, MAX_FILE))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return file


def _verified(path: Path, content: bytes) -> bool:
    """Tell whether a checksum lies beside a file.

    Raises
    ------
    DataError
        If it is another one.
    """
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if not beside.exists():
        return False
    stated, found = checksum_in(read_regular(beside, MAX_CHECKSUM)), sha256(content).hexdigest()
    if stated != found:
        raise DataError(
            f"{path}: its SHA-256 is {found}, and {beside.name} says {stated or 'none'}; download "
            "both again"
        )
    return True


def _zipped(path: Path, content: bytes, series: Series) -> Candles:
    """Return the candles of a zip of the exchange's archive, whatever its own name is."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        names = []
    name = names[0] if len(names) == 1 and names[0].endswith(".csv") else path.name
    of = re.match(r"([A-Z0-9]+)-([0-9]+[a-zA-Z]+)-[0-9]{4}", name)
    expected = (series.symbol, series.interval.archive_name)
    if of is not None and of.groups() != expected:
        raise DataError(f"it holds {name}, which is not of {series}; correct symbol or interval")
    return candles_of_zip(content, series, f"{name.removesuffix('.csv').removesuffix('.zip')}.zip")


def _stated(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"its certificate is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise DataError("its certificate is no object in JSON")
    return found


def _parquet(content: bytes) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            cells = file.metadata.num_rows * file.metadata.num_columns
            if cells > MAX_CELLS:
                raise DataError(f"it holds {cells:,} values, more than are read")
            return file.read(columns=_wanted(file.schema_arrow.names))
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"it cannot be read as Parquet ({error})") from error


def _csv(content: bytes) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    from pyarrow import csv  # noqa: PLC0415

    try:
        return csv.read_csv(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")))
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"it cannot be read as CSV ({str(error)[:200]})") from error


def _wanted(names: list[str]) -> list[str]:
    known = {alias for aliases in NAMES.values() for alias in aliases}
    return [name for name in names if name.lower() in known]


def _named(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the columns that are known, by the names of candles.

    Raises
    ------
    DataError
        If two columns mean the same, values are missing, or are no numbers.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, aliases in NAMES.items():
        given = [each for each in table.column_names if each.lower() in aliases]
        if len(given) > 1:
            raise DataError(f"columns {', '.join(given)} are both {name}; keep one")
        if given:
            found[name] = _values(table.column(given[0]), given[0], name)
    if "open_time" not in found:
        raise DataError(f"it has no column open_time, only {', '.join(table.column_names[:20])}")
    return found


def _values(column: pa.ChunkedArray, given: str, name: str) -> NDArray[Any]:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(
            f"column {given} lacks {column.null_count:,} values, the first in row {row}"
        )
    kind = column.type
    if name in {"open_time", "close_time"}:
        if pa.types.is_timestamp(kind):
            try:
                column = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64())
            except pa.ArrowInvalid as error:
                raise DataError(f"column {given}: {error}") from error
            return _milliseconds(column.to_numpy(), given)
        if pa.types.is_integer(kind):
            return _milliseconds(column.to_numpy().astype(np.int64), given)
        raise DataError(f"column {given} is of type {kind}; give times, or whole numbers of ms")
    if name == "trades" and not pa.types.is_integer(kind):
        raise DataError(f"column {given} is of type {kind}; give whole numbers")
    if not (pa.types.is_integer(kind) or pa.types.is_float64(kind)):
        raise DataError(f"column {given} is of type {kind}; give float64")
    return np.ascontiguousarray(column.to_numpy().astype(COLUMNS[name]))


def _milliseconds(times: NDArray[np.int64], given: str) -> NDArray[np.int64]:
    """Return times in milliseconds; their size says in what they are."""
    if not len(times):
        return times
    step = next((step for least, step in UNITS if int(times.min()) >= least), 0)
    if not step:
        raise DataError(f"the time {times.min()} is none in ms, us or ns since 1970")
    parts = times % step
    if np.any(parts) and np.any(parts != step - 1):  # a close is the last instant before the next
        row = int(np.argmax(parts != 0))
        raise DataError(f"column {given}, row {row}: the time {times[row]} is no whole millisecond")
    return times // step
