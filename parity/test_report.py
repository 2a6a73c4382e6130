"""The command tells agreement from disagreement, and never proves half of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from parity import __main__ as command
from parity import report
from parity.cases import seeded_case
from parity.checks import Verdict, check_case


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Return a function that runs the command on given verdicts alone."""

    def run_command(verdicts, tests=None):
        monkeypatch.setattr(report, "golden_verdicts", lambda: iter(()))
        monkeypatch.setattr(report, "generated_verdicts", lambda first, n_cases: iter(verdicts))
        monkeypatch.setattr(report, "run_tests", lambda: tests or report.Part("Tests", compared=1))
        monkeypatch.setattr(sys, "argv", ["parity", "--cases", "1", "--out", str(tmp_path)])
        status = command.main()
        written = json.loads((tmp_path / "parity-report.json").read_text(encoding="utf-8"))
        markdown = (tmp_path / "parity-report.md").read_text(encoding="utf-8")
        assert capsys.readouterr().out == markdown + "\n"
        return status, written, markdown

    return run_command


def test_agreement_is_status_0(run):
    status, written, markdown = run([check_case(seeded_case(n)) for n in range(3)])
    assert status == 0
    assert written["same"] is True
    generated = written["parts"]["Generated cases"]
    assert (generated["compared"], generated["differing"]) == (3, 0)
    assert generated["largest_relative_difference"] == 0.0
    assert "agree, bit for bit" in markdown


def test_one_divergence_is_status_3(run):
    good = check_case(seeded_case(0))
    bad = Verdict("case 1", ("trade 0 (signal bar 3), pnl: numba 1.0, rust 2.0",), float("inf"))
    status, written, markdown = run([good, bad])
    assert status == 3
    assert written["same"] is False
    assert written["parts"]["Generated cases"]["differing"] == 1
    assert written["parts"]["Generated cases"]["largest_relative_difference"] == "inf"
    assert "DISAGREE" in markdown
    assert "trade 0 (signal bar 3), pnl" in markdown


def test_a_failing_test_is_status_3(run):
    tests = report.Part("Tests", compared=9, differences=["parity.test_x::test_y: failure"])
    assert run([check_case(seeded_case(0))], tests)[0] == 3


def test_a_missing_engine_fails_before_anything_is_compared(tmp_path):
    command_line = [sys.executable, "-m", "parity", "--cases", "1", "--out", str(tmp_path)]
    environment = {**os.environ, "BACKTEST_PY_NO_RUST": "1"}
    ended = subprocess.run(
        command_line,
        cwd=report.FOLDER.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "BACKTEST_PY_NO_RUST" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_one_case_can_be_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["parity", "--case", "17"])
    assert command.main() == 0
    assert "all agree" in capsys.readouterr().out
