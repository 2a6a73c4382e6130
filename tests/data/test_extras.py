"""What only market data needs is an extra; where it lacks, the remedy is named."""

from __future__ import annotations

import sys

import pytest
from tests.market_blocks import PERIOD, SERIES

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.memory import Memory
from backtest_py.errors import ConfigError

USES = {
    "cachetools": (Memory, "data"),
    "sqlalchemy": (lambda: Database("sqlite:///never-made.sqlite"), "data"),
    "psycopg": (
        lambda: Database("postgresql://me@127.0.0.1:1/x").get(SERIES, PERIOD),
        "postgres",
    ),
    "httpx2": (lambda: Archive("http://127.0.0.1:1").get(SERIES, PERIOD), "data"),
}


@pytest.mark.parametrize("module", USES)
def test_a_package_that_is_missing_is_asked_for(module, monkeypatch):
    use, extra = USES[module]
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf'pip install "backtest-py\[{extra}\]"'):
        use()
