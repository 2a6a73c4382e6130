"""The sweep's directory: what is written, where, by whom, and what may be resumed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.sweep_tables import IDENTITY, MANIFEST, contents, finished, python, table_of, write_all

from backtest_py.errors import BacktestError, ConfigError, StorageError
from backtest_py.sweep.store.manifest import read_manifest
from backtest_py.sweep.store.shard_file import encode_shard
from backtest_py.sweep.store.store import SweepStore


@pytest.fixture
def swept(tmp_path):
    """Return a directory with three shards, and the bytes of their files."""
    with SweepStore.create(tmp_path / "sweep", MANIFEST) as store:
        write_all(store, range(3))
    return tmp_path / "sweep", contents(tmp_path / "sweep")


# what is written


def test_a_shard_comes_back_as_it_was(swept):
    path, _ = swept
    read = pq.read_table(path / "results" / "shard-000001.parquet")
    expected = table_of(1)
    assert read.column_names == expected.column_names
    for name in read.column_names:
        assert pa.types.is_dictionary(read.schema.field(name).type) is False
        given = expected[name].to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(read[name].to_numpy(zero_copy_only=False), given)
    kinds = {name: str(read.schema.field(name).type) for name in read.column_names}
    assert kinds["combo_id"] == kinds["total_trades"] == "int64"
    assert kinds["ruined"] == kinds["rules.round_to_tick"] == "bool"
    assert kinds["sharpe"] == kinds["rules.stop"] == kinds["strategy.drawn"] == "double"
    assert kinds["strategy.entry_start"] == "string"
    assert pq.ParquetFile(path / "results" / "shard-000001.parquet").num_row_groups == 1


def test_a_file_depends_on_its_table_alone(swept):
    _, files = swept
    table = table_of(2)
    halves = pa.concat_tables([table[:31], table[31:]])
    again = pa.table({name: table[name].combine_chunks() for name in table.column_names})
    for same in (table, halves, again):
        assert bytes(encode_shard(same)) == files["shard-000002.parquet"]


def test_shards_without_rows_count_as_done(tmp_path):
    with SweepStore.create(tmp_path, MANIFEST) as store:
        store.write(4, table_of(4)[:0])
        assert store.done == {4: 0}
    with SweepStore.resume(tmp_path, MANIFEST) as store:
        assert store.done == {4: 0}
        assert store.damaged == []


def test_rows_out_of_order_are_refused(tmp_path):
    table = table_of(0)
    with SweepStore.create(tmp_path, MANIFEST) as store:
        for wrong in (table.take([1, 0]), table.take([0, 0])):
            with pytest.raises(ValueError, match="combo_id must increase"):
                store.write(0, wrong)
        assert contents(tmp_path) == {}


def test_threads_write_side_by_side(tmp_path):
    with SweepStore.create(tmp_path, MANIFEST) as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda shard: store.write(shard, table_of(shard)), range(24)))
    with SweepStore.resume(tmp_path, MANIFEST) as store:
        assert store.done == dict.fromkeys(range(24), 60)
    assert len(contents(tmp_path)) == 24


def test_the_manifest_keeps_what_is_added(tmp_path):
    with SweepStore.create(tmp_path, MANIFEST) as store:
        assert read_manifest(tmp_path)["status"] == "running"
        store.update({"gate": {"verdict": "agreed", "largest": 0.0}})
        store.update({"status": "complete"})
        expected = store.manifest
    assert read_manifest(tmp_path) == expected
    assert expected["kind"] == "sweep"
    assert expected["identity"] == IDENTITY
    with SweepStore.resume(tmp_path, MANIFEST | {"version": "0.2.0"}) as store:
        assert store.manifest["gate"] == {"verdict": "agreed", "largest": 0.0}
        assert store.manifest["version"] == "0.2.0"
        assert store.manifest["status"] == "running"


def test_a_closed_store_writes_nothing(tmp_path):
    with SweepStore.create(tmp_path, MANIFEST) as store:
        pass
    store.close()
    with pytest.raises(StorageError, match="given back"):
        store.write(0, table_of(0))


def test_importing_the_store_loads_nothing_heavy():
    script = (
        "import sys; import backtest_py.sweep.store.store; "
        "print({'pyarrow', 'pandas', 'numba', 'joblib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


# where it is written


def test_results_are_never_overwritten(swept):
    path, files = swept
    with pytest.raises(ConfigError, match=r"holds the results of a sweep; continue it \(--resume"):
        SweepStore.create(path, MANIFEST)
    assert contents(path) == files


def test_a_sweep_that_wrote_nothing_may_begin_again(tmp_path):
    SweepStore.create(tmp_path, MANIFEST).close()
    changed = {"identity": {"bars_hash": "other"}}
    SweepStore.create(tmp_path, changed).close()
    assert read_manifest(tmp_path)["identity"] == changed["identity"]


@pytest.mark.parametrize("begin", [SweepStore.create, SweepStore.resume])
def test_results_of_a_run_are_left_alone(tmp_path, begin):
    (tmp_path / "manifest.json").write_text('{"kind": "run"}')
    with pytest.raises(ConfigError, match="something else"):
        begin(tmp_path, MANIFEST)
    assert (tmp_path / "manifest.json").read_text() == '{"kind": "run"}'


@pytest.mark.parametrize("begin", [SweepStore.create, SweepStore.resume])
def test_a_file_is_no_directory(tmp_path, begin):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="a file stands there"):
            begin(path, MANIFEST)


def test_a_directory_without_permission_is_refused():
    """Root may write everywhere, so the child becomes nobody first."""
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o555)
        script = """
            if os.geteuid() == 0:
                os.setgroups([]); os.setgid(65534); os.setuid(65534)
            for path in (Path(sys.argv[1]), Path(sys.argv[1]) / "new"):
                try:
                    SweepStore.create(path, MANIFEST)
                except ConfigError as error:
                    print(error)
        """
        lines = finished(python(script, place)).splitlines()
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)
    assert len(lines) == 2
    for line in lines:
        assert re.search("cannot be written: Permission denied; choose a directory that can", line)


def test_reading_what_is_no_sweep(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(ConfigError, match=r"holds no sweep: manifest\.json is missing"):
            read_manifest(path)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_manifest(tmp_path)


# one process at a time


@pytest.mark.parametrize("begin", [SweepStore.create, SweepStore.resume])
def test_a_second_sweep_is_refused(tmp_path, begin):
    refused = pytest.raises(ConfigError, match=rf"in use: the process {os.getpid()} writes")
    with SweepStore.create(tmp_path, MANIFEST), refused:
        begin(tmp_path, MANIFEST)
    begin(tmp_path, MANIFEST).close()


def test_the_lock_dies_with_its_process(tmp_path):
    script = """
        store = SweepStore.create(sys.argv[1], MANIFEST)
        store.write(0, table_of(0))
        print("ready", flush=True)
        sys.stdin.read()
    """
    holder = python(script, tmp_path, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "ready\n"
    with pytest.raises(ConfigError, match=rf"in use: the process {holder.pid} writes"):
        SweepStore.resume(tmp_path, MANIFEST)
    holder.kill()
    holder.communicate()
    with SweepStore.resume(tmp_path, MANIFEST) as store:
        assert store.done == {0: 60}


def test_a_refusal_gives_the_lock_back(swept):
    path, _ = swept
    for _ in range(2):
        with pytest.raises(ConfigError, match="holds the results"):
            SweepStore.create(path, MANIFEST)
        with pytest.raises(ConfigError, match="another sweep"):
            SweepStore.resume(path, {"identity": {}})
    SweepStore.resume(path, MANIFEST).close()


# what may be resumed


def test_resuming_continues(swept):
    path, files = swept
    with SweepStore.resume(path, MANIFEST) as store:
        assert store.done == dict.fromkeys(range(3), 60)
        assert store.damaged == []
        write_all(store, range(5))
    assert {name: contents(path)[name] for name in files} == files
    assert len(contents(path)) == 5


def test_resuming_nothing_begins(tmp_path):
    with SweepStore.resume(tmp_path / "new", MANIFEST) as store:
        assert store.done == {}
        assert store.damaged == []
        write_all(store, range(2))
    assert len(contents(tmp_path / "new")) == 2


def changed(**changes):
    identity = json.loads(json.dumps(IDENTITY))
    for path, value in changes.items():
        *above, last = path.split("__")
        place = identity
        for name in above:
            place = place[name]
        place[last] = value
    return identity


@pytest.mark.parametrize(
    ("identity", "named"),
    [
        (changed(bars_hash="77"), ['bars_hash was "5f0c", now "77"']),
        (changed(grid__rules__unit="points"), ['grid.rules.unit was "atr", now "points"']),
        (changed(grid__rules__max_bars=0.0), ["grid.rules.max_bars was 0, now 0.0"]),
        (changed(scenarios=True), ["scenarios was absent, now true"]),
        (
            changed(semantics_version=2, grid__where="stop > 1"),
            ['grid.where was "", now "stop > 1"', "semantics_version was 1, now 2"],
        ),
        (
            changed(
                grid__axes=[
                    {"key": "rules.stop", "values": [0.5, 1.0, 1.5, 2.5]},
                    {"key": "rules.trail", "values": [0.0, 1.0]},
                ]
            ),
            [
                "grid.axes.rules.stop.values[3] was 2.0, now 2.5",
                "grid.axes.rules.trail.values was [0.0], now [0.0,1.0]",
            ],
        ),
        (
            changed(grid__axes=IDENTITY["grid"]["axes"][::-1]),
            ['grid.axes order was ["rules.stop","rules.trail"], now ["rules.trail","rules.stop"]'],
        ),
        (
            changed(grid__axes=IDENTITY["grid"]["axes"][:1]),
            ['grid.axes.rules.trail was {"key":"rules.trail","values":[0.0]}, now absent'],
        ),
    ],
)
def test_another_sweep_is_refused_with_every_difference(swept, identity, named):
    path, files = swept
    with pytest.raises(ConfigError, match="another sweep, which cannot be resumed") as refusal:
        SweepStore.resume(path, {"identity": identity})
    for text in named:
        assert text in str(refusal.value)
    assert str(refusal.value).count(" was ") == len(named)
    assert contents(path) == files
    assert read_manifest(path)["identity"] == IDENTITY


def test_many_differences_are_counted(swept):
    path, _ = swept
    path = path.with_name("many")
    SweepStore.create(path, {"identity": {"a": list(range(100))}}).close()
    with pytest.raises(ConfigError, match=r"a\[19\] was 19, now 18; and 80 more\.") as refusal:
        SweepStore.resume(path, {"identity": {"a": list(range(-1, 99))}})
    assert str(refusal.value).count(" was ") == 20


def test_errors_are_of_one_tree():
    assert issubclass(StorageError, (BacktestError, OSError))
