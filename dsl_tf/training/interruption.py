"""Signals that ask a run to end: those of a scheduler before it kills the process, and Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

# SLURM can send SIGUSR1 before a time limit. All schedulers, and `kill`, send SIGTERM.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """Handles signals: they end the process at once or, within `postponed()`, after the work is saved.

    SIGTERM and SIGUSR1 raise `SystemExit` with code 128 + the signal's number, SIGINT (Ctrl-C) raises
    `KeyboardInterrupt`. Within `postponed()`, a signal only sets `received`; the caller saves its work and calls
    `end_if_received()`, which raises. A second Ctrl-C ends the process at once. Python delivers signals to the main
    thread only, so in any other thread the handlers are not changed.

    Attributes:
        received: the number of the received signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._postponed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Shells make background processes ignore Ctrl-C. That stays so.
                if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not installed from Python, and which Python cannot restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.received is not None and kind is SystemExit:
            name = signal.Signals(self.received).name
            print(f"\nEnded by {name}. Run the same command again to resume from the last checkpoint.", file=sys.stderr)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        first = self.received is None
        if first:
            self.received = number
        if not self._postponed:
            # A second signal, except Ctrl-C, must not interrupt the saving that the first one started.
            if first or number == signal.SIGINT:
                self.end_if_received()
        elif number == signal.SIGINT:
            if not first:
                raise KeyboardInterrupt
            # Not print, because the signal may have interrupted a call of print.
            os.write(2, b"\nInterrupted: saving after this step. Press Ctrl-C again to stop at once.\n")

    def end_if_received(self) -> None:
        """Raises SystemExit, or KeyboardInterrupt for Ctrl-C, if a signal was received."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def end(self) -> NoReturn:
        """Raises like `end_if_received`; if another worker received the signal, as for SIGTERM."""
        self.received = self.received or signal.SIGTERM
        self.end_if_received()
        raise AssertionError

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Postpones signals until the end of the block, for work that must not be interrupted."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False
        self.end_if_received()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets signals end the process at once within `postponed()`, for long work that can be repeated."""
        self._postponed = False
        try:
            self.end_if_received()
            yield
        finally:
            self._postponed = True
