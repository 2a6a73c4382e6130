"""Section ``[search]``: the arguments of a search; its grid is that of ``[sweep]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

from backtest_py.analysis.search.objectives import objectives_of
from backtest_py.analysis.search.settings import SearchSettings
from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name

__all__ = ["SearchSection", "search_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSection(SearchSettings):
    """Section ``[search]``, with what shall be good.

    Attributes
    ----------
    objective : str, list of str, or mapping of str to str
        A metric; several; or several with ``"max"`` or ``"min"`` each.
    """

    objective: str | list[str] | Mapping[str, str] = "sharpe"


def search_of(table: Mapping[str, object]) -> SearchSection:
    """Return the section, its keys and values checked.

    Raises
    ------
    ConfigError
        If a key or a value is not allowed.
    """
    known = [item.name for item in fields(SearchSection)]
    for name in table:
        if name not in known:
            raise unknown_name("parameter of [search]", name, known)
    section = SearchSection(**cast("dict[str, object]", dict(table)))  # type: ignore[arg-type]
    wanted = section.objective
    if not isinstance(wanted, (str, list, Mapping)) or (
        isinstance(wanted, list) and not all(isinstance(each, str) for each in wanted)
    ):
        raise ConfigError(
            f"search.objective = {wanted!r} is not allowed; give a metric in quotes, a list of "
            'them, or a table as in { sharpe = "max", max_drawdown = "min" }'
        )
    objectives_of(wanted)
    return section
