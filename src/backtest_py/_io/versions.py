"""Versions of what is installed."""

from __future__ import annotations

__all__ = ["installed_version", "package_version"]


def package_version() -> str:
    """Return the version of backtest-py, or ``"source"`` where it runs without being installed."""
    return installed_version("backtest-py") or "source"


def installed_version(package: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    # a tenth of this package's import time, and only results need it
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(package)
    except PackageNotFoundError:
        return None
