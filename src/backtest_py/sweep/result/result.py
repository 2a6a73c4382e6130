"""The result of a sweep: its combinations with parameters and metrics, and ways to look at them.

Wherever rows are ranked, a ruined account is behind every other one: its metrics are those of the
days before the ruin, so they may look good.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import numpy as np

from backtest_py._io.files import replace_file
from backtest_py.errors import BacktestWarning, ConfigError
from backtest_py.sweep.result.columns import plateau_columns, ranking_keys
from backtest_py.sweep.result.deciding import chosen_row, set_file
from backtest_py.sweep.result.plateaus import with_columns
from backtest_py.sweep.result.ranking import ParetoFront
from backtest_py.sweep.result.replaying import in_threads, replayed
from backtest_py.sweep.result.rows import SweepRows
from backtest_py.sweep.result.showing import sweep_card
from backtest_py.sweep.result.slices import metric_by_values
from backtest_py.sweep.result.top import CANDIDATES, Ranking
from backtest_py.sweep.result.verdict import luck_line, verdict
from backtest_py.sweep.store.tables import COMBO_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.bars import Bars
    from backtest_py.metrics.custom import Metric
    from backtest_py.sweep.result.columns import Direction
    from backtest_py.sweep.result.plateaus import MetricOnGrid, PlateauReport
    from backtest_py.sweep.result.reductions import Reduction
    from backtest_py.sweep.result.replaying import Moment
    from backtest_py.sweep.result.top import TopSettings

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

    verdict = verdict

    def __repr__(self) -> str:
        luck = luck_line(self)
        return super().__repr__() + (luck and f"\n{luck}")

    def top(
        self,
        n: int = 20,
        *,
        by: Metric = "sharpe",
        ascending: bool | None = None,
        where: str = "",
        min_trades: int = 0,
        worst_case: bool = False,
        plateau: bool = False,
        candidates: int = CANDIDATES,
        first_by: Metric = "sharpe",
    ) -> pd.DataFrame:
        """Return the best combinations, best first; warn where the sweep is not complete.

        Numbers come first, then undefined ones (``nan``), and ruined accounts last, whatever
        decides and in either direction. Ties are ordered by ``combo_id``. To see ruined accounts
        alone, ask for them: ``where="ruined"``.

        Parameters
        ----------
        n : int
            How many.
        by : str, ColumnMetric, TradeMetric or callable
            What decides: a column (a metric or a parameter); arithmetic on columns, such as
            ``"total_return / max_drawdown"``; or a metric of your own. Its value is then a column
            of its name. A plain function is taken for a :class:`~backtest_py.ColumnMetric`: it
            sees the rows that meet ``where``.
        ascending : bool, optional
            Whether small is good. By default that depends on the metric: small drawdowns and
            losses are good, and large values of everything else.
        where : str
            A condition on columns, such as ``"total_trades >= 100"``.
        min_trades : int
            Leave out rows with fewer trades.
        worst_case : bool
            Rank by the worse of both scenarios, ``stop_first`` and ``target_first``; the sweep
            must have computed both. An account that is ruined in either counts as ruined.
        plateau : bool
            Rank by the worst of a row's own metric and those of its neighbours, which are one step
            of one parameter away; see :meth:`plateaus`. ``plateau_worst`` and ``plateau_median``
            of the neighbours stand beside the metric. All rows count as neighbours, whatever
            ``where`` and ``min_trades`` leave out.
        candidates : int
            For a :class:`~backtest_py.TradeMetric`: so many rows, at least ``n``, the best by
            ``first_by``, are replayed and then ranked by it. No other row can come up.
        first_by : str, ColumnMetric or callable
            What chooses the candidates.

        Returns
        -------
        DataFrame
            One row for each combination: ``combo_id``, parameters, metrics.

        Raises
        ------
        ConfigError
            If a column or scenario does not exist, ``where`` is not a condition, or an own metric
            fails.
        DataError
            If a file is damaged, or the bars to replay are not those that were swept.
        """
        best = self.top_table(
            n,
            by=by,
            ascending=ascending,
            where=where,
            min_trades=min_trades,
            worst_case=worst_case,
            plateau=plateau,
            candidates=candidates,
            first_by=first_by,
        )
        self._warn_of_missing()
        frame: pd.DataFrame = best.to_pandas()
        return frame

    def top_table(self, n: int = 20, **how: Unpack[TopSettings]) -> pa.Table:
        """Return the rows of :meth:`top` as a pyarrow table, without importing pandas."""
        ranking = Ranking(**how).on(self._rows)
        return ranking.best(n, self._rows, self._axes, self._replays)

    def plateaus(self, by: Metric = "sharpe") -> pd.DataFrame:
        """Return for each combination what a metric is one step away in the grid.

        The neighbours of a combination are those one step up or down along one parameter, in the
        order in which the grid lists its values. A neighbour whose metric is undefined or whose
        account is ruined counts as the worst. Combinations that the sweep left out are nobody's
        neighbours.

        Parameters
        ----------
        by : str, ColumnMetric or callable
            The metric.

        Returns
        -------
        DataFrame
            One row for each combination, by ``combo_id``: the parameters, the metric (nan where the
            account is ruined), ``plateau_worst`` and ``plateau_median`` over the neighbours (nan
            where there is none), ``plateau_score``, the worse of the metric and ``plateau_worst``,
            by which ``top`` ranks, ``n_neighbours``, and ``ruined``.

        Raises
        ------
        ConfigError
            If the column does not exist, a parameter was drawn from a continuous range, or no two
            rows are neighbours.
        DataError
            If a file is damaged.

        Examples
        --------
        >>> import backtest_py as bt
        >>> grid = {"rules.stop": [1.0, 1.5, 2.0], "strategy.lookback": [5, 10]}
        >>> found = bt.sweep(bt.synthetic_bars(n_days=20), grid=grid).plateaus("total_return")
        >>> found["n_neighbours"].tolist()
        [2, 2, 3, 3, 2, 2]
        """
        surface, axes = self._surface(Ranking(by)), self._axes()
        kept = [COMBO_ID, *(axis["key"] for axis in axes)]
        kept += [name for name in ("ruined",) if name in self.columns]
        columns = {
            surface.name: surface.metric,
            **surface.columns(),
            "plateau_score": surface.around.score,
            "n_neighbours": surface.around.n_neighbours,
        }
        table = with_columns(self._rows.table(kept), columns, kept[len(axes)])
        self._warn_of_missing()
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def plateau_report(
        self,
        by: Metric = "sharpe",
        *,
        ascending: bool | None = None,
        where: str = "",
        min_trades: int = 0,
        worst_case: bool = False,
    ) -> PlateauReport:
        """Return the best row beside the best plateau, with cliffs, edges and sensitivities.

        Parameters
        ----------
        by : str, ColumnMetric or callable
            The metric.
        ascending, where, min_trades, worst_case
            As :meth:`top` takes them. Rows that they leave out are not the best, but still
            neighbours.

        Returns
        -------
        PlateauReport
            ``print`` shows it in plain words.

        Raises
        ------
        ConfigError, DataError
            As :meth:`plateaus`.
        """
        how = Ranking(by, ascending, where, min_trades, worst_case)
        surface, condition = self._surface(how), how.condition(self._rows)
        if condition is None:
            return surface.report()
        admitted = self._rows.table([COMBO_ID], condition)[COMBO_ID].to_numpy()
        return surface.report(np.isin(surface.ids, admitted, assume_unique=True))

    def store_plateaus(self, by: str = "sharpe") -> Self:
        """Return this sweep with its plateaus as columns, which conditions and rankings may name.

        They are ``plateau_BY_worst``, ``plateau_BY_median`` and ``plateau_BY_score``, as
        :meth:`plateaus` describes them. Of a sweep on disk they are written to a file of their own
        beside the results, and :func:`backtest_py.open_sweep` shows them from then on.

        Parameters
        ----------
        by : str
            The metric.

        Raises
        ------
        ConfigError
            If the sweep is not complete, or as :meth:`plateaus`.
        DataError
            If a file is damaged.
        StorageError
            If the file cannot be written.

        Examples
        --------
        >>> import backtest_py as bt
        >>> grid = {"rules.stop": [1.0, 1.5, 2.0], "strategy.lookback": [5, 10]}
        >>> sweep = bt.sweep(bt.synthetic_bars(n_days=20), grid=grid)
        >>> sweep.store_plateaus("total_return").columns[-1]
        'plateau_total_return_score'
        """
        if not isinstance(by, str):
            raise ConfigError(f"by = {by!r} cannot be stored; give the name of a column")
        self._known([by])
        if not self.complete:
            raise ConfigError(
                f"plateaus are stored of a complete sweep, and {self.completeness}; resume it first"
            )
        surface = self._surface(Ranking(by))
        around = surface.around
        arrays = around.worst, around.median, around.score
        columns = dict(zip(plateau_columns(by), arrays, strict=True))
        return self._with_columns(f"plateau_{by}", surface.ids, columns)

    def sensitivity(self, by: Metric = "sharpe") -> pd.DataFrame:
        """Return how much a metric hangs on each parameter, all others taken together.

        Parameters
        ----------
        by : str, ColumnMetric or callable
            The metric; rows where it is undefined, and ruined ones, do not count.

        Returns
        -------
        DataFrame
            One row for each parameter, the most important first: ``explained``, the share of the
            metric's variance that the means by its values explain, 0 to 1; ``range_of_means``;
            ``best_value`` and ``worst_value`` with their means; ``n_values``.

        Raises
        ------
        ConfigError, DataError
            As :meth:`plateaus`.
        """
        found = self._surface(Ranking(by)).sensitivity()
        self._warn_of_missing()
        return found

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
        by: Metric | None = None,
        rank: int | None = None,
        range: tuple[Moment, Moment] | None = None,  # noqa: A002
    ) -> BacktestResult:
        """Run one combination again, on the engine of the sweep, with its trades and equity.

        Parameters
        ----------
        combo_id : int, optional
            Number of the combination.
        by, rank : as :meth:`top` takes ``by``, and int, optional
            Instead of it, its place in that ranking: 1 is the best, and ``"sharpe"`` decides unless
            another metric is named.
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
        settings, source = self.grid.settings(combo_id), self.manifest.get("data") or None
        place = "" if self._directory is None else f" of the sweep {str(self._directory)!r}"
        note = f"Combination {combo_id}{place}: run this file, and it is replayed."
        bars = self._replay_bars()
        return replayed(bars, settings, self._identity, range, source=source, note=note)

    def row_id(
        self, combo_id: int | None = None, *, by: Metric | None = None, rank: int | None = None
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

    def _replays(self, combo_ids: Iterable[int]) -> Iterator[BacktestResult]:
        bars, grid = self._replay_bars(), self.grid
        # a user's own function may not bear to be called by several threads at once
        threads = 1 if grid.strategy.computes_signals else 0
        settings = map(grid.settings, combo_ids)
        return in_threads(lambda each: replayed(bars, each, self._identity), settings, threads)

    def _axes(self) -> Sequence[Mapping[str, Any]]:
        return self._swept.axes

    def _surface(self, how: Ranking) -> MetricOnGrid:
        return how.on(self._rows).surface(self._rows, self._axes())

    def _warn_of_missing(self) -> None:
        """Warn the caller of a method where the sweep is not complete."""
        if not self.complete:
            warnings.warn(f"{self.completeness}; resume the sweep", BacktestWarning, stacklevel=3)
