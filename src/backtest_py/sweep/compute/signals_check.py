"""Whether a user's function gives the signals that the rows of a directory were made of."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

from backtest_py.errors import ConfigError
from backtest_py.sweep.compute.shards import Shards
from backtest_py.sweep.compute.sources import (
    HASH_BYTES,
    distinct_sets,
    function_signals,
    set_hash,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.sweep.spec import SweepSpec

__all__ = ["require_same_signals"]


def require_same_signals(spec: SweepSpec, done: Mapping[int, str]) -> None:
    """Refuse to continue a sweep whose function changed for a signal set that is done.

    The function is called again for every such set, before any new row joins the old ones: a
    function knows nothing of what it calls, so its signals alone can tell.

    Parameters
    ----------
    spec : SweepSpec
        What is swept.
    done : mapping of int to str
        Of each shard that is done, the hashes of its signal sets, as :func:`encode_hashes` wrote
        them.

    Raises
    ------
    ConfigError
        With the parameters of the first set that differs.
    """
    grid = spec.grid
    if not grid.strategy.computes_signals:
        return
    shards = Shards(grid, len(spec.ranges))
    now: dict[tuple[int, ...], bytes] = {}
    for number, text in done.items():
        rows = grid.box_rows(shards[number].box)
        if len(rows.combo_ids) == 0:
            continue
        before = b64decode(text)
        for place, digits in enumerate(distinct_sets(grid, rows.matrix)):
            key = tuple(digits)
            if key not in now:
                now[key] = set_hash(function_signals(grid, spec.bars, digits))
            if now[key] != before[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                raise ConfigError(_changed(spec, digits, number))


def _changed(spec: SweepSpec, digits: list[int], shard: int) -> str:
    axes = [spec.grid.axes[axis] for axis in spec.grid.structural_axes]
    values = (f"{a.key} = {a.values[at]!r}" for a, at in zip(axes, digits, strict=True))
    return (
        f"the sweep cannot be resumed: strategy {spec.grid.strategy.name!r} gives other signals "
        f"for {', '.join(values) or 'its parameters'} than when shard {shard} was computed, so "
        "something that it calls or reads has changed; bring that back, or sweep into another "
        "directory"
    )
