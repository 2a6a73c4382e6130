"""What a worker process runs: it computes shards until its parent has enough, or is gone."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from backtest_py.errors import EngineError, StorageError
from backtest_py.sweep.store.shard_file import Packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest_py.sweep.compute.evaluator import Evaluator
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.executors.base import ShardRows, ShardTask

__all__ = ["Parcel", "begin", "collect", "compute", "follow"]

ALIGNMENT: Final = 64
"""Arrays begin at multiples of so many bytes, as those that are allocated do."""
WATCH_SECONDS: Final = 0.5
"""How often a worker checks that its parent is still alive."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A task on its way to many workers: its arrays lie in one file that all of them map.

    Attributes
    ----------
    pickled : bytes
        The task without its arrays. It stays in memory: what is unpickled never lay on a disk.
    spans : sequence of tuple of int
        Where each array begins and ends in the file.
    folder : str
        A directory of the sweep's own, for the file and for results on their way back.
    """

    pickled: bytes
    spans: Sequence[tuple[int, int]]
    folder: str

    @classmethod
    def packed(cls, task: ShardTask, folder: str) -> Self:
        """Write the arrays of a task, and return what leads to them.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        import cloudpickle  # noqa: PLC0415 - only where processes are used

        buffers: list[pickle.PickleBuffer] = []
        pickled = cloudpickle.dumps(task, protocol=5, buffer_callback=buffers.append)
        spans = []
        with _arrays(folder).open("xb") as file:
            for buffer in buffers:
                file.write(bytes(-file.tell() % ALIGNMENT))
                start = file.tell()
                file.write(buffer.raw())
                spans.append((start, file.tell()))
        return cls(pickled, tuple(spans), folder)

    def unpacked(self) -> ShardTask:
        """Return the task; its arrays are read-only views of the file."""
        buffers: list[memoryview] = []
        if self.spans and self.spans[-1][1] > 0:
            with _arrays(self.folder).open("rb") as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            buffers = [mapped[start:end] for start, end in self.spans]
        else:
            buffers = [memoryview(b"") for _ in self.spans]
        task: ShardTask = pickle.loads(self.pickled, buffers=buffers)  # noqa: S301 - our own bytes
        return task


class _Worker:
    """The one sweep that this process works on."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self._task: ShardTask | None = None
        self._evaluator: Evaluator | None = None

    def rows(self, shard: Shard) -> ShardRows:
        """Compute a shard; what shards share is worked out at the first one."""
        if self._task is None or self._evaluator is None:
            self._task = self.parcel.unpacked()
            self._evaluator = self._task.evaluator()
        return self._task.rows(self._evaluator.evaluate(shard))


_worker: _Worker | None = None


def begin(parcel: Parcel, owner: int) -> None:
    """Prepare this process before it reads its first shard.

    It ignores Control-C, which a terminal sends to parent and children alike: the parent decides.
    It ends soon after its parent, even one that was killed and could say nothing.
    """
    global _worker  # noqa: PLW0603 - a process works on one sweep
    follow(owner)
    _worker = _Worker(parcel)


def follow(owner: int) -> None:
    """Make this process ignore Control-C, and end soon after its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    # loky would replace a worker whose memory grows, as that of an evaluator does by design
    sys.modules["joblib.externals.loky.process_executor"].__dict__["_USE_PSUTIL"] = False


def compute(shard: Shard) -> int:
    """Compute a shard, leave its rows in a file of the parcel's folder, and return their number.

    What goes back through the pipe is so small that it is written at once: a worker that is killed
    never leaves half a message, for the rest of which its parent would wait.
    """
    assert _worker is not None
    try:
        rows = _worker.rows(shard)
        _leave(_result(_worker.parcel.folder, shard), rows)
    except Exception as error:
        if _travels(error):
            raise
        raise EngineError(f"{type(error).__name__}: {error}") from error
    return int(rows.num_rows)


def collect(folder: str, shard: Shard, num_rows: int, *, packed: bool) -> ShardRows:
    """Return the rows that a worker left in the folder, and remove their file."""
    file = _result(folder, shard)
    with file.open("rb") as opened:
        signals, size = opened.readline().decode().rstrip().split(",") if packed else ("", "0")
        blocks, content = opened.read(int(size)), opened.read()
    file.unlink()
    if packed:
        return Packed(num_rows, content, signals, blocks)
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    return pa.ipc.open_stream(content).read_all()


def _arrays(folder: str) -> Path:
    return Path(folder) / "arrays"


def _result(folder: str, shard: Shard) -> Path:
    return Path(folder) / f"shard-{shard.number}"


def _leave(file: Path, rows: ShardRows) -> None:
    try:
        with file.open("wb") as opened:
            if isinstance(rows, Packed):
                opened.write(f"{rows.signals},{len(rows.blocks)}\n".encode() + rows.blocks)
            opened.write(rows.content if isinstance(rows, Packed) else _stream(rows))
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written: {error.strerror or error}; free some space, or set TMPDIR "
            "to another directory, and resume the sweep (--resume)"
        ) from error


def _stream(table: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def _travels(error: Exception) -> bool:
    """Tell whether an exception can be pickled and unpickled; some of users' own cannot."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - their code may raise anything
        return False
    return True


def _end_with(owner: int) -> None:
    """End this process when its parent has ended."""
    if sys.platform == "win32":
        import _winapi  # noqa: PLC0415 - only there

        handle = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, owner)  # noqa: FBT003
        _winapi.WaitForSingleObject(handle, _winapi.INFINITE)
    else:
        while os.getppid() == owner:
            time.sleep(WATCH_SECONDS)
    os._exit(1)
