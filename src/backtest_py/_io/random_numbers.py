"""Random numbers that are the same on every platform and with every version of NumPy.

All of them come from the splitmix64 generator (Steele, Lea, Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014): integer arithmetic modulo 2**64, and any number of the sequence
can be computed without those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["splitmix64", "splitmix64_at"]

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


def splitmix64(seed: int, stream: int, count: int) -> NDArray[np.uint64]:
    """Return the first numbers of one of many streams that a seed starts.

    The stream starts at the mix of ``seed + stream * 0x9E3779B97F4A7C15``, so that streams do not
    overlap in practice.

    Parameters
    ----------
    seed, stream : int
        Not negative; taken modulo 2**64.
    count : int
        How many numbers.

    Returns
    -------
    ndarray of uint64, shape (count,)

    Examples
    --------
    >>> [hex(number) for number in splitmix64(0, 0, 2).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    start = (seed + stream * _GOLDEN) & _MASK
    if start:
        start = int(_mix(np.array([start], np.uint64))[0])
    return splitmix64_at(start, np.arange(count, dtype=np.uint64))


def splitmix64_at(seed: int, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the numbers at the given places, from 0, of the sequence that a seed starts.

    Number ``i`` is the mix of ``seed + (i + 1) * 0x9E3779B97F4A7C15``, modulo 2**64.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    counters : ndarray of uint64
        Places in the sequence.

    Returns
    -------
    ndarray of uint64, shape of ``counters``

    Examples
    --------
    >>> import numpy as np
    >>> splitmix64_at(1234567, np.array([0, 1], np.uint64)).tolist()
    [6457827717110365317, 3203168211198807973]
    """
    return _mix(np.array([seed], np.uint64) + (counters + np.uint64(1)) * np.uint64(_GOLDEN))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
