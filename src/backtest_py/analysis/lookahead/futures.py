"""Other futures: the same bars up to a point, and what might have come after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py._io.random_numbers import splitmix64

if TYPE_CHECKING:
    from backtest_py.bars import Bars

    Floats = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["VARIANTS", "Futures"]

MEMORY: Final = 50
"""A made-up price forgets its moves after so many bars, so that it stays in bounds."""

WIDEST: Final = 0.1
"""Moves are measured in usual ranges, relative to the price at most this: no price overflows."""


class Variant(NamedTuple):
    """A future: its first move and its later ones in usual ranges, volume in usual volumes.

    A future with a gap opens beyond its first move, another moves within its first bar.
    """

    move: float
    noise: float
    volume: float
    gap: bool = False


VARIANTS: Final = {
    "surge": Variant(30.0, 1.0, 20.0),
    "crash": Variant(-30.0, 1.0, 0.05),
    "rise": Variant(3.0, 1.0, 4.0, gap=True),
    "fall": Variant(-3.0, 1.0, 0.25, gap=True),
    "usual": Variant(0.0, 1.0, 1.0),
    "calm": Variant(0.0, 0.0, 1.0),
}
"""Futures by name."""


class Futures:
    """Bars of the same times whose later prices, volumes and ``atr`` are others.

    Prices above 0 stay above 0, and so do volumes. Nothing before the first bar that is changed
    differs from the real bars, not by a bit.

    Parameters
    ----------
    bars : Bars
        The real ones.
    seed : int
        The same seed gives the same futures.
    """

    def __init__(self, bars: Bars, seed: int) -> None:
        self._bars, self._seed = bars, seed
        self._relative = bool((bars.low > 0.0).all())
        ranges = bars.high - bars.low
        if self._relative:
            usual = float(np.median(ranges / bars.close))
            self._unit = min(usual or 0.001, WIDEST)
        else:
            self._unit = float(np.median(ranges)) or 1.0
        traded = bars.volume[bars.volume > 0.0]
        self._volume = float(np.median(traded)) if len(traded) else 0.0
        self._walk: Floats | None = None
        self._moves: dict[str, Floats] = {}

    def cut(self, cut: int) -> Bars:
        """Return the bars before ``cut``."""
        return self._bars[:cut]

    def whole(self) -> Bars:
        """Return all bars, as they are: new ones, of which nothing is remembered."""
        return self._bars[:]

    def changed(self, cut: int, variant: str, until: int | None = None) -> Bars:
        """Return bars of which those from ``cut`` on, and before ``until``, are others."""
        rows = np.arange(cut, len(self._bars) if until is None else until)
        anchor = self._bars.close[cut - 1] if cut else self._bars.open[0]
        return self._with(rows, np.full(len(rows), anchor), rows - cut, [variant], None)

    def spiked(self, rows: Any, names: tuple[str, str], coin: Any) -> Bars:
        """Return bars of which single ones are others, each by the name that its coin says.

        A bar is the same as the first of :meth:`changed` there. Row 0 cannot be changed.
        """
        return self._with(rows, self._bars.close[rows - 1], np.zeros_like(rows), list(names), coin)

    def _with(self, rows: Any, anchors: Floats, places: Any, names: list[str], coin: Any) -> Bars:
        """Put futures at some rows: those of ``names``, at these places of their walks."""
        bars = self._bars
        prices = [getattr(bars, name).copy() for name in ("open", "high", "low", "close")]
        volume = bars.volume.copy()
        atr = None if bars.atr_column is None else bars.atr_column.copy()
        for number, name in enumerate(names):
            mine = slice(None) if coin is None else coin == number
            at, moves = rows[mine], self._moves_of(name)[:, places[mine]]
            anchor = anchors[mine]
            for price, move in zip(prices, moves, strict=True):
                price[at] = anchor * move if self._relative else anchor + move
            volume[at] = self._volume * VARIANTS[name].volume
            if atr is not None:
                atr[at] *= 2.0 if VARIANTS[name].move > 0.0 else 0.5
        return bars.with_prices(prices, volume, atr)

    def _moves_of(self, name: str) -> Floats:
        """Return open, high, low and close of a future, as factors or differences."""
        if name not in self._moves:
            variant, walk = VARIANTS[name], self._walked()
            moves = variant.move + variant.noise * walk
            if not variant.gap:  # what comes first is a long bar
                moves[0, 0] = 0.0
            moves *= self._unit
            if self._relative:
                moves = np.exp(moves)
            moves[1] = moves.max(axis=0)
            moves[2] = moves.min(axis=0)
            self._moves[name] = moves
        return self._moves[name]

    def _walked(self) -> Floats:
        """Return open, high, low and close of a walk around 0, in usual ranges."""
        if self._walk is None:
            n = len(self._bars)
            steps, gaps, above, below = (
                (splitmix64(self._seed, stream, n) >> np.uint64(11)) * 2.0**-53
                for stream in range(4)
            )
            total = np.cumsum(2.0 * steps - 1.0)
            close = total.copy()
            close[MEMORY:] -= total[:-MEMORY]
            opened = np.append(0.0, close[:-1]) + 0.2 * gaps - 0.1
            top, bottom = np.maximum(opened, close), np.minimum(opened, close)
            self._walk = np.array([opened, top + 0.5 * above, bottom - 0.5 * below, close])
        return self._walk
