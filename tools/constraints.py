"""Write a constraints file: the exact versions that a new environment resolves to today.

Usage: ``constraints.py FILE REQUIREMENT...`` where the requirements are arguments of
``pip install``, such as ``--group test '.[plot]'``. Nothing is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RESOLVE = ("install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", "pip")
HEADER = (
    "# Exact versions of the environments that the Makefile builds. Written by: make constraints\n"
)


def resolve(requirements: list[str]) -> list[str]:
    """Return ``name==version`` of everything that the requirements need, sorted."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pip", *RESOLVE, *requirements], check=True, stdout=subprocess.PIPE
    )
    found = (item["metadata"] for item in json.loads(done.stdout)["install"])
    return sorted(
        f"{item['name'].lower().replace('_', '-')}=={item['version']}"
        for item in found
        if item["name"] != "backtest-py"
    )


def main() -> None:
    """Write the file named by the first argument."""
    target, *requirements = sys.argv[1:]
    Path(target).write_text(HEADER + "\n".join(resolve(requirements)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
