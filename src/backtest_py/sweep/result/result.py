"""The result of a sweep: its combinations with parameters and metrics, and ways to look at them.

Wherever rows are ranked, a ruined account is behind every other one: its metrics are those of the
days before the ruin, so they may look good.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backtest_py._io.files import replace_file
from backtest_py.backtest.job import prepare
from backtest_py.backtest.result import BacktestResult
from backtest_py.contract import MetricSettings
from backtest_py.engines import resolve
from backtest_py.errors import BacktestWarning, ConfigError
from backtest_py.sweep.result.columns import any_true, ranking_keys, small_is_good
from backtest_py.sweep.result.deciding import chosen_row, set_file
from backtest_py.sweep.result.ranking import BestRows, ParetoFront
from backtest_py.sweep.result.rows import SweepRows
from backtest_py.sweep.result.showing import sweep_card
from backtest_py.sweep.result.slices import metric_by_values
from backtest_py.sweep.store.manifest import believing
from backtest_py.sweep.store.tables import COMBO_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    import pandas as pd
    import pyarrow as pa

    from backtest_py.bars import Bars
    from backtest_py.sweep.result.columns import Direction
    from backtest_py.sweep.result.reductions import Reduction

    Moment = str | date | None

__all__ = ["SweepResult", "open_sweep"]


def open_sweep(path: str | Path, bars: Bars | None = None) -> SweepResult:
    """Open the sweep in a directory, which need not be complete.

    :attr:`SweepResult.complete` tells whether every combination is done.

    Parameters
    ----------
    path : str or Path
        What was given to the sweep as ``out``.
    bars : Bars, optional
        The bars that were swept, for :meth:`SweepResult.replay`; without them their file is read.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        If the directory holds no sweep.
    DataError
        If it is damaged, or no shard is done yet.
    """
    return SweepResult.open(path, bars=bars)


class SweepResult(SweepRows):
    """The combinations of a sweep, with their parameters and metrics.

    It can be pickled, and so sent to other processes: with its rows and bars if it is in memory,
    by the path of its directory if it is on disk.

    Attributes
    ----------
    n_combos : int
        Combinations that are done.
    complete : bool
        Whether these are all combinations of the sweep.
    n_missing : int
        Combinations that are not done yet.
    columns : tuple of str
        ``combo_id``, the swept parameters by full key, and the metrics.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"combo_id": [0, 1, 2], "rules.stop": [1.0, 2.0, 3.0],
    ...                  "sharpe": [0.5, float("nan"), 1.5]})
    >>> sweep = SweepResult.of_tables([rows], {"identity": {}})
    >>> sweep.top(2, by="sharpe")["rules.stop"].tolist()
    [3.0, 1.0]
    """

    def top(
        self,
        n: int = 20,
        *,
        by: str = "sharpe",
        ascending: bool | None = None,
        where: str = "",
        worst_case: bool = False,
    ) -> pd.DataFrame:
        """Return the best combinations, best first; warn where the sweep is not complete.

        Numbers come first, then undefined ones (``nan``), and ruined accounts last, whatever
        column decides and in either direction. Ties are ordered by ``combo_id``. To see ruined
        accounts alone, ask for them: ``where="ruined"``.

        Parameters
        ----------
        n : int
            How many.
        by : str
            Column that decides: a metric or a parameter.
        ascending : bool, optional
            Whether small is good. By default that depends on the metric: small drawdowns and
            losses are good, and large values of everything else.
        where : str
            A condition on columns, such as ``"total_trades >= 100"``.
        worst_case : bool
            Rank by the worse of both scenarios, ``stop_first`` and ``target_first``; the sweep
            must have computed both. An account that is ruined in either counts as ruined.

        Returns
        -------
        DataFrame
            One row for each combination: ``combo_id``, parameters, metrics.

        Raises
        ------
        ConfigError
            If a column or scenario does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        best = self.top_table(n, by=by, ascending=ascending, where=where, worst_case=worst_case)
        if not self.complete:
            warnings.warn(f"{self.completeness}; resume the sweep", BacktestWarning, stacklevel=2)
        frame: pd.DataFrame = best.to_pandas()
        return frame

    def top_table(
        self,
        n: int = 20,
        *,
        by: str = "sharpe",
        ascending: bool | None = None,
        where: str = "",
        worst_case: bool = False,
    ) -> pa.Table:
        """Return the rows of :meth:`top` as a pyarrow table, without importing pandas."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ConfigError(f"n = {n!r} is not allowed; give a whole number of at least 1")
        small = small_is_good(by) if ascending is None else ascending
        self._rows.require_numbers(by)
        columns = [by, self._rows.other_scenario(by)] if worst_case else [by]
        ruin = self._rows.ruin_columns(columns)
        best = BestRows(int(n))
        wanted = [COMBO_ID, *columns, *ruin]
        for source, batch in self._rows.batches(wanted, self._rows.condition(where)):
            # the largest key is the worst case, and nan if either is
            keys = ranking_keys(batch, dict.fromkeys(columns, small)).max(axis=0)
            ids = batch[COMBO_ID].to_numpy()
            best.add(keys, ids, ruined=any_true(batch, ruin), source=source)
        return self._rows.take(best.ids, best.sources)

    def pareto(
        self,
        objectives: Mapping[str, Direction] | Sequence[str] = ("total_return", "max_drawdown"),
        *,
        where: str = "",
    ) -> pd.DataFrame:
        """Return the combinations that no other beats: as good in every objective, better in one.

        Ruined accounts are left out, unless every account that meets ``where`` is ruined.

        Parameters
        ----------
        objectives : mapping of str to {"max", "min"}, or sequence of str
            Columns; in a sequence, whether small or large is good depends on the metric.
        where : str
            A condition on columns.

        Returns
        -------
        DataFrame
            The front, by the first objective, best first, then by the next ones and
            ``combo_id``. Combinations that are equal in all objectives are all on it; those with
            a ``nan`` in one are not.

        Raises
        ------
        ConfigError
            If a column or direction does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        smaller = self._rows.objectives(objectives)
        condition = self._rows.without_ruined(self._rows.condition(where), list(smaller))
        front = ParetoFront(len(smaller))
        for source, batch in self._rows.batches([COMBO_ID, *smaller], condition):
            front.add(ranking_keys(batch, smaller), batch[COMBO_ID].to_numpy(), source=source)
        frame: pd.DataFrame = self._rows.take(front.ids, front.sources).to_pandas()
        return frame

    def slice(
        self,
        key: str,
        *,
        by: str = "sharpe",
        fixed: Mapping[str, Any] | Literal["best"] = "best",
        reduce: Reduction = "best",
        where: str = "",
    ) -> pd.Series[float]:
        """Return a metric along one parameter.

        Parameters
        ----------
        key : str
            Full key of the parameter, such as ``"rules.stop"``.
        by : str
            The metric.
        fixed : mapping or "best"
            Values of other parameters. ``"best"`` takes those of the combination that :meth:`top`
            puts first by ``by``.
        reduce : {"best", "max", "min", "mean", "median"}
            How combinations that differ only in parameters that are not fixed become one number.
            ``"best"`` leaves ruined accounts out, unless every account that meets ``fixed`` and
            ``where`` is ruined; the others take all.
        where : str
            A condition on columns.

        Returns
        -------
        Series
            The metric by the parameter's values, ascending; ``nan`` where no combination counts.

        Raises
        ------
        ConfigError
            If a name or value does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        if isinstance(fixed, str) and fixed != "best":
            raise ConfigError(f'fixed = {fixed!r} is not allowed; give a mapping, or "best"')
        if isinstance(fixed, str):
            best = self.top(1, by=by, where=where)
            others = (name for name in self._swept.keys if name != key)
            fixed = {name: best[name].iloc[0] for name in others} if len(best) else {}
        values = metric_by_values(self._rows, self._swept, [key], by, fixed, reduce, where)
        return pd.Series(values, index=pd.Index(self._swept.of(key), name=key), name=by)

    def heatmap(
        self,
        x: str,
        y: str,
        *,
        by: str = "sharpe",
        reduce: Reduction = "best",
        fixed: Mapping[str, Any] | None = None,
        where: str = "",
    ) -> pd.DataFrame:
        """Return a metric over two parameters.

        Parameters
        ----------
        x, y : str
            Full keys of the parameters of the columns and rows.
        by, reduce, fixed, where
            As in :meth:`slice`; nothing is fixed by default.

        Returns
        -------
        DataFrame
            The metric, rows by ``y`` and columns by ``x``, ascending; ``nan`` where no
            combination counts.

        Raises
        ------
        ConfigError
            If a name or value does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        if x == y:
            raise ConfigError(f"x and y are both {x!r}; give two parameters")
        values = metric_by_values(self._rows, self._swept, [y, x], by, fixed or {}, reduce, where)
        rows, columns = (pd.Index(self._swept.of(key), name=key) for key in (y, x))
        return pd.DataFrame(values.reshape(len(rows), len(columns)), index=rows, columns=columns)

    def replay(
        self,
        combo_id: int | None = None,
        *,
        by: str | None = None,
        rank: int | None = None,
        range: tuple[Moment, Moment] | None = None,  # noqa: A002
    ) -> BacktestResult:
        """Run one combination again, on the engine of the sweep, with its trades and equity.

        Parameters
        ----------
        combo_id : int, optional
            Number of the combination.
        by, rank : str and int, optional
            Instead of it, its place in the ranking of :meth:`top` by a column: 1 is the best, and
            ``"sharpe"`` the column unless another is named.
        range : pair of str, date or None, optional
            Instead of the sweep's range, half-open on the session's clock: other days, as to judge
            a choice by what came after.

        Returns
        -------
        BacktestResult
            Its ``to_toml``, ``to_csv``, ``to_excel`` and ``plot`` write what was found.

        Raises
        ------
        ConfigError
            If there is no such combination or place, the range holds no bar, or the bars are not
            given and have no file.
        DataError
            If the bars are not those that were swept.
        """
        combo_id = self.row_id(combo_id, by=by, rank=rank)
        strategy, rules, contract = self.grid.settings(combo_id)
        bars = self._replay_bars()
        with believing("the sweep"):
            metrics = MetricSettings.from_mapping(self._identity("metrics"))
            first, last = map(index, self._identity("range"))
            if not 0 <= first < last <= len(bars):
                raise ValueError(f"range = {first}, {last} of {len(bars)} bars")
        signals = strategy.compute(bars)
        job = prepare(bars, strategy, signals, rules, contract, metrics, range)
        if range is None:
            job = replace(job, first=first, last=last)
        engine, _ = resolve(self._identity("engine"), job)
        reason = f"the sweep ran on {engine.name}"
        place = "" if self._directory is None else f" of the sweep {str(self._directory)!r}"
        note = f"Combination {combo_id}{place}: run this file, and it is replayed."
        source = self.manifest.get("data") or None
        return BacktestResult(job, engine.run(job), engine, reason, source=source, note=note)

    def to_set(
        self, combo_id: int, path: str | Path, *, names: Mapping[str, str] | None = None
    ) -> None:
        """Write the inputs of a combination as a ``.set`` file, which MetaTrader 5 loads.

        It holds the parameters of strategy and rules, the quantity, and what else the grid varies,
        as ``name=value||start||step||stop||N``: the range is the grid's where its values are evenly
        spaced. The expert advisor must have inputs of these names, and is yours to write.

        Parameters
        ----------
        combo_id : int
            Number of the combination.
        path : str or Path
            The file; an earlier one is replaced.
        names : mapping of str to str, optional
            The expert advisor's own names of inputs, by full key: ``{"rules.stop": "InpStop"}``.

        Raises
        ------
        ConfigError
            If there is no such combination, or a name is not allowed.
        OSError
            If the file cannot be written.
        """
        combo_id = self.row_id(combo_id)
        note = f"combination {combo_id} of a sweep by backtest-py"
        replace_file(Path(path), set_file(self.grid, combo_id, names=names, note=note))

    def _repr_html_(self) -> str:
        return sweep_card(self)

    def row_id(
        self, combo_id: int | None = None, *, by: str | None = None, rank: int | None = None
    ) -> int:
        """Return the number of a combination that is named as :meth:`replay` takes it.

        Raises
        ------
        ConfigError
            If there is no such place, or the row is named twice or not at all.
        """
        if combo_id is None and not self.complete:
            text = f"{self.completeness}; what is missing may rank higher"
            warnings.warn(text, BacktestWarning, stacklevel=2)
        return chosen_row(lambda n, by: self.top_table(n, by=by), combo_id, by, rank)
