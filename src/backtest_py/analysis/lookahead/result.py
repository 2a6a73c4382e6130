"""What a check for look-ahead found: which bar saw what, in numbers and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from backtest_py.parameters import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FINDINGS", "LookaheadFinding", "LookaheadResult"]

FINDINGS: Final = {
    "future": "it saw prices or volumes of later bars",
    "length": "it hangs on how many bars follow",
    "random": "the same bars gave two answers",
    "memory": "what it was asked before changed its answer",
    "failed": "it gave no answer on any shorter piece of the bars",
}
"""The kinds of findings, in words."""

SAID: Final = 3
"""Findings that the text spells out."""


@dataclass(frozen=True, slots=True)
class LookaheadFinding:
    """One bar whose answer was not made of the bars up to it alone.

    Attributes
    ----------
    kind : {"future", "length", "random", "memory", "failed"}
        What was found; :data:`FINDINGS` says it in words.
    column : str
        Which answer: side, risk, exit_long or exit_short.
    bar : int
        The bar, from 0: the first one whose answer was another at this cut; -1 where there is none.
    time : str
        When it opens, on the session's clock.
    value, other : float
        The answer with all bars as they are, and with other bars after it; nan is undefined.
    cut : int
        The first bar that was changed, or cut off; -1 where none was.
    n_changed : int
        Bars before the cut whose answer was another.
    bars_ahead : int
        How many bars after it are enough to change its answer: the fewest that were found.
    reach : int
        It hangs on something at least so many bars after it.
    """

    kind: str
    column: str
    bar: int
    time: str
    value: float
    other: float
    cut: int = -1
    n_changed: int = 1
    bars_ahead: int = 0
    reach: int = 0

    @property
    def text(self) -> str:
        """The finding in words."""
        if self.bar < 0:
            return FINDINGS[self.kind]
        where = f"bar {self.bar:,} ({self.time}): {self.column}"
        values = _number(self.value), _number(self.other)
        if self.kind == "random":
            return f"{where} is {values[0]}, and {values[1]} when asked again on the same bars"
        if self.kind == "memory":
            return f"{where} is {values[0]}, and was {values[1]} before it was asked on all bars"
        future = self.kind == "future"
        next_bars = "the next bar" if self.bars_ahead == 1 else f"the next {self.bars_ahead:,} bars"
        return (
            f"{where} is {values[0]}, but {values[1]} with {'another' if future else 'no'} future "
            f"from bar {self.cut:,} on; {'changing' if future else 'adding'} {next_bars} is "
            f"enough; it looks at least {counted(self.reach, 'bar')} ahead"
        )


def _number(value: float) -> str:
    return "undefined" if value != value else f"{value:.6g}"  # noqa: PLR0124 - nan


@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadResult:
    """What a check for look-ahead found; true where it is clean.

    Attributes
    ----------
    strategy : str
        Name of what was checked.
    n_bars, n_active : int
        Bars, and those of them at which it says something.
    findings : tuple of LookaheadFinding
        The earliest bars first, at most ten; empty where it is clean.
    n_cuts_seen : int
        Cuts at which some bar before the cut gave another answer.
    notes : tuple of str
        What else is worth knowing, such as failures on short pieces.
    cuts : tuple of int
        Bars at which the future was cut off and changed.
    covered : int
        Bars of which the very next bar was changed, and the answer looked at.
    seed, runs : int
        As given; and how often the strategy was asked.
    engine : str
        What computed its answers: numba, rust, or python for a function.
    seconds : float
        How long it took.
    """

    strategy: str
    n_bars: int
    n_active: int
    findings: tuple[LookaheadFinding, ...]
    n_cuts_seen: int
    notes: tuple[str, ...]
    cuts: tuple[int, ...]
    covered: int
    seed: int
    runs: int
    engine: str
    seconds: float = field(compare=False)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __bool__(self) -> bool:
        """Return whether nothing was found."""
        return self.ok

    @property
    def table(self) -> pd.DataFrame:
        """One row for each finding, with its attributes as columns."""
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        names = [item.name for item in fields(LookaheadFinding)]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=names)

    @property
    def text(self) -> str:
        """What was found, in plain words."""
        lines = [self._headline(), *(f"  {finding.text}" for finding in self.findings[:SAID])]
        if len(self.findings) > SAID:
            lines.append(f"  and {len(self.findings) - SAID} more in the table")
        lines += [f"  note: {note}" for note in self.notes]
        lines.append(
            f"  {counted(self.n_bars, 'bar')}, {counted(self.n_active, 'signal')}; "
            f"{counted(len(self.cuts), 'cut')}; the next bar was changed behind "
            f"{self.covered:,} bars; {counted(self.runs, 'run')} in {self.seconds:.1f} s"
        )
        return "\n".join(lines)

    def _headline(self) -> str:
        if self.ok:
            return f"{self.strategy}: no look-ahead found"
        kinds = dict.fromkeys(finding.kind for finding in self.findings)
        said = "; ".join(FINDINGS[kind] for kind in kinds)
        seen = ""
        if self.n_cuts_seen:
            seen = f" (at {self.n_cuts_seen:,} of {counted(len(self.cuts), 'cut')})"
        return f"{self.strategy} does not keep to the past: {said}{seen}"

    def __repr__(self) -> str:
        return self.text

    def to_mapping(self) -> dict[str, Any]:
        """Return everything, ready for JSON: nan as text."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        rows = [
            {name: _plain(value) for name, value in asdict(finding).items()}
            for finding in self.findings
        ]
        return {
            "kind": "lookahead",
            "ok": self.ok,
            **found,
            "findings": rows,
            "notes": list(self.notes),
            "cuts": list(self.cuts),
            "text": self.text,
        }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and value - value != 0.0 else value
