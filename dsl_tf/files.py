"""Files and folders that are there whole or not at all."""

import contextlib
import os
import pathlib
import shutil


@contextlib.contextmanager
def replacing(path):
    """Lets a file or folder be written beside its place, and puts it there once it is whole and on the disk.

    Args:
        path: where it shall be; what stands there stays until then, and where writing fails. A file does not take the
            place of a folder.

    Yields:
        A `pathlib.Path` in the same folder, with a name that starts with a dot and has the same suffix.
    """
    path = pathlib.Path(path)
    beside = path.with_name(f".partial.{path.name}")
    remove(beside)
    try:
        yield beside
        _flush(beside)
        if path.is_dir() and beside.is_dir():
            # No system renames a folder over one with files in it. A file takes no folder's place: that is an error.
            remove(path)
        os.replace(beside, path)
        _flush_entry(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(beside)
        raise


def remove(path):
    """Removes a file or a folder if it is there; a folder vanishes at once, not file by file."""
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        vanishing = path.with_name(f".removed.{path.name}")
        shutil.rmtree(vanishing, ignore_errors=True)
        os.replace(path, vanishing)
        shutil.rmtree(vanishing)
    else:
        path.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a text file whole or not at all."""
    with replacing(path) as beside, open(beside, "w", encoding="utf-8") as file:
        file.write(text)


def _flush(path):
    """Makes the disk hold a file, or all of a folder: a rename may otherwise outlive a power cut, and its data not."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
    _flush_entry(path)


def _flush_entry(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
