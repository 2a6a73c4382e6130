"""``python -m backtest_py`` is ``backtest-py``."""

from __future__ import annotations

import sys

from backtest_py.cli import main

if __name__ == "__main__":
    sys.exit(main())
