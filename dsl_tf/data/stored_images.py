"""Images that stay encoded on disk and are read by position, as an array is."""

import concurrent.futures
import hashlib
import math
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from array_record.python.array_record_data_source import ArrayRecordDataSource

from dsl_tf.data.cache import whole
from dsl_tf.data.decoding import decode_png

_FEATURES = {"image": tf.io.FixedLenFeature([], tf.string)}
# Decoded images of a split up to here are held in memory: mini-ImageNet's 38,400 are 0.8 GB.
_IN_MEMORY_BYTES = 2**30
# Decoding leaves Python's lock, and more threads than this wait for it again.
_MOST_THREADS = 16


def fits_in_memory(shape: tuple[int, ...]) -> bool:
    """Returns whether a split's uint8 images of this shape are held in memory rather than read from disk."""
    return math.prod(shape) <= _IN_MEMORY_BYTES


class StoredImages:
    """The PNG images of ArrayRecord files; indexing with integers or a slice reads and decodes them.

    Args:
        paths: the files, with serialised `tf.train.Example`s that have a feature `image`.
        image_size: the side of the images, in pixels.
        rows: the positions in the files that count, integers `[n]`; None for all.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], image_size: int, rows: np.ndarray | None = None
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._source = ArrayRecordDataSource(self._paths)
        self._rows = np.arange(len(self._source)) if rows is None else rows
        self.shape = (len(self._rows), image_size, image_size, 3)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        positions = np.arange(len(self))[index]
        encoded = self.encoded(np.atleast_1d(positions))
        images = np.empty((len(encoded), *self.shape[1:]), self.dtype)
        threads = min(os.cpu_count() or 1, _MOST_THREADS)
        with self._whole(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for row, image in enumerate(pool.map(decode_png, encoded)):
                images[row] = image
        return images if np.ndim(positions) else images[0]

    def encoded(self, positions: np.ndarray) -> np.ndarray:
        """Returns the bytes of the PNG files at positions, an array of objects `[n]`.

        Raises:
            UserError: where a file is damaged.
        """
        if not len(positions):
            return np.array([], dtype=object)
        rows = self._rows[positions].tolist()
        # Here and not on a GPU: strings live on the CPU.
        with self._whole(), tf.device("CPU"):
            return tf.io.parse_example(self._source.__getitems__(rows), _FEATURES)["image"].numpy()

    def fingerprint(self) -> str:
        """Returns hexadecimal digits that change with the files, by name, size and time, and with the positions."""
        digest = hashlib.blake2b(np.ascontiguousarray(self._rows, "<i8").data, digest_size=16)
        for path in self._paths:
            status = os.stat(path)
            digest.update(f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns} ".encode())
        return digest.hexdigest()

    def take(self, positions: np.ndarray) -> "StoredImages":
        """Returns the images at positions, still on disk."""
        return StoredImages(self._paths, self.shape[1], self._rows[positions])

    def _whole(self):
        return whole(f"The prepared images in {os.path.dirname(self._paths[0])!r} must be whole")
