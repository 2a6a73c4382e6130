"""What is known of a series, written into one file with its certificate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from backtest_py._io.files import replace_file, replacing
from backtest_py.data.kline_files import CERTIFICATE, sidecar
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.certificates import certificate_of, part_of
from backtest_py.errors import ConfigError, MissingDataError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from backtest_py.data.feed import Feed
    from backtest_py.data.market.blocks import Block
    from backtest_py.data.market.certificates import Certificate

__all__ = ["Exported", "export_series"]

CSV_NAMES: Final = {
    "trades": "count",
    "taker_base": "taker_buy_volume",
    "taker_quote": "taker_buy_quote_volume",
}
"""How the exchange's own tables call what candles call otherwise."""
ORDER: Final = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("trades", "taker_base", "taker_quote"),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
        The file.
    n_candles : int
        Its rows.
    certificate : Certificate
        Of all of it.
    """

    path: Path
    n_candles: int
    certificate: Certificate


def export_series(
    feed: Feed, symbol: str, interval: str, path: Path, *, overwrite: bool = False
) -> Exported:
    """Write all that is known of a series: whole, or not at all. The exchange is not asked.

    Parameters
    ----------
    feed : Feed
        Whose tiers are read.
    symbol, interval : str
        What to write.
    path : Path
        ``.parquet``, with the certificate in the metadata; or ``.csv`` in the exchange's own
        layout, with the certificate in a file beside it.
    overwrite : bool
        Whether a file that is there is replaced.

    Raises
    ------
    ConfigError
        If symbol, interval or path are not allowed, or the file is there.
    MissingDataError
        If nothing is known of the series.
    StorageError
        If it cannot be written; what was there before is whole.
    """
    series = Series.of(symbol, interval)
    kind = path.suffix.lower()
    if kind not in {".parquet", ".csv"}:
        raise ConfigError(f"{path} is of no kind that is written; give .parquet or .csv")
    targets = [path] if kind == ".parquet" else [sidecar(path), path]
    there = [target for target in targets if target.exists()]
    if there and not overwrite:
        raise ConfigError(f"{there[0]} is there already; give another path, or --overwrite")
    blocks = [block for block in _kept(feed, series) if block.known]
    if not blocks:
        raise MissingDataError(f"nothing is known of {series}; fetch or import it first")
    certificate = certificate_of(series, [part_of(block) for block in blocks])
    candles = Candles.joined(block.candles for block in blocks)
    stated = {**certificate.to_dict(), "content": candles.content_hash()}
    text = json.dumps(stated, separators=(",", ":"), ensure_ascii=True).encode()
    try:
        if kind == ".csv":
            replace_file(sidecar(path), text)
        with replacing(path) as file:
            write = _write_parquet if kind == ".parquet" else _write_csv
            write(file, _table(candles, series), text)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    return Exported(path, len(candles), certificate)


def _kept(feed: Feed, series: Series) -> Iterator[Block]:
    """Yield what the tiers know of a series, in order of time."""
    tiers = (feed.database, feed.archive)
    places = {
        at
        for tier in tiers
        if tier is not None and not (tier is feed.archive and tier.read_only)
        for at in tier.periods()
        if at[0] == series
    }
    for at in sorted(places, key=lambda at: at[1]):
        yield feed.kept(*at)


def _table(candles: Candles, series: Series) -> pa.Table:
    """Return candles as a table, with when each closes."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    columns: dict[str, Any] = {}
    for name in ORDER:
        columns[name] = pa.array(
            series.interval.closes(candles.open_time) - 1
            if name == "close_time"
            else getattr(candles, name)
        )
    return pa.table(columns)


def _write_parquet(file: IO[bytes], table: pa.Table, certificate: bytes) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

    table = table.replace_schema_metadata({CERTIFICATE: certificate})
    pq.write_table(table, file, compression="zstd")


def _write_csv(file: IO[bytes], table: pa.Table, certificate: bytes) -> None:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    from pyarrow import csv  # noqa: PLC0415

    del certificate  # it lies beside
    names = [CSV_NAMES.get(name, name) for name in table.column_names]
    table = table.append_column("ignore", pa.repeat(0, len(table)))
    file.write(f"{','.join([*names, 'ignore'])}\n".encode())  # Arrow would put names into quotes
    csv.write_csv(table, file, csv.WriteOptions(include_header=False))
