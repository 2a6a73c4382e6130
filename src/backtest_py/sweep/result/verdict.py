"""The verdict on a sweep: whether its best combination is more than luck would show."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from backtest_py.contract import MetricSettings
from backtest_py.errors import BacktestError, ConfigError, DataError
from backtest_py.parameters import counted
from backtest_py.sweep.store.manifest import believing
from backtest_py.sweep.store.tables import COMBO_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.overfitting import BestTrial, PboResult, Verdict, WinnerSurroundings
    from backtest_py.sweep.result.completeness import Completeness
    from backtest_py.sweep.result.reader import RowReader
    from backtest_py.sweep.space.combinations import Combinations
    from backtest_py.sweep.store.block_table import BlockRows

__all__ = [
    "Examined",
    "examine",
    "luck_line",
    "returns_of",
    "stored_verdict",
    "verdict",
    "verdict_facts",
    "verdict_text",
]

QUICK_ROWS: Final = 256
"""Combinations that the automatic PBO compares: some 60 ms, whatever the sweep."""
SERIES: Final = 500
"""Combinations that are run again for SPA and the effective number of trials."""
MAX_PLATEAU: Final = 10_000_000
"""Combinations beyond which the neighbours of the best are not looked up: they take 17 bytes each
of memory."""


class Swept(Protocol):
    """What a verdict asks of a :class:`~backtest_py.sweep.result.result.SweepResult`."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...
    @property
    def complete(self) -> bool: ...
    @property
    def completeness(self) -> Completeness: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def grid(self) -> Combinations: ...
    @property
    def blocks(self) -> BlockRows | None: ...
    @property
    def _rows(self) -> RowReader: ...
    def replay(self, combo_id: int, /) -> BacktestResult: ...


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """A verdict, and what it was made of.

    Attributes
    ----------
    verdict : Verdict
        What it all says.
    pbo : PboResult or None
        What CSCV found, None where there are no sums of blocks.
    combo_ids : ndarray of int64, shape (n,)
        Combinations that were run again for SPA and the effective number of trials.
    returns : ndarray of float64, shape (n_days, n)
        Their daily returns.
    """

    verdict: Verdict
    pbo: PboResult | None
    combo_ids: NDArray[np.int64]
    returns: NDArray[np.float64]


def verdict(
    sweep: Swept,
    *,
    trials: int | None = None,
    more_trials: int = 0,
    spa: bool = False,
    effective_trials: bool = False,
    n_series: int = SERIES,
    seed: int = 0,
    min_trades: int = 30,
) -> Verdict:
    """Say whether the best combination, by its Sharpe ratio, is more than luck would show.

    Every combination of the sweep is a trial. PBO is that of all combinations whose sums of blocks
    were kept: of every one up to 10,000, and of about so many, evenly chosen, of a larger sweep.
    A ruined account is never the best.

    Parameters
    ----------
    trials : int, optional
        How many trials there were in all, instead of the combinations of the sweep: for a search
        of which the sweep is a part. Never fewer than these.
    more_trials : int
        How many sets were tried on these bars beside the sweep: in other sweeps, and by hand.
    spa : bool
        Run a sample of the combinations again, and test whether the best is better than doing
        nothing. It needs the bars, and the extra ``overfitting``.
    effective_trials : bool
        Run a sample again, and count clusters of combinations that trade alike instead of
        combinations. It makes the test less strict.
    n_series : int
        Combinations of that sample, evenly chosen, the best one among them.
    seed : int
        Start of the random numbers of SPA.
    min_trades : int
        With fewer trades than these a result says little.

    Returns
    -------
    Verdict
        ``print`` shows its text.

    Raises
    ------
    ConfigError
        If the sweep is not complete, the bars are needed and not there, or a setting is not
        allowed.
    DataError
        If a file is damaged.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=60)
    >>> sweep = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0], "rules.target": [2.0, 3.0]})
    >>> found = sweep.verdict()
    >>> found.trials, found.significant
    (4, False)
    """
    return examine(
        sweep,
        trials=trials,
        more_trials=more_trials,
        spa=spa,
        effective_trials=effective_trials,
        n_series=n_series,
        seed=seed,
        min_trades=min_trades,
    ).verdict


def examine(
    sweep: Swept,
    *,
    trials: int | None = None,
    more_trials: int = 0,
    spa: bool = False,
    effective_trials: bool = False,
    n_series: int = SERIES,
    seed: int = 0,
    min_trades: int = 30,
    quick: bool = False,
) -> Examined:
    """Return the verdict with what it was made of.

    Parameters and errors as :func:`verdict`; ``quick`` compares few combinations for PBO, and the
    text says how many.
    """
    # imported here, because most sweeps are looked at without it
    from backtest_py import overfitting  # noqa: PLC0415
    from backtest_py.overfitting._inputs import whole  # noqa: PLC0415

    _require_complete(sweep)
    n_combos = sweep.completeness.combos
    count = n_combos if trials is None else whole(trials, "trials", least=1)
    more = whole(more_trials, "more_trials", least=0)
    if count < n_combos:
        raise ConfigError(
            f"trials = {count:,} is not allowed: the sweep alone has "
            f"{counted(n_combos, 'combination')}, and every one was a trial; give all that were "
            "tried, or effective_trials for how many they are worth"
        )
    settings = _settings(sweep)
    found = _Rows(sweep)
    notes: list[str] = []
    best = found.best(notes)
    compared, reason = _pbo(sweep, settings, quick=quick)
    notes += [reason] if reason else []
    known = overfitting.TrialSet(
        trials=count + more,
        sharpe_variance=found.variance,
        pbo=None if compared is None or math.isnan(compared.pbo) else compared.pbo,
    )
    ids, returns = np.empty(0, np.int64), np.empty((0, 0))
    if (spa or effective_trials) and best.combo_id >= 0:
        ids = _sample(sweep, best.combo_id, whole(n_series, "n_series", least=2))
        returns = returns_of(sweep, ids)
        share = f"{len(ids):,} of {counted(n_combos, 'combination')}, evenly chosen"
        if len(ids) == n_combos:
            share = f"all {counted(n_combos, 'combination')}"
        if effective_trials:
            worth, said = _worth(returns, n_combos, share)
            notes.append(said)
            if worth is not None:
                known = replace(known, effective_trials=min(worth, float(count)) + more)
        if spa:
            p_value = overfitting.spa(returns, seed=seed).consistent
            known = replace(known, spa=p_value)
            said = f"SPA compares the daily returns of {share}."
            if len(ids) < n_combos:
                said += " With all of them its p-value would most likely be larger."
            notes.append(said)
    judged = overfitting.judge(
        known,
        best,
        periods_per_year=settings.periods_per_year,
        min_trades=min_trades,
        notes=notes,
    )
    return Examined(judged, compared, ids, returns)


def stored_verdict(sweep: Swept) -> dict[str, Any]:
    """Return the verdict for a manifest: a mapping, or ``{"reason": …}`` where there is none.

    It is made where the sweep ends, so it is quick, and never an error.
    """
    try:
        return examine(sweep, quick=True).verdict.to_mapping()
    except BacktestError as error:
        return {"reason": str(error)}


def verdict_facts(sweep: Swept) -> dict[str, Any]:
    """Return the verdict that a sweep's manifest holds, or ``{"reason": …}`` why there is none."""
    if not sweep.complete:
        return {"reason": f"the sweep is not complete: {sweep.completeness}"}
    stored = sweep.manifest.get("verdict", {})
    if isinstance(stored.get("text", stored.get("reason")), str):
        return dict(stored)
    return {"reason": "the sweep was made before verdicts were; the command overfit makes one"}


def verdict_text(sweep: Swept) -> str:
    """Return the text of :func:`verdict_facts`, several lines."""
    facts = verdict_facts(sweep)
    return str(facts.get("text") or f"There is no verdict: {facts['reason']}.")


def luck_line(sweep: Swept) -> str:
    """Return the sentence on what luck alone would show, empty where the rows do not tell it."""
    wanted = {"sharpe", "days", "ruined", "total_trades"}
    if "metrics" not in sweep.manifest.get("identity", {}) or not wanted <= {*sweep.columns}:
        return ""
    from backtest_py import overfitting  # noqa: PLC0415 - most sweeps are looked at without it

    try:
        settings, found = _settings(sweep), _Rows(sweep, plain=True)
        known = overfitting.TrialSet(sweep.completeness.combos, found.variance)
        best = found.best([])
        year = settings.periods_per_year
        return overfitting.judge(known, best, periods_per_year=year).luck if sweep.complete else ""
    except BacktestError:  # a damaged file: what reads it says so
        return ""


def returns_of(sweep: Swept, combo_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the daily returns of some combinations, run again, shape (n_days, n).

    An account that is ruined has returns of 0 afterwards.
    """
    columns = [sweep.replay(combo_id).daily_returns for combo_id in combo_ids.tolist()]
    table = np.zeros((max(map(len, columns)), len(columns)))
    for at, column in enumerate(columns):
        table[: len(column), at] = column
    return table


class _Rows:
    """What the rows of a sweep tell: the spread of the Sharpe ratios, the best, its neighbours.

    Rows are read one source after another, so that sums are the same each time.
    """

    def __init__(self, sweep: Swept, *, plain: bool = False) -> None:
        self._sweep = sweep
        self._plain = plain
        self._best: tuple[float, int, int, int] | None = None
        self._n_days = 0
        self._n_ruined = 0
        self.variance = math.nan
        keep = not plain and sweep.completeness.combos <= MAX_PLATEAU
        self._ids: list[NDArray[np.int64]] = []
        self._sharpes: list[NDArray[np.float64]] = []
        self._read(keep=keep)

    def _read(self, *, keep: bool) -> None:
        n, mean, spread = 0, 0.0, 0.0
        columns = [COMBO_ID, "sharpe", "ruined", "days", "total_trades"]
        for rows in self._sweep._rows.arrays(columns):  # noqa: SLF001 - a method of the sweep
            sharpe = rows["sharpe"]
            defined = sharpe[~np.isnan(sharpe)]
            if defined.size:  # two sets of numbers joined: Chan, Golub and LeVeque, 1979
                away = float(defined.mean()) - mean
                total = n + defined.size
                spread += float(defined.var() * defined.size) + away**2 * n * defined.size / total
                mean += away * defined.size / total
                n = total
            ruined = rows["ruined"] != 0
            sound = np.where(ruined, np.nan, sharpe)
            self._n_days = max(self._n_days, int(rows["days"].max(initial=0)))
            self._n_ruined += int(ruined.sum())
            self._look_for_best(rows, sound)
            if keep:
                self._ids.append(rows[COMBO_ID])
                self._sharpes.append(sound)
        self.variance = spread / (n - 1) if n > 1 else math.nan

    def _look_for_best(self, rows: dict[str, NDArray[Any]], sound: NDArray[np.float64]) -> None:
        if np.isnan(sound).all():
            return
        at = int(np.nanargmax(sound))  # the first of equals
        found = (float(sound[at]), -int(rows[COMBO_ID][at]))
        if self._best is None or found > (self._best[0], -self._best[1]):
            self._best = (found[0], -found[1], int(rows["days"][at]), int(rows["total_trades"][at]))

    def best(self, notes: list[str]) -> BestTrial:
        """Return the best row; say in ``notes`` why there is none, or what is not known of it."""
        from backtest_py.overfitting import BestTrial  # noqa: PLC0415 - as above

        if self._best is None:
            if self._n_ruined and self._n_ruined == self._sweep.completeness.combos:
                notes.append("Every account is ruined, so there is no best one.")
            else:
                notes.append("No combination has a Sharpe ratio: none trades on two days or more.")
            return BestTrial(math.nan, self._n_days)
        sharpe, combo_id, days, n_trades = self._best
        found = BestTrial(sharpe, days, total_trades=n_trades, combo_id=combo_id)
        if self._plain:
            return found
        skew, kurtosis = self._moments(combo_id)
        plateau = self._plateau()
        return replace(found, skew=skew, kurtosis=kurtosis, plateau=plateau)

    def _moments(self, combo_id: int) -> tuple[float, float]:
        """Return skew and kurtosis of the best: as the manifest has them, or from a run."""
        from backtest_py.overfitting import return_moments  # noqa: PLC0415 - as above

        stored = self._sweep.manifest.get("verdict", {})
        if stored.get("combo_id") == combo_id:
            known = stored.get("skew"), stored.get("kurtosis")
            if all(isinstance(each, float) for each in known):
                return known
        result = self._sweep.replay(combo_id)
        again, before = result.metrics.sharpe, self._best[0] if self._best else math.nan
        if again != before:
            raise DataError(
                f"combination {combo_id:,} has a Sharpe ratio of {again} when it is run again, and "
                f"{before} in the sweep; the strategy does not give the same signals each time"
            )
        moments = return_moments(result.daily_returns)
        return moments.skew, moments.kurtosis

    def _plateau(self) -> WinnerSurroundings | None:
        from backtest_py.overfitting import GridValues  # noqa: PLC0415 - as above

        grid = self._sweep.grid
        if not self._ids or not grid.crosses:
            return None
        ids, sharpes = np.concatenate(self._ids), np.concatenate(self._sharpes)
        if (np.diff(ids) < 0).any():
            order = np.argsort(ids)
            ids, sharpes = ids[order], sharpes[order]
        return GridValues(sharpes, [len(axis) for axis in grid.axes], ids).winner()


def _pbo(sweep: Swept, settings: MetricSettings, *, quick: bool) -> tuple[PboResult | None, str]:
    """Return what CSCV finds, and what is to be said of it."""
    from backtest_py.overfitting import pbo_from_blocks  # noqa: PLC0415 - as above

    blocks = sweep.blocks
    if blocks is None:
        kept = sweep.manifest.get("blocks", {})
        if not kept.get("asked"):
            why = "the sweep was asked to keep no sums of blocks" if kept else "it keeps no sums"
        else:
            why = "there are too few days for two blocks"
        return None, f"PBO is not known: {why}."
    n = len(blocks)
    rows = np.arange(n)
    if quick and n > QUICK_ROWS:
        rows = np.arange(QUICK_ROWS) * n // QUICK_ROWS
    found = pbo_from_blocks(
        blocks.sums[:, rows],
        blocks.squares[:, rows],
        blocks.days[:, rows],
        risk_free_rate=settings.risk_free_rate,
        periods_per_year=settings.periods_per_year,
    )
    if math.isnan(found.pbo):
        return found, "PBO is not known: fewer than two combinations differ enough to be compared."
    n_combos = sweep.completeness.combos
    if len(rows) == n_combos:
        return found, ""
    share = f"{len(rows):,} of {counted(n_combos, 'combination')}"
    if len(rows) == n:
        return found, f"PBO compares {share}, evenly chosen."
    return found, (
        f"PBO compares {share}, evenly chosen, and may be 20 percentage points off. "
        f"The command overfit compares {n:,}."
    )


def _worth(returns: NDArray[np.float64], n_combos: int, share: str) -> tuple[float | None, str]:
    """Return how many independent trials a sample shows, None where it says nothing, and words."""
    from backtest_py.overfitting import effective_trials  # noqa: PLC0415 - as above

    try:
        found = effective_trials(returns)
    except DataError as error:
        return None, f"The effective number of trials is not known: {error}."
    n = returns.shape[1]
    if n < n_combos and found.number > n / 2:
        return None, (
            f"Of {share}, most trade differently ({found.number:,.0f} kinds): the sample is too "
            "small to count kinds, and all combinations count."
        )
    return found.number, f"The effective number of trials was counted on {share}."


def _sample(sweep: Swept, best: int, n_series: int) -> NDArray[np.int64]:
    """Return numbers of combinations, evenly chosen, ascending, with the best among them."""
    pieces = [rows[COMBO_ID] for rows in sweep._rows.arrays([COMBO_ID])]  # noqa: SLF001 - as above
    ids = np.sort(np.concatenate(pieces))
    if len(ids) <= n_series:
        return ids
    return np.union1d(ids[np.arange(n_series - 1) * len(ids) // (n_series - 1)], [best])


def _settings(sweep: Swept) -> MetricSettings:
    with believing("the sweep"):
        return MetricSettings.from_mapping(sweep.manifest["identity"]["metrics"])


def _require_complete(sweep: Swept) -> None:
    if not sweep.complete:
        raise ConfigError(
            f"there is no verdict on a sweep that is not complete: {sweep.completeness}; resume it "
            "(--resume), because what is missing may be better, and counts as trials too"
        )
