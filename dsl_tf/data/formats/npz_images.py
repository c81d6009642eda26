"""Images in an npz file, read one after the other, since all of them may not fit in memory."""

import contextlib
import dataclasses
import math
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from dsl_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class NpzImages:
    """The images of an array in an npz file, which stay on disk.

    Args:
        path: the file.
        member: the name of the array's file inside of it.
        data_start: where the pixels start in the member, in bytes.
        shape: the shape of the array, `(n, height, width, 3)`.
    """

    path: pathlib.Path
    member: str
    data_start: int
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int) -> Iterator[np.ndarray]:
        """Reads the images from a position on.

        Args:
            start: the position of the first.

        Yields:
            uint8 `[height, width, 3]`.

        Raises:
            UserError: if the file is damaged.
        """
        size = math.prod(self.shape[1:])
        with _damage_reported(self.path), _member(self.path, self.member) as (member, _):
            member.seek(self.data_start + start * size)
            for _ in range(start, len(self)):
                content = member.read(size)
                if len(content) < size:
                    raise EOFError
                yield np.frombuffer(content, np.uint8).reshape(self.shape[1:])


def find_images(path: pathlib.Path, name: str, side: int) -> NpzImages:
    """Finds an array of images in an npz file, reading its header only.

    Args:
        path: the file, compressed or not.
        name: the name of the array, uint8 `[n, side, side, 3]`.
        side: the height and width in pixels.

    Returns:
        The `NpzImages`.

    Raises:
        UserError: if the file is damaged or the array is missing or has another type or shape.
    """
    with _damage_reported(path), _member(path, f"{name}.npy") as (member, size):
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(member)
        data_start = member.tell()
    if dtype != np.uint8 or shape[1:] != (side, side, 3) or fortran_order:
        order = " in Fortran's order" if fortran_order else ""
        raise UserError(
            f"The array {name!r} in {os.fspath(path)!r} must be uint8 of shape [n, {side}, {side}, 3]. "
            f"Received: wrong sizes: {dtype} of shape {list(shape)}{order}. Check the source of the file."
        )
    if data_start + math.prod(shape) != size:
        raise _damaged_error(path)
    return NpzImages(path, f"{name}.npy", data_start, shape)


@contextlib.contextmanager
def _member(path: pathlib.Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            raise UserError(
                f"{os.fspath(path)!r} must hold the array {name.removesuffix('.npy')!r}. Received: "
                f"{', '.join(map(repr, archive.namelist()[:3])) or 'nothing'}. Check the source of the file."
            )
        with archive.open(name) as member:
            yield member, archive.getinfo(name).file_size


@contextlib.contextmanager
def _damage_reported(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # Damaged files make zipfile, zlib and NumPy raise nearly any kind of error.
    except Exception as error:
        raise _damaged_error(path) from error


def _damaged_error(path: pathlib.Path) -> UserError:
    return UserError(
        f"{os.fspath(path)!r} must be a whole npz file. Received: one that is damaged or cut short. Download it again."
    )
