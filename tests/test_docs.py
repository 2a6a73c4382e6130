"""The documentation is code: its blocks run, its commands work, its links lead somewhere.

All blocks of a page run in one folder and, for Python, in one namespace, from top to bottom:

``python``   runs, and must not raise
``toml``     is written to the file that its first line names (``# first.toml``)
``console``  every ``$ backtest-py`` line runs and must succeed; every ``$ make`` target must exist
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from backtest_py.strategies import base

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROSE = [*PAGES, ROOT / "CHANGELOG.md", *sorted(ROOT.glob("engine_rust/*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]+)?(#[^)\s]+)?\)")


def page_id(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path):
    """Yield (language, text, line number of its first line)."""
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield match[1], match[2], text.count("\n", 0, match.start(2)) + 1


def commands(text):
    """Return the command lines of a console block: no prompts, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def run_python(text, line, path, namespace):
    # blank lines in front keep the line numbers of the page in a traceback
    code = compile("\n" * (line - 1) + text, str(path), "exec", dont_inherit=True)
    exec(code, namespace)


def run_command(command, folder):
    words = shlex.split(command, comments=True)
    done = subprocess.run(
        [sys.executable, "-m", "backtest_py", *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"


def make_targets():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):.*?## ", text, re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # what a page registers is known on that page alone
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    namespace = {"__name__": "__main__"}
    for language, text, line in blocks(path):
        if language == "python":
            run_python(text, line, path, namespace)
        elif language == "toml" and (name := re.match(r"# (\S+\.toml)\n", text)):
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
        elif language == "console":
            for command in commands(text):
                if command.startswith("backtest-py "):
                    run_command(command, tmp_path)


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_make_targets_exist(path):
    text = path.read_text(encoding="utf-8")
    for _, block, _ in blocks(path):
        for command in commands(block):
            if command.startswith("make "):
                assert command.split()[1] in make_targets(), command
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert target in make_targets(), f"make {target}"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target, anchor in LINK.findall(FENCE.sub("", text)):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{target} does not exist"
        if anchor and found.suffix == ".md":
            assert anchor[1:] in anchors(found), f"{target}{anchor} does not exist"


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=page_id)
def test_pages_that_are_named_exist(path):
    pages = {page.name for page in (*PAGES, ROOT / "CHANGELOG.md", *ROOT.glob("*.md"))}
    pages |= {page.name for page in ROOT.glob("*/*.md")}
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    # as links have it, and as running text has it
    named = set(re.findall(r"(?<![\w*/.-])(?:[\w.-]+/)*([\w-]+\.md)\b", text))
    reports = {"parity-report.md"}  # written by a command
    assert named - pages - reports == set()


@pytest.mark.parametrize("path", PROSE, ids=page_id)
def test_lines_of_prose_are_short(path):
    # tables, links of pictures and code may be longer
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), path.read_text(encoding="utf-8"))
    long = [
        f"{path.name}:{number}: {len(line)} columns"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) >= 120 and not line.startswith(("|", "![")) and "](http" not in line
    ]
    assert long == []


def anchors(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.strip().replace(" ", "-") for word in words}


def test_readme_has_the_two_commands_and_a_short_example():
    readme = ROOT / "README.md"
    said = [
        command
        for language, text, _ in blocks(readme)
        if language == "console"
        for command in commands(text)
    ]
    assert {"make demo", "make test"} <= set(said)
    first = next(text for language, text, _ in blocks(readme) if language == "python")
    assert len([line for line in first.splitlines() if line.strip()]) <= 10


def test_a_broken_block_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\nassert x == 2\n```\n", encoding="utf-8")
    ((language, text, line),) = blocks(page)
    assert (language, line) == ("python", 4)
    with pytest.raises(AssertionError):
        run_python(text, line, page, {})
    assert commands("$ a \\\n  b\nout\n$ c\n") == ["a    b", "c"]


def test_every_target_of_the_makefile_is_explained():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE)) == make_targets()
