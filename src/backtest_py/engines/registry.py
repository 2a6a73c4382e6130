"""Which engine runs, and why: never a silent fallback."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from backtest_py._forks import NO_FORK
from backtest_py.errors import ConfigError, EngineUnavailableError, UnsupportedError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from backtest_py.engines.base import Engine, Job

__all__ = ["ENGINE_NAMES", "EngineStatus", "engine_status", "reference", "resolve"]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether an engine can be used here.

    Attributes
    ----------
    name : str
        ``"numba"`` or ``"rust"``.
    available : bool
        Whether it can run.
    reason : str
        Why not, empty where it can.
    build : dict of str to str
        Versions and build facts, empty where it is not available.
    """

    name: str
    available: bool
    reason: str
    build: dict[str, str]


def engine_status() -> tuple[EngineStatus, ...]:
    """Return the state of every engine on this machine.

    Examples
    --------
    >>> [status.name for status in engine_status()]
    ['numba', 'rust']
    """
    found = []
    for name in _LOADERS:
        try:
            engine = _load(name)
        except EngineUnavailableError as error:
            found.append(EngineStatus(name, available=False, reason=str(error), build={}))
        else:
            found.append(EngineStatus(name, available=True, reason="", build=engine.build))
    return tuple(found)


def reference() -> Engine:
    """Return the engine that the others are checked against.

    Raises
    ------
    EngineUnavailableError
        If it cannot be loaded.

    Examples
    --------
    >>> reference().name
    'numba'
    """
    return next(engine for engine in map(_load, _LOADERS) if engine.is_reference)


def resolve(
    name: str = "auto", job: Job | None = None, *, sweep: bool = False
) -> tuple[Engine, str]:
    """Return the engine of a name, and why it was taken.

    Parameters
    ----------
    name : {"auto", "numba", "rust"}
        ``"auto"`` takes the fastest engine that is available and can do the job.
    job : Job, optional
        What the engine has to do; without it, only whether it is available counts.
    sweep : bool
        Whether the job represents a sweep, for which there may be too many bars or days.

    Raises
    ------
    ConfigError
        If there is no engine of this name, or its sweeps cannot take so many bars or days.
    EngineUnavailableError
        If the engine that was asked for, or with ``"auto"`` every engine, cannot be loaded.
    UnsupportedError
        If it can be loaded, but cannot do the job.

    Examples
    --------
    >>> engine, reason = resolve("numba")
    >>> engine.name, reason
    ('numba', "engine='numba' was asked for")
    """
    if name not in ENGINE_NAMES:
        raise unknown_name("engine", name, ENGINE_NAMES)
    if name != _AUTO:
        return _able(name, job, sweep=sweep), f"engine={name!r} was asked for"
    *faster, last = reversed(_LOADERS)
    obstacles = []
    for other in faster:
        try:
            engine = _load(other)
        except EngineUnavailableError as error:
            obstacles.append(str(error))
            continue
        obstacle = _obstacle(engine, job) or _limit(engine, job, sweep=sweep)
        if not obstacle:
            return engine, f"auto takes {other} where it is available and can do the job"
        obstacles.append(obstacle)
    return _able(last, job, sweep=sweep), f"auto took {last}: {'; '.join(obstacles)}"


def _obstacle(engine: Engine, job: Job | None) -> str:
    """Return why an engine cannot run a job at all, ``""`` where it can."""
    return "" if job is None else engine.supports(job)


def _limit(engine: Engine, job: Job | None, *, sweep: bool) -> str:
    """Return which limit of an engine's sweeps the bars of a job exceed, ``""`` for none."""
    limit = engine.sweep_limits.obstacle(job.bars) if sweep and job is not None else ""
    return limit and f"engine={engine.name!r} cannot sweep these bars: {limit}"


def _able(name: str, job: Job | None, *, sweep: bool) -> Engine:
    """Return an engine that can do a job."""
    engine = _load(name)
    obstacle = _obstacle(engine, job)
    if obstacle:
        raise UnsupportedError(f'engine="{name}" cannot do this: {obstacle}; {engine.remedy}')
    limit = _limit(engine, job, sweep=sweep)
    if limit:
        others = " or ".join(f'engine="{other}"' for other in _LOADERS if other != name)
        raise ConfigError(f"{limit}; sweep shorter data, or give {others}")
    return engine


def _load(name: str) -> Engine:
    if name == "rust" and os.environ.get("BACKTEST_PY_NO_RUST", "") not in {"", "0"}:
        raise EngineUnavailableError(
            "the Rust engine is blocked by the environment variable BACKTEST_PY_NO_RUST; unset it "
            'to use engine="rust"'
        )
    with NO_FORK:
        if name not in _loaded:
            _loaded[name] = _LOADERS[name]()
        return _loaded[name]


def _load_numba() -> Engine:
    if find_spec("numba") is None:
        raise EngineUnavailableError(
            "the Numba engine needs the package numba, which is not installed; "
            "run `pip install numba`"
        )
    from backtest_py.engines.numba_engine import NumbaEngine  # noqa: PLC0415

    return NumbaEngine()


def _load_rust() -> Engine:
    try:
        from backtest_py.engines.rust_engine import RustEngine  # noqa: PLC0415
    except ImportError as error:
        raise EngineUnavailableError(
            f"the Rust engine cannot be loaded ({error}); reinstall backtest-py from a wheel with "
            "it, or build it with `make build` (needs cargo); "
            'engine="numba" gives the same numbers'
        ) from error
    engine = RustEngine()
    if engine.is_debug:
        warnings.warn(
            "the Rust engine is a debug build, ten times slower than a release build; run "
            "`make build`",
            RuntimeWarning,
            stacklevel=4,
        )
    return engine


_LOADERS: Final[dict[str, Callable[[], Engine]]] = {"numba": _load_numba, "rust": _load_rust}
"""The engines, the reference first and the fastest last."""
_AUTO: Final = "auto"
ENGINE_NAMES: Final = (*_LOADERS, _AUTO)
_loaded: dict[str, Engine] = {}
