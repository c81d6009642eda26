"""Files and folders that are written whole or not at all, and files that are safe to open."""

import contextlib
import csv
import os
import pathlib
import re
import secrets
import shutil
import socket
import stat
import types
from collections.abc import Iterable, Iterator

from dsl_tf.errors import UserError

# Names of what is being written (.partial) or removed (.removed): host, process and a random part make them unique.
_TEMPORARY = re.compile(r"\.(?:partial|removed)\.([0-9A-Za-z_-]+)\.(\d+)\.[0-9a-f]{8}(?:\..*)?", re.DOTALL)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Writes a file or folder beside its place, and moves it there once it is whole and on the disk.

    Several processes may write the same place at once: the last one to finish wins, and no reader sees a mixture.

    Args:
        path: the place. What is there stays until then, and stays if writing fails. A file does not replace a folder.

    Yields:
        A `pathlib.Path` in the same folder, with a unique name that starts with a dot and has the same suffix.
    """
    path = pathlib.Path(path)
    _remove_stale(path.parent)
    beside = _temporary(path, "partial")
    try:
        yield beside
        _flush(beside)
        if path.is_dir() and beside.is_dir():
            # No system renames a folder over one with files in it. A file replaces no folder: that is an error.
            remove(path)
        os.replace(beside, path)
        _flush_entry(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(beside)
        raise


def remove(path: str | os.PathLike[str]) -> None:
    """Removes a file or folder if it exists; a folder vanishes at once, not file by file."""
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        vanishing = _temporary(path, "removed")
        os.replace(path, vanishing)
        shutil.rmtree(vanishing)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file whole or not at all."""
    with replacing(path) as beside, open(beside, "w", encoding="utf-8") as file:
        file.write(text)


def guarded(text: str) -> str:
    """Returns the text of a CSV cell that no spreadsheet reads as a formula: an apostrophe precedes =, +, - and @."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def csv_text(rows: Iterable[Iterable[str | None]]) -> str:
    """Returns rows of cells as CSV with the line end `\\n`; None is an empty cell."""
    lines: list[str] = []
    # Row by row: with the line end "\n", the csv module of Python 3.11 does not quote names that contain "\r".
    writer = csv.writer(types.SimpleNamespace(write=lines.append))
    writer.writerows(rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def write_csv(path: str | os.PathLike[str], rows: Iterable[Iterable[str | None]]) -> None:
    """Writes rows of cells as a UTF-8 CSV file, whole or not at all; bytes that are not UTF-8 are escaped."""
    write_text(path, csv_text(rows).encode("utf-8", "backslashreplace").decode("utf-8"))


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """Reads a UTF-8 text file; unlike `open`, it never waits for a pipe.

    Args:
        path: the file.
        errors: what to do about bytes that are not UTF-8, as of `open`.

    Raises:
        OSError, UnicodeDecodeError: if it cannot be read.
        UserError: if it is no file.
    """
    check_regular(path)
    return pathlib.Path(path).read_text(encoding="utf-8", errors=errors)


def is_temporary(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path has the name of something that this package is writing or removing."""
    return _TEMPORARY.fullmatch(pathlib.Path(path).name) is not None


def check_regular(path: str | os.PathLike[str]) -> None:
    """Checks that a path can be opened without waiting for another process and without side effects.

    Raises:
        FileNotFoundError: if there is nothing.
        UserError: for a pipe, a device, a socket or a folder; links are followed.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise UserError(f"{os.fspath(path)!r} must be a file. Received: {_kind(mode)}. Give the path of a file.")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _temporary(path: pathlib.Path, purpose: str) -> pathlib.Path:
    # Not the whole name: a long one would exceed what file systems allow.
    return path.with_name(f".{purpose}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}{path.suffix[:32]}")


def _host() -> str:
    return re.sub(r"[^0-9A-Za-z_-]", "-", socket.gethostname())[:32] or "host"


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed processes of this machine have left."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            match = _TEMPORARY.fullmatch(path.name)
            if match and match[1] == _host() and not _is_alive(int(match[2])):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def _flush(path: pathlib.Path) -> None:
    """Makes the disk hold a file, or all of a folder: a rename may otherwise survive a power cut without its data."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
    _flush_entry(path)


def _flush_entry(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
