"""Pickle files read as inert data: nothing in them is imported, called or run."""

import mmap
import os
import struct
from typing import Any

from dsl_tf.data.formats.pickle_machine import Machine
from dsl_tf.data.formats.pickle_values import RefusedError
from dsl_tf.errors import UserError


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Reads a pickle file of plain values and NumPy arrays of numbers, of any protocol, without running any of it.

    Arrays are read-only windows on the file, so that they need no memory of their own; the file must stay as it is
    while they are used.

    Args:
        path: the file.

    Returns:
        None, a bool, int, float, str, bytes, tuple, list, dict, NumPy array or scalar. The strings of Python 2 and
        bytearrays are bytes; the keys of a dict are never tuples.

    Raises:
        UserError: if the file is missing, damaged, or holds anything else, such as a call of a function.
    """
    machine = Machine(_mapped(path))
    try:
        return machine.run()
    except RefusedError as error:
        raise UserError(
            f"The pickle file {os.fspath(path)!r} must hold plain values and NumPy arrays of numbers only; nothing "
            f"in it is run. Received: {error}, near byte {machine.position}. Check the source of the file."
        ) from None
    except (IndexError, KeyError, ValueError, OverflowError, struct.error):
        raise UserError(
            f"The file {os.fspath(path)!r} must be a whole pickle. Received: one that is cut short, damaged or not a "
            f"pickle, as seen near byte {machine.position}. Download it again."
        ) from None


def _mapped(path: str | os.PathLike[str]) -> mmap.mmap:
    # Opening a named pipe would wait for ever.
    if not os.path.isfile(path):
        reason = "not a regular file" if os.path.exists(path) else "no such file"
    else:
        try:
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            reason = error.strerror or str(error)
        except ValueError:
            reason = "an empty file"
    raise UserError(f"A pickle file must be readable. Received: {os.fspath(path)!r} ({reason}). Check the path.")
