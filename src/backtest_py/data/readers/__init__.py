"""Readers of files of bars.

``load_bars`` tells by its content what a file is. Text formats are a dialect each (``csv.py``,
``mt5.py``, ``profit.py``) over one reader of delimited text; ``parquet.py`` reads Parquet and
Feather. Arrow is imported when the first file is read.
"""

from __future__ import annotations

import os
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from backtest_py.bars import Bars, ReadOptions, build_bars, warn_of
from backtest_py.data.readers._open import data_file, magic_of, read_text
from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backtest_py.bars.columns import Columns
    from backtest_py.bars.validation import BarsReport

__all__ = ["load_bars", "read_columns", "read_several", "stream_bars"]

_TRUNCATED_AT: Final = (100_000, 65_000)
"""Numbers of rows at which charting platforms cut off their exports."""


def load_bars(
    path: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    format: str = "auto",  # noqa: A002 - the name people know
    timezone: str = "",
    session_timezone: str = "",
    empty: str = "refuse",
    dayfirst: bool = False,
    decimal: str = "auto",
    ambiguous: str = "infer",
    nonexistent: str = "refuse",
    directory: str | PathLike[str] = "",
) -> Bars:
    r"""Load bars from a file, or from several files of one series.

    A file that runs from the newest bar to the oldest is turned round, and rows that repeat the
    one before them are dropped; ``bars.report`` says so. Any other disorder is refused. Errors
    count the data rows of a text file from 1, as people do, and those of Parquet and Feather from
    0, as frames do.

    Parameters
    ----------
    path : str, path or a sequence of them
        A text file (plain, gzipped, or alone in a zip archive), Parquet or Feather. Several files
        are put in order of time. Rows that two of them hold must be the same, and count once; a
        gap between files is noted, and a row that one lacks where another has it is warned of.
    format : {"auto", "csv", "mt5", "profit", "parquet", "feather"}
        ``auto`` goes by the content, never by the name.
    timezone : str
        IANA name of the clock that the file shows; ignored where times carry a zone or count
        from 1970, and refused where it contradicts a zone with a name. With both clocks empty,
        times are taken as they are.
    session_timezone : str
        IANA name of the clock of minutes and days; "" is ``timezone``, and for instants the zone
        that the column of times carries, or UTC where it has no name.
    empty : {"refuse", "drop"}
        What to do with bars in which nothing traded: all prices nan, volume 0.
    dayfirst : bool
        Whether dates such as 01/02/2023 start with the day. Without it they are read where a row
        of the file settles the question, else refused; dates with the year first need nothing,
        nor do the exports of Profit.
    decimal : {"auto", ".", ","}
        The decimal mark of a text file; ``auto`` finds it, and refuses a file that leaves it open.
    ambiguous : {"infer", "earlier", "later", "refuse"}
        Which instant a wall clock time is that occurs twice; ``infer`` takes the earlier, unless
        that is not after the bar before it.
    nonexistent : {"refuse", "shift_forward"}
        What to do with a wall clock time that never occurs.
    directory : str or path, optional
        Folder that a relative path is relative to, by default the current one.

    Returns
    -------
    Bars
        Validated bars; ``bars.report`` says what was read and how.

    Raises
    ------
    ConfigError
        If ``path`` is not a path, the file does not exist or a choice is unknown.
    DataError
        If the file is damaged or its bars break a rule; or if several files differ in a row, in
        their clocks or in their kind of volume.

    Warns
    -----
    BacktestWarning
        If the number of rows is one at which platforms cut exports off, or if times carry offsets
        but no zone and no ``session_timezone`` is given.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "day.csv")
    ...     _ = file.write_text("time,open,high,low,close\n2024-01-02 09:00,1,2,0.5,1.5\n")
    ...     len(load_bars(file))
    1
    """
    options = ReadOptions(
        format=format,
        timezone=timezone,
        session_timezone=session_timezone,
        empty=empty,
        dayfirst=dayfirst,
        decimal=decimal,
        ambiguous=ambiguous,
        nonexistent=nonexistent,
    )
    if isinstance(path, (list, tuple)):
        files = [(str(each), _joined(directory, each)) for each in path]
        bars = read_several(files, options)
    else:
        columns, report = read_columns(_joined(directory, path), options)
        report = replace(report, path=str(path))
        bars = build_bars(columns, options, report, identical="drop")
    warn_of(bars.report)
    return bars


def read_columns(file: Path, options: ReadOptions) -> tuple[Columns, BarsReport]:
    """Return the columns of a file, oldest row first, and what is known of it so far.

    Raises
    ------
    ConfigError, DataError
        As :func:`load_bars`.
    """
    columns, report = _read(data_file(file), options)
    report = replace(
        report,
        path=str(file),
        arguments={**options.to_mapping(), "path": os.path.realpath(file)},
    )
    if len(columns) > 1 and columns.times.ns[0] > columns.times.ns[-1]:
        columns = columns.take(slice(None, None, -1))
        report = replace(report, newest_first=True)
    warnings = (*report.warnings, *_truncation(report.source, report.rows_read))
    return columns, replace(report, warnings=warnings)


def _truncation(source: str, n_rows: int) -> tuple[str, ...]:
    """Warn of a number of rows at which exports are cut off."""
    if n_rows not in _TRUNCATED_AT:
        return ()
    warning = (
        f"{source}: exactly {n_rows:,} rows, at which platforms cut exports off; check that the "
        "first bar is the one you asked for"
    )
    return (warning,)


def stream_bars(path: str | PathLike[str], options: ReadOptions, chunk_rows: int) -> Iterator[Bars]:
    """Yield the bars of a Parquet file piece by piece, as :func:`load_bars` would read them.

    The rows must run from the oldest bar to the newest. Nothing is warned of: the reports of the
    pieces have the warnings.

    Raises
    ------
    ConfigError
        If ``path`` is not a path, there is no such file, or it is no Parquet file.
    DataError
        If the file is damaged or its bars break a rule, when that row is reached.
    """
    file = data_file(_joined("", path))
    kind = magic_of(file)
    if kind != "parquet":
        raise ConfigError(
            f"{file.name}: only Parquet is read piece by piece, and this is "
            f"{kind or 'a text'} file; load it with bt.load_bars and give [bars], or write it as "
            "Parquet"
        )
    from backtest_py.data.readers.batches import read_batches  # noqa: PLC0415 - imports Arrow

    arguments = {**options.to_mapping(), "path": os.path.realpath(file)}
    for bars, n_rows in read_batches(file, options, chunk_rows):
        report = replace(
            bars.report,
            path=str(path),
            arguments=arguments,
            warnings=(*bars.report.warnings, *_truncation(file.name, n_rows)),
        )
        yield bars.reported(report)


def read_several(files: Sequence[tuple[str, Path]], options: ReadOptions) -> Bars:
    """Return the bars of several files of one series, each with what the user calls it.

    Raises
    ------
    ConfigError, DataError
        As :func:`load_bars`.
    """
    from backtest_py.bars.merging import Part, merged_bars  # noqa: PLC0415 - seldom needed

    if not files:
        raise ConfigError("load_bars: path = [] names no file; give one at least")
    parts = []
    for name, file in files:
        columns, report = read_columns(file, options)
        parts.append(Part.of(name, columns, options, report))
    return merged_bars(parts)


def _joined(directory: object, path: object) -> Path:
    for name, value in (("directory", directory), ("path", path)):
        if not isinstance(value, (str, PathLike)):
            raise ConfigError(
                f"load_bars: {name} is of type {type(value).__name__}; give a text, a "
                "pathlib.Path or a list of them, and a DataFrame to bt.Bars.from_frame"
            )
    return Path(cast("str", directory), cast("str", path))


def _read(file: Path, options: ReadOptions) -> tuple[Columns, BarsReport]:
    magic = magic_of(file)
    layout = options.format
    binary = magic if magic in {"parquet", "feather"} else ""
    if magic == "feather version 1":
        raise DataError(f"{file.name}: Feather version 1 is not supported; write version 2")
    if layout == "auto":
        layout = binary or "text"
    if layout in {"parquet", "feather"}:
        if layout != binary:
            seems = f"it is {binary}" if binary else "its first bytes say otherwise"
            raise DataError(f'{file.name}: not a {layout} file ({seems}); use format = "auto"')
        from backtest_py.data.readers.parquet import (  # noqa: PLC0415 - imports Arrow
            read_feather,
            read_parquet,
        )

        return (read_parquet if layout == "parquet" else read_feather)(file, options)
    if binary:
        raise DataError(f'{file.name}: not text but a {binary} file; use format = "auto"')
    return _read_text(file, layout, options)


def _read_text(file: Path, layout: str, options: ReadOptions) -> tuple[Columns, BarsReport]:
    from backtest_py.data.readers import csv, mt5, profit  # noqa: PLC0415 - they import Arrow
    from backtest_py.data.readers._text import read_head, read_table  # noqa: PLC0415

    text = read_text(file)
    head = read_head(text)
    dialects = (mt5.DIALECT, profit.DIALECT, csv.DIALECT)
    if layout == "text":
        dialect = next(dialect for dialect in dialects if dialect.recognises(head))
    else:
        dialect = next(dialect for dialect in dialects if dialect.name == layout)
        if not dialect.recognises(head):
            line = head.delimiter.join(head.cells)[:80]
            raise DataError(
                f'{file.name}: not laid out as {layout} (first line {line!r}); use format = "auto"'
            )
    return read_table(text, head, dialect, options)
