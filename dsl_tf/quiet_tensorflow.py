"""Imports TensorFlow without the notes that its C++ libraries print before any log level applies to them.

Each part of the package imports this first. Once TensorFlow is imported, TF_CPP_MIN_LOG_LEVEL decides what is printed.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator

# Such as "I0000 00:00:1795593653.695310    9746 port.cc:153] oneDNN custom operations are on."
_NOTE = re.compile(rb"I\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] |WARNING: All log messages before absl::InitializeLog")
_ERRORS_ONLY = "3"


def without_notes(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the lines that are more than a note of the C++ libraries."""
    return (line for line in lines if not _NOTE.match(line))


def _import() -> None:
    """Imports TensorFlow with standard error in a file, whose remaining lines are printed afterwards."""
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            failed = True
            try:
                import tensorflow  # noqa: F401

                failed = False
            finally:
                sys.stderr.flush()
                os.dup2(terminal, 2)
                log.seek(0)
                lines = log.readlines()
                os.write(2, b"".join(lines if failed else without_notes(lines)))
    finally:
        os.close(terminal)


# A user who sets the level wants to see the notes; and a process may have no standard error at all.
if "tensorflow" not in sys.modules and os.environ.get("TF_CPP_MIN_LOG_LEVEL", _ERRORS_ONLY) == _ERRORS_ONLY:
    try:
        os.fstat(2)
    except OSError:
        pass
    else:
        _import()
