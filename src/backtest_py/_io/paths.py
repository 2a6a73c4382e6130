"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from backtest_py.errors import ConfigError

__all__ = ["given_path"]


def given_path(value: object, name: str = "path") -> Path:
    r"""Return a path that a user gave, checked before any file is touched.

    Parameters
    ----------
    value : str or os.PathLike
        What was given.
    name : str
        What the user calls it, such as ``"out"``.

    Raises
    ------
    ConfigError
        If no file can have this name: it is empty, holds a NUL character or one that the file
        system cannot encode, or is no path at all.

    Examples
    --------
    >>> given_path("runs/x", "out").parts
    ('runs', 'x')
    >>> given_path("runs\0", "out")
    Traceback (most recent call last):
    backtest_py.errors.ConfigError: out = 'runs\x00' holds a NUL character; give another path
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(text, str):
        raise ConfigError(f"{name} = {value!r} is not a path; give a text such as 'runs/x'")
    if not text:
        raise ConfigError(f"{name} is empty; give a path, or '.' for the current directory")
    if "\0" in text:
        raise ConfigError(f"{name} = {text!r} holds a NUL character; give another path")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name} = {text!r} holds a character that no file name can have; give another path"
        ) from error
    return Path(text)
