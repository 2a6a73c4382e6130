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
from backtest_py.sweep.space import condition, where
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
LITERALS = ["0", "00", "1", "02.5", "2.5", ".5", "3.", "1e2", "0.1", "25E-1"]


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


@settings(deadline=None, max_examples=300)
@given(named(3), st.data())
def test_bounds_hold_for_all_that_lies_between(pair, data):
    parsed = parse_condition(pair[0], NAMES)
    values = st.sampled_from([-1e308, -3.0, -0.1, -0.0, 0.0, 0.3, 1.0, 2.5, 7.0, 1e308])
    some = {
        name: np.array(data.draw(st.lists(kind, min_size=1, max_size=4)))
        for names, kind in (("abn", values), ("pq", st.booleans()))
        for name in names
    }
    index = np.ix_(*(np.arange(len(column)) for column in some.values()))
    spread = {name: column[at] for (name, column), at in zip(some.items(), index, strict=True)}
    holds = parsed.evaluate(spread)
    everywhere, somewhere = parsed.bounds(some)
    assert holds.all() or not everywhere
    assert somewhere or not holds.any()


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("a < b", (True, True)),
        ("a >= b", (False, False)),
        ("a < 2", (False, True)),
        ("a * b - n / a == 0", (False, False)),
        ("b / n > 0", (False, True)),
        ("not (a < b) or p", (True, True)),
        ("not (a < b) or q", (False, True)),
        ("note == 'x'", (False, False)),
        ("note != 'x'", (True, True)),
        ("note == 'b'", (False, True)),
        ("p == q", (False, True)),
        ("a < b and b < 99", (True, True)),
    ],
)
def test_bounds_decide_where_they_can(text, bounds):
    columns = {
        "a": np.array([3.0, 1.0]),
        "b": np.array([6, 5, 4]),
        "n": np.array([-1.0, 1.0]),
        "p": np.array([True]),
        "q": np.array([True, False]),
        "note": np.array(["a", "c"]),
    }
    assert parse_condition(text, NAMES).bounds(columns) == bounds


def test_bounds_claim_nothing_after_an_overflow():
    columns = {"a": np.array([1.0, 1e308]), "b": np.array([1e308])}
    for text in ("a * 10 - a * 10 <= b * 10", "not (a * 10 - a * 10 > 1)", "b * 10 * (a - a) == 0"):
        assert parse_condition(text, NAMES).bounds(columns) == (False, True)


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


def test_white_space_means_nothing():
    spread = parse_condition("\n\ta\u00a0>\r\n 1\n and p\n", NAMES)
    assert spread.parts == parse_condition("a > 1 and p", NAMES).parts


def test_parentheses_alone_are_no_depth():
    bare = parse_condition("(" * 150 + "a > 1" + ")" * 150, NAMES)
    assert bare.parts == parse_condition("a > 1", NAMES).parts


def test_reading_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("a > 1 and 1 < 2", "p == (1 == 1)", "note == 'x' or note == '(x)'"):
            parse_condition(text, NAMES)


def test_a_condition_goes_to_another_process():
    parsed = parse_condition("a < b", NAMES)
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_nothing_is_evaluated_as_python():
    called = {
        node.func.id
        for node in ast.walk(ast.parse(inspect.getsource(where) + inspect.getsource(condition)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called.isdisjoint({"eval", "exec", "compile", "getattr", "__import__"})


@pytest.mark.parametrize(
    ("text", "character", "fault"),
    [
        ("", 1, "expected a name or a value, found the end"),
        ("   ", 1, "found the end"),
        ("\n a > 1 b", 7, "found 'b'"),
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
        ("(a > 1", 1, "'(' was never closed"),
        ("(a > 1 b > 1)", 8, "expected and, or, or the end, found 'b'"),
        ("a > 1)", 6, "unmatched ')'"),
        ("()", 1, "'()' is not allowed"),
        ("a = 1", 3, 'write "==" to compare'),
        ("a > 1 && b > 1", 7, 'write "and"'),
        ("a > 1 | b > 1", 7, 'write "or"'),
        ("!p", 1, 'write "not"'),
        ("a => 1", 3, 'write ">="'),
        ("a =< 1", 3, 'write "<="'),
        ("a <> 1", 4, "found '>'; write \"!=\""),
        ("p AND q", 3, "found 'AND'; write \"and\""),
        ("p Or q", 3, 'write "or"'),
        ("NOT p", 5, "found 'p'; write \"not\""),
        ("b + a ** 2 > 1", 5, "'a ** 2' is not allowed; a condition is made of"),
        ("a // 2 > 1", 1, "'a // 2' is not allowed"),
        ("a << 2 > 1", 1, "'a << 2' is not allowed"),
        ("a in b", 1, "'a in b' is not allowed"),
        ("p and a not in b", 7, "'a not in b' is not allowed"),
        ("p is q", 1, "'p is q' is not allowed"),
        ("p is not q", 1, "'p is not q' is not allowed"),
        ("p if q else p", 1, "'p if q else p' is not allowed"),
        ("await p", 1, "'await p' is not allowed"),
        ("(yield) == p", 2, "'yield' is not allowed"),
        ("lambda: p", 7, "':' means nothing here"),
        ("(a := 1) > 0", 4, "':' means nothing here"),
        ("p == not q", 6, "found 'not'"),
        ("a - > 1", 5, "found '>'"),
        ("*a > 1", 1, "found '*'"),
        ("p and", 6, "found the end"),
        ("p or if", 6, "invalid syntax"),
        ("a -> b", 4, "found '>'"),
        ("~a > 1", 1, "'~' means nothing here"),
        ("[p]", 1, "'[' means nothing here"),
        ("a, b", 2, "',' means nothing here"),
        ("a % 2 > 1", 3, "'%' means nothing here"),
        ("a > 1; b", 6, "';' means nothing here"),
        ("a[0] > 1", 2, "'[' means nothing here"),
        ("1 < abs(a)", 5, "'abs(a)' is not allowed"),
        ("a (b) > 1", 1, "'a (b)' is not allowed"),
        ("a.__class__ > 1", 1, "unknown name 'a.__class__'"),
        ("p.__class__.__bases__", 1, "'p' means nothing here"),
        ("__import__('os') == p", 1, "\"__import__('os')\" is not allowed"),
        ("__builtins__ == p", 1, "unknown name '__builtins__'"),
        ("rules . stop > 1", 7, "'.' means nothing here"),
        ("(rules).stop > 1", 8, "'.' means nothing here"),
        ("'rules'.stop > 1", 8, "'.' means nothing here"),
        ("rules.stop.x > 1", 1, "means nothing here"),
        ("stopp > 1", 1, "unknown name 'stopp'"),
        ("rules.targt > 1", 1, "did you mean 'rules.target'"),
        ("stop > 1", 1, "'stop' may be any of rules.stop, strategy.stop"),
        ("2a > 1", 1, "a number is written 2, 0.5 or 1e-3"),
        ("a > 1_000", 5, "a number is written"),
        ("a > 0x10", 5, "a number is written"),
        ("a > 1j", 5, "a number is written"),
        ("a > 010", 5, "a number is written"),
        ("a > 1or p", 5, "a number is written"),
        ("a > ...", 5, "'.' means nothing here"),
        ("a > None", 5, "unknown name 'None'"),
        ("a > " + "9" * 400, 5, "beyond the largest number"),
        ("a > 1.2.3", 5, "a number is written"),
        ("a > 1e999", 5, "beyond the largest number"),
        ("a > nan", 5, "unknown name 'nan'"),
        ("note == 'x", 9, "a text needs a closing quote"),
        ("note == 'x\n'", 9, "a text needs a closing quote"),
        ("note == 'x\\n'", 9, "holds no backslashes"),
        ("note == 'x' 'y'", 9, "stands alone"),
        ("note == '''x'''", 9, "stands alone"),
        ("note == r'x'", 9, "a text is written"),
        ("b'x' == b", 1, "a text is written"),
        ("note == f'{a}'", 9, "is not allowed"),
        ("note == '\ud800'", 1, "cannot be read"),
        ("a > 1 # one", 7, "a condition has no comments"),
        ("a > \\\n1", 5, "a condition has no backslashes"),
        ("a > 'x'", 5, "a cannot be compared with the text 'x'"),
        ("a > '09:00'", 5, "a cannot be compared with the text '09:00'"),
        ("'09:00' < a < entry_start", 1, "a cannot be compared with the text '09:00'"),
        ("entry_start > '9:00'", 15, "'9:00' is not a time of day"),
        ("entry_start > '24:00'", 15, "'24:00' is not a time of day"),
        ("unit == 'ATR'", 9, "'ATR' is none of the values there: 'atr', 'points'"),
        ("unit < 'points'", 1, "rules.unit can be compared by == and != only"),
        ("p < q", 1, "p can be compared by == and != only"),
        ("p == 1", 1, "p cannot be compared with a number"),
        ("p == 'x'", 6, "p cannot be compared with the text 'x'"),
        ("a == (b > 1)", 1, "a cannot be compared with a condition"),
        ("unit == a", 1, "cannot be compared with a"),
        ("'a' == 'b'", 1, "two texts are compared"),
        ("unit + 1 > 2", 1, "rules.unit is no number"),
        ("a + p > 2", 5, "p is no number"),
        ("-p", 2, "p is no number"),
        ("entry_start + '01:00' > 5", 15, "the text '01:00' is no number"),
        ("(" * 250 + "a > 1" + ")" * 250, 201, "too many nested parentheses"),
        ("not (" * 60 + "p" + ")" * 60, 256, "nested more than 50 deep"),
        ("not " * 60 + "p", 205, "nested more than 50 deep"),
        ("a > " + "-" * 1990 + "1", 55, "nested more than 50 deep"),
        ("a > 1 and (" * 150 + "p" + ")" * 150, 540, "nested more than 50 deep"),
        ("a > " + "-" * 60 + "1", 55, "nested more than 50 deep"),
        ("ä > 1", 1, "unknown name 'ä'"),
        ("note == 'ä' and ö > 1", 17, "unknown name 'ö'"),
        ("\uff41 > 1", 1, "unknown name '\uff41'"),
        ("p \uff41\uff4e\uff44 q", 3, "expected and, or, or the end"),
        ("a² > 1", 2, "invalid character"),
        ("a\u200b > 1", 2, "means nothing here"),
        ("a > \x00 1", 5, "'\\x00' means nothing here"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place(text, character, fault):
    with pytest.raises(ConfigError) as caught:
        parse_condition(text, NAMES)
    message = str(caught.value)
    assert message.startswith(f"where = {text.strip()!r}, character {character}: ")
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
