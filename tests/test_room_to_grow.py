"""A metric, an exit rule, a cost and a strategy are added in few files, and work in both engines.

Each patch in ``room_to_grow`` is all of one addition: it is applied to a copy of the sources, and
what touches more product files than the table in docs/decisions/0009-room-to-grow.md says fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backtest_py import _engine_rust

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "tests" / "room_to_grow"
TARGET = ROOT / "engine_rust" / "target"
PRODUCT = ("src/backtest_py/", "engine_rust/src/")
MOST_FILES = {"metric": 3, "exit_rule": 4, "cost": 3, "strategy": 4}
"""The issue allows 4, 4, 3 and 4."""


def command(*parts, cwd=ROOT, **environment):
    done = subprocess.run(
        [str(part) for part in parts],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_a_patch_for_each():
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(MOST_FILES)


@pytest.mark.parametrize("addition", MOST_FILES)
def test_an_addition_touches_few_files(addition):
    patch = (PATCHES / f"{addition}.patch").read_text(encoding="utf-8")
    touched = re.findall(r"^\+\+\+ b/(.+)$", patch, re.MULTILINE)
    assert all(file.startswith(PRODUCT) for file in touched), touched
    assert len(touched) == MOST_FILES[addition], touched


@pytest.fixture(scope="module")
def grown(pytestconfig):
    """Return a copy of the sources with all additions, its extension built cheaply.

    It lies in one place, so that cargo replaces what it built there before.
    """
    tree = pytestconfig.cache.mkdir("grown") / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    compiled = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "target")
    for folder in ("src", "engine_rust"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=compiled)
    for addition in MOST_FILES:
        # without the ceiling git finds the repository, and leaves out what is ignored in it
        patch = PATCHES / f"{addition}.patch"
        command("git", "apply", patch, cwd=tree, GIT_CEILING_DIRECTORIES=str(tree.parent))
    lines = command(
        *("cargo", "build", "--manifest-path", tree / "engine_rust" / "Cargo.toml"),
        *("--locked", "--lib", "--profile", "planted", "--target-dir", TARGET / "planted"),
        "--message-format=json",
        PYO3_BUILD_EXTENSION_MODULE="1",
        PYO3_PYTHON=sys.executable,
    )
    messages = [json.loads(line) for line in lines.splitlines()]
    (built,) = (
        file
        for message in messages
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "_engine_rust"
        for file in message["filenames"]
        if re.search(r"\.(so|dylib|dll)$", file)
    )
    shutil.copy(built, tree / "src" / "backtest_py" / Path(_engine_rust.__file__).name)
    return tree


def test_all_additions_together_work_in_both_engines(grown):
    script = PATCHES / "use_all_four.py"
    text = command(sys.executable, script, grown, PYTHONPATH=str(grown / "src"))
    assert text.endswith("all four work\n")
