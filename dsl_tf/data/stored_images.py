"""Images that stay encoded on disk and are indexed like an array."""

import concurrent.futures
import contextlib
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from dsl_tf.data.cache import damaged
from dsl_tf.data.decoding import UnreadableImageError
from dsl_tf.data.encoding import decode, view
from dsl_tf.data.image_files import MOST_THREADS
from dsl_tf.data.preprocessing import resize_and_cut
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


def held_or_stored(images: "StoredImages", split: str) -> "np.ndarray | StoredImages":
    """Reads images into memory if they fit; random boxes are cut out of the stored originals of `"train"`."""
    is_cut = images.stored_size is not None and split == "train"
    return images[:] if fits_in_memory(images.shape) and not is_cut else images


class StoredImages:
    """The encoded images of shards; indexing with integers or a slice reads and decodes them.

    Args:
        paths: files that `write_shards` wrote.
        image_size: the side of the images, in pixels.
        rows: the positions of the images in the files, integers `[n]`; None for all.
        stored_size: the largest shorter side of the stored images, in pixels, if they kept their aspect. Reading
            resizes their shorter side to `image_size` and cuts out the centre. None if they were stored as squares.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        image_size: int,
        rows: np.ndarray | None = None,
        stored_size: int | None = None,
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        lengths = [read_index(path).lengths for path in self._paths]
        self._shards = np.repeat(np.arange(len(lengths)), [len(of_shard) for of_shard in lengths])
        self._offsets = np.concatenate([[], *map(_offsets, lengths)]).astype(np.int64)
        self._rows = np.arange(len(self._offsets)) if rows is None else rows
        self.shape = (len(self._rows), image_size, image_size, 3)
        self.stored_size = stored_size

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
        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
        with tf.device("CPU"):
            rows = tf.data.Dataset.from_tensor_slices(np.atleast_1d(positions))
            if self.stored_size is None:
                blocks = rows.batch(_IMAGES_AT_ONCE).map(self.reader(), **parallel)
            else:
                blocks = rows.map(self.record(), **parallel).batch(_IMAGES_AT_ONCE)
        with reading(self):
            if self.stored_size is None:
                yield from blocks.as_numpy_iterator()
            else:
                yield from self._views(blocks.as_numpy_iterator())

    def _views(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Decodes blocks of encoded images; by Pillow, whose integers are the same on every processor."""
        cut = functools.partial(view, image_size=self.shape[1])
        with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
            for block in blocks:
                yield np.stack(list(pool.map(cut, block)))

    def record(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from one position to the encoded image that works in a TensorFlow graph."""
        paths = tf.constant(self._paths)
        shards = tf.constant(self._shards[self._rows])
        offsets = tf.constant(self._offsets[self._rows])
        return lambda position: _record(tf.gather(paths, shards[position]), offsets[position])

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from positions, integers `[n]`, to decoded images that works in a TensorFlow graph."""
        record, size = self.record(), self.shape[1:3]

        def read(position: tf.Tensor) -> tf.Tensor:
            image = decode(record(position))
            if self.stored_size is not None:
                image = tf.cast(tf.round(resize_and_cut(image[None], size)[0]), tf.uint8)
            return tf.ensure_shape(image, self.shape[1:])

        image = tf.TensorSpec(self.shape[1:], tf.uint8)
        return lambda positions: tf.map_fn(read, positions, fn_output_signature=image)

    def folder(self) -> str:
        """Returns the folder of the files."""
        return os.path.dirname(self._paths[0])

    def fingerprint(self) -> str:
        """Returns hexadecimal digits that change with the files, by name, size and time, and with the positions."""
        digest = hashlib.blake2b(np.ascontiguousarray(self._rows, "<i8").data, digest_size=16)
        if self.stored_size is not None:
            digest.update(f"{self.shape[1]} ".encode())
        for path in self._paths:
            status = os.stat(path)
            digest.update(f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns} ".encode())
        return digest.hexdigest()

    def take(self, positions: np.ndarray) -> "StoredImages":
        """Returns the images at positions as `StoredImages`, without reading them."""
        return StoredImages(self._paths, self.shape[1], self._rows[positions], self.stored_size)


@contextlib.contextmanager
def reading(images: np.ndarray | StoredImages) -> Iterator[None]:
    """Turns errors about damaged files into a UserError of one line. Does nothing for an array.

    Raises:
        UserError: if TensorFlow cannot read the images.
    """
    try:
        yield
    except (tf.errors.OpError, UnreadableImageError) as error:
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
