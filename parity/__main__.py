"""``python -m parity``: prove that both engines and the reference agree, and write the report.

Exit status: 0 they agree; 1 an engine is missing; 3 they do not agree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from backtest_py.errors import EngineUnavailableError
from parity.cases import seeded_case
from parity.checks import check_case
from parity.report import build_report, to_markdown, write_report


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m parity", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="generated cases (2000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    parser.add_argument("--case", type=int, help="show one generated case and compare it alone")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the report (here)")
    options = parser.parse_args()
    try:
        if options.case is not None:
            return show_case(options.case)
        report = build_report(options.cases, options.first)
    except EngineUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_report(report, options.out)
    print(to_markdown(report))
    return 0 if report["same"] else 3


def show_case(number: int) -> int:
    """Print a generated case with its verdict."""
    case = seeded_case(number)
    bars = case.bars
    print(case.name, case.config)
    for i in range(len(bars.time)):
        prices = bars.open[i], bars.high[i], bars.low[i], bars.close[i], bars.volume[i]
        extra = [column[i] for column in (bars.atr, case.side, case.risk) if column is not None]
        print(i, bars.day[i], bars.minute[i], *prices, *extra)
    verdict = check_case(case)
    print(*(verdict.wrong or ["all agree"]), sep="\n")
    return 3 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
