"""What a backtest gives back: trades, metrics, equity, tables and where they come from.

The engine's columns are kept as they are. Frames, hashes and texts are built on demand,
so that a run which only needs one metric pays for nothing else.
"""

from __future__ import annotations

from functools import cached_property
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from backtest_py._io.notebooks import card, folded, sparkline
from backtest_py.backtest.diagnosis import notes_of, reason_for_no_trades
from backtest_py.backtest.exporting import ResultFiles
from backtest_py.backtest.metrics import Metrics, number_text
from backtest_py.backtest.saving import parquet_bytes, pretty_json, save_files
from backtest_py.bars import read_only
from backtest_py.engines.registry import resolve
from backtest_py.parameters import counted, unknown_name
from backtest_py.provenance import EngineFacts, Provenance, configuration
from backtest_py.rules import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine, EngineOutput, Job
    from backtest_py.overfitting.intervals import Method
    from backtest_py.overfitting.resampling import Resampling

__all__ = ["TABLES", "TRADE_COLUMNS", "BacktestResult", "GroupBy", "Metrics", "trades_table"]

GroupBy: TypeAlias = Literal["month", "weekday", "hour", "side", "reason"]

TRADE_COLUMNS: Final = (
    "signal_bar",
    "entry_bar",
    "exit_bar",
    "signal_time",
    "entry_time",
    "exit_time",
    "side",
    "entry_price",
    "exit_price",
    "stop_price",
    "target_price",
    "points",
    "pnl",
    "fees",
    "mae",
    "mfe",
    "reason",
    "ambiguous",
    "bars_held",
)
"""Columns of the trades, in the order of every frame and file."""

TABLES: Final[tuple[GroupBy, ...]] = ("month", "weekday", "hour", "side", "reason")
"""What trades can be grouped by."""

_HOUR: Final = 3_600_000_000_000
_DAY: Final = 24 * _HOUR
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class BacktestResult(ResultFiles):
    """One backtest, done.

    Attributes
    ----------
    job : Job
        What was asked for: bars, strategy or signals, rules, contract, metric settings, range.
    output : EngineOutput
        What the engine answered, which parity compares.
    metrics : Metrics
        Immutable mapping of the metrics, with attributes.
    columns : mapping of str to ndarray, shape (n_trades,)
        The trades as the engine returned them: ``layouts.TRADE_DTYPE``, read-only.
    """

    def __init__(
        self,
        job: Job,
        output: EngineOutput,
        engine: Engine | EngineFacts,
        reason: str,
        *,
        source: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        self.job = job
        self.output = output
        self.metrics = Metrics(output.metrics)
        output.metrics.flags.writeable = False
        self.columns: Mapping[str, NDArray[Any]] = MappingProxyType(
            {name: read_only(column) for name, column in output.trades.items()}
        )
        self._engine = engine
        self._reason = reason
        self._source = source  # where a sweep has its bars again, and which row this is
        self._note = note
        self._trades: pd.DataFrame | None = None
        self._provenance: Provenance | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the provenance, which describes this process and not the receiving one."""
        return _restored, (self.job, self.output, self.provenance)

    def __len__(self) -> int:
        """Return the number of trades."""
        return len(self.columns["entry_bar"])

    @property
    def engine(self) -> str:
        """Name of the engine that ran."""
        return self._engine.name

    @property
    def reason(self) -> str:
        """Why that engine ran."""
        return self._reason

    @property
    def provenance(self) -> Provenance:
        """Engine and why, versions, build, hashes of bars and configuration."""
        if self._provenance is None:
            self._provenance = Provenance.of(self.job, self._engine, self._reason)
        return self._provenance

    @property
    def trades(self) -> pd.DataFrame:
        """The trades, one row each, with the columns of :data:`TRADE_COLUMNS`.

        Times are UTC, or without a zone where the bars have none; a stop or target that is off is
        infinite by side. Each access gives a frame of its own, to be changed at will.
        """
        if self._trades is None:
            self._trades = self._frame()
        return self._trades.copy()

    @property
    def trades_arrow(self) -> pa.Table:
        """The trades as a pyarrow table, laid out as ``trades.parquet``."""
        return trades_table(self.job.bars, self.columns)

    @property
    def balance(self) -> NDArray[np.float64]:
        """Account balance at the start and after each exit, shape (n_trades + 1,).

        Added up trade by trade, as the metrics are.
        """
        return np.cumsum(np.append(self.job.contract.initial_capital, self.columns["pnl"]))

    @property
    def equity(self) -> pd.Series[float]:
        """Account balance after each exit, by exit time."""
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        times = pd.DatetimeIndex(self._column("exit_time"), name="exit_time")
        if not self.job.bars.is_naive:
            times = times.tz_localize("UTC")
        return pd.Series(self.balance[1:], index=times, name="equity")

    @property
    def daily(self) -> pd.DataFrame:
        """One row for each trading day that counts, by its date on the session's clock.

        These are the days of the metric ``days``: all with a bar in the range, days without a trade
        included, and a later one on which a trade of the range exits; none after a ruin.

        * ``pnl``: result in money of the trades that exit on the day.
        * ``returns``: that over the account before the day, as a fraction. ``sharpe`` and
          ``sortino`` are made of these.
        * ``equity``: the account after the day's exits.
        * ``equity_marked``: the same with a position that is still open valued at the day's last
          close, the costs of its entry paid, those of its exit not yet.
        * ``drawdown``: how far ``equity_marked`` lies below its highest value so far, in money, the
          start included.

        Raises
        ------
        UnsupportedError
            If a position was held overnight and the closes are gone, as after
            :func:`~backtest_py.run_chunked`.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        from backtest_py.backtest.daily import daily_columns  # noqa: PLC0415 - as above

        found = daily_columns(self.job, self.columns, self.metrics.days)._asdict()
        index = pd.DatetimeIndex(found.pop("date").astype("M8[ns]"), name="day")
        return pd.DataFrame(found, index=index)

    @property
    def daily_returns(self) -> NDArray[np.float64]:
        """The column ``returns`` of :attr:`daily` as an array, shape (n_days,)."""
        from backtest_py.backtest.daily import daily_returns  # noqa: PLC0415 - as above

        return daily_returns(self.job, self.columns, self.metrics.days)

    def intervals(
        self,
        level: float = 0.95,
        *,
        method: Method = "bca",
        n_resamples: int = 2_000,
        resampling: Resampling | None = None,
    ) -> pd.DataFrame:
        """Return between which values each metric lies, when its past is drawn again.

        Days are drawn for ``sharpe`` and ``sortino``, trades for all others; see
        :func:`~backtest_py.overfitting.metric_intervals`.

        Parameters
        ----------
        level : float
            Confidence, between 0 and 1.
        method : {"bca", "percentile"}
            Drawdowns and streaks always get percentiles.
        n_resamples : int
            Samples to draw.
        resampling : Resampling, optional
            Which samples; by default stationary blocks from seed 0.

        Returns
        -------
        DataFrame
            A row for each metric that drawing can change: ``value``, that of :attr:`metrics`;
            ``low`` and ``high``, nan where nothing can be learnt; ``undefined``, the share of the
            samples in which the metric is nan.

        Raises
        ------
        ConfigError
            If a setting is not allowed.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        from backtest_py.overfitting import metric_intervals  # noqa: PLC0415 - as above

        job = self.job
        found = metric_intervals(
            self.daily_returns,
            {**self.columns, "bars_held": self._column("bars_held")},
            n_bars=job.last - job.first,
            initial_capital=job.contract.initial_capital,
            risk_free_rate=job.metrics.risk_free_rate,
            periods_per_year=job.metrics.periods_per_year,
            level=level,
            method=method,
            n_resamples=n_resamples,
            resampling=resampling,
        )
        rows = [
            (self.metrics[name], each.low, each.high, each.undefined)
            for name, each in found.items()
        ]
        columns = ["value", "low", "high", "undefined"]
        return pd.DataFrame(rows, pd.Index(list(found), name="metric"), columns, dtype="float64")

    def table(self, by: GroupBy) -> pd.DataFrame:
        """Return the trades grouped by one of :data:`TABLES`, on the session's wall clock.

        Parameters
        ----------
        by : {"month", "weekday", "hour", "side", "reason"}
            The month is that of the exit, which books the profit; weekday and hour are those of
            the entry.

        Returns
        -------
        DataFrame
            One row for each group with a trade, in natural order: ``trades``, ``wins``,
            ``win_rate``, ``pnl``, ``avg_pnl`` (money) and ``profit_factor``, defined as the
            metrics of the same names.

        Raises
        ------
        ConfigError
            If there is no such table.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        labels, codes = self._groups(by)
        pnl = self.columns["pnl"]
        trades = np.bincount(codes, minlength=len(labels))
        wins = np.bincount(codes[pnl > 0], minlength=len(labels))
        # bincount adds one number after the other, in the order of the trades
        total = np.bincount(codes, weights=pnl, minlength=len(labels))
        gain = np.bincount(codes, weights=np.where(pnl > 0, pnl, 0.0), minlength=len(labels))
        loss = np.bincount(codes, weights=np.where(pnl < 0, -pnl, 0.0), minlength=len(labels))
        with np.errstate(divide="ignore", invalid="ignore"):
            frame = pd.DataFrame(
                {
                    "trades": trades,
                    "wins": wins,
                    "win_rate": wins / trades,
                    "pnl": total,
                    "avg_pnl": total / trades,
                    "profit_factor": gain / loss,
                },
                index=pd.Index(labels, name=by),
            )
        return frame[trades > 0]

    def save(self, directory: str | Path) -> Path:
        """Write ``trades.parquet``, ``metrics.json`` and ``manifest.json`` into a directory.

        Each file is complete or absent, whatever happens. The manifest comes last and holds the
        SHA-256 of the other two, so a mixture of two runs shows.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; the same files of an earlier run are replaced.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        ConfigError
            If the directory is a file, or holds the manifest of something else.
        StorageError
            If it cannot be written.
        """
        files = {
            "trades.parquet": parquet_bytes(self.trades_arrow),
            "metrics.json": pretty_json(self.metrics.to_mapping()),
        }
        return save_files(directory, files, self.manifest())

    def manifest(self) -> dict[str, Any]:
        """Return what was asked for and what answered, ready for JSON."""
        bars = self.job.bars
        ends = bars.times_at(np.array([0, len(bars) - 1]))
        span = np.datetime_as_string(ends.view("datetime64[ns]"), unit="s")
        zone = "" if bars.is_naive else "Z"
        return {
            "kind": "run",
            "bars": {
                "path": bars.report.path,
                "n_bars": len(bars),
                "first": f"{span[0]}{zone}",
                "last": f"{span[1]}{zone}",
                "timezone": bars.timezone,
                "session_timezone": bars.session_timezone,
            },
            "configuration": configuration(self.job),
            "provenance": self.provenance.to_mapping(),
        }

    def plot(
        self,
        path: str | Path | None = None,
        *,
        start: str | None = None,
        end: str | None = None,
        title: str | None = None,
    ) -> Figure:
        """Draw price with entries, exits and stops, the equity and its drawdown.

        Parameters
        ----------
        path : str or Path, optional
            Image file to write; its suffix decides the format. Without one nothing is written.
        start, end : str, optional
            Part of the bars to draw, half-open, on the session's clock. By default these are the
            bars of the run's range, and those after it until its last trade ends.
        title : str, optional
            Instead of the strategy, its range and its result.

        Returns
        -------
        Figure
            A notebook shows it, once, where it is the value of a cell. Pyplot does not know it:
            in a script, give ``path``, or call ``savefig``.

        Raises
        ------
        BacktestError
            If matplotlib is not installed; the message says how to install it.
        ConfigError
            If the range is empty or the suffix is unknown.
        """
        from backtest_py.report.plot import plot  # noqa: PLC0415 - only where it is used

        return plot(self, path, start=start, end=end, title=title)

    def report(
        self, path: str | Path, *, lang: str = "en", currency: str = "", title: str = ""
    ) -> Path:
        """Write the report of this backtest: one HTML file that opens anywhere, offline.

        Parameters
        ----------
        path : str or Path
            The file, ``.html``; one that exists is replaced.
        lang : {"en", "pt-BR"}
            Language of texts, numbers and dates.
        currency : str
            Code of the currency of all money, such as ``"BRL"``. By default that which the name
            of the market tells: BRL of B3's futures, USDT of BTCUSDT; none where it tells none.
        title : str
            Instead of the strategy and the market.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ConfigError
            If the language is unknown, the currency no short word, or the file no page.
        DataError
            If the account is larger than a double can be.
        StorageError
            If it cannot be written.
        UnsupportedError
            If the bars were streamed and are gone.
        """
        from backtest_py.report.html import write_report  # noqa: PLC0415 - only where it is used

        return write_report(self, path, lang=lang, currency=currency, title=title)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What often points to a mistake: no trades and why, no costs, nights held by accident.

        They stand in the result's text, and ``backtest-py run`` prints them on standard error.
        """
        return notes_of(self.job, self.columns, self._runner)

    def why_no_trades(self) -> str:
        """Return the most likely reason why there are no trades, ``""`` where there are some.

        It counts signals, what each threshold lets pass, and what became of the signals.

        Raises
        ------
        UnsupportedError
            If the bars are gone, as after :func:`~backtest_py.run_chunked`.

        Examples
        --------
        >>> import backtest_py as bt
        >>> rules = bt.ExitRules(close_time="09:00")
        >>> strategy = bt.BarraElefante(entry_start="09:15")
        >>> bt.run(bt.synthetic_bars(n_days=5), strategy, rules).why_no_trades()[:35]
        'entries from 09:15, close at 09:00:'
        """
        return "" if len(self) else reason_for_no_trades(self.job, self._runner)

    @property
    def _runner(self) -> Engine:
        """The engine that ran, or where it ran elsewhere, one that can do the job here."""
        if isinstance(self._engine, EngineFacts):
            return resolve("auto", self.job)[0]
        return self._engine

    def __repr__(self) -> str:
        return "\n  ".join(self._summary())

    def _repr_html_(self) -> str:
        first, *rest = self._summary()
        lines = "<br>".join(map(escape, rest))
        line = sparkline(self.balance.tolist(), "account after each trade")
        every = folded("all metrics", self.metrics._repr_html_())
        return card(first, line, f"<p>{lines}</p>", every)

    def _summary(self) -> list[str]:
        metrics, bars = self.metrics, self.job.bars
        name = "signals" if self.job.strategy is None else self.job.strategy.name
        dates, job = bars.session_dates, self.job
        span = []
        if job.last - job.first < len(bars):
            span = [f"range {bars.time_text(job.first)} to {bars.time_text(job.last - 1)}"]
        profit = f"{number_text(metrics.total_return)} ({number_text(metrics.total_return_pct)} %)"
        loss = f"{number_text(metrics.max_drawdown)} ({number_text(metrics.max_drawdown_pct)} %)"
        market = bars.report.market and f"{bars.report.market}, "
        return [
            f"{name} on {market}{counted(len(bars), 'bar')} from {dates[0]} to {dates[-1]}",
            *span,
            f"engine {self.engine}: {self._reason}",
            f"{counted(len(self), 'trade')}, win rate {number_text(metrics.win_rate)}",
            f"total return {profit}, profit factor {number_text(metrics.profit_factor)}",
            f"max drawdown {loss}, sharpe {number_text(metrics.sharpe)}",
            *(["ruined: the account was empty before the end"] if metrics.ruined else []),
            *(f"note: {note}" for note in self.notes),
        ]

    def _frame(self) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        columns = {name: pd.Series(self._column(name)) for name in TRADE_COLUMNS}
        columns["reason"] = pd.Series(self._column("reason"), dtype="str")
        if not self.job.bars.is_naive:
            for name in ("signal_time", "entry_time", "exit_time"):
                columns[name] = columns[name].dt.tz_localize("UTC")
        return pd.DataFrame(columns)

    def _column(self, name: str) -> NDArray[Any]:
        return _trade_column(self.job.bars, self.columns, name)

    def _groups(self, by: str) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the labels of a table in order, and the number of each trade's label."""
        columns, bars = self.columns, self.job.bars
        if by == "side":
            return ["long", "short"], (columns["side"] < 0).astype(np.int64)
        if by == "reason":
            return [reason.name for reason in Reason], columns["reason"].astype(np.int64)
        if by == "hour":
            return list(range(24)), bars.wall_at(columns["entry_bar"]) // _HOUR % 24
        if by == "weekday":
            # 1970-01-01 was a Thursday
            return list(_WEEKDAYS), (bars.wall_at(columns["entry_bar"]) // _DAY + 3) % 7
        if by == "month":
            dates = (bars.wall_at(columns["exit_bar"]) // _DAY).astype("M8[D]")
            months, codes = np.unique(dates.astype("datetime64[M]"), return_inverse=True)
            return [str(month) for month in months], codes
        raise unknown_name("table", by, TABLES)


def trades_table(bars: Bars, columns: Mapping[str, NDArray[Any]]) -> pa.Table:
    """Return trades, as an engine gives them, as a table laid out as ``trades.parquet``."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    zone = None if bars.is_naive else "UTC"
    arrays = {}
    for name in TRADE_COLUMNS:
        kind = pa.timestamp("ns", tz=zone) if name.endswith("_time") else None
        kind = pa.string() if name == "reason" else kind
        arrays[name] = pa.array(_trade_column(bars, columns, name), type=kind)
    return pa.table(arrays)


def _trade_column(bars: Bars, columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """Return one column of trades, times as datetime64[ns] and reasons as texts."""
    column: NDArray[Any]
    if name == "bars_held":
        column = columns["exit_bar"] - columns["entry_bar"]
    elif name == "reason":
        column = np.array([reason.name for reason in Reason], dtype=object)[columns["reason"]]
    elif name.endswith("_time"):
        bar = columns[f"{name.removesuffix('_time')}_bar"]
        column = bars.times_at(bar).view("datetime64[ns]")
    else:
        column = columns[name]
    return column


def _restored(job: Job, output: EngineOutput, provenance: Provenance) -> BacktestResult:
    facts = EngineFacts(provenance.engine, provenance.build)
    result = BacktestResult(job, output, facts, provenance.reason)
    result._provenance = provenance  # noqa: SLF001 - a second constructor
    return result
