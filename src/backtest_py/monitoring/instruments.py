"""Counters, gauges and histograms in memory, which do nothing until somebody serves them.

Recording costs a call and one look at a variable while nobody serves, and about a microsecond
while somebody does. Nothing beyond the standard library is needed to record.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final, TypeAlias

from backtest_py._forks import FreshLock
from backtest_py.errors import BacktestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Labels: TypeAlias = tuple[str, ...]
    LabelValues: TypeAlias = Mapping[str, tuple[str, ...]]

__all__ = ["Counter", "Gauge", "Histogram", "Instrument", "Sums", "recording", "switch"]

_LOCK: Final = FreshLock()
_instruments: Final[list[Instrument]] = []
_on = False


def recording() -> bool:
    """Return whether anything is recorded in this process."""
    return _on


def switch(*, on: bool) -> None:
    """Begin or end recording in this process; what was recorded before stays."""
    global _on  # noqa: PLW0603 - one switch for the process
    _on = on


class Instrument:
    """Something that is measured, under a name and with a fixed set of labels.

    Parameters
    ----------
    name : str
        Its name in Prometheus.
    about : str
        What it says, for people.
    labels : mapping of str to tuple of str
        Names of labels, each with all values that it may take. None at all stands for a label
        whose values become known in the running program, such as the names of exchanges.
    """

    kind: str

    def __init__(self, name: str, about: str, labels: LabelValues | None = None) -> None:
        self.name = name
        self.about = about
        self.labels = dict(labels or {})
        _instruments.append(self)
        self.clear()

    def clear(self) -> None:
        """Forget what was recorded, and begin with zero under every label that is known."""
        raise NotImplementedError

    def begin(self, first: str) -> None:
        """Show zeros for a value of the first label, so that its first event is seen as a rise."""
        raise NotImplementedError

    def _known(self, first: tuple[str, ...] = ()) -> list[Labels]:
        values = list(self.labels.values())
        return list(product(first, *values[1:]) if first else product(*values))

    def _refusal(self, labels: Labels) -> BacktestError:
        return BacktestError(
            f"{self.name} has no labels {labels!r} (known: {self.labels}); declare them in "
            "backtest_py.monitoring.catalogue"
        )

    def _check(self, labels: Labels) -> None:
        """Refuse labels that were not declared: a typing mistake must not become a series."""
        if len(labels) != len(self.labels) or any(
            known and label not in known
            for label, known in zip(labels, self.labels.values(), strict=True)
        ):
            raise self._refusal(labels)


class _Number(Instrument):
    """One number under every combination of labels."""

    def clear(self) -> None:
        """Begin with zero."""
        self._values: dict[Labels, float] = dict.fromkeys(self._known(), 0.0)

    def begin(self, first: str) -> None:
        """Show zeros for a value of the first label."""
        with _LOCK:
            self._values = dict.fromkeys(self._known((first,)), 0.0) | self._values

    def add(self, *labels: str, amount: float = 1) -> None:
        """Let it rise; does nothing while nobody serves."""
        if not _on:
            return
        with _LOCK:
            before = self._values.get(labels)
            if before is None:
                self._check(labels)
                before = 0.0
            self._values[labels] = before + amount

    def values(self) -> dict[Labels, float]:
        """Return the numbers, by labels."""
        with _LOCK:
            return dict(self._values)


class Counter(_Number):
    """A number that only rises.

    Examples
    --------
    >>> counter = Counter("example_total", "Examples.", {"colour": ("red", "green")})
    >>> counter.add("red", amount=2)
    >>> counter.values()
    {('red',): 0.0, ('green',): 0.0}
    """

    kind = "counter"


class Gauge(_Number):
    """A number that rises and falls; one without labels may be read when it is asked for."""

    kind = "gauge"
    _read: Callable[[], float] | None = None

    def set(self, value: float, *labels: str) -> None:
        """Set it; does nothing while nobody serves."""
        if _on:
            with _LOCK:
                self._check(labels)
                self._values[labels] = value

    def read_by(self, read: Callable[[], float]) -> None:
        """Have the value read from a function whenever it is asked for."""
        self._read = read

    def values(self) -> dict[Labels, float]:
        """Return the numbers, by labels."""
        return super().values() if self._read is None else {(): self._read()}


@dataclass(slots=True)
class Sums:
    """Of a histogram's values: how many lie in each bucket, and their sum."""

    counts: list[int]
    total: float = 0.0


class Histogram(Instrument):
    """How often a value fell into which bucket.

    Parameters
    ----------
    name, about, labels
        As of :class:`Instrument`.
    buckets : tuple of float
        Upper bounds, inclusive and rising; what lies beyond the last has a bucket of its own.
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        about: str,
        labels: LabelValues | None = None,
        *,
        buckets: tuple[float, ...],
    ) -> None:
        self.buckets = buckets
        super().__init__(name, about, labels)

    def clear(self) -> None:
        """Begin with nothing in any bucket."""
        self._values: dict[Labels, Sums] = {labels: self._empty() for labels in self._known()}

    def _empty(self) -> Sums:
        return Sums([0] * (len(self.buckets) + 1))

    def begin(self, first: str) -> None:
        """Show zeros for a value of the first label."""
        with _LOCK:
            for labels in self._known((first,)):
                self._values.setdefault(labels, self._empty())

    def observe(self, value: float, *labels: str) -> None:
        """Count a value; does nothing while nobody serves."""
        if not _on:
            return
        with _LOCK:
            sums = self._values.get(labels)
            if sums is None:
                self._check(labels)
                sums = self._values.setdefault(labels, self._empty())
            sums.counts[bisect_left(self.buckets, value)] += 1
            sums.total += value

    def values(self) -> dict[Labels, Sums]:
        """Return what was observed, by labels."""
        with _LOCK:
            return {
                labels: Sums([*each.counts], each.total) for labels, each in self._values.items()
            }


def _start_over() -> None:
    """Forget all in a forked child: its parent serves what was recorded until then."""
    switch(on=False)
    for instrument in _instruments:
        instrument.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_start_over)
