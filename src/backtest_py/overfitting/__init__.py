"""Would it have worked by luck? What remains of the best of many backtests.

One Sharpe ratio (``sharpe``), the best of many (``luck``, ``trials``), all of them together
(``cscv``, ``superiority``), samples of the past (``resampling``, ``intervals``,
``metric_intervals``), neighbours in the grid (``plateaus``), and what it all says (``verdict``).
docs/overfitting.md explains each number.
"""

from __future__ import annotations

from backtest_py.overfitting.cscv import PboResult, pbo, pbo_from_blocks
from backtest_py.overfitting.intervals import ConfidenceInterval, confidence_interval
from backtest_py.overfitting.luck import (
    deflated_sharpe,
    expected_best_sharpe,
    expected_maximum,
    luck_benchmark,
    min_backtest_years,
    min_backtest_years_bound,
)
from backtest_py.overfitting.metric_intervals import metric_intervals
from backtest_py.overfitting.plateaus import (
    Cliff,
    GridValues,
    Plateaus,
    Sensitivity,
    WinnerSurroundings,
)
from backtest_py.overfitting.resampling import Resampling
from backtest_py.overfitting.sharpe import (
    ReturnMoments,
    min_track_record,
    probabilistic_sharpe,
    return_moments,
)
from backtest_py.overfitting.superiority import SpaResult, spa, stepm
from backtest_py.overfitting.trials import EffectiveTrials, effective_trials
from backtest_py.overfitting.verdict import BestTrial, TrialSet, Verdict, judge

__all__ = [
    "BestTrial",
    "Cliff",
    "ConfidenceInterval",
    "EffectiveTrials",
    "GridValues",
    "PboResult",
    "Plateaus",
    "Resampling",
    "ReturnMoments",
    "Sensitivity",
    "SpaResult",
    "TrialSet",
    "Verdict",
    "WinnerSurroundings",
    "confidence_interval",
    "deflated_sharpe",
    "effective_trials",
    "expected_best_sharpe",
    "expected_maximum",
    "judge",
    "luck_benchmark",
    "metric_intervals",
    "min_backtest_years",
    "min_backtest_years_bound",
    "min_track_record",
    "pbo",
    "pbo_from_blocks",
    "probabilistic_sharpe",
    "return_moments",
    "spa",
    "stepm",
]
