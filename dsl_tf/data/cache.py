"""Where prepared data is kept, who may write there, and the errors if it cannot be written or read."""

import contextlib
import fcntl
import os
import pathlib
import tempfile
from collections.abc import Iterator

from dsl_tf.errors import UserError


def default_cache_dir() -> pathlib.Path:
    """Returns `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`; without a home, a folder for temporary files.

    Raises:
        UserError: if there is no home, and the folder for temporary files belongs to somebody else.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "dsl_tf"
    home = os.path.expanduser("~")
    # In a container, the user may have a number without a name, and no HOME or that of the root folder.
    if home not in ("~", "/"):
        return pathlib.Path(home) / ".cache" / "dsl_tf"
    folder = pathlib.Path(tempfile.gettempdir()) / f"dsl_tf-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"Prepared data needs a folder, and this user has no home folder. {str(folder)!r} belongs to another user. "
            "Give a folder of your own by --cache_dir."
        )
    return folder


def check_outside(cache: pathlib.Path, data_dir: str | os.PathLike[str] | None) -> None:
    """Checks that a cache folder is not in the folder of the data.

    Raises:
        UserError: if it is.
    """
    if data_dir is not None and cache.resolve().is_relative_to(pathlib.Path(data_dir).resolve()):
        raise UserError(
            f"--cache_dir must not lie in --data_dir, which is never written to. Received: {str(cache)!r} in "
            f"{str(data_dir)!r}. Choose another --cache_dir."
        )


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Waits until no other process prepares the same; the lock ends with the process, however that ends."""
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is preparing this data set: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def unwritable_told(cache: pathlib.Path, contents: str) -> Iterator[None]:
    """Reports in one line that a cache folder cannot be written, or that a file elsewhere cannot be read.

    Args:
        cache: the folder.
        contents: what it must have room for.

    Raises:
        UserError: for an `OSError`, and for the RuntimeError that ArrayRecord raises on a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # Subclasses, such as RecursionError and NotImplementedError, are none of ArrayRecord's.
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
            raise
        path = getattr(error, "filename", None)
        if isinstance(path, str) and not pathlib.Path(path).absolute().is_relative_to(cache.absolute()):
            raise UserError(f"{path!r} cannot be used: {getattr(error, 'strerror', error)}.") from error
        raise UserError(
            f"--cache_dir={str(cache)!r} must be a folder that can be written, with room for {contents}. "
            f"{' '.join(str(error).split())}. Images prepared so far are kept."
        ) from error


@contextlib.contextmanager
def whole(expected: str) -> Iterator[None]:
    """Reports in one line what was expected, whatever array_record, TensorFlow and Pillow raise for damaged files.

    Raises:
        UserError: for any error.
    """
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"{expected}. Received files that cannot be read: {message}. Delete the folder: the next run prepares it "
            "again."
        ) from error
