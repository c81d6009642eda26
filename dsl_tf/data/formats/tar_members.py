"""Positions of the files in a tar, so that they are read in place and never extracted."""

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from dsl_tf.errors import UserError

_BLOCK = tarfile.BLOCKSIZE
# Long names and the like; in a damaged tar their size may be anything.
_LARGEST_HEADER = 1 << 20


def tar_members(file: BinaryIO, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Lists the regular files of an uncompressed tar, which may itself be part of a larger file; skips its folders.

    Args:
        file: the file, open for reading bytes.
        start: where the tar starts in the file, in bytes.
        end: where it ends.

    Yields:
        The name of each file without its folders, where its content starts, and its size, both in bytes.

    Raises:
        UserError: if the tar is damaged or compressed, or holds links, devices or unsafe names.
    """
    where = f"The tar {os.fspath(file.name)!r}"
    file.seek(start)
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                if member.size < 0 or member.offset_data + member.size > end:
                    raise tarfile.ReadError
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse() or _is_unsafe(member.name):
                    raise UserError(
                        f"{where} must hold plain files only, under names inside of it. Received: "
                        f"{member.name[:80]!r}, which is a link, a device, sparse or outside. Download the tar again."
                    )
                yield member.name.rpartition("/")[2], member.offset_data, member.size
            _check_end(file, tar.offset, end)
    except UserError:
        raise
    # Damaged headers make tarfile raise nearly any kind of error.
    except Exception as error:
        raise UserError(
            f"{where} must be a whole and uncompressed tar. Received: one that is damaged, cut short or compressed, as "
            f"seen after byte {start}. Download it again."
        ) from error


class _Headers:
    """What tarfile may read of a file: headers."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError
        return self._read(size)


def _check_end(file: BinaryIO, position: int, end: int) -> None:
    """Raises an error if a tar ends without its empty last block, since tarfile ends at damaged headers too."""
    file.seek(position)
    if position < end and any(file.read(min(_BLOCK, end - position))):
        raise tarfile.ReadError


def _is_unsafe(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/") or any(letter in name for letter in "\\:\0")
