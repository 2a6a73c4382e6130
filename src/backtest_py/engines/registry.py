"""Which engine runs, and why: never a silent fallback."""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from backtest_py.errors import EngineUnavailableError, UnsupportedError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from backtest_py.engines.base import Engine, Job

__all__ = ["ENGINE_NAMES", "EngineStatus", "engine_status", "resolve"]

ENGINE_NAMES = ("numba", "rust", "auto")

_REMEDY = (
    "reinstall backtest-py from a wheel with the Rust engine, or build it with `make build` "
    '(needs cargo); engine="numba" gives the same numbers'
)
_REMEDIES = {
    "numba": "give its class a kernel, or register a function of bars instead",
    "rust": 'use engine="auto" or "numba", or add the twin in engine_rust/src/strategies',
}
_loaded: dict[str, Engine] = {}
_lock = threading.Lock()


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
    for name in ("numba", "rust"):
        try:
            engine = _load(name)
        except EngineUnavailableError as error:
            found.append(EngineStatus(name, available=False, reason=str(error), build={}))
        else:
            found.append(EngineStatus(name, available=True, reason="", build=engine.build))
    return tuple(found)


def resolve(name: str = "auto", job: Job | None = None) -> tuple[Engine, str]:
    """Return the engine of a name, and why it was taken.

    Parameters
    ----------
    name : {"auto", "numba", "rust"}
        ``"auto"`` takes rust where it is available and can do the job, else numba.
    job : Job, optional
        What the engine has to do; without it, only whether it is available counts.

    Raises
    ------
    ConfigError
        If there is no engine of this name.
    EngineUnavailableError
        If the engine that was asked for, or with ``"auto"`` every engine, cannot be loaded.
    UnsupportedError
        If it can be loaded, but cannot do the job.
    """
    if name not in ENGINE_NAMES:
        raise unknown_name("engine", name, ENGINE_NAMES)
    if name != "auto":
        return _able(name, job), f"engine={name!r} was asked for"
    try:
        rust = _load("rust")
        obstacle = "" if job is None else rust.supports(job)
    except EngineUnavailableError as error:
        obstacle = str(error)
    if not obstacle:
        return rust, "auto takes rust where it is available and can do the job"
    return _able("numba", job), f"auto took numba: {obstacle}"


def _able(name: str, job: Job | None) -> Engine:
    """Return an engine that can do a job."""
    engine = _load(name)
    obstacle = "" if job is None else engine.supports(job)
    if obstacle:
        raise UnsupportedError(f'engine="{name}" cannot do this: {obstacle}; {_REMEDIES[name]}')
    return engine


def _load(name: str) -> Engine:
    if name == "rust" and os.environ.get("BACKTEST_PY_NO_RUST", "") not in {"", "0"}:
        raise EngineUnavailableError(
            "the Rust engine is blocked by the environment variable BACKTEST_PY_NO_RUST; unset it "
            'to use engine="rust"'
        )
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load_rust() if name == "rust" else _load_numba()
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
            f"the Rust engine cannot be loaded ({error}); {_REMEDY}"
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
