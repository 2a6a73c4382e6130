"""Words of a page: each language has all of them, and no more."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import backtest_py
from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import CATALOGUE, SECTIONS
from backtest_py.report.html.language import LANGUAGES, MONTHS, WEEKDAYS, language

SOURCE = Path(backtest_py.__file__).parent / "report" / "html"


def texts_of_the_code():
    """Return every text of the code that may be shown: constants, not docstrings, and titles."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    template = (SOURCE / "assets" / "page.html.j2").read_text(encoding="utf-8")
    found |= set(re.findall(r'say\("([^"]+)"\)', template))
    found |= {info.title for info in CATALOGUE.values()} | set(SECTIONS) | {*MONTHS, *WEEKDAYS}
    return found


def said_directly():
    """Return the texts that the code gives to a language as they stand."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {
                "say",
                "plural",
            }:
                given = (item.value for item in node.args if isinstance(item, ast.Constant))
                found |= {text for text in given if isinstance(text, str)}
    return found


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_a_language_has_every_text_once_and_with_the_same_places(code):
    pairs = json.loads(
        (SOURCE / "assets" / f"{code}.json").read_text(encoding="utf-8"),
        object_pairs_hook=list,
    )
    table = dict(pairs)
    assert len(pairs) == len(table)
    titles = {info.title for info in CATALOGUE.values()} | set(SECTIONS) | {*MONTHS, *WEEKDAYS}
    assert (said_directly() | titles) - set(table) == set()
    assert set(table) - texts_of_the_code() == set()
    for english, other in pairs:
        places = [sorted(re.findall(r"{\w+}", text)) for text in (english, other)]
        assert places[0] == places[1], english
        assert other.strip()


def test_numbers_of_both_languages():
    english, portuguese = language("en", currency="BRL"), language("pt-BR", currency="BRL")
    assert english.money(-1719.826) == "-R$1,719.83"
    assert portuguese.money(-1719.826) == "-R$\xa01.719,83"
    assert language("pt-BR", currency="USDT").money(1e6) == "1.000.000,00\xa0USDT"
    assert language("en").money(5) == "5.00"
    assert english.number(-0.001) == "0.00"
    assert english.number(float("inf")) == "∞"
    assert portuguese.number(float("nan")) == "n/d"
    assert portuguese.share(0.3928) == "39,3%"
    assert language("en", tick_size=0.25).price(4000.25) == "4,000.25"
    assert language("pt-BR", tick_size=5).price(118_255) == "118.255"


def test_an_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="pt-BR"):
        language("pt")
