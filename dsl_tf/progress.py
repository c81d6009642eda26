"""Progress that moves on a terminal, and is a line a minute in a file."""

import sys
import time
from typing import Any, Protocol

import keras

_LINE_SECONDS = 55.0


class Progress(Protocol):
    """What shows how much of something is done."""

    def update(self, current: int) -> Any:
        """Shows that `current` units are done."""

    def add(self, count: int) -> Any:
        """Shows that `count` more units are done."""


class _Lines:
    """Prints a line at most once a minute."""

    def __init__(self, total: int, unit: str) -> None:
        self._total, self._unit = total, unit
        self._printed = time.monotonic()
        self._done = 0

    def add(self, count: int) -> None:
        self.update(self._done + count)

    def update(self, current: int) -> None:
        self._done = current
        if time.monotonic() - self._printed >= _LINE_SECONDS:
            print(f"{self._unit} {current:,}/{self._total:,}", flush=True)
            self._printed = time.monotonic()


def progress_bar(total: int, unit: str) -> Progress:
    """Makes a progress bar; without a terminal it prints a line at most once a minute.

    Args:
        total: the number of units.
        unit: what they are, such as `"image"`.
    """
    if sys.stdout.isatty():
        return keras.utils.Progbar(total, unit_name=unit)
    return _Lines(total, unit)
