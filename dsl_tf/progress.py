"""Progress bars: moving on a terminal, quiet in a file."""

import sys

import keras


def progress_bar(total, unit, line_at_end=False, **arguments):
    """Makes a Keras progress bar that draws itself only on a terminal.

    Args:
        total: how many units there are.
        unit: what they are, such as `"image"`.
        line_at_end: whether to write one line in the end where there is no terminal.
        **arguments: others of `keras.utils.Progbar`.
    """
    verbose = 1 if sys.stdout.isatty() else 2 if line_at_end else 0
    return keras.utils.Progbar(total, verbose=verbose, unit_name=unit, **arguments)
