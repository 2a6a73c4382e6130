"""Drawings that Python writes as SVG: sharp on paper, readable without scripts.

Colours are classes, so that the page's style decides them for light, dark and paper. Every drawing
has a title and a description, which screen readers say.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["BELOW", "Box", "Drawing", "Scale", "nice_ticks"]


BELOW: Final = 19
"""How far under a box the labels of its values stand."""


class Scale(NamedTuple):
    """A straight line from values to places of a drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the places of values, rounded to tenths."""
        spread = self.high - self.low or 1.0
        share = (np.asarray(values, np.float64) - self.low) / spread
        return np.round(self.start + share * (self.end - self.start), 1)

    def at(self, value: float) -> float:
        """Return the place of one value."""
        return float(self(value))


class Box(NamedTuple):
    """The part of a drawing in which values are."""

    left: float
    top: float
    right: float
    bottom: float


def nice_ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """Return round values from low to high, with ``whole`` none between whole numbers.

    Examples
    --------
    >>> nice_ticks(0.0, 97.0)
    [0.0, 20.0, 40.0, 60.0, 80.0]
    >>> nice_ticks(5.0, 5.0)
    [5.0]
    """
    spread = high - low
    if not (math.isfinite(spread) and spread > 0):
        return [low] if math.isfinite(low) else [0.0]
    raw = spread / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5) if m * power >= raw * (1 - 1e-9)), 10 * power)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * number for number in range(first, last + 1)]


def padded(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """Return a range with some room on both sides, never empty."""
    room = (high - low) * share or abs(high) * 0.02 or 1.0
    return low - room, high + room


def _text(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


class Drawing:
    """One SVG, drawn from back to front.

    Parameters
    ----------
    width, height : float
        Its size; the page scales it.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._parts: list[str] = []

    def line(self, xs: ArrayLike, ys: ArrayLike, kind: str, *, step: bool = False) -> None:
        """Join points, or with ``step`` keep each value until the next."""
        self._parts.append(f'<path class="{kind}" d="{_joined(xs, ys, step=step)}"/>')

    def area(
        self, xs: ArrayLike, ys: ArrayLike, base: ArrayLike, kind: str, *, step: bool = False
    ) -> None:
        """Fill what lies between points and a base."""
        xs, ys = np.asarray(xs), np.asarray(ys)
        floor = np.broadcast_to(np.asarray(base, np.float64), ys.shape)
        there = _joined(xs, ys, step=step)
        back = _joined(xs[::-1], floor[::-1], step=False).replace("M", "L", 1)
        self._parts.append(f'<path class="{kind}" d="{there}{back}Z"/>')

    def dots(self, xs: ArrayLike, ys: ArrayLike, kind: str) -> None:
        """Put a dot at each point, one where several are; the style says how large."""
        points = "".join(f"M{x:g} {y:g}h0" for x, y in dict.fromkeys(_pairs(xs, ys)))
        if points:
            self._parts.append(f'<path class="{kind}" d="{points}"/>')

    def rule(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw one straight line."""
        self._parts.append(
            f'<path class="{kind}" d="M{_text(x1)} {_text(y1)}L{_text(x2)} {_text(y2)}"/>'
        )

    def rules(self, x1: ArrayLike, y1: ArrayLike, x2: ArrayLike, y2: ArrayLike, kind: str) -> None:
        """Draw many straight lines as one path."""
        ends = zip(_pairs(x1, y1), _pairs(x2, y2), strict=True)
        path = "".join(f"M{a:g} {b:g}L{c:g} {d:g}" for (a, b), (c, d) in ends)
        if path:
            self._parts.append(f'<path class="{kind}" d="{path}"/>')

    def shapes(self, xs: ArrayLike, ys: ArrayLike, path: str, kind: str) -> None:
        """Put a small shape, a path in relative steps, at each point."""
        points = "".join(f"M{x:g} {y:g}{path}" for x, y in _pairs(xs, ys))
        if points:
            self._parts.append(f'<path class="{kind}" d="{points}"/>')

    def bar(self, x: float, y: float, width: float, height: float, kind: str, said: str) -> None:
        """Draw a rectangle that says what it is when it is pointed at."""
        x, width = (x, width) if width >= 0 else (x + width, -width)
        y, height = (y, height) if height >= 0 else (y + height, -height)
        self._parts.append(
            f'<rect class="{kind}" x="{_text(x)}" y="{_text(y)}" width="{_text(width)}" '
            f'height="{_text(max(height, 0.5))}"><title>{escape(said)}</title></rect>'
        )

    def words(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Write a text."""
        classes = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<text x="{_text(x)}" y="{_text(y)}" text-anchor="{anchor}"{classes}>'
            f"{escape(text)}</text>"
        )

    def across(
        self,
        box: Box,
        scale: Scale,
        ticks: Iterable[float],
        say: Callable[[float], str],
    ) -> None:
        """Draw lines across the box at values, and their labels to the left of it."""
        for tick in ticks:
            y = scale.at(tick)
            self.rule(box.left, y, box.right, y, "zero" if tick == 0 else "grid")
            # a label at the foot makes room for those below
            self.words(box.left - 6, min(y + 4, box.bottom + 1), say(tick), "tick", "end")

    def below(self, box: Box, labels: Sequence[tuple[float, str]], *, lines: bool = False) -> None:
        """Write labels under the box, each in the middle of its place."""
        for x, text in labels:
            if lines:
                self.rule(x, box.top, x, box.bottom, "grid")
            if text:
                self.words(x, box.bottom + BELOW, text, "tick", "middle")

    def markup(self, name: str, title: str, about: str, kind: str = "") -> Markup:
        """Return the drawing; ``name`` is its own among all of the page."""
        classes = f"drawing {kind}".strip()
        head = (
            f'<svg class="{escape(classes)}" viewBox="0 0 {_text(self.width)} '
            f'{_text(self.height)}" role="img" aria-labelledby="{name}-t {name}-d">'
            f'<title id="{name}-t">{escape(title)}</title>'
            f'<desc id="{name}-d">{escape(about)}</desc>'
        )
        return Markup(head + "".join(self._parts) + "</svg>")  # noqa: S704 - texts are escaped


def _pairs(xs: ArrayLike, ys: ArrayLike) -> Iterable[tuple[float, float]]:
    x, y = np.round(np.asarray(xs, np.float64), 1), np.round(np.asarray(ys, np.float64), 1)
    keep = np.isfinite(x) & np.isfinite(y)
    return zip(x[keep].tolist(), y[keep].tolist(), strict=True)


def _joined(xs: ArrayLike, ys: ArrayLike, *, step: bool) -> str:
    parts: list[str] = []
    before = math.nan
    for x, y in _pairs(xs, ys):
        if not parts:
            parts.append(f"M{x:g} {y:g}")
        elif step:
            parts.append(f"H{x:g}" if y == before else f"H{x:g}V{y:g}")
        else:
            parts.append(f"L{x:g} {y:g}")
        before = y
    return "".join(parts)
