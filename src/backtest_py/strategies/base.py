"""What a strategy is: named parameters and a kernel that turns bars into signals.

A built-in strategy is one file here and one in ``engine_rust/src/strategies``, each registered in
one line. The file here holds the parameters and the Numba kernel; its twin holds the same in Rust.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from backtest_py.errors import ConfigError
from backtest_py.fingerprints import canonical_json, sha256
from backtest_py.parameters import Settings, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py._jit import Kernel
    from backtest_py.bars import Bars
    from backtest_py.signals import Signals

__all__ = [
    "Bound",
    "History",
    "Strategy",
    "Threshold",
    "get_strategy",
    "is_registered",
    "register",
    "strategy_names",
]


class Bound(IntEnum):
    """Which side of a threshold passes; a score that is nan never does."""

    AtLeast = 0
    """``score >= threshold``."""
    AtLeastOrOff = 1
    """``score >= threshold``; a threshold of 0 passes whatever the score."""
    AtMost = 2
    """``score <= threshold``."""


class Threshold(NamedTuple):
    """A parameter that cuts a score; all others shape the scores themselves."""

    parameter: str
    bound: Bound


class History(NamedTuple):
    """Which earlier bars a signal can depend on; the more of the two where both are given.

    Attributes
    ----------
    bars : int
        So many bars before it.
    day : bool
        All bars of its day before it, too.
    """

    bars: int = 0
    day: bool = False


class Strategy(Settings):
    """Base of the built-in strategies: a frozen dataclass of parameters.

    Attributes
    ----------
    name : str
        The name in TOML files and grids, the same in both engines.
    kernel : Kernel or None
        Numba kernel ``(bars, values, start, side, risk)`` with ``bars`` the
        :class:`~backtest_py.engines.layouts.BarColumns` and ``values`` an array of
        :meth:`values`. It fills ``side[t]`` (int8) and, if ``gives_risk``, ``risk[t]`` (float64,
        nan where undefined) for bar ``start + t``, from that bar and earlier ones alone. None
        where a function computes the signals instead.
    gives_risk : bool
        Whether the kernel fills ``risk``, so that ``unit = "strategy"`` can be used.
    thresholds : tuple of Threshold
        Parameters that only cut scores, so that a sweep shares the scores between their values.
    score_kernel : Kernel or None
        Numba kernel ``(bars, values, side, risk, scores)``, needed with ``thresholds``. It fills
        side and risk of every bar as they are before the thresholds, and ``scores`` (float64,
        shape (n_thresholds, n_bars), nan where undefined) in the order of ``thresholds``, whose
        own values it ignores. A bar signals where every score passes. A class with a kernel of its
        own inherits neither: they belong to the kernel, and so does :meth:`history`.
    volume_parameter : str
        The parameter that makes the strategy look at volumes where it is above 0, ``""`` where
        none does.
    computes_signals : bool
        Whether Python code computes the signals, as :meth:`compute` does, instead of an engine.
    """

    __slots__ = ()
    section: ClassVar[str] = "strategy"
    name: ClassVar[str] = ""
    kernel: ClassVar[Kernel | None] = None
    gives_risk: ClassVar[bool] = False
    thresholds: ClassVar[tuple[Threshold, ...]] = ()
    score_kernel: ClassVar[Kernel | None] = None
    volume_parameter: ClassVar[str] = ""
    computes_signals: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: object) -> None:
        """Drop what belongs to the parent's kernel where the class has a kernel of its own."""
        super().__init_subclass__(**arguments)
        if "kernel" in vars(cls) and "thresholds" not in vars(cls):
            cls.thresholds, cls.score_kernel = (), None
        if "kernel" in vars(cls) and "history" not in vars(cls):
            cls.history = Strategy.history  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Check the class's name and every field."""
        if not self.name:
            raise ConfigError(
                f"strategy class {type(self).__qualname__} has no name; give it one, as in "
                'name: ClassVar[str] = "inside_bar"'
            )
        Settings.__post_init__(self)

    @property
    def uses_volume(self) -> bool:
        """Whether these parameters make the strategy look at volumes."""
        name = self.volume_parameter
        return bool(name) and getattr(self, name) > 0

    def compute(self, bars: Bars) -> Signals | None:  # noqa: ARG002 - the engine computes them
        """Return the signals that Python code computes, None where the engine computes them."""
        return None

    def raw_answers(self, bars: Bars) -> object:  # noqa: ARG002 - there is no function here
        """Return what a user's function gives, unchecked, None where there is no function."""
        return None

    def history(self) -> History | None:
        """Return which earlier bars the kernel needs for a signal, None where that is not known.

        Given no more than these, the kernel finds the same signals, so that bars can be streamed,
        as by :func:`~backtest_py.run_chunked`. Only the first bars of all have fewer before them.
        """
        return None

    @classmethod
    def code_fingerprint(cls) -> str:
        """Return a hash of the user's code that decides the signals, ``""`` where there is none.

        It covers a kernel of the user's own with all that it calls and all constants that it
        reads. The kernels of this package are known by the engine's build.
        """
        kernels = [each for each in (cls.kernel, cls.score_kernel) if each is not None]
        if all(each.__module__.startswith(f"{_PACKAGE}.") for each in kernels):
            return ""
        for each in kernels:
            _ = each.dispatcher  # the fingerprint exists once the kernel is built
        thresholds = [[each.parameter, each.bound.name] for each in cls.thresholds]
        return sha256(canonical_json([[each.fingerprint for each in kernels], thresholds]))

    def values(self) -> tuple[float, ...]:
        """Return the parameters as kernels take them: all are float64, clocks are minutes."""
        return tuple(map(float, Settings.values(self)))

    @classmethod
    def split_parameters(cls) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the parameters that cut scores, and of those that shape them."""
        cutting = tuple(threshold.parameter for threshold in cls.thresholds)
        names = (spec.name for spec in cls.parameters())
        return cutting, tuple(name for name in names if name not in cutting)


_PACKAGE: Final = __name__.partition(".")[0]
_REGISTRY: dict[str, type[Strategy]] = {}


def register(strategy: type[Strategy]) -> type[Strategy]:
    """Make a strategy known by its name.

    The same class defined again, as by a notebook's cell that runs again, replaces the old one.

    Raises
    ------
    ConfigError
        If another strategy has this name, or the class has none.
    """
    name = strategy().name  # a registered strategy can be built from its name alone
    known = _REGISTRY.get(name, strategy)
    if _origin(known) != _origin(strategy):
        raise ConfigError(
            f"strategy {name!r} of {_origin(strategy)} cannot be registered: {_origin(known)} has "
            "this name; choose another"
        )
    _REGISTRY[name] = strategy
    return strategy


def _origin(strategy: type[Strategy]) -> str:
    return f"{strategy.__module__}.{strategy.__qualname__}"


def is_registered(strategy: Strategy) -> bool:
    """Tell whether a strategy is of the very class that its name stands for."""
    return _REGISTRY.get(strategy.name) is type(strategy)


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
