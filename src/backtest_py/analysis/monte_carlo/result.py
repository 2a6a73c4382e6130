"""What a Monte Carlo gives back: a table of paths, percentiles, probabilities and a fan chart."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.analysis.monte_carlo.settings import KINDS, NULLS, same_in_any_order
from backtest_py.analysis.monte_carlo.trades import NUMBERS
from backtest_py.backtest.metrics import number_text
from backtest_py.backtest.saving import save_files
from backtest_py.bars import read_only
from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import CATALOGUE, COUNT_METRICS, METRICS, SMALLER_IS_BETTER
from backtest_py.parameters import counted, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from backtest_py.analysis.monte_carlo.settings import MonteCarloSettings
    from backtest_py.analysis.monte_carlo.trades import Paths

    Columns = Mapping[str, NDArray[Any]]

__all__ = ["MonteCarlo"]

FAN: Final = {"p05": 0.05, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p95": 0.95}
"""Columns of a fan chart, and the share of the paths below each."""

FLAGS: Final = ("ruined", "below_level")
"""Columns that are true or false: they have a probability and no percentiles."""

UNCHANGED_BY_ORDER: Final = frozenset(
    {
        *("final_equity", "total_return", "total_return_pct", "below_level", "annual_return_pct"),
        *("win_rate", "expectancy", "avg_win", "avg_loss", "gross_profit", "gross_loss"),
        *("profit_factor", "payoff_ratio", "best_trade", "worst_trade", "sqn"),
        *("winning_trades", "losing_trades", "long_trades", "short_trades", "avg_bars_held"),
    }
)
"""What the trades come to in any order."""

FEW: Final = 30
"""Trades below which percentiles are worth little."""


class MonteCarlo:
    """Paths of a Monte Carlo, and what they say.

    Attributes
    ----------
    settings : MonteCarloSettings
        What was asked for.
    engine, reason : str
        The engine that computed the paths, and why that one.
    n_trades : int
        Trades of the result.
    initial_capital : float
        Equity at the start of every path.
    observed : mapping of str to float, int or bool
        The columns of :attr:`table` for the trades as they were.
    left_out : mapping of str to str
        Names that this kind cannot judge, and why; asking for one raises ConfigError.
    """

    def __init__(
        self,
        settings: MonteCarloSettings,
        paths: Paths,
        observed: Paths,
        *,
        capital: float,
        marks: NDArray[np.int64],
        n_trades: int,
        engine: str,
        reason: str,
        provenance: Mapping[str, Any],
    ) -> None:
        self.settings = settings
        self.engine, self.reason = engine, reason
        self.n_trades, self.initial_capital = n_trades, capital
        self.left_out: Mapping[str, str] = MappingProxyType(_left_out(settings))
        self._level = settings.level or capital
        self._columns = self._named(paths)
        self.observed: Mapping[str, Any] = MappingProxyType(
            {name: column[0].item() for name, column in self._named(observed).items()}
        )
        self._equity, self._observed_equity, self._marks = paths.equity, observed.equity[0], marks
        self._provenance = provenance

    def _named(self, paths: Paths) -> Columns:
        """Return the columns of the table, without those that this kind cannot judge."""
        columns: dict[str, NDArray[Any]] = dict(zip(NUMBERS, paths.numbers.T.copy(), strict=True))
        if paths.metrics is not None:
            metrics = dict(zip(METRICS, paths.metrics.T.copy(), strict=True))
            columns |= {name: metrics[name] for name in METRICS if name not in columns}
        for name in COUNT_METRICS & columns.keys():
            columns[name] = columns[name].astype(np.int64)
        columns["total_return_pct"] = 100.0 * columns["total_return"] / self.initial_capital
        columns["ruined"] = columns["final_equity"] <= 0.0
        columns["below_level"] = columns["final_equity"] < self._level
        first = ("total_trades", "final_equity", "total_return", "total_return_pct")
        order = dict.fromkeys((*first, *NUMBERS, *FLAGS, *columns))
        return {name: read_only(columns[name]) for name in order if name not in self.left_out}

    @property
    def table(self) -> pd.DataFrame:
        """One row for each path, by its number; each access gives a frame of its own.

        ``total_trades`` until the end or the ruin; ``final_equity``, ``total_return`` and
        ``max_drawdown`` in money; ``total_return_pct`` of the initial capital;
        ``max_drawdown_pct`` of the peak; ``max_consecutive_losses``; ``ruined``: the equity fell to
        0 or below, where the path ends; ``below_level``: it ended below ``settings.level``. Paths
        that are backtests have all other metrics besides, of fixed lots.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        return pd.DataFrame(
            {name: column.copy() for name, column in self._columns.items()},
            index=pd.RangeIndex(self.settings.n_paths, name="path"),
        )

    def quantiles(
        self, q: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95), columns: str | Sequence[str] = ()
    ) -> pd.DataFrame:
        """Return percentiles of the table's columns over all paths.

        Parameters
        ----------
        q : float or sequence of float
            Shares of the paths, 0 to 1.
        columns : str or sequence of str
            Columns of :attr:`table`, by default all that are numbers.

        Returns
        -------
        DataFrame
            A row for each share, a column for each name. Between two paths it is interpolated,
            linearly; paths on which a metric is undefined do not count.

        Raises
        ------
        ConfigError
            If a share is not from 0 to 1, if there is no such column, or if this kind of path
            cannot change it; the message says why.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        shares = _shares(q)
        names = [columns] if isinstance(columns, str) else list(columns)
        for name in names:
            self._require(name)
            if name in FLAGS:
                raise ConfigError(
                    f"{name} is true or false and has no percentiles; ask for its probability: "
                    "mc.probability_of_ruin, mc.probability_below(level)"
                )
        chosen = names or [name for name in self._columns if name not in FLAGS]
        found = {
            name: [_quantile(self._columns[name], share) for share in shares] for name in chosen
        }
        return pd.DataFrame(found, index=pd.Index(shares, name="quantile"))

    @property
    def probability_of_ruin(self) -> float:
        """Share of the paths whose equity fell to 0 or below."""
        return float(np.count_nonzero(self._columns["ruined"]) / self.settings.n_paths)

    def probability_below(self, level: float | None = None) -> float:
        """Return the share of the paths that ended with an equity below a level.

        Parameters
        ----------
        level : float, optional
            In money; by default ``settings.level``, which is the initial capital unless given.

        Raises
        ------
        ConfigError
            If the level is not a number, or if this kind of path cannot change where it ends.
        """
        self._require("below_level")
        wanted = self._level if level is None else level
        if isinstance(wanted, bool) or not isinstance(wanted, (int, float, np.number)):
            raise ConfigError(f"level = {wanted!r} is not allowed; give an equity in money")
        if np.isnan(wanted):
            raise ConfigError("level = nan is not allowed; give an equity in money")
        below = self._columns["final_equity"] < wanted
        return float(np.count_nonzero(below) / self.settings.n_paths)

    def p_value(self, name: str = "total_return") -> float:
        """Return how likely luck alone does as well as what was observed.

        It is ``(1 + paths that are as good or better) / (1 + paths)``: never 0, because what was
        observed is one of the possibilities. Better is larger, but smaller for drawdowns and
        losing streaks. A path on which a metric is undefined is not better.

        Parameters
        ----------
        name : str
            A column of :attr:`table`.

        Raises
        ------
        ConfigError
            If these paths are no null model, if there is no such column or it is undefined for what
            was observed, or if this kind of path cannot change it; the message says why.
        """
        self._require(name)
        kind = self.settings.kind
        if kind not in {"null", "shuffle"}:
            raise ConfigError(
                f"kind = {kind!r} keeps the edge of the trades, if there is one, so that a p-value "
                'would always be near one half; give kind = "null"'
            )
        if name in FLAGS:
            raise ConfigError(f"{name} has no p-value; ask for a number, such as max_drawdown")
        if name in METRICS and not CATALOGUE[name].better:
            raise ConfigError(
                f"{name} has no p-value: neither more nor less of it is better; ask for "
                "total_return, or under shuffle for max_drawdown"
            )
        seen, found = float(self.observed[name]), self._columns[name]
        if np.isnan(seen):
            raise ConfigError(
                f"{name} is undefined for what was observed, so that nothing can be compared; ask "
                "for total_return"
            )
        small = name in SMALLER_IS_BETTER
        better = int(np.count_nonzero(found <= seen if small else found >= seen))
        return (1 + better) / (1 + self.settings.n_paths)

    @property
    def fan(self) -> pd.DataFrame:
        """Percentiles of the equity by number of trades, for a chart.

        A row for every trade, the start included; of more than 100 trades for 100 of them, evenly
        spread. Columns ``p05``, ``p25``, ``p50``, ``p75``, ``p95`` and ``observed``. A path that
        has fewer trades keeps its last equity. Exact over the first 100,000 paths.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        columns = np.sort(self._equity, axis=0)
        found = {name: _at_share(columns, share) for name, share in FAN.items()}
        found["observed"] = self._observed_equity.copy()
        return pd.DataFrame(found, index=pd.Index(self._marks, name="trade"))

    def to_mapping(self) -> dict[str, Any]:
        """Return settings, percentiles, probabilities and provenance, ready for JSON."""
        quantiles = self.quantiles()
        numbers: dict[str, Any] = {
            "probability_of_ruin": self.probability_of_ruin,
            "level": self._level,
        }
        if "below_level" not in self.left_out:
            numbers["probability_below_level"] = self.probability_below()
        return {
            "kind": "monte_carlo",
            "settings": self.settings.to_mapping(),
            "n_trades": self.n_trades,
            "initial_capital": self.initial_capital,
            "observed": {name: _plain(value) for name, value in self.observed.items()},
            "quantiles": {
                str(share): {str(name): _plain(value) for name, value in row.items()}
                for share, row in quantiles.to_dict("index").items()
            },
            **numbers,
            "p_values": self.p_values(),
            "left_out": dict(self.left_out),
            "provenance": dict(self._provenance),
        }

    def p_values(self) -> dict[str, float]:
        """Return the p-values that are asked for first; none where the paths are no null model."""
        names: tuple[str, ...] = ()
        if self.settings.kind == "null":
            names = ("total_return", "profit_factor", "sharpe", "max_drawdown_pct")
        if self.settings.kind == "shuffle":
            names = ("max_drawdown", "max_drawdown_pct", "max_consecutive_losses")
        return {name: self.p_value(name) for name in names if not np.isnan(self.observed[name])}

    def save(self, directory: str | Path) -> Path:
        """Write ``paths.parquet``, ``fan.parquet`` and ``manifest.json`` into a directory.

        Each file is complete or absent, whatever happens. The manifest comes last and holds the
        SHA-256 of the other two.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; the same files of an earlier Monte Carlo are replaced.

        Raises
        ------
        ConfigError
            If the directory is a file, or holds the manifest of something else.
        StorageError
            If it cannot be written.
        """
        files = {
            "paths.parquet": self.table.to_parquet(compression="zstd"),
            "fan.parquet": self.fan.to_parquet(compression="zstd"),
        }
        return save_files(directory, files, self.to_mapping())

    def __repr__(self) -> str:
        return "\n  ".join(self.summary())

    def summary(self) -> list[str]:
        """Return lines that say what was done and what is odd about it."""
        settings = self.settings
        what = NULLS[settings.null] if settings.kind == "null" else KINDS[settings.kind]
        lines = [
            f"{counted(settings.n_paths, 'path')} of {counted(self.n_trades, 'trade')}: {what}",
            f"seed {settings.seed}, {settings.sizing} lots, engine {self.engine}: {self.reason}",
            f"probability of ruin {number_text(100 * self.probability_of_ruin)} %",
        ]
        if "below_level" not in self.left_out:
            below = number_text(100 * self.probability_below())
            lines.append(f"probability of ending below {number_text(self._level)}: {below} %")
        lines += [f"p-value of {name}: {value:.4g}" for name, value in self.p_values().items()]
        if settings.kind == "shuffle":
            lines.append(_ORDER)
        if self.n_trades < FEW:
            lines.append(
                f"the result has {counted(self.n_trades, 'trade')}: too few for percentiles to mean"
                " much"
            )
        return lines

    def _require(self, name: str) -> None:
        """Refuse a column that is not there, and say why."""
        if name in self.left_out:
            raise ConfigError(self.left_out[name])
        if name in METRICS and name not in self._columns:
            raise ConfigError(
                f"paths of trades have no {name}, which takes days or bars; kinds null and delay "
                "run backtests and have it, and result.intervals() says how far it moves"
            )
        if name not in self._columns:
            raise unknown_name("column", name, self._columns)


_ORDER: Final = (
    "reordering changes no total: profit, final equity and averages are left out, drawdowns and "
    "streaks are what an order decides"
)


def _left_out(settings: MonteCarloSettings) -> dict[str, str]:
    if settings.kind != "shuffle":
        return {}
    return {name: same_in_any_order(name) for name in sorted(UNCHANGED_BY_ORDER)}


def _shares(q: ArrayLike) -> list[float]:
    try:
        shares = np.atleast_1d(np.asarray(q, np.float64))
    except (TypeError, ValueError):
        shares = np.array([np.nan])
    if shares.ndim != 1 or not len(shares) or not ((shares >= 0.0) & (shares <= 1.0)).all():
        raise ConfigError(f"q = {q!r} is not allowed; give shares from 0 to 1, as in [0.05, 0.95]")
    found: list[float] = shares.tolist()
    return found


def _quantile(values: NDArray[Any], share: float) -> float:
    numbers = values.astype(np.float64)
    known = np.sort(numbers[~np.isnan(numbers)])
    return float(_at_share(known, share)) if len(known) else float("nan")


def _at_share(ordered: NDArray[np.float64], share: float) -> Any:
    """Return the percentile of sorted values, along the first axis; infinities are allowed."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(low == high, low, low + (place - below) * (high - low))


def _plain(value: Any) -> Any:
    """Return a value that strict JSON can hold: nan and infinities become texts."""
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value
