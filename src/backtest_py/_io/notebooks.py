"""What a notebook shows: small tables and lines in HTML and SVG, everything escaped."""

from __future__ import annotations

import math
import sys
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["card", "columns_chart", "display_in_notebook", "facts", "folded", "grid", "sparkline"]

_WIDTH: Final = 320
_HEIGHT: Final = 48
_POINTS: Final = 160
"""Steps of a line: the width of the picture has two pixels for each."""


def card(title: str, *parts: str) -> str:
    """Return a title over parts that are HTML already."""
    return f"<h4>{escape(title)}</h4>{''.join(parts)}"


def facts(values: Mapping[str, object]) -> str:
    """Return names and values as a table of two columns."""
    rows = (
        f'<tr><th style="text-align:left">{escape(str(name))}</th>'
        f'<td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in values.items()
    )
    return f"<table>{''.join(rows)}</table>"


def grid(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under a header as a table."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def folded(title: str, content: str) -> str:
    """Return HTML that is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def sparkline(values: Sequence[float], title: str) -> str:
    """Return a small line in SVG: every lowest and highest value of what one step stands for.

    Values that are not finite are left out; fewer than two draw nothing.
    """
    kept = [float(value) for value in values if math.isfinite(value)]
    if len(kept) < 2:
        return ""
    step = max(1, -(-len(kept) // _POINTS))
    drawn: list[float] = []
    for start in range(0, len(kept), step):
        piece = kept[start : start + step]
        ends = sorted((piece.index(min(piece)), piece.index(max(piece))))
        drawn += [piece[at] for at in dict.fromkeys(ends)]
    low, high = min(kept), max(kept)
    across, up = _WIDTH / max(len(drawn) - 1, 1), (_HEIGHT - 4) / ((high - low) or 1.0)
    points = " ".join(
        f"{at * across:.1f},{_HEIGHT - 2 - (value - low) * up:.1f}"
        for at, value in enumerate(drawn)
    )
    return _svg(
        f'<polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="1.2"/>', title
    )


def columns_chart(counts: Sequence[int], title: str) -> str:
    """Return counts as small columns in SVG."""
    most = max(counts, default=0)
    if most == 0:
        return ""
    width = _WIDTH / len(counts)
    shapes = "".join(
        f'<rect x="{at * width:.1f}" y="{_HEIGHT - count / most * _HEIGHT:.1f}" '
        f'width="{max(width - 1, 1):.1f}" height="{count / most * _HEIGHT:.1f}" fill="#0072B2"/>'
        for at, count in enumerate(counts)
        if count
    )
    return _svg(shapes, title)


def _svg(shapes: str, title: str) -> str:
    return (
        f'<svg role="img" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{shapes}</svg>'
    )


def display_in_notebook(html: str) -> Any:
    """Show HTML in the cell that runs, and return a handle to update it; None in no notebook."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display  # noqa: PLC0415 - of the notebook

    return display(HTML(html), display_id=True)
