"""Signals that ask a run to end: a scheduler's before it kills, and Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

# SLURM sends SIGUSR1 ahead of a time limit if asked to; SIGTERM comes from all schedulers and from `kill`.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """While entered, signals end the process at once, except within `postponed()`, where the work is saved first.

    SIGTERM and SIGUSR1 end it as `SystemExit`, with code 128 + the signal's number, SIGINT (Ctrl-C) as
    `KeyboardInterrupt`. Within `postponed()`, `received` says that the work shall be saved, and `end_if_received()`
    ends the process then; a second Ctrl-C ends it at once. If a thread other than the main one enters, which Python
    gives no signals to, they do what they did before.

    Attributes:
        received: the number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._postponed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Shells make what they start in the background ignore Ctrl-C.
                if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None is a handler that was not set from Python, and that Python cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.received is not None and kind is SystemExit:
            name = signal.Signals(self.received).name
            print(f"\nEnded by {name}. Run the same command again to resume from the last checkpoint.", file=sys.stderr)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        first = self.received is None
        if first:
            self.received = number
        if not self._postponed:
            # A second signal, but for Ctrl-C, shall not break into the end that the first one began.
            if first or number == signal.SIGINT:
                self.end_if_received()
        elif number == signal.SIGINT:
            if not first:
                raise KeyboardInterrupt
            # Not print, which may be what the signal has interrupted.
            os.write(2, b"\nInterrupted: saving after this step. Press Ctrl-C again to stop at once.\n")

    def end_if_received(self) -> None:
        """Raises SystemExit, or KeyboardInterrupt for Ctrl-C, if a signal was received."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def end(self) -> NoReturn:
        """Raises as `end_if_received`; as for SIGTERM if it was another worker that received the signal."""
        self.received = self.received or signal.SIGTERM
        self.end_if_received()
        raise AssertionError

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Lets what must be whole come to its end."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False
        self.end_if_received()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `postponed()`, for what takes long and can be done again."""
        self._postponed = False
        try:
            self.end_if_received()
            yield
        finally:
            self._postponed = True
