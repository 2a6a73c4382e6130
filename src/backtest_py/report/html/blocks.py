"""What a section of a page is made of. The template knows how each looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

__all__ = ["Block", "Cards", "Cell", "Chart", "Facts", "Note", "Section", "Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One part of a section.

    Attributes
    ----------
    title : str
        Its heading, "" for none.
    wide : bool
        Whether it takes the whole width of the page.
    """

    kind: ClassVar[str] = ""

    title: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text : str
        What it says.
    mood : str
        ``win``, ``loss`` or "".
    strength : int
        How strongly a heat map colours it, 0 to 5.
    metric, value : str
        Name and exact value of a metric, for whoever reads the page by program.
    share : float
        Length of a bar behind the text, 0 to 1.
    """

    text: str
    mood: str = ""
    strength: int = 0
    metric: str = ""
    value: str = ""
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Block):
    """Rows under a header; the first cell of each row is its name.

    Attributes
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences of Cell or str
        The cells.
    note : str
        A line under it.
    look : str
        A class of the style: ``heat`` colours cells, ``facts`` has texts on the right.
    """

    kind: ClassVar[str] = "table"

    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell | str]] = ()
    note: str = ""
    look: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart(Block):
    """A drawing, what its colours mean, and its numbers.

    Attributes
    ----------
    drawings : sequence of Markup
        The same in several widths, of which the page shows one.
    legend : mapping of str to str
        Classes of the drawing, and what they mean.
    note : str
        A line under it.
    table : Table, optional
        Its numbers.
    live : bool
        Whether the page's script puts a chart that can be moved in its place.
    """

    kind: ClassVar[str] = "chart"

    drawings: Sequence[Markup] = ()
    legend: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    table: Table | None = None
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards(Block):
    """The first numbers that a reader looks for: name, number with mood, and a line below."""

    kind: ClassVar[str] = "cards"

    cards: Sequence[tuple[str, Cell, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(Block):
    """Names and texts."""

    kind: ClassVar[str] = "facts"

    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Block):
    """A paragraph; ``level`` is ``warning`` or ""."""

    kind: ClassVar[str] = "note"

    text: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a place in its table of contents.

    Attributes
    ----------
    name : str
        Its anchor.
    short : str
        What the table of contents calls it.
    title, about : str
        Heading, and what there is to know about it.
    blocks : sequence of Block
        What it shows.
    """

    name: str
    short: str
    title: str
    about: str = ""
    blocks: Sequence[Any] = ()
