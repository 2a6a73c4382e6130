"""A sweep as from a shell: `python -m benches.sweep_shell SIZE ENGINE GATE OUT`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benches.timing import ROOT

__all__ = ["end_to_end"]


def end_to_end(size: int, engine: str, *, gate: bool, level: str = "") -> dict[str, Any]:
    """Return seconds and peak memory of a whole process: bars, gate, sweep, all rows on disk.

    Verdicts that the gate gave before are not reused; compiled kernels are.
    """
    forget_verdicts()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "benches.sweep_shell", str(size), engine, str(int(gate)),
             str(Path(folder) / "sweep")],
            cwd=ROOT,
            env={**os.environ, **({"BACKTEST_PY_SIMD": level} if level else {})},
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        text = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"a sweep from a shell ended with status {process.returncode}")
    return {
        "size": size,
        "engine": engine,
        "level": level,
        "gate": gate,
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
        **json.loads(text),
    }


def forget_verdicts() -> None:
    """Delete what the gate remembers."""
    from backtest_py._kernel_cache import cache_directory
    from backtest_py.sweep.gate.verdicts import KIND

    directory = cache_directory(KIND)
    for file in directory.glob("*.json") if directory.is_dir() else ():
        file.unlink()


def main() -> None:
    """Sweep, and tell how long the gate and the shards took."""
    from backtest_py.bench.cases import standard_case

    size, engine, gate, out = sys.argv[1:]
    case = standard_case(int(size))
    result = case.sweep(engine, out=out, gate=1_000 if gate == "1" else None)
    told = result.manifest
    sys.stdout.write(
        json.dumps(
            {
                "rows": len(result),
                "gate_seconds": told.get("gate", {}).get("seconds", 0.0),
                "sweep_seconds": told.get("seconds"),
                "bytes": sum(file.stat().st_size for file in Path(out).rglob("*.parquet")),
            }
        )
    )


if __name__ == "__main__":
    main()
