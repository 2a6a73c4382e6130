"""Which combination a training chooses: scores, shard by shard, and the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.fingerprints import code_hash
from backtest_py.metrics.catalogue import METRICS
from backtest_py.metrics.custom import ColumnMetric, TradeMetric, as_metric
from backtest_py.overfitting.plateaus import GridValues
from backtest_py.parameters import unknown_name
from backtest_py.sweep.result.columns import small_is_good
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.sweep.compute.tabulate import Numbers
    from backtest_py.sweep.space.combinations import Combinations
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["Best", "Choice", "Choose", "Scores"]

Choose: TypeAlias = str | ColumnMetric | Callable[[Mapping[str, Any]], Any]
"""A metric, an own metric of columns, or a function of columns."""

_TRADES: Final = METRICS.index("total_trades")
_RUINED: Final = METRICS.index("ruined")
_SIGNALS: Final = "signals"


@dataclass(frozen=True, slots=True)
class Choice:
    """How a training chooses.

    Attributes
    ----------
    by : str or ColumnMetric
        A metric of the catalogue, or one of the user's own.
    min_trades : int
        Trades that a row has at least.
    plateau : bool
        Whether rows are judged by the worse of themselves and their worst neighbour in the grid.
    """

    by: str | ColumnMetric
    min_trades: int
    plateau: bool

    @classmethod
    def of(cls, choose: Choose, min_trades: int, plateau: bool) -> Self:  # noqa: FBT001 - as fields
        """Return a choice as users write it.

        Raises
        ------
        ConfigError
            If it is none, or asks for the trades of every combination.
        """
        by = as_metric(choose, "choose")
        if isinstance(by, TradeMetric):
            raise ConfigError(
                f"choose = {by.name} is a TradeMetric, which needs a backtest of every combination "
                "in every window; give a ColumnMetric or a metric's name, and judge the trades of "
                "the tests by it afterwards"
            )
        return cls(by, min_trades, plateau)

    def __post_init__(self) -> None:
        """Check them."""
        if isinstance(self.by, str) and self.by not in METRICS:
            raise unknown_name("metric to choose by", self.by, METRICS)
        if (
            isinstance(self.min_trades, bool)
            or not isinstance(self.min_trades, int)
            or self.min_trades < 0
        ):
            raise ConfigError(
                f"min_trades = {self.min_trades!r} is not allowed; give a whole number of at "
                "least 0"
            )
        if not isinstance(self.plateau, bool):
            raise ConfigError(f"plateau = {self.plateau!r} is not allowed; give True or False")

    @property
    def small_is_good(self) -> bool:
        """Whether small scores are good."""
        if isinstance(self.by, str):
            return small_is_good(self.by)
        return self.by.smaller_is_better

    def check(self, grid: Combinations) -> None:
        """Refuse to look for plateaus among single points."""
        if self.plateau and not grid.crosses:
            raise ConfigError(
                "plateau compares neighbours in a grid, and a sample has none; give the whole "
                "grid, or plateau=False"
            )

    def score(
        self, metrics: NDArray[np.float64], parameters: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64]:
        """Return the score of every row in one window, nan where it must not be chosen.

        Parameters
        ----------
        metrics : ndarray of float64, shape (n_metrics, n)
            In the order of the catalogue.
        parameters : mapping of str to ndarray, shape (n,)
            Swept parameters by full key.
        """
        if isinstance(self.by, str):
            scores = metrics[METRICS.index(self.by)]
        else:
            columns = dict(zip(METRICS, metrics, strict=True))
            scores = self.by.values({**columns, **parameters})
        allowed = (metrics[_RUINED] == 0.0) & (metrics[_TRADES] >= self.min_trades)
        return np.where(allowed, scores, np.nan)

    def to_mapping(self) -> dict[str, Any]:
        """Return what is chosen by, ready for JSON; of an own metric its name and its code."""
        by, asked = self.by, {"min_trades": self.min_trades, "plateau": self.plateau}
        if isinstance(by, str):
            return {"choose": by, **asked}
        own = {"smaller_is_better": by.smaller_is_better, "code": code_hash(by.function)}
        return {"choose": by.name, **asked, "own": own}


@dataclass(frozen=True, slots=True)
class Scores:
    """Makes the table of a shard: the score of every combination in every window.

    Attributes
    ----------
    choice : Choice
        How rows are scored.
    """

    choice: Choice

    def __call__(self, spec: SweepSpec, found: Numbers, hashes: str) -> pa.Table:
        """Return ``combo_id`` and a column for each window."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        combo_ids, digits, _ = found.rows
        parameters: dict[str, NDArray[Any]] = {}
        if isinstance(self.choice.by, ColumnMetric):
            parameters = {
                axis.key: np.array(axis.values)[column]
                for axis, column in zip(spec.grid.axes, digits, strict=True)
            }
        columns = {COMBO_ID: arrow_array(combo_ids)}
        for number, metrics in enumerate(found.metrics[0]):
            scores = np.empty(0)
            if len(combo_ids):
                scores = self.choice.score(metrics, parameters)
            columns[f"window_{number}"] = arrow_array(scores)
        return pa.table(columns, metadata={_SIGNALS: hashes} if hashes else None)


class Best:
    """The best combination of every window, while the scores of shards come by in any order.

    Parameters
    ----------
    choice : Choice
        How rows were scored.
    grid : Combinations
        All combinations.
    n_windows : int
        Number of windows.
    """

    def __init__(self, choice: Choice, grid: Combinations, n_windows: int) -> None:
        self._choice, self._grid = choice, grid
        self._ids = np.full(n_windows, -1, np.int64)
        self._scores = np.full(n_windows, np.nan)
        self._tables: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def add(self, table: Any) -> None:
        """Take the table of one shard."""
        whole: list[Any] = [np.from_dlpack(each.combine_chunks()) for each in table.columns]
        ids, *columns = whole
        if len(ids) == 0:
            return
        scores = np.stack(columns)
        if self._choice.plateau:
            self._tables.append((np.array(ids), scores))
        else:
            self._offer(ids, scores)

    def found(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the best combination of every window and its score; -1 and nan where none is."""
        if self._tables:
            self._tables.sort(key=lambda table: int(table[0][0]))
            ids = np.concatenate([ids for ids, _ in self._tables])
            scores = np.concatenate([scores for _, scores in self._tables], axis=1)
            order = np.argsort(ids, kind="stable")
            self._tables = []
            self._offer(ids[order], self._plateaus(ids[order], scores[:, order]))
        return self._ids, self._scores

    def _plateaus(self, ids: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = [len(axis) for axis in self._grid.axes] or [1]
        better: Literal["small", "large"] = "small" if self._choice.small_is_good else "large"
        grids = (GridValues(row, shape, ids, better=better) for row in scores)
        return np.stack([grid.plateaus().score for grid in grids])

    def _offer(self, ids: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Offer rows of ascending number, shape (n,), and scores of shape (n_windows, n)."""
        graded = -scores if self._choice.small_is_good else scores
        for window, row in enumerate(graded):
            known = np.flatnonzero(~np.isnan(row))
            if not known.size:
                continue
            place = int(known[row[known].argmax()])
            before = self._scores[window]
            best = -before if self._choice.small_is_good else before
            lower = row[place] == best and ids[place] < self._ids[window]
            if self._ids[window] < 0 or row[place] > best or lower:
                self._ids[window], self._scores[window] = ids[place], scores[window, place]
