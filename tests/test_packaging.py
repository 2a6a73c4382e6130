"""What is shipped: wheel, sdist, version, entry point, and what an import costs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CRATE = ROOT / "engine_rust" / "Cargo.toml"
HEAVY = (
    "numba",
    "llvmlite",
    "pandas",
    "pyarrow",
    "matplotlib",
    "rich",
    "typer",
    "joblib",
    "jinja2",
)

# The workplace of a developer, and the servers of package registries; assembled, so that this
# file does not name them.
PLACES = re.compile(
    "|".join(
        [
            r"(?<![\w.~])/(root|work|Users|home(?!/me\b))/\w",
            r"(?<![\w.~])[A-Z]:\\" + r"Users",
            "python" + "hosted",
            "py" + r"pi\.(org|io)",
            "npm" + r"js\.(org|com)",
            r"(index|static)\." + "crates",
            "deb" + r"\.debian",
        ]
    )
)


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=options.pop("cwd", ROOT),
        env={**os.environ, **options.pop("env", {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def crate_version():
    return tomllib.loads(CRATE.read_text(encoding="utf-8"))["package"]["version"]


def tracked_files():
    """Return the files that are, or will be, committed."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return [ROOT / name for name in sorted(set(listed.split("\0"))) if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Build both wheels as people do, in a folder that holds those of another version."""
    out = tmp_path_factory.mktemp("wheels") / "dist"
    for old in ("cp311-abi3-linux_x86_64", "cp311-abi3-manylinux_2_28_x86_64", "py3-none-any"):
        for folder in (out, out / "numba"):
            folder.mkdir(exist_ok=True)
            (folder / f"backtest_py-0.0.1-{old}.whl").touch()
    python = Path(sys.executable).as_posix()
    # the environments are those of this run: make is not to build its own
    given = ("-o", ".venv/.dependencies", "-o", ".venv-numba/.tools", f"PY={python}")
    run("make", *given, f"PY_NUMBA={python}", f"DIST={out.as_posix()}", "wheel", "wheel-numba")
    return out


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "maturin", "sdist", "--manifest-path", CRATE, "--out", out)
    (path,) = out.glob("*.tar.gz")
    return path


def test_one_wheel_serves_every_python_from_3_11(wheel):
    name, version, python, abi, _platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("backtest_py", crate_version(), "cp311", "abi3")


def readme_installs():
    """Return what README's install commands name, relative to dist."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^\$ pip install dist/(\S+)$", text, re.MULTILINE)


def test_readme_names_both_wheels():
    assert readme_installs() == ["*.whl", "numba/*.whl"]


@pytest.mark.parametrize("pattern", readme_installs())
def test_readme_installs_one_wheel_of_this_version_whatever_lay_there(dist, pattern):
    pip = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install")
    offline = ("--dry-run", "--no-deps", "--no-index", "--ignore-installed")
    said = run(*pip, *offline, *dist.glob(pattern))
    assert said.splitlines()[-1] == f"Would install backtest-py-{crate_version()}"
    kinds = [path.stem.rpartition("-")[2] for path in dist.glob(pattern)]
    assert (kinds == ["any"]) is (pattern == "numba/*.whl")


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"backtest_py-{crate_version()}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"backtest_py", info}
    python = {
        f"backtest_py/{p.relative_to(ROOT / 'src/backtest_py').as_posix()}"
        for p in (ROOT / "src" / "backtest_py").rglob("*.py*")
        if "__pycache__" not in p.parts and p.suffix in {".py", ".pyi"}
    }
    assert python <= set(names)
    assets = ROOT / "src" / "backtest_py" / "report" / "html" / "assets"
    prefix = "backtest_py/report/html/assets/"
    assert {f"{prefix}{path.name}" for path in assets.iterdir()} <= set(names)
    extensions = [name for name in names if re.search(r"_engine_rust\..*(so|pyd)$", name)]
    assert len(extensions) == 1
    assert "backtest_py/py.typed" in names
    assert "backtest_py/_engine_rust.pyi" in names
    assert f"{info}/licenses/LICENSE" in names
    assert f"{info}/licenses/THIRD_PARTY_NOTICES.md" in names
    assert not [name for name in names if "test" in name.rpartition("/")[2].split("_")]


@pytest.fixture(scope="module")
def debug_wheel(sdist, tmp_path_factory):
    """Return a wheel that was built from the sdist alone.

    The debug profile and the shared target folder spare a second fat link.
    """
    folder = tmp_path_factory.mktemp("debug")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "tree", filter="data")
    (tree,) = (folder / "tree").iterdir()
    command = (sys.executable, "-m", "maturin", "build", "--profile", "dev", "--out", folder)
    target = {"CARGO_TARGET_DIR": str(ROOT / "engine_rust" / "target")}
    run(*command, cwd=tree, env=target)
    (path,) = folder.glob("*.whl")
    return path


def test_sdist_holds_what_a_build_needs(sdist):
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    documents = {"LICENSE", "PKG-INFO", "README.md", "THIRD_PARTY_NOTICES.md"}
    assert top == documents | {"engine_rust", "pyproject.toml", "src"}


def run_from(wheel, folder):
    """Run the Rust engine of an unpacked wheel; return where it lies, its profile and warnings."""
    zipfile.ZipFile(wheel).extractall(folder)
    code = (
        "import json, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import backtest_py as bt\n"
        "    result = bt.run(bt.synthetic_bars(n_days=9), 'barra_elefante', engine='rust')\n"
        "print(json.dumps([bt.__file__, result.provenance.build['profile'],\n"
        "    [str(item.message) for item in caught if item.category is RuntimeWarning]]))"
    )
    return json.loads(run(sys.executable, "-c", code, env={"PYTHONPATH": str(folder)}, cwd=folder))


def test_wheel_runs(wheel, tmp_path):
    where, profile, warned = run_from(wheel, tmp_path)
    assert Path(where).is_relative_to(tmp_path)
    assert (profile, warned) == ("release", [])


def test_wheel_from_the_sdist_runs_and_a_debug_build_warns(debug_wheel, tmp_path):
    where, profile, warned = run_from(debug_wheel, tmp_path)
    assert Path(where).is_relative_to(tmp_path)
    assert profile == "debug"
    assert len(warned) == 1
    assert "debug build" in warned[0]


def test_version_has_one_source():
    import backtest_py
    from backtest_py import _engine_rust

    version = crate_version()
    assert importlib.metadata.version("backtest-py") == version
    assert backtest_py.__version__ == version
    assert _engine_rust.__version__ == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {version}" in changelog


def test_entry_point():
    points = importlib.metadata.entry_points(group="console_scripts", name="backtest-py")
    (point,) = points
    assert point.value == "backtest_py.cli:main"
    assert callable(point.load())


def test_import_loads_nothing_heavy():
    code = f"import sys, backtest_py; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run(sys.executable, "-c", code).strip() == "[]"


def test_what_a_first_run_does_without_is_imported_when_asked_for():
    later = ("config", "sweep.run", "data", "results", "strategies.user", "provenance", "report")
    code = f"""
import sys, backtest_py as bt
print([m for m in {later!r} if f"backtest_py.{{m}}" in sys.modules])
assert set(bt.__all__) <= set(dir(bt)) and "__version__" in dir(bt)
for name in bt.__all__:
    assert getattr(bt, name).__module__.startswith("backtest_py."), name
assert callable(bt.run) and not hasattr(bt, "nothing_of_the_kind")
import backtest_py.backtest.run
assert callable(bt.run)
"""
    assert run(sys.executable, "-c", code).strip() == "[]"


def test_import_costs_little_more_than_numpy(tmp_path):
    """The time itself is for `make bench`; here it is a ratio, both measured in one run."""
    # An installed package has its bytecode beside it. Here it goes to a folder of its own, even
    # where the environment forbids it in the source tree.
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}

    def seconds(module: str) -> float:
        code = (
            "import time; start = time.perf_counter(); "
            f"import {module}; print(time.perf_counter() - start)"
        )
        return float(run(sys.executable, "-c", code, env=bytecode))

    pairs = [(seconds("backtest_py"), seconds("numpy")) for _ in range(10)]
    assert min(ours for ours, _ in pairs) < 2.5 * min(numpy for _, numpy in pairs)


def test_nothing_committed_names_a_workplace_or_a_registry():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in PLACES.finditer(text)]
    assert found == []


def test_constraints_pin_exact_versions():
    for name in ("constraints.txt", "constraints-bench.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert pins
        assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[\w.+!-]+", pin)] == []


def test_lock_file_is_current():
    run("cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", CRATE)
