"""Servers that tests start on this machine: PostgreSQL, S3, and some that misbehave."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def needed(what):
    """Fail where services are required, else skip: something is not installed here."""
    text = f"{what} is not installed here: make services"
    if os.environ.get("BACKTEST_PY_REQUIRE_SERVICES") == "1":
        pytest.fail(text)
    pytest.skip(text)


class PostgreSQL:
    """A server of its own folder and port, from the distribution's packages."""

    def __init__(self):
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        found = shutil.which("initdb")
        if not folders and found is None:
            needed("PostgreSQL")
        self._programs = folders[-1] if folders else Path(found).parent
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._folder = Path(tempfile.mkdtemp(prefix="backtest-py-postgres-"))
        self._count = 0
        (self._folder / "password").write_text(self.password, encoding="utf-8")
        if os.geteuid() == 0:  # the server refuses to run as root
            owner = pwd.getpwnam("postgres")
            for path in (self._folder, self._folder / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run(
            *("initdb", "--pgdata", f"{self._folder}/data", "--username", "tester"),
            *("--auth", "scram-sha-256", "--pwfile", f"{self._folder}/password", "--no-sync"),
        )
        self.start()

    def _run(self, program, *arguments):
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            command,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server would hold a pipe open
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        log = self._folder / "log"
        assert done.returncode == 0, log.read_text() if log.exists() else command

    def _control(self, *arguments):
        data = ("--pgdata", f"{self._folder}/data", "--log", f"{self._folder}/log", "--wait")
        self._run("pg_ctl", *data, *arguments)

    def start(self):
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        text = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._control("start", "--options", f"-p {self.port} {text}")

    def stop(self):
        self._control("stop", "--mode", "immediate")

    def remove(self):
        self.stop()
        shutil.rmtree(self._folder)

    def url(self, name="postgres", password=None):
        return f"postgresql://tester:{password or self.password}@127.0.0.1:{self.port}/{name}"

    def new_database(self):
        """Return the address of an empty database."""
        import psycopg

        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return self.url(name)


@contextmanager
def s3_server():
    """Give the address of an S3 server that forgets everything at the end.

    It answers one request after the other: the imitation gets lost where two write one object.
    """
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = DomainDispatcherApplication(create_backend_app)
    with _serving(make_server("127.0.0.1", 0, application, threaded=False)) as address:
        yield address


@contextmanager
def _serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@contextmanager
def silent_server():
    """Give the address of a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = []

        def accept():
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in held:
            connection.close()


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Write nothing."""


@contextmanager
def web_server(folder, handler=_Handler, tls=None):
    """Give the address of a server of a folder's files; with ``tls``, it speaks that."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    if tls is not None:
        server.handle_error = lambda *_: None  # a client that hangs up
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with _serving(server) as address:
        yield address
