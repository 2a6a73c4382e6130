"""Reports as one HTML file: sections made of blocks, drawings as SVG, a page that holds it all."""

from __future__ import annotations

from backtest_py.report.html.report import backtest_report, check_report, write_report

__all__ = ["backtest_report", "check_report", "write_report"]
