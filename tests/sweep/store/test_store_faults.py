"""The sweep's directory after damage, on failing disks, and killed at any moment."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.sweep_tables import IDENTITY, MANIFEST, contents, finished, python, table_of, write_all

from backtest_py.errors import ConfigError, DataError, StorageError
from backtest_py.sweep.store.journal import Entry, Journal
from backtest_py.sweep.store.manifest import read_manifest
from backtest_py.sweep.store.store import SweepStore, done_shards

KILLED_IN = "0ab1" * 8
"""What the store puts into the name of a file until it is whole."""


@pytest.fixture
def swept(tmp_path):
    """Return a directory with three shards, and the bytes of their files."""
    with SweepStore.create(tmp_path / "sweep", MANIFEST) as store:
        write_all(store, range(3))
    return tmp_path / "sweep", contents(tmp_path / "sweep")


# damage


def flipped(content, at):
    damaged = bytearray(content)
    damaged[at] ^= 1 << (at % 8)
    return bytes(damaged)


def assert_recomputed(path, files, done, damaged):
    """Assert what a resume finds, and that computing the rest gives the same files."""
    with SweepStore.resume(path, MANIFEST) as store:
        assert set(store.done) == done
        assert len(store.damaged) == damaged, store.damaged
        kept = {f"shard-{shard:06d}.parquet" for shard in done}
        assert contents(path) == {name: files[name] for name in kept}
        write_all(store, range(3))
    assert contents(path) == files
    with SweepStore.resume(path, MANIFEST) as store:
        assert store.damaged == []
        assert set(store.done) == {0, 1, 2}


def test_damaged_shards_are_found(swept):
    path, files = swept
    name = "shard-000001.parquet"
    whole = files[name]
    chance = random.Random(1)
    faults = [whole[:-1], whole[: len(whole) // 2], b"", whole + b"0"]
    faults += [files["shard-000002.parquet"]]
    faults += [flipped(whole, chance.randrange(len(whole))) for _ in range(20)]
    for fault in faults:
        (path / "results" / name).write_bytes(fault)
        with SweepStore.resume(path, MANIFEST) as store:
            assert set(store.done) == {0, 2}
            assert len(store.damaged) == 1
            assert name in store.damaged[0]
            assert not (path / "results" / name).exists()
            store.write(1, table_of(1))
        assert contents(path) == files


def test_missing_shards_are_found(swept):
    path, files = swept
    (path / "results" / "shard-000000.parquet").unlink()
    with pytest.raises(DataError, match=r"shard-000000\.parquet is missing"):
        done_shards(path, read_manifest(path))
    assert_recomputed(path, files, done={1, 2}, damaged=1)


def test_a_journal_cut_anywhere_loses_only_the_rest(swept):
    path, files = swept
    journal = path / "journal.jsonl"
    whole = journal.read_bytes()
    ends = [match.end() for match in re.finditer(b"\n", whole)]
    for cut in range(len(whole)):
        journal.write_bytes(whole[:cut])
        entries, n_damaged = Journal.read(journal)
        # a line is whole from its closing brace on
        assert list(entries) == [shard for shard, end in enumerate(ends) if cut >= end - 1]
        assert n_damaged == 0
    journal.write_bytes(whole[: ends[1] + 40])
    assert_recomputed(path, files, done={0, 1}, damaged=0)


def test_a_flipped_bit_of_the_journal_loses_one_shard(swept):
    path, files = swept
    journal = path / "journal.jsonl"
    whole = journal.read_bytes()
    genuine, _ = Journal.read(journal)
    for at in range(len(whole)):
        journal.write_bytes(flipped(whole, at))
        entries, n_damaged = Journal.read(journal)
        assert entries.items() <= genuine.items()
        lost = len(genuine) - len(entries)
        # the end of a line joins it to the next; that of the last is not needed
        assert lost == (2 if whole[at] == 10 and at + 1 < len(whole) else 1) or whole[at] == 10
        assert n_damaged >= lost - 1
    journal.write_bytes(flipped(whole, len(whole) // 2))
    assert_recomputed(path, files, done={0, 2}, damaged=1)


@pytest.mark.parametrize("journal", [b"", b"[]\n", b'"\xff\n{}\n', b"[" * 100_000 + b"\n", None])
def test_a_lost_journal_loses_no_more_than_work(swept, journal):
    path, files = swept
    if journal is None:
        (path / "journal.jsonl").unlink()
    else:
        (path / "journal.jsonl").write_bytes(journal)
    assert_recomputed(path, files, done=set(), damaged=1 if journal else 0)


def test_a_journal_of_another_sweep_is_not_believed(swept, tmp_path):
    path, files = swept
    other = tmp_path / "other"
    with SweepStore.create(other, {"identity": {"bars_hash": "77"}}) as store:
        write_all(store, range(3))
    shutil.copy(other / "journal.jsonl", path / "journal.jsonl")
    with SweepStore.resume(path, MANIFEST) as store:
        assert store.done == {}
        assert "3 damaged lines" in store.damaged[0]
        write_all(store, range(3))
    assert contents(path) == files


def test_a_damaged_manifest_is_written_again(swept):
    path, files = swept
    manifest = path / "manifest.json"
    whole = manifest.read_bytes()
    chance = random.Random(2)
    faults = [whole[: chance.randrange(len(whole) - 2)] for _ in range(10)]
    faults += [b"", b"[]", b"[" * 100_000, whole.replace(b"2.0", b"2.5")]
    for fault in faults:
        manifest.write_bytes(fault)
        with pytest.raises((DataError, ConfigError)):
            read_manifest(path)
        assert_recomputed(path, files, done={0, 1, 2}, damaged=1)
        assert read_manifest(path)["identity"] == IDENTITY


def test_a_flipped_bit_of_the_manifest_is_noticed(swept):
    path, _ = swept
    whole = (path / "manifest.json").read_bytes()
    genuine = read_manifest(path)
    for at in range(len(whole)):
        (path / "manifest.json").write_bytes(flipped(whole, at))
        with contextlib.suppress(DataError, ConfigError):
            # a changed blank between values is all that may pass
            assert read_manifest(path) == genuine


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_results_that_nothing_vouches_for_are_not_touched(swept, fault):
    path, files = swept
    if fault == "missing":
        (path / "manifest.json").unlink()
    else:
        (path / "manifest.json").write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"neither manifest\.json nor journal\.jsonl tells"):
        SweepStore.resume(path, {"identity": {"bars_hash": "77"}})
    assert contents(path) == files
    with SweepStore.resume(path, MANIFEST) as store:
        assert set(store.done) == {0, 1, 2}


def test_what_a_killed_process_leaves_is_cleared(swept):
    path, files = swept
    (path / "results" / f".shard-000003.parquet.{KILLED_IN}.tmp").write_bytes(b"half")
    (path / f".manifest.json.{KILLED_IN}.tmp").write_bytes(b"half")
    (path / f".journal.jsonl.{KILLED_IN}.tmp").write_bytes(b"half")
    (path / "results" / "shard-000003.parquet").write_bytes(b"complete, but not in the journal")
    (path / "notes.txt").write_text("the user's own")
    with (path / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"crc32":"00')
    assert_recomputed(path, files, done={0, 1, 2}, damaged=0)
    assert sorted(file.name for file in path.iterdir()) == [
        ".lock",
        "journal.jsonl",
        "manifest.json",
        "notes.txt",
        "results",
    ]


def test_entries_survive_only_whole():
    entry = Entry(shard=3, rows=60, size=1234, crc32="cbf43926", sweep="0f" * 8)
    assert Entry.parse(entry.line()) == entry
    assert Entry.parse(entry.line().replace(b"60", b"61")) is None
    assert Entry.parse(b"null") is None


# disks that fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", range(3))
def test_any_failing_step_leaves_a_sweep_to_resume(tmp_path, monkeypatch, code, call):
    """The three times that a shard reaches the disk: its file, its name, its line."""
    with SweepStore.create(tmp_path, MANIFEST) as store:
        write_all(store, range(3))
    whole, line = contents(tmp_path), (tmp_path / "journal.jsonl").read_bytes()
    with SweepStore.resume(tmp_path, MANIFEST) as store:
        calls = iter(range(100))
        real = os.fsync

        def fsync(descriptor):
            if next(calls) == call:
                raise OSError(code, os.strerror(code))
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(StorageError, match=r"cannot be written: .*resume the sweep"):
                store.write(3, table_of(3))
        assert set(store.done) == {0, 1, 2}
        assert not list(tmp_path.rglob("*.tmp"))
        assert (tmp_path / "journal.jsonl").read_bytes() == line
        store.write(4, table_of(4))
    with SweepStore.resume(tmp_path, MANIFEST) as store:
        assert set(store.done) == {0, 1, 2, 4}
        assert store.damaged == []
    assert {name: contents(tmp_path)[name] for name in whole} == whole


def test_a_failing_manifest_keeps_the_old_one(tmp_path, monkeypatch):
    with SweepStore.create(tmp_path, MANIFEST) as store:
        before = read_manifest(tmp_path)

        def fsync(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(StorageError, match="the disk is full; free some space"):
                store.update({"status": "complete"})
        assert read_manifest(tmp_path) == before == store.manifest


def test_an_interrupted_line_is_taken_back(tmp_path, monkeypatch):
    with SweepStore.create(tmp_path, MANIFEST) as store:
        write_all(store, range(2))
        before = (tmp_path / "journal.jsonl").read_bytes()
        calls = iter(range(100))
        real = os.fsync

        def fsync(descriptor):
            if next(calls) == 2:
                raise KeyboardInterrupt
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(KeyboardInterrupt):
                store.write(2, table_of(2))
        assert (tmp_path / "journal.jsonl").read_bytes() == before


# a limit on the size of files stands for a full disk: the shard, or the journal, runs into it
FILL = """
    import resource
    path, n_rows, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with SweepStore.create(path, MANIFEST) as store:
        try:
            for shard in range(40):
                table = table_of(shard, n_rows * (1 + 30 * (shard == 30)))
                store.write(shard, table.select(["combo_id", "strategy.drawn"]))
        except StorageError as error:
            print(len(store.done), error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize(("n_rows", "limit", "done"), [(200, 6_000, 30), (10, 2_000, None)])
def test_a_limit_on_file_sizes(tmp_path, n_rows, limit, done):
    out = finished(python(FILL, tmp_path, n_rows, limit))
    count, message = out.split(maxsplit=1)
    assert "a limit on the size of files is reached; raise it (ulimit -f)" in message
    assert "resume the sweep (--resume); what is done is kept" in message
    if done is None:  # the journal was full first, within a line
        assert 5 < int(count) < 30
        assert (tmp_path / "journal.jsonl").stat().st_size < limit
    else:
        assert int(count) == done
    assert not list(tmp_path.rglob("*.tmp"))
    with SweepStore.resume(tmp_path, MANIFEST) as store:
        assert set(store.done) == set(range(int(count)))
        assert store.damaged == []
        store.write(39, table_of(39))


TMPFS = """
    def mount(*options):
        subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(path)], check=True)
    path = Path(sys.argv[1])
    mount("-o", "size=512k")
    with SweepStore.create(path, MANIFEST) as store:
        try:
            write_all(store, range(40))
        except StorageError as error:
            print(error)
        assert 3 < len(store.done) < 40
        assert not list(path.rglob("*.tmp"))
    mount("-o", "remount,ro")
    try:
        SweepStore.resume(path, MANIFEST)
    except ConfigError as error:
        print(error)
    mount("-o", "remount,rw,size=64m")
    with SweepStore.resume(path, MANIFEST) as store:
        assert len(store.done) > 3 and store.damaged == []
        write_all(store, range(40))
    for name, content in contents(path).items():
        Path(sys.argv[2], name).write_bytes(content)
"""


def test_a_small_disk(tmp_path):
    """A file system of half a megabyte, in a mount namespace of its own."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    probe = [*unshare, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount; the limit on file sizes is tested above")
    for name in ("disk", "copy", "whole"):
        (tmp_path / name).mkdir()
    script = python(TMPFS, tmp_path / "disk", tmp_path / "copy", prefix=unshare)
    full, read_only = finished(script).splitlines()
    assert "the disk is full; free some space and resume the sweep" in full
    assert "cannot be written: Read-only file system; choose a directory that can" in read_only
    with SweepStore.create(tmp_path / "whole", MANIFEST) as store:
        write_all(store, range(40))
    copies = {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()}
    assert copies == contents(tmp_path / "whole")


# kill -9

KILLED = """
    from concurrent.futures import ThreadPoolExecutor
    with SweepStore.resume(sys.argv[1], MANIFEST) as store, ThreadPoolExecutor(2) as pool:
        missing = [shard for shard in range(60) if shard not in store.done]
        tables_of_missing = {shard: table_of(shard, 5_000) for shard in missing[:25]}
        print(len(store.done), len(store.damaged), flush=True)
        list(pool.map(lambda shard: store.write(shard, tables_of_missing[shard]), missing[:25]))
        store.update({"status": "complete"})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_kill_at_random_moments(tmp_path):
    """Twenty kills while it writes; the end is what an undisturbed sweep writes."""
    chance = random.Random(3)
    path, kills, before, unfinished = tmp_path / "killed", 0, 0, 0
    # until it was also hit in the middle of a file; a sweep that is done too soon begins again
    while kills < 20 or not unfinished or before < 60:
        killing = kills < 20 or not unfinished
        if killing and before == 60:
            shutil.rmtree(path)
            before = 0
        process = python(KILLED, path)
        done, damaged = map(int, process.stdout.readline().split())
        assert damaged == 0
        assert done >= before
        before = done
        if killing:
            time.sleep(chance.uniform(0.0, 0.04))
            process.kill()
            kills += 1
        process.communicate(timeout=60)
        unfinished += len(list(path.rglob("*.tmp")))
    with SweepStore.create(tmp_path / "whole", MANIFEST) as store:
        write_all(store, range(60), n_rows=5_000)
    assert contents(path) == contents(tmp_path / "whole")
    rows = [pq.read_table(file, columns=["combo_id"]) for file in (path / "results").iterdir()]
    ids = np.sort(pa.concat_tables(rows)["combo_id"].to_numpy())
    np.testing.assert_array_equal(ids, np.arange(60 * 5_000))
