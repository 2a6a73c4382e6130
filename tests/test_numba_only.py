"""An installation without the Rust engine: built without cargo, complete but for that engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PROBE = """
import json, backtest_py as bt
bars = bt.synthetic_bars(n_days=30)
settings = (bars, bt.BarraElefante(), bt.ExitRules(), bt.Contract())
auto, numba = (bt.run(*settings, engine=engine) for engine in ("auto", "numba"))
try:
    bt.run(*settings, engine="rust")
except bt.EngineUnavailableError as error:
    refusal = str(error)
print(json.dumps({
    "file": bt.__file__, "version": bt.__version__, "refusal": refusal,
    "engine": auto.provenance.engine, "reason": auto.provenance.reason,
    "same": dict(auto.metrics).keys() == dict(numba.metrics).keys(), "trades": len(auto.trades),
}))
"""


def execute(*command, **environment):
    without_cargo = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        env={**without_cargo, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def probe(python, **environment):
    done = execute(python, "-c", PROBE, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("pure")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)],
        cwd=ROOT,
        # an empty PATH: neither cargo nor maturin can be found
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(pure_wheel, tmp_path_factory):
    """Return the Python of a new environment that holds the pure wheel."""
    folder = tmp_path_factory.mktemp("numba_only") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    done = execute(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        pure_wheel,
    )
    assert done.returncode == 0, done.stderr
    # The dependencies of the test environment, but not its editable backtest-py: that hangs on
    # a .pth file, and those count only in a site directory.
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python


def test_pure_wheel_has_no_binary(pure_wheel):
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(pure_wheel).namelist()
    assert not [name for name in names if name.endswith((".so", ".pyd", ".dylib"))]
    assert "backtest_py/py.typed" in names
    sources = (ROOT / "src" / "backtest_py").rglob("*.py")
    assert {
        f"backtest_py/{path.relative_to(ROOT / 'src' / 'backtest_py').as_posix()}"
        for path in sources
    } <= set(names)


def test_numba_runs_and_rust_says_what_is_missing(installed):
    found = probe(installed)
    assert "numba_only" in found["file"], "the installed package, not the source tree"
    assert found["engine"] == "numba"
    assert found["trades"] > 0
    assert "_engine_rust" in found["reason"]
    assert "make build" in found["refusal"]
    assert "wheel" in found["refusal"]


def test_blocked_extension_behaves_the_same():
    found = probe(sys.executable, BACKTEST_PY_NO_RUST="1")
    assert found["engine"] == "numba"
    assert found["trades"] > 0
    for text in (found["reason"], found["refusal"]):
        assert "BACKTEST_PY_NO_RUST" in text
    assert "unset" in found["refusal"]
