"""Both engines for every test, a reproducible hypothesis, and a count of what was compared.

Nothing here skips: where an engine is missing, its tests fail.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from parity.checks import TALLY
from parity.implementations import ENGINES

# derandomize: a run in CI depends on the code alone; the seeded cases are as reproducible
settings.register_profile(
    "parity",
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("parity")


@pytest.fixture(params=ENGINES)
def engine(request):
    """Name of each engine in turn."""
    return request.param


def pytest_terminal_summary(terminalreporter):
    """Say how much was compared."""
    if TALLY:
        terminalreporter.section("compared bit for bit")
        for name, number in sorted(TALLY.items()):
            terminalreporter.write_line(f"{number:>10,}  {name}")
