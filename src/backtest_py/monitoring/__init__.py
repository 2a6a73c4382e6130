"""What a running process measures of itself, for Prometheus to read.

The rest of the package records into instruments that do nothing until somebody serves them.
"""

from __future__ import annotations

from backtest_py.monitoring.endpoint import MetricsServer, serve_metrics

__all__ = ["MetricsServer", "serve_metrics"]
