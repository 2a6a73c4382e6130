"""A page that holds everything it needs: one file, which asks nobody for anything.

Scripts run only if their hash is named in the page's policy, so that a text that came in with a
name, however it is written, stays a text.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from backtest_py.report.html.language import json_for_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template

    from backtest_py.report.html.blocks import Section
    from backtest_py.report.html.language import Language

__all__ = ["page"]

CHARTS: Final = "lightweight-charts.standalone.production.js"
SCRIPTS: Final = (CHARTS, "payload.js", "language.js", "candles.js", "page.js")
_SIGN: Final = re.compile(r"(?<!\S)-(?=\D)")
"""A minus before the symbol of a currency, after which a line must not end."""
_POLICY: Final = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page(
    say: Language,
    *,
    title: str,
    overline: str,
    facts: Sequence[str],
    sections: Sequence[Section],
    footer: Sequence[str],
    data: dict[str, Any] | None = None,
) -> str:
    """Return the text of a page.

    Parameters
    ----------
    say : Language
        Its language.
    title, overline : str
        Its name, and what kind of page it is.
    facts, footer : sequence of str
        Short texts under the title and at the end.
    sections : sequence of Section
        What it shows.
    data : dict, optional
        What the charts that can be moved are drawn of; without it there is no such chart, and no
        library for it.
    """
    scripts = [] if data is None else [_asset(name) for name in SCRIPTS]
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts) or "'none'"
    return _template().render(
        say=say,
        title=title,
        overline=overline,
        facts=facts,
        sections=sections,
        footer=footer,
        policy=_POLICY.format(scripts=hashes),
        style=Markup(_asset("page.css")),  # noqa: S704 - a file of this package
        scripts=[Markup(text) for text in scripts],  # noqa: S704 - files of this package
        data=None if data is None else Markup(json_for_page(data)),  # noqa: S704 - has no <
        notice=_asset("lightweight-charts.NOTICE.txt") if scripts else "",
    )


def _digest(text: str) -> str:
    return base64.b64encode(sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    file = resources.files("backtest_py.report.html") / "assets" / name
    return file.read_text(encoding="utf-8")


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only where a page is made

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = lambda text: _SIGN.sub("-\N{WORD JOINER}", text)
    return environment.from_string(_asset("page.html.j2"))
