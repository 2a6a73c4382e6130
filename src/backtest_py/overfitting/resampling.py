"""Bootstrap samples of days or trades, as places in the original order.

All numbers come from a counter-based generator, so that a sample depends on the seed and its own
number alone: not on NumPy's version, nor on how many samples are drawn at a time.

References
----------
Politis, D. N. and Romano, J. P. (1994), The Stationary Bootstrap, Journal of the American
Statistical Association 89.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.errors import ConfigError
from backtest_py.overfitting._inputs import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Resampling", "ResamplingKind"]

ResamplingKind: TypeAlias = Literal["stationary", "block", "independent"]

_KINDS: Final = ("stationary", "block", "independent")
_TO_UNIT: Final = 2.0**-53


@dataclass(frozen=True, slots=True)
class Resampling:
    """How samples of a series are drawn with replacement.

    Attributes
    ----------
    kind : {"stationary", "block", "independent"}
        Blocks of random length, blocks of one length, or single values. Blocks run over the end of
        the series to its start, and keep what neighbours have to do with each other.
    block_size : int
        Length of a block, on average where it is random; 0 for the cube root of the length of the
        series, rounded up.
    seed : int
        Start of the random numbers, 0 or more.

    Raises
    ------
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> Resampling(kind="block", block_size=3, seed=4).places(6, 0, 2)
    array([[0, 1, 2, 1, 2, 3],
           [3, 4, 5, 4, 5, 0]])
    """

    kind: ResamplingKind = "stationary"
    block_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigError(f"kind = {self.kind!r} is not allowed; give one of {_KINDS}")
        whole(self.block_size, "block_size", least=0)
        whole(self.seed, "seed", least=0)

    def places(self, n: int, first: int, count: int) -> NDArray[np.int64]:
        """Return samples ``first`` to ``first + count`` of a series of ``n`` values.

        Returns
        -------
        ndarray of int64, shape (count, n)
        """
        drawn = np.stack([splitmix64(self.seed, first + k, 2 * n) for k in range(count)])
        units = (drawn >> np.uint64(11)).astype(np.float64) * _TO_UNIT
        starts = (units[:, :n] * n).astype(np.int64)
        size = min(self.block_size or int(np.ceil(n ** (1 / 3))), n)
        if self.kind == "independent" or size == 1:
            return starts
        if self.kind == "block":
            fresh = np.broadcast_to(np.arange(n) % size == 0, starts.shape)
        else:
            fresh = units[:, n:] < 1.0 / size
            fresh[:, 0] = True
        at = np.arange(n)
        begun = np.maximum.accumulate(np.where(fresh, at, 0), axis=1)
        return (np.take_along_axis(starts, begun, axis=1) + at - begun) % n
