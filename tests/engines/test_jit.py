"""The jit decorator and the disk cache of compiled kernels."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backtest_py import _jit, _kernel_cache
from backtest_py._jit import JIT_OPTIONS, kernel
from backtest_py.errors import BacktestWarning, EngineError

jit_only = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"},
    reason="NUMBA_DISABLE_JIT: there is no compiled code to look at",
)
posix_only = pytest.mark.skipif(os.name != "posix", reason="modes and owners are of POSIX")

SOURCE = Path(_jit.__file__).parent

CALLEE = """
from backtest_py._jit import kernel
@kernel
def fee(x):
    return x * 2.0
"""
CALLER = """
from backtest_py._jit import kernel
from backtest_py.callee import fee
from backtest_py.constants import FIXED
@kernel
def total(values):
    result = 0.0
    for value in values:
        result += fee(value) + FIXED
    return result
"""
MAIN = """
import json, os, stat
import numpy as np
from backtest_py._kernel_cache import cache_directory
from backtest_py.caller import total
from backtest_py.callee import fee
value = total(np.array([1.0, 2.0]))
stats = getattr(total.dispatcher, "stats", None)
print(json.dumps({
    "value": value,
    "hits": sum(stats.cache_hits.values()) if stats else None,
    "misses": sum(stats.cache_misses.values()) if stats else None,
    "path": stats.cache_path if stats else None,
}))
"""


class Package:
    """A copy of the jit machinery beside two kernel modules that a test may edit."""

    def __init__(self, root):
        self.folder = root / "backtest_py"
        self.folder.mkdir()
        self.cache = root / "cache"
        for name in ("_forks.py", "_jit.py", "_kernel_cache.py", "errors.py"):
            shutil.copy(SOURCE / name, self.folder / name)
        self.write(__init__="", callee=CALLEE, caller=CALLER, constants="FIXED = 1.0\n")

    def write(self, **modules):
        for name, text in modules.items():
            (self.folder / f"{name}.py").write_text(text, encoding="utf-8")

    def start(self, code=MAIN, *, warnings="error", **variables):
        env = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
        env |= {
            "PYTHONPATH": str(self.folder.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BACKTEST_PY_CACHE_DIR": str(self.cache),
        }
        return subprocess.Popen(
            [sys.executable, "-W", warnings, "-c", code],
            env=env | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return SimpleNamespace(**json.loads(out), err=err)

    def run(self, code=MAIN, **options):
        return self.finish(self.start(code, **options))


@pytest.fixture
def package(tmp_path):
    return Package(tmp_path)


@pytest.fixture
def private_cache(tmp_path, monkeypatch):
    """Let this process prepare a cache directory of its own, and forget it afterwards."""
    monkeypatch.setenv("BACKTEST_PY_CACHE_DIR", str(tmp_path / "cache"))
    for cached in (_kernel_cache.prepared_directory, _kernel_cache._warn_once):
        cached.cache_clear()
    yield tmp_path / "cache" / "numba"
    for cached in (_kernel_cache.prepared_directory, _kernel_cache._warn_once):
        cached.cache_clear()


# The decorator


def test_import_loads_neither_numba_nor_pandas_nor_pyarrow():
    code = (
        "import backtest_py, sys;"
        "print([m for m in ('numba', 'llvmlite', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


LEVEL = 3.0


@kernel
def doubled(x):
    """Double x."""
    return x * 2.0


@kernel
def shifted(x):
    return doubled(x) + LEVEL


@kernel
def endless(x):
    return endless(x - 1.0) if x > 0.0 else x


@kernel
def ping(x):
    return pong(x)


@kernel
def pong(x):
    return ping(x)


@kernel
def quotient(a, b):
    return a / b


@kernel
def dot_step(a, b, c, out):
    for i in range(len(out)):
        out[i] = a[i] * b[i] + c[i]


@kernel
def running_sum(x):
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total


def test_kernels_call_each_other_and_see_constants():
    assert shifted(4.0) == 11.0


def test_kernels_keep_name_doc_and_identity():
    assert doubled.__name__ == "doubled"
    assert doubled.__doc__ == "Double x."
    assert doubled.py_func(3.0) == 6.0
    assert "doubled" in repr(doubled)


def test_kernel_is_pickled_by_name():
    from backtest_py.indicators import true_range

    assert pickle.loads(pickle.dumps(true_range)) is true_range


def test_closures_reach_kernels():
    factor = 5.0

    @kernel
    def inner(x):
        return x * factor

    @kernel
    def outer(x):
        return inner(x) + 1.0

    assert outer(2.0) == 11.0


@pytest.mark.parametrize("recursive", [endless, ping])
def test_recursion_is_refused(recursive):
    for _ in range(2):
        with pytest.raises(EngineError, match="calls itself"):
            recursive(3.0)


def test_a_kernel_reached_through_its_module_is_refused():
    from backtest_py import indicators

    @kernel
    def bad(high, low, close, out):
        indicators.true_range(high, low, close, out)

    with pytest.raises(EngineError, match=r"from backtest_py\.indicators import true_range"):
        bad(np.ones(2), np.ones(2), np.ones(2), np.ones(2))


def test_division_by_zero_is_ieee():
    zero = np.float64(0.0)
    assert quotient(np.float64(1.0), zero) == np.inf
    assert np.isnan(quotient(zero, zero))


@jit_only
def test_options_hold_for_every_dispatcher():
    assert JIT_OPTIONS == {"fastmath": False, "error_model": "numpy", "nogil": True}
    options = doubled.dispatcher.targetoptions
    assert options["fastmath"] is False
    assert options["error_model"] == "numpy"
    assert options["nogil"] is True


@jit_only
def test_a_kernel_that_must_not_allocate_is_refused_if_it_does():
    from numba.core.errors import NumbaError

    @kernel(allocates=False)
    def lean(x):
        return doubled(x[0]) + x[1]

    @kernel(allocates=False)
    def wasteful(x):
        return np.empty(2)[0] + x[0]

    x = np.array([1.0, 2.0])
    assert lean(x) == 4.0
    with pytest.raises(NumbaError):
        wasteful(x)


@jit_only
def test_machine_code_neither_fuses_nor_reorders():
    """S8: fastmath let the compiler contract a*b + c and drop the tests for nan."""
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 1_000))
    out = np.empty(1_000)
    dot_step(a, b, c, out)
    assert out.tobytes() == (a * b + c).tobytes()
    total = 0.0
    for value in a.tolist():
        total += value
    assert running_sum(a) == total
    for each in (dot_step, running_sum):
        llvm = "".join(each.dispatcher.inspect_llvm().values())
        flags = r"\b(fast|contract|reassoc|nnan|ninf|nsz|arcp|afn)\b"
        arithmetic = re.findall(r"^.*\bf(?:add|sub|mul|div|cmp|neg)\b.*$", llvm, re.MULTILINE)
        assert arithmetic
        assert not [line for line in arithmetic if re.search(flags, line)]
        assert "llvm.fma" not in llvm
        assert "fmuladd" not in llvm
        assembly = "".join(each.dispatcher.inspect_asm().values())
        assert not re.search(r"\bv?fn?m(add|sub|la|ls)", assembly)


@jit_only
def test_kernels_of_users_are_not_kept_on_disk(private_cache):
    @kernel
    def mine(x):
        return x + 1.0

    assert mine(1.0) == 2.0
    assert mine.dispatcher.stats.cache_path is None


# The disk cache


def test_an_edited_callee_changes_its_caller(package):
    """Numba's own cache=True keeps the machine code of the unchanged caller, callee and all."""
    first = package.run()
    assert (first.value, first.hits, first.misses) == (8.0, 0, 1)
    again = package.run()
    assert (again.value, again.hits, again.misses) == (8.0, 1, 0)
    package.write(callee=CALLEE.replace("2.0", "3.0"))
    edited = package.run()
    assert (edited.value, edited.hits, edited.misses) == (11.0, 0, 1)
    assert edited.path != first.path
    package.write(callee=CALLEE)
    back = package.run()
    assert (back.value, back.hits) == (8.0, 1)


def test_an_edited_constant_changes_the_kernels_that_use_it(package):
    """Its module holds no kernel, so the directory stays; the file's name covers the value."""
    first = package.run()
    package.write(constants="FIXED = 0.5\n")
    edited = package.run()
    assert (edited.value, edited.hits, edited.misses) == (7.0, 0, 1)
    assert edited.path == first.path


def test_code_loaded_before_an_edit_is_not_stored_under_it(package):
    before = package.run(
        "from backtest_py import caller\n"
        f"open({str(package.folder / 'callee.py')!r}, 'w').write("
        f"{CALLEE.replace('2.0', '3.0')!r})\n" + MAIN
    )
    assert before.value == 8.0
    assert package.run().value == 11.0


@posix_only
def test_the_directory_is_the_users_alone(package):
    path = Path(package.run().path)
    assert path.parent == package.cache / "numba"
    for directory in (path, path.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not list(path.glob(".*.partial"))


def test_two_processes_may_compile_at_once(package):
    both = [package.start(), package.start()]
    assert [package.finish(process).value for process in both] == [8.0, 8.0]
    assert package.run().hits == 1


def test_a_damaged_file_is_compiled_again_with_a_warning(package):
    for path in Path(package.run().path).glob("backtest_py.caller.*"):
        path.write_bytes(path.read_bytes()[:-100])
    damaged = package.run(warnings="default")
    assert (damaged.value, damaged.hits, damaged.misses) == (8.0, 0, 1)
    assert "is damaged" in damaged.err
    assert package.run().hits == 1


def test_an_unusable_directory_warns_once_and_compiles_in_memory(package):
    package.cache.write_text("a file where the directory should be", encoding="utf-8")
    found = package.run(warnings="default")
    assert (found.value, found.hits, found.misses, found.path) == (8.0, 0, 1, None)
    assert found.err.count("BacktestWarning") == 1
    assert "compiled kernels cannot be kept on disk" in found.err


def test_a_full_disk_warns_and_the_result_stands(package):
    """The write fails after the compilation has succeeded."""
    full = """
import pathlib
def write_bytes(self, data):
    raise OSError(28, "No space left on device")
pathlib.Path.write_bytes = write_bytes
"""
    found = package.run(full + MAIN, warnings="default")
    assert found.value == 8.0
    assert found.err.count("No space left on device") == 1
    assert package.run().hits == 0


def test_boundscheck_has_machine_code_of_its_own(package):
    plain, checked = package.run(), package.run(NUMBA_BOUNDSCHECK="1")
    assert checked.value == plain.value
    assert checked.path != plain.path


def test_without_jit_kernels_run_as_python(package):
    found = package.run(NUMBA_DISABLE_JIT="1")
    assert (found.value, found.hits) == (8.0, None)
    assert not package.cache.exists()


def test_numba_cache_settings_of_the_user_are_left_alone(package):
    code = MAIN + "from numba import config\nassert config.CACHE_DIR == 'elsewhere'\n"
    found = package.run(code, NUMBA_CACHE_DIR="elsewhere", NUMBA_CACHE_LOCATOR_CLASSES="no.such")
    assert Path(found.path).parent == package.cache / "numba"


@posix_only
def test_a_directory_open_to_readers_is_closed(private_cache):
    private_cache.mkdir(parents=True)
    private_cache.chmod(0o755)
    assert _kernel_cache.prepared_directory() is not None
    assert stat.S_IMODE(private_cache.stat().st_mode) == 0o700


@posix_only
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_open_to_writers_is_refused(private_cache, mode):
    private_cache.mkdir(parents=True)
    private_cache.chmod(mode)
    with pytest.warns(BacktestWarning, match="others may have written"):
        assert _kernel_cache.prepared_directory() is None


@posix_only
def test_a_directory_of_another_user_is_refused(private_cache, monkeypatch):
    private_cache.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: private_cache.stat().st_uid + 1)
    with pytest.warns(BacktestWarning, match="belongs to user"):
        assert _kernel_cache.prepared_directory() is None


def test_builds_out_of_use_are_deleted(private_cache):
    private_cache.mkdir(parents=True, mode=0o700)
    private_cache.chmod(0o700)
    now, day = time.time(), 86_400
    ages = {"a": 31 * day, "b": 29 * day, **{str(number): number for number in range(8)}}
    for name, age in ages.items():
        (private_cache / (name * 32)).mkdir()
        (private_cache / (name * 32) / "x.kernel").touch()
        os.utime(private_cache / (name * 32), (now - age, now - age))
    (private_cache / "notes").mkdir()
    os.utime(private_cache / "notes", (0, 0))
    kept = _kernel_cache.prepared_directory()
    names = {path.name for path in private_cache.iterdir()}
    assert names == {kept.name, "notes", *(str(number) * 32 for number in range(8))}


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/backtest_py/numba"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/backtest_py/numba"),
        ("linux", {}, "/home/me/.cache/backtest_py/numba"),
        ("darwin", {}, "/home/me/Library/Caches/backtest_py/numba"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/backtest_py/numba"),
        ("win32", {}, "/home/me/AppData/Local/backtest_py/numba"),
        ("linux", {"BACKTEST_PY_CACHE_DIR": "/mine"}, "/mine/numba"),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "BACKTEST_PY_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setattr(sys, "platform", platform)
    assert _kernel_cache.cache_directory().as_posix() == expected


def test_the_key_covers_every_file_that_holds_a_kernel():
    import importlib

    sources = {path.relative_to(SOURCE).as_posix() for path in _kernel_cache.kernel_sources()}
    assert {"_jit.py", "_kernel_cache.py", "indicators.py"} <= sources
    for path in SOURCE.rglob("*.py"):
        if "from backtest_py._jit import" not in path.read_text(encoding="utf-8"):
            continue
        relative = path.relative_to(SOURCE)
        module = importlib.import_module(".".join(["backtest_py", *relative.with_suffix("").parts]))
        holds_kernels = any(
            isinstance(value, _jit.Kernel) and value.__module__ == module.__name__
            for value in vars(module).values()
        )
        if holds_kernels:
            assert relative.as_posix() in sources
