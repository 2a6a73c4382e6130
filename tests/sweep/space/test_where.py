"""Conditions: what they mean, against Python's own reading, and what is refused where."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import warnings
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_py.errors import ConfigError
from backtest_py.parameters import parse_clock
from backtest_py.rules import ExitRules
from backtest_py.sweep.space import where
from backtest_py.sweep.space.where import name_kind, parse_condition

NAMES = {
    "a": "number",
    "b": "number",
    "n": "number",
    "p": "bool",
    "q": "bool",
    "rules.stop": "number",
    "rules.target": "number",
    "rules.close_time": "clock",
    "rules.unit": ("atr", "points"),
    "strategy.stop": "number",
    "strategy.entry_start": "clock",
    "note": "text",
}

# generated expressions: each is a pair of the condition and what Python's eval is given. They
# differ in literals alone, which are numpy's there, so that a division by zero is no error.

ROWS = [
    {"a": a, "b": b, "n": n, "p": p, "q": q}
    for a, b, n, p, q in [
        (0.0, 1.0, 3, True, False),
        (1.5, -2.0, 0, False, False),
        (-0.5, 0.5, -4, True, True),
        (float("nan"), 2.0, 7, False, True),
        (float("inf"), float("-inf"), 1, True, False),
        (0.1, 0.3, 2, False, True),
    ]
]
LITERALS = ["0", "1", "2.5", ".5", "3.", "1e2", "0.1", "25E-1"]


@st.composite
def numbers(draw, depth):
    kind = draw(st.sampled_from(["name", "literal", "sum", "product", "minus", "plus", "group"]))
    if depth == 0 or kind == "name":
        name = draw(st.sampled_from("abn"))
        return name, name
    if kind == "literal":
        literal = draw(st.sampled_from(LITERALS))
        return literal, f"F({literal})"
    if kind == "group":
        text, python = draw(numbers(depth - 1))
        return f"({text})", f"({python})"
    if kind in {"minus", "plus"}:
        sign = "-" if kind == "minus" else "+"
        text, python = draw(numbers(depth - 1))
        # a sign binds tighter than a sum, as it does in Python
        return f"{sign}{text}", f"{sign}{python}"
    marks = ["+", "-"] if kind == "sum" else ["*", "/"]
    parts = draw(st.lists(numbers(depth - 1), min_size=2, max_size=3))
    text, python = parts[0]
    for more_text, more_python in parts[1:]:
        mark = draw(st.sampled_from(marks))
        text, python = f"{text} {mark} {more_text}", f"{python} {mark} {more_python}"
    return text, python


@st.composite
def conditions(draw, depth):
    kind = draw(st.sampled_from(["compare", "chain", "name", "and", "or", "not", "group", "equal"]))
    if depth == 0 or kind in {"compare", "chain"}:
        parts = draw(st.lists(numbers(2), min_size=2, max_size=2 if kind == "compare" else 4))
        text, python = parts[0]
        for more_text, more_python in parts[1:]:
            mark = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
            text, python = f"{text}{mark}{more_text}", f"{python}{mark}{more_python}"
        return text, python
    if kind == "name":
        name = draw(st.sampled_from("pq"))
        return name, name
    if kind == "not":
        text, python = draw(conditions(depth - 1))
        return f"not {text}", f"not {python}"
    if kind == "group":
        text, python = draw(conditions(depth - 1))
        return f"({text})", f"({python})"
    if kind == "equal":
        text, python = draw(conditions(depth - 1))
        name, mark = draw(st.sampled_from("pq")), draw(st.sampled_from(["==", "!="]))
        return f"{name} {mark} ({text})", f"{name} {mark} ({python})"
    parts = draw(st.lists(conditions(depth - 1), min_size=2, max_size=3))
    return f" {kind} ".join(text for text, _ in parts), f" {kind} ".join(p for _, p in parts)


def named(depth):
    """Draw conditions that name something; others are refused."""
    return conditions(depth).filter(lambda pair: re.search(r"\b[abnpq]\b", pair[0]))


def python_reads(python):
    """Evaluate an expression row by row with Python itself."""
    code = compile(python, "<generated>", "eval")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return [
            bool(
                eval(
                    code,
                    {"F": np.float64},
                    {k: v if k in "pq" else np.float64(v) for k, v in row.items()},
                )
            )
            for row in ROWS
        ]


def columns():
    return {name: np.array([row[name] for row in ROWS]) for name in ROWS[0]}


@settings(deadline=None, max_examples=150)
@given(named(3))
def test_a_condition_means_what_python_reads(pair):
    text, python = pair
    condition = parse_condition(text, NAMES)
    expected = python_reads(python)
    assert np.broadcast_to(condition.evaluate(columns()), len(ROWS)).tolist() == expected
    assert condition.names == {
        node.id for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Name)
    } - {"F"}


@settings(deadline=None, max_examples=100)
@given(named(2))
def test_arrow_filters_as_numpy_does(pair):
    condition = parse_condition(pair[0], NAMES)
    table = pa.table({**columns(), "row": range(len(ROWS))})
    kept = ds.dataset(table).to_table(filter=condition.to_arrow())["row"].to_pylist()
    holds = np.broadcast_to(condition.evaluate(columns()), len(ROWS))
    assert kept == np.flatnonzero(holds).tolist()


@settings(deadline=None, max_examples=100)
@given(named(3))
def test_a_condition_is_all_of_its_parts(pair):
    condition = parse_condition(pair[0], NAMES)
    parts = [part.evaluate(columns()) for part in condition.conjuncts]
    np.testing.assert_array_equal(reduce(np.logical_and, parts), condition.evaluate(columns()))
    assert frozenset().union(*(part.names for part in condition.conjuncts)) == condition.names


CLOCKS = ["09:00", "10:30", "23:59", "00:00"]
CLOSES = ["", "10:30", "11:00", "00:01"]


def clock_columns():
    return {
        "strategy.entry_start": np.array([parse_clock(text) for text in CLOCKS]),
        "rules.close_time": np.array([parse_clock(text) for text in CLOSES]),
        "rules.unit": np.array(["atr", "points", "atr", "points"]),
        "note": np.array(["x", "", "y", "atr"]),
        "p": np.array([True, False, True, False]),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entry_start >= '10:30'", [0, 1, 1, 0]),
        ('"09:00" < strategy.entry_start <= "23:59"', [0, 1, 1, 0]),
        ("strategy.entry_start == 630", [0, 1, 0, 0]),
        ("entry_start + 30 <= close_time", [0, 0, 0, 0]),
        ("entry_start < close_time", [0, 0, 0, 1]),
        ("close_time - entry_start == 1", [0, 0, 0, 1]),
        ("30 + entry_start < '11:01'", [1, 1, 0, 1]),
        ("2 * entry_start > 1440", [0, 0, 1, 0]),
        ("close_time == ''", [1, 0, 0, 0]),
        ("not close_time != ''", [1, 0, 0, 0]),
        ("close_time < '00:01'", [1, 0, 0, 0]),
        ("unit == 'points'", [0, 1, 0, 1]),
        ("'atr' != rules.unit", [0, 1, 0, 1]),
        ("note == ''", [0, 1, 0, 0]),
        ("note == rules.unit", [0, 0, 0, 0]),
        ("p", [1, 0, 1, 0]),
        ("p == true", [1, 0, 1, 0]),
        ("False == p", [0, 1, 0, 1]),
        ("p == (unit == 'atr')", [1, 1, 1, 1]),
        ("true and p", [1, 0, 1, 0]),
    ],
)
def test_times_texts_and_bools(text, expected):
    condition = parse_condition(text, NAMES)
    assert condition.evaluate(clock_columns()).astype(int).tolist() == expected
    texts = {"strategy.entry_start": CLOCKS, "rules.close_time": CLOSES}
    table = pa.table({**clock_columns(), **texts, "row": range(4)})
    kept = ds.dataset(table).to_table(filter=condition.to_arrow())["row"].to_pylist()
    assert kept == np.flatnonzero(expected).tolist()


def test_columns_broadcast():
    condition = parse_condition("a < b and a > 0", NAMES)
    holds = condition.evaluate({"a": np.arange(3.0)[:, None], "b": np.arange(4.0)})
    assert holds.shape == (3, 4)
    assert holds[1].tolist() == [False, False, True, True]


def test_whole_numbers_in_arrow_do_not_divide_as_whole_numbers():
    table = pa.table({"n": pa.array([1, 0, 3]), "row": range(3)})
    condition = parse_condition("1 / n < 0.5 or n / 2 == 0.5 or 1 / n > 1e300", NAMES)
    assert ds.dataset(table).to_table(filter=condition.to_arrow())["row"].to_pylist() == [0, 1, 2]


def test_a_short_name_stands_for_the_only_full_one():
    assert parse_condition("target > rules.stop", NAMES).names == {"rules.target", "rules.stop"}


def test_the_kinds_of_parameters():
    kinds = {spec.name: name_kind(spec) for spec in ExitRules.parameters()}
    assert kinds["stop"] == kinds["max_bars"] == "number"
    assert kinds["close_time"] == "clock"
    assert kinds["round_to_tick"] == "bool"
    assert kinds["intrabar"] == ("stop_first", "target_first")


def test_a_long_chain_is_no_deep_one():
    text = " and ".join(["a < 1"] * 100) + " or " + "+".join(["a"] * 300) + " > 0"
    assert parse_condition(text, NAMES).evaluate({"a": np.array([-1.0, 5.0])}).tolist() == [1, 1]


def test_a_condition_goes_to_another_process():
    condition = parse_condition("a < b", NAMES)
    assert pickle.loads(pickle.dumps(condition)) == condition


def test_nothing_is_evaluated_as_python():
    called = {
        node.func.id
        for node in ast.walk(ast.parse(inspect.getsource(where)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called.isdisjoint({"eval", "exec", "compile", "getattr", "__import__"})


@pytest.mark.parametrize(
    ("text", "character", "fault"),
    [
        ("", 1, "expected a name or a value, found the end"),
        ("   ", 1, "found the end"),
        ("rules.stop", 1, "rules.stop is no condition; compare it with something"),
        ("1", 1, "a number is no condition"),
        ("'09:00'", 1, "the text '09:00' is no condition"),
        ("a + 1", 1, "a number is no condition"),
        ("a > 1 or 2", 10, "a number is no condition"),
        ("not a", 5, "a is no condition"),
        ("1 < 2", 1, "names no parameter"),
        ("true", 1, "names no parameter"),
        ("a >", 4, "expected a name or a value, found the end"),
        ("a > > 1", 5, "found '>'"),
        ("and a > 1", 1, "found 'and'"),
        ("a > 1 and", 10, "found the end"),
        ("a > 1 b", 7, "expected and, or, or the end, found 'b'"),
        ("(a > 1", 7, 'expected ")", found the end'),
        ("a > 1)", 6, "found ')'"),
        ("()", 2, "found ')'"),
        ("a = 1", 3, 'write "==" to compare'),
        ("a > 1 && b > 1", 7, 'write "and"'),
        ("a > 1 | b > 1", 7, 'write "or"'),
        ("!p", 1, 'write "not"'),
        ("a <> 1", 4, "found '>'"),
        ("a ** 2 > 1", 4, "found '*'"),
        ("a // 2 > 1", 4, "found '/'"),
        ("a % 2 > 1", 3, "'%' means nothing here"),
        ("a > 1; b", 6, "';' means nothing here"),
        ("a[0] > 1", 2, "'[' means nothing here"),
        ("abs(a) > 1", 1, "unknown name 'abs'"),
        ("a.__class__ > 1", 1, "unknown name 'a.__class__'"),
        ("__import__('os') == p", 1, "unknown name '__import__'"),
        ("rules.stop.x > 1", 1, "means nothing here"),
        ("stopp > 1", 1, "unknown name 'stopp'"),
        ("rules.targt > 1", 1, "did you mean 'rules.target'"),
        ("stop > 1", 1, "'stop' may be any of rules.stop, strategy.stop"),
        ("2a > 1", 1, "a number is written 2, 0.5 or 1e-3"),
        ("a > 1_000", 5, "a number is written"),
        ("a > 1.2.3", 5, "a number is written"),
        ("a > 1e999", 5, "beyond the largest number"),
        ("a > nan", 5, "unknown name 'nan'"),
        ("note == 'x", 9, "a text needs a closing quote"),
        ("a > 'x'", 5, "a cannot be compared with the text 'x'"),
        ("a > '09:00'", 5, "a cannot be compared with the text '09:00'"),
        ("'09:00' < a < entry_start", 1, "the text '09:00' cannot be compared with a"),
        ("entry_start > '9:00'", 15, "'9:00' is not a time of day"),
        ("entry_start > '24:00'", 15, "'24:00' is not a time of day"),
        ("unit == 'ATR'", 9, "'ATR' is none of the values there: 'atr', 'points'"),
        ("unit < 'points'", 6, "rules.unit can be compared by == and != only"),
        ("p < q", 3, "p can be compared by == and != only"),
        ("p == 1", 3, "p cannot be compared with a number"),
        ("p == 'x'", 6, "p cannot be compared with the text 'x'"),
        ("a == (b > 1)", 3, "a cannot be compared with a condition"),
        ("unit == a", 6, "cannot be compared with a"),
        ("'a' == 'b'", 1, "two texts are compared"),
        ("unit + 1 > 2", 1, "rules.unit is no number"),
        ("a + p > 2", 5, "p is no number"),
        ("-p", 2, "p is no number"),
        ("entry_start + '01:00' > 5", 15, "the text '01:00' is no number"),
        ("(" * 60 + "a > 1" + ")" * 60, 51, "nested more than 50 deep"),
        ("not " * 60 + "p", 201, "nested more than 50 deep"),
        ("a > " + "-" * 60 + "1", 55, "nested more than 50 deep"),
        ("ä > 1", 1, "unknown name 'ä'"),
        ("a > 1 \x00", 7, "'\\x00' means nothing here"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place(text, character, fault):
    with pytest.raises(ConfigError) as caught:
        parse_condition(text, NAMES)
    message = str(caught.value)
    assert message.startswith(f"where = {text!r}, character {character}: ")
    assert fault in message


def test_a_condition_has_a_length():
    with pytest.raises(ConfigError, match="a condition has at most 2,000"):
        parse_condition("a > 1 and " * 1000 + "a > 1", NAMES)


@settings(deadline=None)
@given(st.text(alphabet="abpqn01.<>=!()+-*/'\"andornt \n:", max_size=40))
def test_any_text_is_a_condition_or_is_refused(text):
    try:
        condition = parse_condition(text, NAMES)
    except ConfigError:
        return
    assert condition.names <= NAMES.keys()
    assert condition.evaluate(columns()).dtype == np.bool_
