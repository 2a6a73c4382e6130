"""The command ``lookahead``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.cli.options import ConfigFile, EngineName, Json, print_json
from backtest_py.cli.progress import steps_bar
from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from backtest_py.config import Config

__all__ = ["commands"]

EXIT_SEEN: Final = 1

commands = typer.Typer()


@commands.command()
def lookahead(
    file: ConfigFile,
    *,
    function: Annotated[
        str,
        typer.Option(
            metavar="FILE.py[:NAME]",
            help="Python file with the strategy: the function, or class, of that name, or the "
            "registered one that [strategy] names. The file is run.",
        ),
    ] = "",
    cuts: Annotated[int, typer.Option(help="Places at which the future is changed.")] = 32,
    seed: Annotated[int, typer.Option(help="The same seed gives the same check.")] = 0,
    engine: EngineName = "",
    as_json: Json = False,
) -> None:
    """Check that a strategy does not see the future.

    Exit status 0 where nothing is found, 1 where it does.
    """
    from backtest_py.analysis.lookahead.check import check_lookahead  # noqa: PLC0415
    from backtest_py.config import Config  # noqa: PLC0415

    with _user_module(function) as (module, name):
        config = Config.load(file)
        strategy = config.strategy if module is None else _chosen(module, name, config)
        bars = config.load_bars()
        with steps_bar("Look-ahead", "runs", silent=as_json) as progress:
            found = check_lookahead(
                strategy,
                bars,
                cuts=cuts,
                seed=seed,
                engine=engine or config.run.engine,
                progress=progress,
            )
    if as_json:
        print_json(found.to_mapping())
    else:
        typer.echo(found.text)
    if not found.ok:
        raise typer.Exit(EXIT_SEEN)


@contextmanager
def _user_module(given: str) -> Iterator[tuple[ModuleType | None, str]]:
    """Run a Python file, and yield it with the name that was asked of it.

    Its folder can be imported from meanwhile, as when Python runs it.

    Raises
    ------
    ConfigError
        If there is no such file, or it fails.
    """
    if not given:
        yield None, ""
        return
    path, name = (given, "") if given.endswith(".py") else given.rpartition(":")[::2]
    file = Path(path)
    if file.suffix != ".py" or not file.is_file():
        raise ConfigError(
            f"--function {given!r}: there is no such Python file; give FILE.py:NAME, or FILE.py "
            "alone for a strategy that it registers and [strategy] names"
        )
    folder = str(file.resolve().parent)
    spec = spec_from_file_location(f"_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} cannot be imported")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, folder)
    try:
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ConfigError(f"{file} fails: {type(error).__name__}: {error}") from error
        yield module, name
    finally:
        sys.path.remove(folder)
        del sys.modules[spec.name]


def _chosen(module: ModuleType, name: str, config: Config) -> Any:
    """Return what is to be checked: with the parameters of [strategy] where that names it."""
    if not name:
        return config.strategy
    known = [each for each in vars(module) if not each.startswith("_")]
    if name not in known:
        raise unknown_name(f"name in {module.__file__}", name, known)
    found = getattr(module, name)
    return config.strategy if type(config.strategy) is found else found
