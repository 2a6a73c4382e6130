"""What a strategy is: named parameters and a kernel that turns bars into signals.

A built-in strategy is one file here and one in ``engine_rust/src/strategies``, each registered in
one line. The file here holds the parameters and the Numba kernel; its twin holds the same in Rust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py._jit import Kernel

__all__ = ["Strategy", "get_strategy", "register", "strategy_names"]


class Strategy(Settings):
    """Base of the built-in strategies: a frozen dataclass of parameters.

    Attributes
    ----------
    name : str
        The name in TOML files and grids, the same in both engines.
    kernel : Kernel
        Numba kernel ``(bars, values, start, side, risk)`` with ``bars`` a
        :class:`~backtest_py.records.BarColumns` and ``values`` an array of :meth:`values`. It
        fills ``side[t]`` (int8) and, if ``gives_risk``, ``risk[t]`` (float64, nan where
        undefined) for bar ``start + t``, from that bar and earlier ones alone.
    gives_risk : bool
        Whether the kernel fills ``risk``, so that ``unit = "strategy"`` can be used.
    """

    __slots__ = ()
    section: ClassVar[str] = "strategy"
    name: ClassVar[str]
    kernel: ClassVar[Kernel]
    gives_risk: ClassVar[bool] = False

    @property
    def uses_volume(self) -> bool:
        """Whether these parameters make the strategy look at volumes."""
        return False

    def values(self) -> tuple[float, ...]:
        """Return the parameters as the engines take them: clocks as minutes, bools as 0 and 1."""
        return tuple(spec.encode(getattr(self, spec.name)) for spec in self.parameters())


_REGISTRY: dict[str, type[Strategy]] = {}


def register(strategy: type[Strategy]) -> type[Strategy]:
    """Make a strategy known by its name."""
    if strategy.name in _REGISTRY:
        raise ConfigError(f"a strategy named {strategy.name!r} is registered already")
    _REGISTRY[strategy.name] = strategy
    return strategy


def strategy_names() -> tuple[str, ...]:
    """Return the names of all registered strategies, sorted."""
    return tuple(sorted(_REGISTRY))


def get_strategy(name: str, params: Mapping[str, object] | None = None) -> Strategy:
    """Build a registered strategy from its name and parameters.

    Raises
    ------
    ConfigError
        If the name, a parameter or a value is not allowed.
    """
    if name not in _REGISTRY:
        raise unknown_name("strategy", name, _REGISTRY)
    return _REGISTRY[name].from_mapping(params or {})


def check_window(entry_start: str, entry_end: str) -> None:
    """Refuse an entry window that ends before it starts."""
    if entry_start > entry_end:
        raise ConfigError(
            f"strategy.entry_start = {entry_start!r} is after strategy.entry_end = "
            f"{entry_end!r}; entries need start <= end"
        )
