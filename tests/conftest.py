"""What several test files share: both engines, the command line, small files of bars."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from backtest_py.cli import main


@pytest.fixture(scope="session", autouse=True)
def _own_user_folder(tmp_path_factory):
    """Keep what belongs to the user, such as the count of request weight, out of the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("user")))
        yield


@pytest.fixture(params=["numba", "rust"])
def engine(request):
    """Name of an engine; a test that takes it runs on both."""
    return request.param


class Outcome(NamedTuple):
    """How a command ended: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys):
    """Return a function that runs a command in this process."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    return run


@pytest.fixture
def write_toml(tmp_path):
    """Return a function that writes a configuration beside the data and returns its path."""

    def write(text, data="bars.csv", name="run.toml"):
        file = tmp_path / name
        if "[data]" not in text:
            text = f'{text}\n[data]\npath = "{data}"\n'
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def write_bars(tmp_path):
    """Return a function that writes rows ``(time, open, high, low, close, volume)`` as CSV."""

    def write(rows, name="bars.csv", header="time,open,high,low,close,volume"):
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def write(tmp_path):
    """Return a function that writes text or bytes and returns the path."""

    def write(content, name="bars.csv", encoding="utf-8"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return file

    return write
