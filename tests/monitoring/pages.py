"""The page of metrics as a test reads it: over HTTP, by the names and labels that stand there."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

ROW = 80
"""Bytes of a candle: ten columns of eight."""


def text_of(url):
    with urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return answer.read().decode()


def samples_of(text):
    """Return the numbers of a page by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Page:
    def __init__(self, server):
        self.server = server
        self.url = server.url

    def text(self):
        return text_of(self.url)

    def value(self, name, **labels):
        """Return the sum of all samples of a name that have these labels."""
        found = [
            value
            for (each, own), value in samples_of(self.text()).items()
            if each == f"backtest_py_{name}" and labels.items() <= dict(own).items()
        ]
        assert found, (name, labels)
        return sum(found)

    def risen(self, prefix):
        """Return what is not zero of names that begin so, as one line for each."""
        return {
            ",".join((name.removeprefix(f"backtest_py_{prefix}"), *sorted(dict(own).values()))): n
            for (name, own), n in samples_of(self.text()).items()
            if name.startswith(f"backtest_py_{prefix}") and name.endswith("_total") and n
        }


def promtool(*arguments, given=None):
    """Run promtool, and return what it says; it must accept what it is given."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def refused(url):
    """Tell whether nobody listens at an address any more."""
    with suppress(OSError), urlopen(url, timeout=2):
        return False
    return True
