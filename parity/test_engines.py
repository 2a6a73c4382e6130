"""Golden cases on all implementations; generated cases on which all must agree bit for bit."""

from __future__ import annotations

import pytest
from hypothesis import given

from parity import golden
from parity.cases import drawn_cases, seeded_case
from parity.checks import check_case, check_golden
from parity.implementations import IMPLEMENTATIONS

N_CASES = 2000
BLOCK = 200


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("path", golden.case_paths(), ids=lambda path: path.name.split(".")[0])
def test_golden_case(path, implementation):
    check_golden(golden.load_case(path), implementation).require()


def test_golden_cases_are_there():
    committed = [path for path in golden.case_paths() if path.parent == golden.COMMITTED]
    assert len(committed) >= 12
    if golden.shared_folder() is not None:
        assert len(golden.case_paths()) > len(committed)


@pytest.mark.parametrize("first", range(0, N_CASES, BLOCK))
def test_seeded_cases(first):
    for number in range(first, first + BLOCK):
        check_case(seeded_case(number)).require()


@given(drawn_cases())
def test_drawn_cases(case):
    check_case(case).require()
