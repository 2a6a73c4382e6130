"""What a walk-forward gives back: windows, out-of-sample trades, equity, metrics."""

from __future__ import annotations

import math
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.analysis.walk_forward.files import KIND, TIMES, contents, save
from backtest_py.backtest.metrics import number_text
from backtest_py.contract import MetricSettings
from backtest_py.metrics.catalogue import CATALOGUE, METRICS
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from backtest_py.backtest.metrics import Metrics
    from backtest_py.overfitting.verdict import Verdict

__all__ = ["WalkForward", "metric_rows"]

_KINDS: Final = {"count": int, "flag": bool, "number": float}


class WalkForward:
    """One walk-forward, done.

    Attributes
    ----------
    rows : mapping of str to list
        The windows column by column, None where a flat window has no value.
    trades_arrow : pyarrow.Table
        The trades of all tests, laid out as ``trades.parquet`` of a run.
    daily_arrow : pyarrow.Table
        Their account by day; see :attr:`daily`.
    metrics : Metrics
        Those of the stitched trades over the days from the first test to the last. Days are
        counted as in any run: every trading day from the first test's start to the last one's end,
        those of flat windows included.
    provenance : mapping
        What was asked and what answered, as ``manifest.json`` has it.
    """

    def __init__(
        self,
        rows: Mapping[str, list[Any]],
        trades: pa.Table,
        daily: pa.Table,
        metrics: Metrics,
        provenance: Mapping[str, Any],
    ) -> None:
        self.rows = MappingProxyType(dict(rows))
        self.trades_arrow = trades
        self.daily_arrow = daily
        self.metrics = metrics
        self.provenance = MappingProxyType(dict(provenance))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was made of."""
        tables = self.trades_arrow, self.daily_arrow
        return WalkForward, (dict(self.rows), *tables, self.metrics, dict(self.provenance))

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.rows["combo_id"])

    @property
    def engine(self) -> str:
        """Name of the engine that ran."""
        return str(self.provenance["identity"]["engine"])

    @property
    def parameters(self) -> dict[str, list[Any] | None]:
        """The swept parameters by full key, and their values in order; None where continuous."""
        axes = self.provenance["identity"]["grid"]["axes"]
        return {axis["key"]: axis.get("values") for axis in axes}

    @property
    def windows(self) -> pd.DataFrame:
        """One row for each window; each access gives a frame of its own.

        ``train_start, train_end, test_start, test_end`` are half-open ranges on the session's wall
        clock, as :func:`backtest_py.run` takes them: ``run(..., range=(train_start, train_end))``
        with the row's parameters has the metrics ``train_...``, and with the test's range those
        named ``test_...``. A test that had to wait for the exit of the trade before it starts at
        that bar; one that could not start at all has ``test_start = test_end``. ``combo_id`` is -1
        where no combination qualified: then parameters and training metrics are missing.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        return pd.DataFrame({name: _series(name, values) for name, values in self.rows.items()})

    @property
    def trades(self) -> pd.DataFrame:
        """The trades of all tests, one row each, as :attr:`BacktestResult.trades` has them.

        They end where the account, which goes through all windows, is ruined.
        """
        import pandas as pd  # noqa: PLC0415

        table = self.trades_arrow
        columns = {}
        for field in table.schema:
            column = table[field.name]
            if field.name == "reason":
                columns[field.name] = pd.Series(column.to_pylist(), dtype="str")
                continue
            values = pd.Series(column.to_numpy())
            is_aware = field.name.endswith("_time") and field.type.tz is not None
            columns[field.name] = values.dt.tz_localize("UTC") if is_aware else values
        return pd.DataFrame(columns)

    @property
    def equity(self) -> pd.Series[float]:
        """Account balance after each exit, by exit time, from the initial capital on."""
        import pandas as pd  # noqa: PLC0415

        trades = self.trades
        times = pd.DatetimeIndex(trades["exit_time"], name="exit_time")
        balance = np.cumsum(np.append(self.initial_capital, trades["pnl"]))[1:]
        return pd.Series(balance, index=times, name="equity")

    @property
    def daily(self) -> pd.DataFrame:
        """The account of all tests by day: ``pnl``, ``returns`` and ``equity``.

        One row for each trading day from the first test to the last, as
        :attr:`BacktestResult.daily` has them: days without a trade included, none after a ruin.
        """
        import pandas as pd  # noqa: PLC0415

        columns = {name: self.daily_arrow[name].to_numpy() for name in ("pnl", "returns", "equity")}
        days = self.daily_arrow["day"].to_numpy().astype("M8[ns]")
        return pd.DataFrame(columns, index=pd.DatetimeIndex(days, name="day"))

    def verdict(self, *, trials: int = 1, min_trades: int = 30) -> Verdict:
        """Say whether the days of the tests are more than luck would show.

        A walk-forward is one trial, because no combination was chosen on the days that judge it.
        Who walks forward several times, with other windows, grids or strategies, and looks at the
        best, has made as many trials.

        Parameters
        ----------
        trials : int
            How many walk-forwards were tried on these bars.
        min_trades : int
            With fewer trades than these a result says little.

        Returns
        -------
        Verdict
            ``print`` shows its text.

        Raises
        ------
        ConfigError
            If a number is not allowed.

        Examples
        --------
        >>> import backtest_py as bt
        >>> bars = bt.synthetic_bars(n_days=60)
        >>> wf = bt.walk_forward(
        ...     bars,
        ...     grid={"rules.stop": [1.0, 2.0]},
        ...     rules=bt.ExitRules(close_time="17:00"),
        ...     train_days=20, test_days=10,
        ... )
        >>> wf.verdict().trials, wf.verdict(trials=5).dsr < wf.verdict().dsr
        (1, True)
        """
        from backtest_py.overfitting import (  # noqa: PLC0415 - only a verdict needs statistics
            BestTrial,
            TrialSet,
            judge,
            return_moments,
        )

        metrics = self.metrics
        moments = return_moments(self.daily_arrow["returns"].to_numpy())
        best = BestTrial(
            metrics.sharpe, metrics.days, moments.skew, moments.kurtosis, metrics.total_trades
        )
        settings = MetricSettings.from_mapping(self.provenance["identity"]["metrics"])
        return judge(
            TrialSet(trials, math.nan),
            best,
            periods_per_year=settings.periods_per_year,
            min_trades=min_trades,
        )

    @property
    def initial_capital(self) -> float:
        """Money at the start of the first test."""
        return float(self.provenance["identity"]["grid"]["contract"]["initial_capital"])

    @property
    def efficiency(self) -> float:
        """Walk-forward efficiency: what is left, out of sample, of the profit of the trainings.

        Profit per trading day of all tests over profit per trading day of all trainings that chose
        (Pardo, "The Evaluation and Optimization of Trading Strategies", 2008). 0.5 is half. It is
        nan where no training chose, or the trainings together earned nothing: then there is nothing
        of which a share could be left. Where the account is ruined, the tests earned what it earned
        until then: nobody traded the windows that follow.
        """
        train = self._per_day("train")
        test = self._per_day("test")
        if self.metrics.ruined:
            test = self.metrics.total_return / self.metrics.days
        return test / train if train > 0.0 else math.nan

    def _per_day(self, part: str) -> float:
        profits = [each for each in self.rows[f"{part}_total_return"] if each is not None]
        days = sum(each for each in self.rows[f"{part}_days"] if each is not None)
        return math.fsum(profits) / days if days else math.nan

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known to read the numbers: a ruined account, windows without a choice."""
        found = []
        if self.metrics.ruined:
            n_trades = np.cumsum(self.rows["test_total_trades"])
            window = int(np.searchsorted(n_trades, self.metrics.total_trades)) + 1
            found.append(
                f"the account is ruined in window {window}, and ends there: each window begins "
                "with the whole capital, but what later ones show is no part of the account"
            )
        if flat := self.rows["combo_id"].count(-1):
            least = counted(self.provenance["identity"]["choice"]["min_trades"], "trade")
            found.append(
                f"{counted(flat, 'window')} without a choice: in the training every combination "
                f"was ruined, without a score, or had fewer than {least}"
            )
        return tuple(found)

    @property
    def drift(self) -> pd.DataFrame:
        """How the chosen parameters move from window to window, one row for each of them.

        ``changes`` counts the windows that chose another value than the window before, ``steps``
        adds up how many places of the grid they moved, ``most_frequent`` is the value that was
        chosen most often (the first of equals) and ``share`` the share of windows that chose it.
        Windows without a choice do not count, and a continuous parameter has no steps (nan). A
        parameter that jumps about is fitted to noise.
        """
        import pandas as pd  # noqa: PLC0415

        rows = [_moves(self.rows[key], values) for key, values in self.parameters.items()]
        changes, steps, most, shares = zip(*rows, strict=True) if rows else ((), (), (), ())
        return pd.DataFrame(
            {
                "changes": pd.Series(changes, dtype="int64"),
                "steps": pd.Series(steps, dtype="float64"),
                "most_frequent": pd.Series(most, dtype="object"),
                "share": pd.Series(shares, dtype="float64"),
            }
        ).set_axis(pd.Index(self.parameters, name="parameter"))

    def to_mapping(self) -> dict[str, Any]:
        """Return everything but the trades, ready for strict JSON.

        Returns
        -------
        dict
            ``windows`` holds one mapping for each window, with the names of :attr:`windows`; times
            are ISO 8601, and nan and infinities the texts ``"nan"``, ``"inf"`` and ``"-inf"``.
        """
        names = list(self.rows)
        windows = [
            {name: _json_cell(name, value) for name, value in zip(names, row, strict=True)}
            for row in zip(*self.rows.values(), strict=True)
        ]
        drift = self.drift.reset_index().to_dict("records")
        return {
            "kind": KIND,
            **self.provenance,
            "efficiency": _json_cell("", self.efficiency),
            "metrics": self.metrics.to_mapping(),
            "verdict": self.verdict().to_mapping(),
            "drift": [
                {str(key): _json_cell("", each) for key, each in row.items()} for row in drift
            ],
            "windows": windows,
        }

    def save(self, directory: str | Path) -> Path:
        """Write the tables of windows, trades and days, ``metrics.json`` and ``manifest.json``.

        Each file is complete or absent, whatever happens; the manifest comes last and holds the
        SHA-256 of the others. :func:`backtest_py.open_walk_forward` reads them again.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; the same files of an earlier walk-forward are replaced.

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
        files = contents(self.rows, self.trades_arrow, self.daily_arrow, self.metrics)
        return save(directory, files, self.provenance)

    def __repr__(self) -> str:
        rows, metrics = self.rows, self.metrics
        profit = f"{number_text(metrics.total_return)} ({number_text(metrics.total_return_pct)} %)"
        first, last = (
            str(rows[name][at])[:10] for name, at in (("test_start", 0), ("test_end", -1))
        )
        trades = counted(metrics.total_trades, "trade")
        lines = (
            f"walk-forward of {counted(len(self), 'window')}",
            f"tested from {first} to {last}, engine {self.engine}",
            f"out of sample: {trades}, total return {profit}, sharpe {number_text(metrics.sharpe)}",
            f"efficiency {number_text(self.efficiency)}",
            *self.notes,
            *self.verdict().significance.split("\n"),
        )
        return "\n  ".join(lines)


def metric_rows(prefix: str, columns: list[Any]) -> dict[str, list[Any]]:
    """Return metrics of all windows by column; None stays None."""
    rows = {}
    for place, name in enumerate(METRICS):
        kind = _KINDS[CATALOGUE[name].kind]
        rows[f"{prefix}_{name}"] = [
            None if vector is None else kind(vector[place]) for vector in columns
        ]
    return rows


def _series(name: str, values: list[Any]) -> pd.Series[Any]:
    """Return a column of the windows; numbers that are missing are nan, other values None."""
    import pandas as pd  # noqa: PLC0415

    if name in TIMES:
        return pd.Series(np.array(values, "M8[ns]"))
    known = [each for each in values if each is not None]
    if len(known) == len(values):
        return pd.Series(values)
    if all(type(each) in {int, float} for each in known):
        return pd.Series([math.nan if each is None else each for each in values], dtype=float)
    return pd.Series(values, dtype=object)


def _json_cell(name: str, value: Any) -> Any:
    """Return a value as strict JSON can hold it."""
    if name in TIMES:
        return str(np.datetime64(value, "s"))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _moves(chosen: list[Any], values: list[Any] | None) -> tuple[int, float, Any, float]:
    """Return changes, steps, the most frequent value and its share."""
    known = [each for each in chosen if each is not None]
    if not known:
        return 0, math.nan, None, math.nan
    listed = sorted(set(known)) if values is None else values
    places = [listed.index(each) for each in known]
    moved = [abs(after - before) for before, after in pairwise(places)]
    most = max(sorted(set(places)), key=places.count)
    steps = math.nan if values is None else sum(moved)
    return sum(step > 0 for step in moved), steps, listed[most], places.count(most) / len(places)
