"""What in a directory belongs to a sweep, and what is somebody else's and stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from tests.sweep_tables import MANIFEST, write_all

import backtest_py as bt
from backtest_py.errors import ConfigError
from backtest_py.sweep.store.store import SweepStore

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
GRID = {"rules.stop": [1.0, 2.0, 3.0]}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=10)


def listing(path):
    """Return all that a directory holds: kinds, targets of links and contents."""
    found = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_symlink():
            found[name] = str(file.readlink())
        elif file.is_dir():
            found[name] = "directory"
        else:
            found[name] = file.read_bytes() if file.is_file() else "something else"
    return found


LOOK_ALIKES = [
    ".notes.tmp",
    ".manifest.json.tmp",
    ".manifest.json.backup.tmp",
    f".manifest.json.{'0' * 31}.tmp",
    f".manifest.json.{'G' * 32}.tmp",
    f".notes.txt.{'0' * 32}.tmp",
    f"manifest.json.{'0' * 32}.tmp",
    f".shard-000001.parquet.{'0' * 32}.tmp",
    "results/.shard-000001.parquet.mine.tmp",
    f"results/.manifest.json.{'0' * 32}.tmp",
    f"results/.shard-mine.parquet.{'0' * 32}.tmp",
    "results/shard-mine.csv",
]


@pytest.mark.parametrize("resume", [False, True])
def test_temporary_files_of_others_stay(bars, tmp_path, resume):
    (tmp_path / "results").mkdir()
    for name in LOOK_ALIKES:
        (tmp_path / name).write_text("the user's own")
    for name in (
        f".manifest.json.{'0a' * 16}.tmp",
        f".journal.jsonl.{'0a' * 16}.tmp",
        f"results/.shard-000001.parquet.{'0a' * 16}.tmp",
    ):
        (tmp_path / name).write_text("half")
    bt.sweep(bars, grid=GRID, out=tmp_path, resume=resume)
    left = {name for name in listing(tmp_path) if name.endswith((".tmp", ".csv"))}
    assert left == set(LOOK_ALIKES)


def test_files_that_look_like_shards_stay_on_resume(bars, tmp_path):
    bt.sweep(bars, grid=GRID, out=tmp_path)
    (tmp_path / "results" / "shard-best.parquet").write_text("the user's own")
    bt.sweep(bars, grid=GRID, out=tmp_path, resume=True)
    assert (tmp_path / "results" / "shard-best.parquet").read_text() == "the user's own"


def test_a_journal_of_something_else_stays(bars, tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"my": "notes"}\n')
    before = listing(tmp_path)
    with pytest.raises(ConfigError, match=r"journal\.jsonl is not of a sweep"):
        bt.sweep(bars, grid=GRID, out=tmp_path)
    assert listing(tmp_path) == before


# links and other things under the names of a sweep


def make(place, kind, target):
    if kind == "directory":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(target)
    elif kind == "link to nowhere":
        place.symlink_to(target.with_name("nowhere"))
    elif kind == "second name":
        place.hardlink_to(target)
    elif kind == "words":
        place.write_text("the user's own words")
    elif kind == "file":
        place.write_text("")


@posix
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((".lock", kind) for kind in ("directory", "pipe", "link", "link to nowhere")),
        *((".lock", kind) for kind in ("second name", "words")),
        *(
            (name, kind)
            for name in ("manifest.json", "journal.jsonl")
            for kind in ("directory", "pipe", "link", "link to nowhere")
        ),
        *(("results", kind) for kind in ("pipe", "link", "link to nowhere", "file")),
    ],
)
def test_what_is_not_the_sweeps_own_is_refused_and_left(bars, tmp_path, name, kind, resume):
    target = tmp_path / "precious"
    if name == "results":
        target.mkdir()
        (target / "shard-000007.parquet").write_text("the user's own")
    else:
        target.write_text("precious words")
    out = tmp_path / "out"
    out.mkdir()
    make(out / name, kind, target)
    before = listing(tmp_path)
    with pytest.raises(ConfigError, match="choose another directory"):
        bt.sweep(bars, grid=GRID, out=out, resume=resume)
    assert listing(tmp_path) == before


@posix
@pytest.mark.parametrize("resume", [False, True])
def test_a_lock_that_is_a_link_is_left_where_the_sweep_is_refused_anyway(bars, tmp_path, resume):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("precious words")
    (tmp_path / "out" / "manifest.json").write_text('{"kind": "run"}')
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "precious")
    before = listing(tmp_path)
    with pytest.raises(ConfigError, match="choose another directory"):
        bt.sweep(bars, grid=GRID, out=tmp_path / "out", resume=resume)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("resume", [False, True])
def test_a_refused_sweep_leaves_nothing(bars, tmp_path, resume):
    (tmp_path / "manifest.json").write_text('{"kind": "run"}')
    before = listing(tmp_path)
    with pytest.raises(ConfigError, match="something else"):
        bt.sweep(bars, grid=GRID, out=tmp_path, resume=resume)
    assert listing(tmp_path) == before


# the lock and forked children

FORK = """
    import os, sys, time
    import backtest_py as bt

    out, children = sys.argv[1], []
    bars = bt.synthetic_bars(n_days=10)
    grid = {"rules.stop": [1.0, 2.0, 3.0]}

    def fork(progress):
        if not children:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)

    bt.sweep(bars, grid=grid, out=out, progress=fork)
    print(len(bt.sweep(bars, grid=grid, out=out, resume=True)), flush=True)
    os.kill(children[0], 0)
    os.kill(children[0], 9)
"""


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@posix
def test_a_forked_child_does_not_keep_the_directory(tmp_path):
    done = run(FORK, tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


LEAVING = """
    import os, sys
    import backtest_py as bt

    out, parent, children = sys.argv[1], os.getpid(), []
    bars = bt.synthetic_bars(n_days=10)
    grid = {"rules.stop": [1.0, 2.0, 3.0]}

    def fork(progress):
        if not children:
            children.append(os.fork())
            if children == [0]:
                raise SystemExit(0)
            os.waitpid(children[0], 0)
            with open(out + "/manifest.json") as file:
                print('"running"' in file.read())

    bt.sweep(bars, grid=grid, out=out, progress=fork, processes=int(sys.argv[2]))
    print(bt.open_sweep(out).manifest["status"])
"""


@posix
@pytest.mark.parametrize("processes", [0, 2])
def test_a_forked_child_that_leaves_the_sweep_disturbs_nothing(tmp_path, processes):
    done = run(LEAVING, tmp_path / "out", processes)
    assert (done.returncode, done.stdout) == (0, "True\ncomplete\n"), done.stderr


@posix
def test_the_lock_holds_while_a_child_lives_and_the_parent_sweeps(tmp_path):
    with SweepStore.create(tmp_path, MANIFEST) as store:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(ConfigError, match=rf"the process {os.getpid()} writes"):
            SweepStore.resume(tmp_path, MANIFEST)
        write_all(store, range(1))
