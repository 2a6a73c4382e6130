"""The figure of a plot: needs matplotlib, so :mod:`backtest_py.report.plot` imports it on call."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

__all__ = ["PlotFigure"]


class PlotFigure(Figure):
    """A figure that a notebook shows once, as the value of its cell.

    Pyplot does not know it. Otherwise the inline backend would show it at the end of the cell, in
    addition to the value.
    """

    def _repr_png_(self) -> bytes:
        image = BytesIO()
        self.savefig(image, format="png")
        return image.getvalue()
