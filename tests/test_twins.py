"""The engines mirror each other file by file and name by name; what differs is listed, with why.

A name is that of a function, a method, a class, a struct or a constant. A new one that only one
engine has fails here: give it a twin, or say below why there is none.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "src" / "backtest_py"
RUST = ROOT / "engine_rust" / "src"
ENGINE = "engines/numba_engine"

PAIRS = {
    "types": (["types.rs"], [f"{ENGINE}/types.py"]),
    "indicators": (["indicators.rs"], ["indicators.py"]),
    "strategy": (["strategy.rs"], [f"{ENGINE}/strategy.py"]),
    "backtest_engine": (["backtest_engine.rs"], [f"{ENGINE}/backtest_engine.py"]),
    "stream": (["stream.rs"], [f"{ENGINE}/stream.py"]),
    "contract": (["contract.rs"], [f"{ENGINE}/contract.py"]),
    "metrics": (["metrics.rs"], [f"{ENGINE}/metrics.py"]),
    "series_metrics": (["series_metrics.rs"], [f"{ENGINE}/series_metrics.py"]),
    "monte_carlo": (["monte_carlo.rs"], [f"{ENGINE}/monte_carlo.py"]),
    "optimizer": (["optimizer.rs"], [f"{ENGINE}/optimizer.py"]),
    "sweep/plan": (["sweep/plan.rs"], [f"{ENGINE}/sweep/plan.py"]),
    "sweep/outcomes": (["sweep/outcomes.rs"], [f"{ENGINE}/sweep/outcomes.py"]),
    "sweep/lists": (["sweep/lists.rs"], [f"{ENGINE}/sweep/lists.py"]),
    "sweep/lanes": (["sweep/lanes.rs"], [f"{ENGINE}/sweep/lanes.py"]),
    "simd": (["simd/mod.rs", "simd/x86.rs"], [f"{ENGINE}/sweep/vectors.py"]),
    **{
        f"strategies/{path.stem}": ([f"strategies/{path.name}"], [f"strategies/{path.stem}.py"])
        for path in sorted((RUST / "strategies").glob("*.rs"))
        if path.stem != "mod"
    },
}
# How each language says what the other need not say, in any file.
HABITS_OF_RUST = {
    # a Task is compiled once for each instruction level
    *("Output", "run"),
    # a strategy is an object behind a trait; in Python its class is declared in the same file
    *("REGISTRATION", "as_dyn", "detect", "gives_risk", "scores"),
}
HABITS_OF_NUMBA = {
    # checks of a strategy's parameters are made in Python, once for both engines
    *("validate", "uses_volume"),
    # which bars a chunk is given is declared once, and Python cuts them for both engines
    "history",
}

# By pair: why only one engine has these names.
ONLY_RUST = {
    "types": {
        "declared in rules.py, contract.py and engines/layouts.py": (
            *("AtrMethod", "Bars", "Intrabar", "MetricSettings", "Reason", "Rules"),
            *("SEMANTICS_VERSION", "Unit", "is_empty", "len"),
        ),
        "arguments that Numba takes apart": ("Range", "SignalColumns", "push"),
        "vectors that grow; Numba joins arrays at the end": ("append",),
        "checks that keep a wrong call from reading out of bounds": ("check", "check_length"),
    },
    "indicators": {"loops that are worth wider instructions": ("TrueRange", "WindowMeans")},
    "strategy": {
        "declared in strategies/base.py and signals.py": (
            *("Bound", "Registration", "Signals", "Strategy", "Threshold", "columns"),
        ),
        "values that TOML and Python have checked": ("COUNT", "count"),
        "detection over several threads": ("CHUNK", "PARALLEL_BARS", "detect_in_chunks"),
        "bounds turned so that one comparison serves all": (
            *("passes", "turned_score", "turned_threshold"),
        ),
    },
    "backtest_engine": {"a tuple in Numba": ("Backtest",)},
    "stream": {
        "declared in engines/base.py": ("Window",),
        "a check that keeps a wrong call from reading out of bounds": ("check",),
        "attributes of the class in Python": ("new", "trades"),
    },
    "contract": {"declared in contract.py of the package": ("Contract",)},
    "metrics": {
        "a comparison that Numba writes in place": ("larger",),
        "the catalogue, which Python declares in metrics/catalogue.py": (
            *("Metrics", "N_METRICS", "names", "to_array"),
        ),
        "sums of any number, of which Numba compiles one kernel for each": ("add", "map", "new"),
    },
    "series_metrics": {
        "tests": (
            *("RETURNS", "ratios_are_those_of_empyrical", "the_start_counts"),
            *("trades_are_counted_by_sign", "what_is_undefined_is_nan"),
        ),
    },
    "monte_carlo": {
        "paths beside each other in the lanes of a vector": (
            *("Accounts", "SomePaths", "advance", "stored"),
        ),
        "words of a path beside each other": ("all_bounded",),
        "a type by name": ("NewPrices",),
        "tests": (
            *("a_word_of_the_surplus_is_drawn_again", "an_account_ends_at_its_ruin"),
            *("the_generator_gives_its_published_numbers", "words_are_those_of_their_places"),
        ),
    },
    "optimizer": {"Job of engines/base.py": ("Run",)},
    "sweep/plan": {
        "threads write to slices of the result, which must not overlap": ("Group", "groups"),
        "a set's join, compiled once for each instruction level": ("Join",),
        "an array with its shape": ("Numbers",),
        "candidates of all sources are merged; NumPy sorts them": (
            *("Key", "before_key", "merged", "rows_of"),
        ),
        "attributes of the class in Python": ("done", "new", "require_going_on"),
        "the outcomes behind a lock": ("set_table", "table"),
    },
    "sweep/outcomes": {
        "arrays of structs; Numba has structs of arrays": (
            *("Candidate", "CandidateBar", "Cell", "Exit", "block"),
        ),
        "a cell has the place of a field instead of a tally": ("AMBIGUOUS_REASONS", "field_of"),
    },
    "sweep/lists": {"the columns of each source apart": ("Source",)},
    "sweep/lanes": {
        "types that Numba infers": ("BlockSums", "Counts"),
        "counts take two words of a lane": ("FIRST_WORD_FIELDS", "_", "second_shift"),
        "sums by name; Numba counts the rows of an array": ("OtherSums",),
        "vectors in memory": ("stored",),
    },
    "simd": {
        "instruction levels; LLVM chooses for Numba": (
            *("ALL", "Avx2", "Avx512", "Level", "Plain", "Task", "available", "available_names"),
            *("compare", "map2", "name", "named", "widest", "with_avx2", "with_avx512"),
        ),
        "operators in Numba": (
            *("add", "and", "and_not", "div", "gt", "le", "mul", "none", "or", "sub"),
        ),
        "types that Numba infers": ("Mask", "Number", "Words", "plus", "times"),
        "packed counts": ("count", "count_all", "no_words", "words_to_array"),
        "narrow numbers that are widened as they are read; in Numba load does it": (
            *("load_f32", "load_u16"),
        ),
    },
    "strategies/barra_elefante": {
        "loops that are worth wider instructions": ("ElephantScores", "Elephants"),
        "a step that Numba writes in place": ("confirmed",),
    },
    "strategies/moving_average_cross": {
        "loops that are worth wider instructions": ("Crosses",),
        "steps that Numba writes in place": ("crosses", "means"),
    },
}
ONLY_NUMBA = {
    "types": {
        "columns and rows as kernels take them": ("bar_columns", "reader"),
        "declared with the metrics in Rust": ("N_METRICS",),
    },
    "strategy": {"Strategy::scores": ("scored",)},
    "backtest_engine": {
        "None": ("no_outcome",),
        "a vector that grows": ("count_signals", "empty_trades", "first_trades", "set_trade"),
    },
    "stream": {"an empty slice": ("NONE",)},
    "metrics": {
        "an empty slice": ("NO_DAY",),
        "sums of any number, which Rust has as methods": (
            *("add_day", "add_pnl", "no_days", "no_pnl"),
        ),
    },
    "monte_carlo": {
        "masks of words that are 64 bits wide": ("HALF", "MASK"),
        "kernels apart from what PyO3 calls": ("draw_bars", "draw_delays", "flips", "sources"),
        "the processors, which Pool counts": ("processors",),
        "what PyO3 does": ("random_word",),
    },
    "sweep/plan": {
        "tasks for the threads of Python; rayon splits work by itself": (
            *("MAX_BLOCKS", "T", "count", "processors", "spread", "walk_rows"),
        ),
        "settings as arrays that kernels take": ("by_atr", "exit_rows"),
        "checks that PyO3 or Pool make": ("asked", "check_length", "require_own_process"),
    },
    "sweep/outcomes": {
        "structs of arrays": ("CACHE_LINE", "CELL_DTYPE", "Cells"),
        "settings as arrays that kernels take": (*("CONTRACT_DTYPE", "RULES_DTYPE"),),
        "a cell has a tally instead of the place of a field": ("tally_of",),
    },
    "sweep/lists": {
        "enums as the numbers that kernels compare": ("AT_LEAST_OR_OFF", "AT_MOST"),
        "what cut marked, moved in a pass of its own": ("pick",),
        "the size of tasks; rayon splits work by itself": ("visits",),
    },
    "sweep/lanes": {
        "an array to fill; Rust returns the sums by value": ("empty_lane_sums",),
        "rows of the sums of lanes, which are fields in Rust": (
            *("BEST", "DAY_SUMS", "EQUITY", "GAIN", "HELD", "LAST_EXIT", "LONGEST_LOSS"),
            *("LONGEST_WIN", "LOSS", "MAX_DRAWDOWN", "MAX_DRAWDOWN_RATIO", "N_SUMS"),
            *("OTHER_SUMS", "WORST"),
        ),
    },
    "simd": {
        "how numba is taught vectors": (
            *("FLOATS", "MASK", "VectorModel", "WORDS", "build", "emit_load", "emit_splat"),
            *("emit_store", "row_pointer", "type_load", "type_splat", "type_store", "vector"),
        ),
        "a conversion that Rust makes as it reads": ("to_float",),
    },
    "strategies/barra_elefante": {
        "kernels, which are methods in Rust": ("barra_elefante", "barra_elefante_scores"),
    },
    "strategies/moving_average_cross": {
        "kernels, which are methods in Rust": (
            *("moving_average_cross", "moving_average_cross_scores"),
        ),
    },
    "strategies/opening_range_breakout": {
        "kernels, which are methods in Rust": (
            *("opening_range_breakout", "opening_range_breakout_scores"),
        ),
    },
}

RUST_NAME = re.compile(
    r"^\s*(?:pub(?:\([a-z]+\))?\s+)?(?:const\s+)?"
    r"(?:fn|struct|enum|trait|type|const|static)\s+([A-Za-z_]\w*)",
    re.MULTILINE,
)


def rust_names(text: str) -> set[str]:
    return set(RUST_NAME.findall(text))


def python_names(text: str) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [
                n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)
            ]
            found |= {name for name in names if name.lstrip("_").isupper()}
    return {name.lstrip("_") for name in found if not name.startswith("__")}


def names_of(paths, root, read):
    return set().union(*(read((root / path).read_text(encoding="utf-8")) for path in paths))


def listed(differences: dict[str, tuple[str, ...]]) -> set[str]:
    return {name for names in differences.values() for name in names}


@pytest.mark.parametrize("pair", PAIRS)
def test_twins_share_every_name_that_is_not_listed(pair):
    rust, numba = PAIRS[pair]
    rust_only = names_of(rust, RUST, rust_names)
    numba_only = names_of(numba, PYTHON, python_names)
    shared = rust_only & numba_only
    rust_only = rust_only - shared - HABITS_OF_RUST
    numba_only = numba_only - shared - HABITS_OF_NUMBA
    assert rust_only == listed(ONLY_RUST.get(pair, {})), f"only Rust: {pair}"
    assert numba_only == listed(ONLY_NUMBA.get(pair, {})), f"only Numba: {pair}"
    assert shared


def test_every_file_of_an_engine_has_a_twin():
    apart = {"lib.rs", "error.rs", "pool.rs", "schema.rs", "sweep/mod.rs", "strategies/mod.rs"}
    paired = {path for rust, _ in PAIRS.values() for path in rust}
    found = {path.relative_to(RUST).as_posix() for path in RUST.rglob("*.rs")}
    assert {path for path in found - paired if not path.startswith("python/")} == apart
    paired = {path for _, numba in PAIRS.values() for path in numba}
    found = {path.relative_to(PYTHON).as_posix() for path in (PYTHON / ENGINE).rglob("*.py")}
    assert found - paired == {
        f"{ENGINE}/{name}" for name in ("__init__.py", "engine.py", "sweep/__init__.py")
    }


def test_a_name_of_one_side_alone_is_found():
    assert rust_names("pub(super) const fn one(x: i8) -> i8 {}\n    fn two() {}") == {"one", "two"}
    assert rust_names("pub const THREE: usize = 3;\npub trait Four {}") == {"THREE", "Four"}
    assert rust_names("    const FIVE: usize = 5; // fn six") == {"FIVE"}
    code = "A = B = 1\nC: int = 2\nx = 3\ndef _f(): pass\nclass D:\n    def g(self): h = 1\n"
    assert python_names(code) == {"A", "B", "C", "f", "D", "g"}
