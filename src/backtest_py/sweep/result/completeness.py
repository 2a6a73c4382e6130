"""How much of a sweep is done: combinations and shards, of how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest_py.parameters import counted
from backtest_py.sweep.store.store import done_shards, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Completeness"]


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much of a sweep is done.

    Attributes
    ----------
    combos, total_combos : int
        Combinations that are done, and of the whole sweep.
    shards, total_shards : int
        Shards that are done, and of the whole sweep.

    Examples
    --------
    >>> done = Completeness(combos=24, total_combos=72, shards=1, total_shards=3)
    >>> done.complete, str(done)
    (False, '24 of 72 combinations are done (1 of 3 shards)')
    """

    combos: int
    total_combos: int
    shards: int
    total_shards: int

    @classmethod
    def of(cls, manifest: Mapping[str, Any], combos: int, shards: int) -> Completeness:
        """Compare what is done with the totals of a manifest; without totals, it is everything."""
        total = manifest.get("n_combos", combos)
        return cls(combos, total, shards, manifest.get("n_shards", shards))

    @classmethod
    def of_directory(cls, path: str | Path) -> Completeness:
        """Read what is done in a directory, where no shard need be done yet.

        Raises
        ------
        ConfigError
            If the directory holds no sweep.
        DataError
            If it is damaged.
        """
        manifest = read_manifest(path)
        files = done_shards(path, manifest)
        return cls.of(manifest, sum(files.values()), len(files))

    @property
    def complete(self) -> bool:
        """Whether every combination is done."""
        return self.n_missing == 0

    @property
    def n_missing(self) -> int:
        """Combinations that are not done."""
        return self.total_combos - self.combos

    def __str__(self) -> str:
        verb = "is" if self.total_combos == 1 else "are"
        return (
            f"{self.combos:,} of {counted(self.total_combos, 'combination')} {verb} done "
            f"({self.shards:,} of {counted(self.total_shards, 'shard')})"
        )

    def to_mapping(self) -> dict[str, int | bool]:
        """Return the facts, ready for JSON."""
        return {
            "complete": self.complete,
            "n_done": self.combos,
            "n_combos": self.total_combos,
            "n_missing": self.n_missing,
            "n_shards_done": self.shards,
            "n_shards": self.total_shards,
        }
