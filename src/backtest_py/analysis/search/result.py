"""What a search found: its trials, the best of them, and what luck has to do with it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.paths import given_path
from backtest_py.analysis.search.evaluation import replayed
from backtest_py.analysis.search.objectives import parameters_of
from backtest_py.analysis.search.store import write_results
from backtest_py.backtest.metrics import number_text
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import counted
from backtest_py.sweep.result.ranking import ParetoFront
from backtest_py.sweep.store.tables import arrow_array, shard_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.analysis.search.explore import Explored
    from backtest_py.analysis.search.objectives import Objective
    from backtest_py.backtest.result import BacktestResult
    from backtest_py.engines.base import Engine
    from backtest_py.overfitting.verdict import Verdict
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["SearchResult", "front_places", "trials_bytes", "trials_table"]

FEASIBLE: Final = "feasible"


class SearchResult:
    """The combinations that a search evaluated. Made by :func:`backtest_py.search`.

    Attributes
    ----------
    objectives : tuple of Objective
        What was looked for.
    manifest : dict
        What was searched, on which bars, by which engine, and what came out.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> axes = {"rules.stop": [1.0, 2.0, 3.0], "rules.target": [1.0, 2.0, 3.0]}
    >>> found = bt.search(bars, "barra_elefante", axes, n_trials=20, min_trades=1)
    >>> found.n_trials, len(found.trials)
    (9, 9)
    >>> bool(found.best["sharpe"] == found.trials["sharpe"].max())
    True
    """

    def __init__(
        self,
        spec: SweepSpec,
        engine: Engine,
        objectives: Sequence[Objective],
        explored: Explored,
        manifest: Mapping[str, Any],
    ) -> None:
        self._spec, self._engine, self._explored = spec, engine, explored
        self.objectives = tuple(objectives)
        self.manifest = dict(manifest)

    @property
    def n_trials(self) -> int:
        """Distinct combinations that were evaluated: the number that statistics of luck take."""
        return len(self._explored.combo_ids)

    def __len__(self) -> int:
        return self.n_trials

    @cached_property
    def table(self) -> pa.Table:
        """The trials as a pyarrow table; columns as :attr:`trials`."""
        return trials_table(self._spec, self.objectives, self._explored)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every trial in the order of the search.

        Columns ``trial``, ``batch``, ``combo_id`` (the number in the full grid), the swept
        parameters under their full keys, the metrics, own metrics under their names, and
        ``feasible``: whether it may be the best, which takes objectives that are defined, enough
        trades and no ruin.
        """
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    @property
    def best(self) -> pd.Series[Any] | None:
        """The best trial, a row of :attr:`trials`; None where none is feasible.

        Of several objectives the first decides, then the next. Among equals the lowest
        ``combo_id`` wins.
        """
        places = front_places(self.objectives, self._explored)
        return None if len(places) == 0 else self.trials.iloc[int(places[0])]

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front: the feasible trials that no other one beats, the best first.

        None is as good in every objective and better in one. Of one objective, all that share the
        best value.
        """
        return self.trials.iloc[front_places(self.objectives, self._explored)]

    def replay(self, combo_id: int) -> BacktestResult:
        """Run a combination of the grid, evaluated or not, on the engine of the search.

        Raises
        ------
        ConfigError
            If there is no such combination, or the settings' own rules refuse it.
        """
        return replayed(
            self._spec, self._engine, combo_id, f"the search ran on {self._engine.name}"
        )

    def verdict(self) -> Verdict:
        """Judge the best trial by the number of all that were evaluated.

        The trials of a guided search are not independent draws: they crowd where results are
        good. docs/search.md says what that means for the deflated Sharpe ratio.

        Returns
        -------
        Verdict
            Its Sharpe ratio and the rest are nan where no trial is feasible.

        Raises
        ------
        ConfigError
            If scipy is not installed: ``pip install "backtest-py[overfitting]"``.
        """
        from backtest_py.overfitting import (  # noqa: PLC0415 - only a verdict needs statistics
            BestTrial,
            TrialSet,
            judge,
            return_moments,
        )

        settings = self._spec.metrics
        ratios = self._explored.rows[METRICS.index("sharpe")]
        ratios = ratios[~np.isnan(ratios)]
        spread = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else float("nan")
        places = front_places(self.objectives, self._explored)
        days = int(self._explored.rows[METRICS.index("days")].max())
        best = BestTrial(float("nan"), days=days)
        if len(places):
            result = self.replay(int(self._explored.combo_ids[places[0]]))
            moments = return_moments(
                result.daily_returns,
                risk_free_rate=settings.risk_free_rate,
                periods_per_year=settings.periods_per_year,
            )
            best = BestTrial(
                result.metrics.sharpe,
                days=result.metrics.days,
                skew=moments.skew,
                kurtosis=moments.kurtosis,
                total_trades=result.metrics.total_trades,
            )
        trials = TrialSet(self.n_trials, spread)
        return judge(trials, best, periods_per_year=settings.periods_per_year)

    def save(self, directory: str | Path) -> Path:
        """Write ``trials.parquet`` and ``manifest.json`` into a directory.

        Each file is complete or absent, whatever happens; the manifest comes last.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; the same files of an earlier search are replaced.

        Raises
        ------
        ConfigError
            If the directory is a file, or holds the manifest of something else.
        StorageError
            If it cannot be written.
        """
        path = given_path(directory, "directory")
        write_results(path, self.manifest, trials_bytes(self.table))
        return path

    def to_mapping(self) -> dict[str, Any]:
        """Return what ``manifest.json`` holds, without its checksum."""
        return dict(self.manifest)

    def __repr__(self) -> str:
        lines = self.summary()
        if len(front := self.front):
            named = (*(each.name for each in self.objectives), "total_trades", "total_return")
            best = {name: front[name].iloc[0].item() for name in ("combo_id", *named)}
            combo_id = best.pop("combo_id")
            numbers = ", ".join(f"{name} {number_text(value)}" for name, value in best.items())
            chosen = self._spec.grid.values(combo_id).items()
            lines.append(f"best combination {combo_id:,}: {numbers}")
            lines.append(", ".join(f"{key} = {value}" for key, value in chosen))
        if len(self.objectives) > 1:
            lines.append(f"{counted(len(front), 'combination')} on the Pareto front")
        return "\n  ".join(lines)

    def summary(self) -> list[str]:
        """Return lines that say what was done and what is odd about it."""
        size = self._spec.grid.size
        wanted = ", ".join(f"{each.direction} {each.name}" for each in self.objectives)
        lines = [
            f"search for {wanted}: {counted(self.n_trials, 'combination')} of {size:,} evaluated"
        ]
        asked = self.manifest["n_trials_asked"]
        if self.n_trials < min(asked, size):
            lines.append(f"no more were found that are valid and admitted, of {asked:,} asked for")
        feasible = int(np.count_nonzero(self._explored.judged.violations == 0))
        if feasible == 0:
            lines.append(
                "none may be the best: all are ruined, undefined, or have too few trades "
                f"(min_trades = {self.manifest['identity']['search']['min_trades']})"
            )
        elif feasible < self.n_trials:
            out = self.n_trials - feasible
            lines.append(f"{out:,} of them cannot be the best: ruined, undefined, or few trades")
        return lines


def front_places(objectives: Sequence[Objective], explored: Explored) -> NDArray[np.int64]:
    """Return the places of the trials on the Pareto front, the best by the first objective first.

    Those with equal objectives are ordered by ``combo_id``.
    """
    feasible = np.flatnonzero(explored.judged.violations == 0)
    signs = np.array([[1.0 if each.smaller_is_better else -1.0] for each in objectives])
    keys, ids = signs * explored.judged[0][:, feasible], explored.combo_ids[feasible]
    front = ParetoFront(len(objectives))
    front.add(keys, ids, source=0)
    place_of = dict(zip(ids.tolist(), feasible.tolist(), strict=True))
    return np.array([place_of[each] for each in front.ids.tolist()], np.int64)


def trials_table(spec: SweepSpec, objectives: Sequence[Objective], explored: Explored) -> pa.Table:
    """Return every trial in the order of the search."""
    ids = explored.combo_ids
    columns = parameters_of(spec.grid, ids)
    parameters = {key: arrow_array(column) for key, column in columns.items()}
    metrics = np.ascontiguousarray(explored.rows[: len(METRICS)])
    table = shard_table(ids, parameters, metrics)
    for row, each in zip(explored.judged.values, objectives, strict=True):
        if each.own is not None:
            table = table.append_column(each.name, arrow_array(row))
    table = table.append_column(FEASIBLE, arrow_array(explored.judged.violations == 0))
    numbers = np.arange(len(ids), dtype=np.int64)
    table = table.add_column(0, "batch", arrow_array(explored.batches.astype(np.int64)))
    return table.add_column(0, "trial", arrow_array(numbers))


def trials_bytes(table: pa.Table) -> bytes:
    """Return ``trials.parquet``, whose bytes depend on the trials alone."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks(),
        sink,
        compression="zstd",
        write_page_checksum=True,
        store_schema=False,
    )
    return bytes(sink.getvalue())
