"""Control-C and SIGTERM while a sweep runs: one clean stop, at a moment that suits the sweep."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["Interrupts"]


class Interrupts:
    """Turns Control-C and SIGTERM into one ``KeyboardInterrupt``.

    The first signal is remembered. In a :meth:`raised` block it raises at once; everywhere else it
    raises at the next :meth:`check`, so that it never leaves half a step behind. Signals that
    follow do not disturb the end of the sweep. In another thread than the main one, which alone
    hears signals, it does nothing.

    Examples
    --------
    >>> import signal
    >>> try:
    ...     with Interrupts() as interrupts:
    ...         signal.raise_signal(signal.SIGTERM)
    ...         print("a step is finished first")
    ...         interrupts.check()
    ... except KeyboardInterrupt:
    ...     print("and then the work ends")
    a step is finished first
    and then the work ends
    """

    def __init__(self) -> None:
        self._heard = False
        self._raises = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear) or signal.SIG_DFL
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._heard and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal has come.

        Raises
        ------
        KeyboardInterrupt
            After Control-C or SIGTERM; also where an earlier one was lost, as in a destructor.
        """
        if self._heard:
            raise KeyboardInterrupt

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raise on a signal at once: for a block that may take long and may end anywhere."""
        with self._switched(raises=True):
            self.check()
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remember signals only: for a block that calls :meth:`check` where it may end."""
        with self._switched(raises=False):
            yield

    @contextmanager
    def _switched(self, *, raises: bool) -> Iterator[None]:
        before = self._raises
        try:
            self._raises = raises
            yield
        finally:
            self._raises = before

    def _hear(self, _: int, __: object) -> None:
        first, self._heard = not self._heard, True
        if first and self._raises:
            raise KeyboardInterrupt
