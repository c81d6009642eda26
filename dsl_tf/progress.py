"""Progress bars that move on a terminal and are quiet in a file."""

import sys
from typing import Any

import keras


def progress_bar(total: int, unit: str, line_at_end: bool = False, **arguments: Any) -> keras.utils.Progbar:
    """Makes a Keras progress bar that draws itself only on a terminal.

    Args:
        total: the number of units.
        unit: what they are, such as `"image"`.
        line_at_end: whether to write one line at the end if there is no terminal.
        **arguments: further arguments of `keras.utils.Progbar`.
    """
    verbose = 1 if sys.stdout.isatty() else 2 if line_at_end else 0
    return keras.utils.Progbar(total, verbose=verbose, unit_name=unit, **arguments)
