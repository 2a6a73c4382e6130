"""Imports go only backwards along the flow from bars to reports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "backtest_py"

# From the leaves to the command line. A module may import what stands before its own line, and
# what belongs to the same entry; the longest entry that begins a module's name is its own.
FLOW = (
    ("errors",),
    ("_forks", "_io", "fingerprints"),
    ("data.extras",),
    ("monitoring",),
    ("parameters", "_kernel_cache"),
    ("_jit",),
    ("bars.zones",),
    ("bars.options", "bars.showing", "bars.timestamps"),
    ("bars.clocks", "bars.columns", "bars.ranges"),
    ("bars.validation",),
    ("bars.resampling",),
    ("bars",),
    ("signals",),
    ("contract", "rules", "data"),
    ("indicators",),
    ("strategies",),
    ("metrics.catalogue",),
    ("engines.layouts",),
    ("engines",),
    ("provenance", "parity"),
    ("metrics",),
    ("overfitting",),
    ("backtest.metrics", "backtest.saving", "backtest.daily", "backtest.job"),
    ("backtest.configuring", "backtest.diagnosis"),
    ("backtest.exporting",),
    ("report.figure",),
    ("report.plot", "report.html"),  # a result draws itself
    ("backtest.result",),
    ("backtest.run",),
    ("backtest.chunked",),
    ("backtest",),
    ("metrics.custom",),  # a function of a result
    ("sweep.progress", "sweep.space.axis", "sweep.space.bounds"),
    ("sweep.space.condition",),
    ("sweep.space.where",),
    ("sweep.space",),
    ("sweep.spec",),
    ("sweep.store",),
    ("sweep.compute",),
    ("sweep.executors.base", "sweep.executors.interrupts"),
    ("sweep.executors.inline", "sweep.executors.thread", "sweep.executors.worker"),
    ("sweep.executors.processes",),
    ("sweep.executors.factory",),
    ("sweep.executors.work",),
    ("sweep.executors",),
    ("sweep.gate",),
    ("sweep.result",),
    ("sweep.run",),
    ("sweep",),
    ("analysis",),
    ("config", "report"),
    ("bench",),
    ("cli.options",),
    ("cli",),
    ("__init__", "__main__"),
)
LAYER = {name: number for number, names in enumerate(FLOW) for name in names}

MODULES = sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def entry(module: str) -> str:
    """Return the longest entry that begins the module's name."""
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((name for name in names if name in LAYER), parts[0])


def imports(tree: ast.Module) -> list[tuple[str, bool]]:
    """Return (imported module below backtest_py, whether it happens inside a function)."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the flow"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [
            (name.partition(".")[2] or "__init__", id(node) in inside)
            for name in names
            if name.partition(".")[0] == "backtest_py"
        ]
    return found


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_backwards(path):
    importer = entry(module_name(path))
    assert importer in LAYER, f"place {importer} in FLOW"
    for imported, on_call in imports(ast.parse(path.read_text(encoding="utf-8"))):
        target = entry(imported)
        if target == "_engine_rust":
            assert module_name(path).startswith("engines.rust_engine."), (
                "only rust_engine calls the extension"
            )
            continue
        if target not in LAYER:  # a name that __init__ defines, such as __version__
            target = "__init__"
        backwards = target == importer or LAYER[target] < LAYER[importer]
        excused = on_call and (importer, target) == ("cli", "__init__")
        assert backwards or excused, f"{module_name(path)} imports {imported}, which comes later"


def module_imports():
    """Return the modules of the package that each module imports, also for types and on call.

    The packages that hold an imported module do not count: their ``__init__`` is imported first,
    and the tests above say what it may import.
    """
    names = {module_name(path) for path in MODULES}
    found = {}
    for path in MODULES:
        targets = set()
        for imported, _ in imports(ast.parse(path.read_text(encoding="utf-8"))):
            # a module itself, or a name that one defines
            owners = (imported, imported.rpartition(".")[0] or "__init__")
            known = [name for name in owners if name in names]
            if imported != "_engine_rust":
                targets.update(known[:1])
        found[module_name(path)] = targets - {module_name(path)}
    return found


def circle(graph):
    """Return a circle of imports, empty where there is none."""
    finished = set()

    def visit(module, way):
        if module in way:
            return [*way[way.index(module) :], module]
        if module in finished:
            return []
        for target in sorted(graph[module]):
            if found := visit(target, [*way, module]):
                return found
        finished.add(module)
        return []

    return next(filter(None, (visit(module, []) for module in sorted(graph))), [])


def test_no_module_imports_itself_through_others():
    graph = module_imports()
    assert "report.plot" in graph["backtest.result"]
    assert "bars.bars" in graph["bars"]
    assert sum(map(len, graph.values())) > 300
    assert " -> ".join(circle(graph)) == ""


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}
    assert circle(graph) == ["b", "d", "b"]
    assert circle({**graph, "d": {"c"}}) == []


def test_engines_do_not_import_each_other():
    for path in (SOURCE / "engines" / "numba_engine").rglob("*.py"):
        assert "rust" not in " ".join(name for name, _ in imports(ast.parse(path.read_text())))
    for path in (SOURCE / "engines" / "rust_engine").rglob("*.py"):
        rust = ast.parse(path.read_text())
        assert not any("numba_engine" in name for name, _ in imports(rust))


def test_slow_implementation_shares_no_code_with_the_engines():
    references = sorted((ROOT / "parity").glob("reference*.py"))
    assert references
    for path in references:
        assert imports(ast.parse(path.read_text(encoding="utf-8"))) == [], path.name


# The Rust engine: what a file names by `crate::` is what it needs.
CRATE = ROOT / "engine_rust" / "src"
RUST = {
    "::".join(path.relative_to(CRATE).with_suffix("").parts).removesuffix("::mod"): path
    for path in sorted(CRATE.rglob("*.rs"))
    if path.name != "lib.rs"
}


def rust_needs(name):
    """Return the files that a file of the Rust engine names."""
    text = RUST[name].read_text(encoding="utf-8")
    found = set()
    for start, group in re.findall(r"\bcrate::((?:\w+::)*)(\{[^}]*\}|\w+)", text):
        for item in re.findall(r"[\w:]+", group):
            parts = f"{start}{item}".split("::")
            names = ("::".join(parts[:count]) for count in range(len(parts), 0, -1))
            found.add(next((each for each in names if each in RUST), ""))
    return found - {"", name}


def test_rust_modules_need_each_other_in_one_direction():
    needs = {name: rust_needs(name) for name in RUST}
    assert "schema" in needs["types"]
    assert "strategy" in needs["strategies"]
    left = dict(needs)
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these need each other in a circle: {sorted(left)}"


def test_only_the_rust_engines_python_folder_knows_python():
    for name, path in RUST.items():
        knows = re.search(r"\b(pyo3|numpy)::", path.read_text(encoding="utf-8")) is not None
        assert knows == (name.startswith("python")), name
