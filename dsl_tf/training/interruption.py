"""Signals that ask a run to end: a scheduler's, before it kills."""

import contextlib
import signal
import sys
import threading

# SLURM sends SIGUSR1 ahead of a time limit where it is told to; SIGTERM comes from all schedulers and from `kill`.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """While entered, SIGTERM and SIGUSR1 end the process as `SystemExit`, with code 128 + the signal's number.

    They end it at once, except within `postponed()`: there `received` tells that the work shall be saved, and
    `end_if_received()` ends it then. Where a thread other than the main one enters, which Python gives no signals to,
    they do what they did before.

    Attributes:
        received: the number of the signal, or None.
    """

    def __init__(self):
        self.received = None
        self._postponed = False
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind, *_):
        for number, handler in self._before.items():
            # None is a handler that was not set from Python, and that Python cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.received is not None and kind is SystemExit:
            name = signal.Signals(self.received).name
            print(f"\nEnded by {name}. The same command goes on where this one stood.", file=sys.stderr)

    def _receive(self, number, _frame):
        first = self.received is None
        self.received = number
        # A second one shall not break into the end that the first one began.
        if first and not self._postponed:
            self.end_if_received()

    def end_if_received(self):
        """Raises SystemExit where a signal was received."""
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def end(self):
        """Raises SystemExit: another worker received a signal, if this one did not."""
        self.received = self.received or signal.SIGTERM
        self.end_if_received()

    @contextlib.contextmanager
    def postponed(self):
        """Lets what must be whole come to its end."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False
        self.end_if_received()

    @contextlib.contextmanager
    def at_once(self):
        """Within `postponed()`, for what takes long and can be done again."""
        self._postponed = False
        try:
            self.end_if_received()
            yield
        finally:
            self._postponed = True
