"""Where prepared data are kept, who may write there, and what is told where they cannot be written or read."""

import contextlib
import fcntl
import os
import pathlib

from dsl_tf.errors import UserError


def default_cache_dir():
    """Returns `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "dsl_tf"


def check_outside(cache, data_dir):
    """Finds a cache folder in the folder of the data.

    Raises:
        UserError: where it lies there.
    """
    if data_dir is not None and cache.resolve().is_relative_to(pathlib.Path(data_dir).resolve()):
        raise UserError(
            f"--cache_dir must not lie in --data_dir, which is never written to. Received: {str(cache)!r} in "
            f"{str(data_dir)!r}. Choose another --cache_dir."
        )


@contextlib.contextmanager
def lock(path):
    """Waits until no other process prepares the same; ends with the process, however that ends."""
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is preparing this data set: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def unwritable_told(cache, contents):
    """Tells in one line that a cache folder cannot be written, which there must be room in for the contents."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--cache_dir={str(cache)!r} must be a folder that can be written, with room for {contents}. {error}. "
            "Images prepared so far are kept."
        ) from None


@contextlib.contextmanager
def whole(expected):
    """Tells in one line what was expected, whatever damaged files make array_record, TensorFlow and Pillow raise."""
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"{expected}. Received files that cannot be read: {message}. Delete the folder: the next run prepares it "
            "anew."
        ) from error
