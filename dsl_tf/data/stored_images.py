"""Images that stay encoded on disk and are indexed like an array."""

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from dsl_tf.data.cache import damaged
from dsl_tf.data.encoding import decode
from dsl_tf.data.shards import read_index

# The most bytes of decoded images per split to keep in memory. mini-ImageNet's 38,400 images have 0.8 GB.
_IN_MEMORY_BYTES = 2**30
# A TFRecord: 8 bytes of length, 4 of checksum, the content, 4 of checksum.
_RECORD_HEADER, _RECORD_FOOTER = 12, 4
# Most images fit into one read, and the next ones are rarely needed.
_READ_BYTES = 16_384
_IMAGES_AT_ONCE = 256


def fits_in_memory(shape: tuple[int, ...]) -> bool:
    """Returns whether uint8 images of this shape are kept in memory rather than read from disk."""
    return math.prod(shape) <= _IN_MEMORY_BYTES


class StoredImages:
    """The encoded images of shards; indexing with integers or a slice reads and decodes them.

    Args:
        paths: files that `write_shards` wrote.
        image_size: the side of the images, in pixels.
        rows: the positions of the images in the files, integers `[n]`; None for all.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], image_size: int, rows: np.ndarray | None = None
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        lengths = [read_index(path).lengths for path in self._paths]
        self._shards = np.repeat(np.arange(len(lengths)), [len(of_shard) for of_shard in lengths])
        self._offsets = np.concatenate([[], *map(_offsets, lengths)]).astype(np.int64)
        self._rows = np.arange(len(self._offsets)) if rows is None else rows
        self.shape = (len(self._rows), image_size, image_size, 3)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        positions = np.arange(len(self))[index]
        images = np.empty((np.size(positions), *self.shape[1:]), self.dtype)
        for start, block in zip(range(0, len(images), _IMAGES_AT_ONCE), self._blocks(positions), strict=True):
            images[start : start + len(block)] = block
        return images if np.ndim(positions) else images[0]

    def _blocks(self, positions: np.ndarray) -> Iterator[np.ndarray]:
        """Iterates over the images. Blocks of them are decoded in parallel."""
        with tf.device("CPU"):
            read = self.reader()
            indices = tf.data.Dataset.from_tensor_slices(np.atleast_1d(positions)).batch(_IMAGES_AT_ONCE)
            blocks = indices.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        with reading(self):
            yield from blocks.as_numpy_iterator()

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from positions, integers `[n]`, to decoded images that works in a TensorFlow graph."""
        paths = tf.constant(self._paths)
        shards = tf.constant(self._shards[self._rows])
        offsets = tf.constant(self._offsets[self._rows])

        def read(position: tf.Tensor) -> tf.Tensor:
            encoded = _record(tf.gather(paths, shards[position]), offsets[position])
            return tf.ensure_shape(decode(encoded), self.shape[1:])

        image = tf.TensorSpec(self.shape[1:], tf.uint8)
        return lambda positions: tf.map_fn(read, positions, fn_output_signature=image)

    def folder(self) -> str:
        """Returns the folder of the files."""
        return os.path.dirname(self._paths[0])

    def fingerprint(self) -> str:
        """Returns hexadecimal digits that change with the files, by name, size and time, and with the positions."""
        digest = hashlib.blake2b(np.ascontiguousarray(self._rows, "<i8").data, digest_size=16)
        for path in self._paths:
            status = os.stat(path)
            digest.update(f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns} ".encode())
        return digest.hexdigest()

    def take(self, positions: np.ndarray) -> "StoredImages":
        """Returns the images at positions as `StoredImages`, without reading them."""
        return StoredImages(self._paths, self.shape[1], self._rows[positions])


@contextlib.contextmanager
def reading(images: np.ndarray | StoredImages) -> Iterator[None]:
    """Turns errors about damaged files into a UserError of one line. Does nothing for an array.

    Raises:
        UserError: if TensorFlow cannot read the images.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(images, StoredImages) or isinstance(error, tf.errors.ResourceExhaustedError):
            raise
        raise damaged(f"The prepared images in {images.folder()!r} must be complete", error) from error


def _offsets(lengths: np.ndarray) -> np.ndarray:
    records = lengths + _RECORD_HEADER + _RECORD_FOOTER
    return np.cumsum(records) - records


def _record(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Reads one record of a file, as the first element of a data set: TensorFlow has no other operation for it."""
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type="", buffer_size=_READ_BYTES, byte_offsets=offset[None]
    )
    scalar = {"output_types": [tf.string], "output_shapes": [[]]}
    first = tf.raw_ops.TakeDataset(input_dataset=records, count=1, **scalar)
    return tf.raw_ops.DatasetToSingleElement(dataset=first, **scalar)[0]
