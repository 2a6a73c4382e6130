"""THIRD_PARTY_NOTICES.md covers what the extension links in, no more and no less."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTICES = ROOT / "THIRD_PARTY_NOTICES.md"


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "third_party_notices.py"
    spec = importlib.util.spec_from_file_location("third_party_notices", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noticed():
    headings = re.findall(r"^## (\S+) (\d\S*)$", NOTICES.read_text(encoding="utf-8"), re.MULTILINE)
    return set(headings)


def test_notices_match_the_lock_file(tool, capsys):
    assert tool.main(["--check"]) == 0, capsys.readouterr().err


def test_noticed_versions_are_the_locked_ones():
    lock = tomllib.loads((ROOT / "engine_rust" / "Cargo.lock").read_text(encoding="utf-8"))
    locked = {(item["name"], item["version"]) for item in lock["package"]}
    assert noticed()
    assert noticed() <= locked


def test_direct_dependencies_are_noticed():
    crate = tomllib.loads((ROOT / "engine_rust" / "Cargo.toml").read_text(encoding="utf-8"))
    assert set(crate["dependencies"]) <= {name for name, _ in noticed()}


def test_every_licence_lets_us_link(tool):
    permissive = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0"}
    for package in tool.linked_packages(tool.cargo_metadata()):
        offered = set(re.split(r" OR |/", package["license"]))
        assert offered & permissive, f"{package['name']}: {package['license']}"


def test_the_chart_library_is_noticed_in_the_version_that_is_shipped(tool):
    shipped = (tool.ASSETS / tool.CHARTS).read_text(encoding="utf-8")
    version = re.search(r"Lightweight Charts™ v(\S+)", shipped)[1]
    text = NOTICES.read_text(encoding="utf-8").partition("## TradingView Lightweight Charts™ ")[2]
    assert text.startswith(f"{version}\n")
    assert "Copyright (c) 2026 TradingView, Inc. https://www.tradingview.com/" in text
    assert "Apache License" in text


def test_a_changed_notice_is_noticed(tool, tmp_path, monkeypatch, capsys):
    stale = tmp_path / "THIRD_PARTY_NOTICES.md"
    stale.write_text(NOTICES.read_text(encoding="utf-8").replace("MIT", "GPL", 1), encoding="utf-8")
    monkeypatch.setattr(tool, "NOTICES", stale)
    assert tool.main(["--check"]) == 1
    assert "make notices" in capsys.readouterr().err


def test_a_crate_without_a_licence_file_is_refused(tool, tmp_path):
    package = {
        "name": "bare",
        "version": "1.0.0",
        "license": "MIT",
        "manifest_path": str(tmp_path / "Cargo.toml"),
    }
    with pytest.raises(SystemExit, match="ships no licence file"):
        tool.render([package])
