"""Directories whose files are not what a sweep writes: typed errors, and never a bug or a hang."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys

import pytest

import backtest_py as bt
from backtest_py._io.paths import given_path
from backtest_py.provenance import canonical_json
from backtest_py.sweep.store.journal import checksum
from backtest_py.sweep.store.manifest import identity_hash

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")
GRID = {"strategy.lookback": [5, 10], "rules.stop": [1.0, 2.0]}
TOML = """
[data]
path = "bars.csv"
[sweep.grid]
"strategy.lookback" = [5, 10]
"rules.stop" = [1.0, 2.0]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Bars, a configuration, and the directory of a sweep that is done."""
    path = tmp_path_factory.mktemp("finished")
    bt.synthetic_bars(n_days=10).to_frame().to_csv(path / "bars.csv", lineterminator="\n")
    (path / "sweep.toml").write_text(TOML)
    bt.Config.load(path / "sweep.toml").run_sweep(out=path / "out")
    return path


@pytest.fixture
def place(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    return copy


def commands(place):
    """Return the commands that meet a directory."""
    out = place / "out"
    return (
        ("top", out),
        ("top", out, "--by", "max_drawdown", "--where", "total_trades > 0"),
        ("replay", out, 1),
        ("sweep", place / "sweep.toml", "--out", out, "--resume"),
        ("sweep", place / "sweep.toml", "--out", out),
    )


def require_typed(cli, place):
    """Meet the directory in every way; each succeeds or fails with a readable error."""
    out = place / "out"
    try:
        result = bt.open_sweep(out)
        result.top(2)
        result.slice("rules.stop")
        repr(result)
        result.replay(1)
    except bt.BacktestError:
        pass
    kept = place.with_name("kept")
    for command in commands(place):
        shutil.rmtree(kept, ignore_errors=True)
        _copy(place, kept)
        outcome = cli(*command)
        assert outcome.status in {0, 1, 2}, outcome
        assert "bug" not in outcome.err, outcome
        assert "Traceback" not in outcome.err, outcome
        shutil.rmtree(place)
        kept.rename(place)


def _copy(source, target):
    """Copy a directory whatever it holds."""
    target.mkdir()
    for entry in source.iterdir():
        there = target / entry.name
        if entry.is_symlink():
            there.symlink_to(entry.readlink())
        elif entry.is_dir():
            _copy(entry, there)
        elif entry.is_fifo():
            os.mkfifo(there)
        else:
            shutil.copy(entry, there)


CONTENTS = {
    "empty": b"",
    "garbage": bytes(range(256)) * 20,
    "nan": b'{"kind": "sweep", "checksum": "0", "identity": {"a": NaN}}\n',
    "infinity": b'{"kind": "sweep", "checksum": "0", "identity": {"a": -Infinity}}\n',
    "many digits": b'{"kind": "sweep", "identity": {"a": ' + b"7" * 5_000 + b"}}\n",
    "brackets": b"[" * 100_000 + b"\n",
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n",
    "deep": b'{"a":' * 400 + b"1" + b"}" * 400 + b"\n",
    "a number": b"1e400\n",
    "a text": b'"sweep"\n',
    "null": b"null\n",
    "not text": b'"\xff\xfe"\n',
}
FILES = ("manifest.json", "journal.jsonl", "results/shard-000000.parquet", ".lock")


@posix
@pytest.mark.parametrize("name", [*FILES, "results"])
@pytest.mark.parametrize("kind", [*CONTENTS, "absent", "directory", "link", "pipe"])
def test_a_file_that_is_something_else(cli, place, name, kind):
    file = place / "out" / name
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    if kind == "directory":
        file.mkdir()
    elif kind == "link":
        file.symlink_to("/nowhere/at/all")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind != "absent":
        file.write_bytes(CONTENTS[kind])
    require_typed(cli, place)


def signed(manifest):
    """Return the text of a manifest with the checksum that it should have."""
    manifest = {key: value for key, value in manifest.items() if key != "checksum"}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return json.dumps({**manifest, "checksum": hashlib.sha256(text.encode()).hexdigest()})


def resigned(line):
    """Return a line of a journal with the checksum that it should have."""
    given = {key: value for key, value in line.items() if key != "check"}
    given["check"] = checksum(canonical_json(given).encode())
    return json.dumps(given) + "\n"


def paths(value, above=()):
    yield above
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*above, key))
    elif isinstance(value, list):
        for at in range(min(len(value), 2)):
            yield from paths(value[at], (*above, at))


def replaced(manifest, path, value):
    manifest = json.loads(json.dumps(manifest))
    inside = manifest
    for key in path[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return manifest


ODD = (None, True, -1, 1.5, 10**400, "", "x\0y", [], [[]], {}, {"key": []}, [{"key": 1}], ...)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_every_field_of_the_manifest_with_a_wrong_type(finished, place, odd):
    """The checksum is right, as it is where somebody edits a manifest with care."""
    genuine = json.loads((finished / "out" / "manifest.json").read_text())
    genuine.pop("checksum")
    bars = bt.load_bars(finished / "bars.csv")
    file = place / "out" / "manifest.json"
    for path in paths(genuine):
        if path:
            manifest = replaced(genuine, path, odd)
            file.write_text(signed(manifest))
            journal = json.loads((finished / "out" / "journal.jsonl").read_text())
            if isinstance(manifest.get("identity"), dict):
                journal["sweep"] = identity_hash(manifest)
            (place / "out" / "journal.jsonl").write_text(resigned(journal))
            for bars_given in (None, bars):
                try:
                    result = bt.open_sweep(place / "out", bars_given)
                    result.top(2)
                    repr(result)
                    result.slice("rules.stop")
                    result.replay(1)
                except bt.BacktestError:
                    continue
                except Exception as error:
                    raise AssertionError(f"{path} = {odd!r}: {error!r}") from error


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_the_commands_on_wrong_types(finished, place, cli, odd):
    genuine = json.loads((finished / "out" / "manifest.json").read_text())
    for path in (("identity",), ("gate",), ("status",), ("n_combos",), ("identity", "grid"), ()):
        manifest = replaced(genuine, path, odd) if path else odd if odd is not ... else {}
        text = signed(manifest) if path else json.dumps(manifest)
        (place / "out" / "manifest.json").write_text(text)
        require_typed(cli, place)


@pytest.mark.parametrize("field", ["shard", "rows", "size", "crc32", "sweep", "check"])
def test_every_field_of_the_journal_with_a_wrong_type(place, cli, field):
    file = place / "out" / "journal.jsonl"
    genuine = json.loads(file.read_text())
    for odd in ODD:
        line = replaced(genuine, (field,), odd)
        file.write_text(json.dumps(line) + "\n" if field == "check" else resigned(line))
        with pytest.raises(bt.DataError):
            bt.open_sweep(place / "out").top(1)
    file.write_text(json.dumps({**genuine, "rows": float("nan")}) + "\n")
    require_typed(cli, place)


# paths

BAD_PATHS = ["a\0b", "\0", "", "a\ud800b", 7, b"bytes", ["out"]]


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_a_path_that_no_file_can_have(finished, path):
    bars = bt.load_bars(finished / "bars.csv")
    for use in (
        lambda: bt.open_sweep(path),
        lambda: given_path(path),
        lambda: bt.sweep(bars, grid=GRID, out=path),
        lambda: bt.sweep(bars, grid=GRID, out=path, resume=True),
    ):
        with pytest.raises(bt.ConfigError):
            use()
