"""A user's own strategy: a Python function of bars, with keyword parameters."""

from __future__ import annotations

from dataclasses import make_dataclass
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from backtest_py.errors import ConfigError
from backtest_py.fingerprints import code_hash
from backtest_py.parameters import counted, parameter, parse_clock
from backtest_py.signals import checked_signals
from backtest_py.strategies.base import Strategy, is_registered, register

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable

    from backtest_py.bars import Bars
    from backtest_py.signals import Signals

__all__ = ["FunctionStrategy", "function_strategy", "register_strategy"]


class FunctionStrategy(Strategy):
    """Base of the strategies that are made from Python functions."""

    __slots__ = ()
    function: ClassVar[Callable[..., Any]]
    computes_signals: ClassVar[bool] = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the class where its name leads to it, else by the function."""
        if is_registered(self):
            return partial(type(self), **self.to_mapping()), ()
        return _from_function, (type(self).function, self.to_mapping())

    @classmethod
    def code_fingerprint(cls) -> str:
        """Return a hash of the function's own code; what it calls shows in its signals."""
        return code_hash(cls.function)

    def compute(self, bars: Bars) -> Signals:
        """Call the function and check what it gives.

        Raises
        ------
        ConfigError
            If it gives anything but sides, or sides and risks, as semantics section 7 allows.
        """
        given = self.raw_answers(bars)
        if isinstance(given, tuple) and len(given) != 2:
            raise ConfigError(
                f"{self.name} returned {counted(len(given), 'value')}; return the sides, or a pair "
                "of sides and risks"
            )
        side, risk = given if isinstance(given, tuple) else (given, None)
        return checked_signals(bars, side, risk, where=self.name)

    def raw_answers(self, bars: Bars) -> object:
        """Call the function."""
        given: object = type(self).function(bars, **self.to_mapping())
        return given


_OWN_NAMES: Final = frozenset({*dir(FunctionStrategy), "_parameters", "function"})
"""Names that a parameter cannot have: it would hide the strategy's own attribute."""


def register_strategy(function: Callable[..., Any]) -> type[FunctionStrategy]:
    """Register a Python function as a strategy, under its own name.

    A function that is defined again, as by a notebook's cell that runs again, replaces itself.

    Parameters
    ----------
    function : callable
        ``function(bars, *, name=default, ...)`` returns the side of every bar, an array of -1, 0
        and 1 of shape (n_bars,), or a pair of sides and risks in points, each as
        :func:`~backtest_py.run_signals` takes them. It may call Numba kernels. Bar ``i`` of the
        result must come from bars ``0..i`` alone. Parameters are keyword-only with a float, int,
        bool or ``"HH:MM"`` as default, and no name that a strategy uses itself, such as ``name``
        or ``values``.

    Returns
    -------
    type of FunctionStrategy
        A class of immutable parameters, to be used like :class:`~backtest_py.BarraElefante`.

    Raises
    ------
    ConfigError
        If another function or strategy has the name, or a parameter is not as above.

    Examples
    --------
    >>> import backtest_py as bt
    >>> import numpy as np
    >>> @bt.register_strategy
    ... def three_up(bars, *, bars_up: int = 3):
    ...     up = (np.diff(bars.close, prepend=bars.close[0]) > 0).astype(np.int64)
    ...     runs = np.convolve(up, np.ones(bars_up, np.int64))[: len(bars)]
    ...     return (runs == bars_up).astype(np.int8)
    >>> three_up(bars_up=4).name
    'three_up'
    """
    return cast("type[FunctionStrategy]", register(function_strategy(function)))


def function_strategy(function: Callable[..., Any]) -> type[FunctionStrategy]:
    """Make a strategy class of a function, as :func:`register_strategy` does, unregistered."""
    from inspect import signature  # noqa: PLC0415  # imported only where a function is registered

    name = getattr(function, "__name__", type(function).__name__)
    fields = []
    positional = 0
    for item in signature(function).parameters.values():
        if item.kind in {item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD}:
            positional += 1
        elif item.kind is item.KEYWORD_ONLY:
            fields.append((item.name, Any, _parameter_of(name, item)))
        else:
            raise ConfigError(
                f"strategy function {name} takes {item}; name its parameters, each keyword-only "
                "with a default"
            )
    if positional != 1:
        raise ConfigError(
            f"strategy function {name} takes {positional} positional arguments; it needs exactly "
            "one, the bars, and keyword-only parameters with defaults"
        )
    return cast(
        "type[FunctionStrategy]",
        make_dataclass(
            name,
            fields,
            bases=(FunctionStrategy,),
            namespace={
                "name": name,
                "function": staticmethod(function),
                "__doc__": function.__doc__,
                "__module__": function.__module__,
                "__qualname__": getattr(function, "__qualname__", name),
            },
            frozen=True,
            kw_only=True,
        ),
    )


def _from_function(function: Callable[..., Any], values: dict[str, Any]) -> FunctionStrategy:
    return function_strategy(function)(**values)


def _parameter_of(strategy: str, item: inspect.Parameter) -> Any:
    where = f"strategy function {strategy}: parameter {item.name}"
    if item.name in _OWN_NAMES:
        raise ConfigError(f"{where} has a name that strategies use themselves; choose another")
    default = item.default
    if isinstance(default, bool):
        return parameter(default, "bool", "")
    if isinstance(default, int) and "float" not in str(item.annotation):
        return parameter(default, "int", "")
    if isinstance(default, (int, float)) and isfinite(default):
        return parameter(float(default), "float", "")
    if isinstance(default, str) and _is_clock(default):
        return parameter(default, "clock", "", optional=True)
    given = "no default" if default is item.empty else f"the default {default!r}"
    raise ConfigError(
        f"{where} has {given}; give it a finite float, an int, a bool or a time of day "
        '"HH:MM" as default'
    )


def _is_clock(text: str) -> bool:
    try:
        parse_clock(text)
    except ConfigError:
        return False
    return True
