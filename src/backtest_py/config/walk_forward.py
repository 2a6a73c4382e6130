"""Section ``[walk_forward]``: the windows of a walk-forward, and how trainings choose."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from backtest_py.analysis.walk_forward.windows import WindowSettings
from backtest_py.config.sections import table_of
from backtest_py.engines.registry import ENGINE_NAMES
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import parameter, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WalkForwardSection", "walk_forward_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForwardSection(WindowSettings):
    """Section ``[walk_forward]``; the grid is that of ``[sweep]``.

    Examples
    --------
    >>> WalkForwardSection(train_days=120).choose
    'sharpe'
    """

    choose: str = parameter("sharpe", "text", "the metric that trainings choose by")
    min_trades: int = parameter(
        30, "int", "trades that a choice has in its training at least", minimum=0
    )
    plateau: bool = parameter(
        default=False, kind="bool", doc="judge each by the worse of itself and its worst neighbour"
    )
    engine: str = parameter(
        "", "choice", 'what computes it; "" is that of [run]', choices=("", *ENGINE_NAMES)
    )

    def validate(self) -> None:
        """Require a metric that exists."""
        if self.choose not in METRICS:
            raise unknown_name("metric in walk_forward.choose", self.choose, METRICS)


_KEYS: Final = tuple(spec.name for spec in WalkForwardSection.parameters())


def walk_forward_of(document: Mapping[str, object], *, once: bool) -> Mapping[str, Any]:
    """Return the keys of ``[walk_forward]`` that are written, with their checked values.

    Which are written matters: lengths are in days unless some are given in bars.

    Parameters
    ----------
    document : mapping of str to object
        The whole document.
    once : bool
        Whether a range is trained on once, instead of in windows.

    Raises
    ------
    ConfigError
        If a key or value is not allowed, or days and bars are mixed.
    """
    table = table_of(document, WalkForwardSection.section)
    checked = WalkForwardSection.from_mapping(table)
    written = {name: getattr(checked, name) for name in _KEYS if name in table}
    of_windows = {spec.name for spec in WindowSettings.parameters()}
    lengths = {name: value for name, value in written.items() if name in of_windows}
    WindowSettings.given(lengths, once=once)
    return MappingProxyType(written)
