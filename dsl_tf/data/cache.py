"""The cache folder of prepared data: its location, locking and errors."""

import contextlib
import fcntl
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.files import write_text

# Written last: a folder that contains it is complete.
MARKER = "prepared.json"


def default_cache_dir() -> pathlib.Path:
    """Returns `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`; without a home folder, a temporary folder.

    Raises:
        UserError: if there is no home folder, and the temporary folder belongs to another user.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "dsl_tf"
    home = os.path.expanduser("~")
    # In a container, the user may have no name, and HOME may be unset or the root folder.
    if home not in ("~", "/"):
        return pathlib.Path(home) / ".cache" / "dsl_tf"
    folder = pathlib.Path(tempfile.gettempdir()) / f"dsl_tf-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"Prepared data needs a folder. This user has no home folder, and {str(folder)!r} belongs to another user. "
            "Set --cache_dir to a folder that you can write to."
        )
    return folder


def check_outside(cache: pathlib.Path, data_dir: str | os.PathLike[str] | None) -> None:
    """Checks that the cache folder does not lie in the data folder.

    Raises:
        UserError: if it does.
    """
    if data_dir is not None and cache.resolve().is_relative_to(pathlib.Path(data_dir).resolve()):
        raise UserError(
            f"--cache_dir must not lie in --data_dir, which is never written to. Received: {str(cache)!r} in "
            f"{str(data_dir)!r}. Choose another --cache_dir."
        )


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Locks a folder; waits while another process prepares it. The lock ends with the process in any case."""
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is preparing this data set: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare_once(folder: pathlib.Path, contents: str, write: Callable[[], dict[str, Any]]) -> None:
    """Fills a folder of the cache if it is not complete yet, in one process at a time.

    Args:
        folder: the folder; it counts as complete once it holds `MARKER`.
        contents: what is written there, for messages.
        write: a function that writes the files and returns the content of the marker.

    Raises:
        UserError: if the folder cannot be written.
    """
    marker = folder / MARKER
    if marker.is_file():
        return
    with _writing(folder, contents):
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / ".lock"):
            # Checked again, because another process may have prepared it in the meantime.
            if not marker.is_file():
                write_text(marker, json.dumps(write()))


@contextlib.contextmanager
def _writing(folder: pathlib.Path, contents: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = error.filename
        if isinstance(path, str) and not pathlib.Path(path).absolute().is_relative_to(folder.parent.absolute()):
            raise UserError(f"{path!r} cannot be used: {error.strerror}.") from error
        raise UserError(
            f"--cache_dir={str(folder.parent)!r} must be a folder that can be written, with space for {contents}. "
            f"Received: {' '.join(str(error).split())}. Images prepared so far are kept: free some space, or choose "
            "another --cache_dir."
        ) from error


@contextlib.contextmanager
def reading_cache(expected: str) -> Iterator[None]:
    """Turns the errors of TensorFlow, NumPy and json about damaged files into a UserError of one line."""
    try:
        yield
    except Exception as error:
        raise damaged(expected, error) from error


def damaged(expected: str, error: Exception) -> UserError:
    """Returns the error for files of the cache that cannot be read."""
    message = " ".join(str(error).split())[:300] or type(error).__name__
    return UserError(
        f"{expected}. Received files that cannot be read: {message}. Delete the folder: the next run prepares it again."
    )
