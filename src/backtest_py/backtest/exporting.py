"""A result for other programs: CSV in a country's dialect, Excel, and libraries of returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py._io.files import replace_file
from backtest_py._io.spreadsheets import dialect_of, safe_text, write_workbook
from backtest_py.backtest.configuring import configuration_toml
from backtest_py.provenance import configuration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from backtest_py._io.spreadsheets import Dialect
    from backtest_py.backtest.metrics import Metrics
    from backtest_py.bars import Bars
    from backtest_py.engines.base import Job

__all__ = ["ResultFiles"]

_LEVELS = ("stop_price", "target_price")
"""Columns of a trade that are infinite where there is none."""


class ResultFiles(ABC):
    """What a result writes for other programs; :class:`BacktestResult` is one."""

    job: Job
    metrics: Metrics
    _source: Mapping[str, Any] | None
    _note: str

    @property
    @abstractmethod
    def engine(self) -> str:
        """Name of the engine that ran."""

    @property
    @abstractmethod
    def daily(self) -> pd.DataFrame:
        """One row for each trading day that counts."""

    @abstractmethod
    def _frame(self) -> pd.DataFrame:
        """Return the trades as a new frame."""

    def to_csv(
        self,
        path: str | Path,
        *,
        sep: str | None = None,
        decimal: str | None = None,
        locale: str = "",
    ) -> None:
        """Write the trades as CSV; every number reads back as the same float64.

        Parameters
        ----------
        path : str or Path
            The file; an earlier one is replaced.
        sep, decimal : str, optional
            What stands between cells (``","``, ``";"``, ``"|"`` or a tab), and the decimal mark.
        locale : {"", "pt-BR", "en-US"}
            A country whose Excel opens the file with a double click: ``"pt-BR"`` writes semicolons,
            decimal commas, a byte order mark and lines as on Windows. Times are then those of the
            session's clock, and a stop or target that is off is an empty cell.

        Raises
        ------
        ConfigError
            If a choice is unknown, or ``sep`` and ``decimal`` are the same.
        OSError
            If the file cannot be written; what stood there is then left as it was.
        """
        dialect, frame = dialect_of(sep, decimal, locale), self._frame()
        if locale:
            frame = _on_session_clock(frame, self.job.bars)
        replace_file(Path(path), _frame_csv(frame, dialect))

    def to_excel(self, path: str | Path) -> None:
        """Write an Excel file with trades, metrics and settings; this needs the extra ``xlsx``.

        Times are those of the session's clock; what is undefined is an empty cell.

        Raises
        ------
        ConfigError
            If openpyxl is not installed, or the file is not named ``.xlsx``.
        OSError
            If the file cannot be written; what stood there is then left as it was.
        """
        asked = {**configuration(self.job), "engine": {"name": self.engine}}
        settings = [
            (f"{section}.{key}", value if isinstance(value, int | float | str) else str(value))
            for section, values in asked.items()
            for key, value in values.items()
        ]
        trades = _on_session_clock(self._frame(), self.job.bars)
        _write_workbook(Path(path), trades, self.metrics, settings)

    def to_quantstats(self) -> pd.Series[float]:
        """Return the daily returns as quantstats, empyrical and pyfolio take them.

        It is ``daily["returns"]``: a fraction for each trading day, days without a trade included,
        by dates without a zone. Their Sharpe and Sortino ratios are then those of :attr:`metrics`,
        if they are told the same ``periods_per_year`` and risk-free rate.

        Raises
        ------
        UnsupportedError
            As :attr:`daily`.

        Examples
        --------
        >>> import backtest_py as bt
        >>> result = bt.run(bt.synthetic_bars(n_days=5), "barra_elefante")
        >>> result.to_quantstats().index[0]
        Timestamp('2019-01-02 00:00:00')
        """
        return self.daily["returns"].rename_axis("date")

    def to_toml(self, path: str | Path | None = None) -> str:
        """Return a configuration whose run is this one, bit for bit, and write it to a file.

        ``backtest-py run FILE`` then gives the same trades and metrics, on either engine.

        Parameters
        ----------
        path : str or Path, optional
            The file to write; an earlier one is replaced.

        Raises
        ------
        ConfigError
            If no file can say it: the strategy is your own code, or the bars came from no file, or
            from one that does not hold these bars any more.
        OSError
            If the file cannot be written; what stood there is then left as it was.
        """
        text = configuration_toml(self.job, self.engine, source=self._source, note=self._note)
        if path is not None:
            replace_file(Path(path), text.encode())
        return text


def _frame_csv(frame: pd.DataFrame, dialect: Dialect) -> bytes:
    """Return a frame as the content of a CSV file; its index is left out."""
    if not dialect.plain:
        columns = {str(name): _texts(frame[name], dialect) for name in frame.columns}
        frame = type(frame)(columns, index=frame.index)
    text: str = frame.to_csv(index=False, sep=dialect.sep, lineterminator=dialect.newline)
    return dialect.mark + text.encode()


def _texts(column: pd.Series[Any], dialect: Dialect) -> Any:
    """Return a column as its cells are written; whole numbers and truth values stay."""
    if column.dtype == np.float64:
        return [dialect.number(value) for value in column.tolist()]
    if column.dtype.kind in "biuM":
        return column.to_numpy()
    return [safe_text(str(value)) for value in column.tolist()]


def _on_session_clock(frame: pd.DataFrame, bars: Bars) -> pd.DataFrame:
    """Return trades as a spreadsheet shows them: times of the session, no infinite levels."""
    shown = frame.copy(deep=False)
    for name in ("signal", "entry", "exit"):
        wall = bars.wall_at(frame[f"{name}_bar"].to_numpy())
        shown[f"{name}_time"] = wall.view("datetime64[ns]")
    for name in _LEVELS:
        shown[name] = frame[name].where(np.isfinite(frame[name]))
    return shown


def _write_workbook(
    path: Path,
    trades: pd.DataFrame,
    metrics: Mapping[str, Any],
    settings: Iterable[tuple[str, Any]],
) -> None:
    """Write trades, metrics and settings as the sheets of an Excel file."""
    write_workbook(
        path,
        {
            "trades": (list(trades.columns), _rows(trades)),
            "metrics": (["metric", "value"], metrics.items()),
            "settings": (["setting", "value"], settings),
        },
    )


def _rows(frame: pd.DataFrame) -> Iterable[tuple[Any, ...]]:
    """Return the rows of a frame as plain values of Python, times to the microsecond."""
    columns = [
        column.astype("datetime64[us]").to_numpy().tolist()
        if column.dtype.kind == "M"
        else column.tolist()
        for column in (frame[name] for name in frame.columns)
    ]
    return zip(*columns, strict=True)
