"""Writes encoded images to TFRecord files in bounded memory. An interrupted call resumes after its last file.

TensorFlow Datasets' `GeneratorBasedBuilder` is not used: it starts from the beginning after an interruption, encodes on
one thread, and does not store the offsets of records, which random access from a TensorFlow graph needs.
`as_data_source` reads in Python only.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from dsl_tf.data.decoding import UnreadableImageError
from dsl_tf.data.encoding import encode_image, encode_original
from dsl_tf.data.raw import RawSplit
from dsl_tf.errors import UserError
from dsl_tf.files import read_text, replacing, write_text
from dsl_tf.progress import progress_bar

# About 16 MB of JPEG at 84×84 pixels: little work is lost by an interruption, and network disks handle the files.
_IMAGES_PER_SHARD = 4096
# The number of undecoded images in memory at once. Photographs may have several megabytes each.
_IMAGES_PER_BLOCK = 128
# More threads gain little, because they share one disk.
_MOST_THREADS = 32


@dataclasses.dataclass(frozen=True)
class Shard:
    """The index of a shard, stored beside it as JSON.

    Args:
        size: the size of the shard in bytes.
        lengths: the size of each image in bytes.
        unreadable: position in the split, name and reason of each skipped image.
    """

    size: int
    lengths: np.ndarray
    unreadable: tuple[tuple[int, str, str], ...]


def shard_paths(folder: str | os.PathLike[str], name: str, images: int) -> list[pathlib.Path]:
    """Returns the paths of the shards for a number of images of a split."""
    return [pathlib.Path(folder) / f"{name}-{i:05}.tfrecord" for i in range(-(-images // _IMAGES_PER_SHARD))]


def shown_preparation(
    total: int, image_size: int, folder: str | os.PathLike[str], stored_size: int | None = None
) -> Callable[[int], None]:
    """Prints what is prepared, and returns a function that advances a progress bar by a number of images."""
    size = f"{image_size}×{image_size} pixels" if stored_size is None else f"up to {stored_size} pixels (shorter side)"
    print(f"Preparing {total:,} images of {size} in {os.fspath(folder)!r}")
    progress, done = progress_bar(total, "image"), 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        progress.update(done)

    return advance


def write_shards(
    raw_split: RawSplit,
    paths: list[pathlib.Path],
    image_size: int,
    advance: Callable[[int], None],
    keep_truncated: bool = False,
    stored_size: int | None = None,
) -> list[Shard]:
    """Writes the images of a split, except the shards that an interrupted call has already written.

    Args:
        raw_split: a `RawSplit`.
        paths: its `shard_paths`, in a folder to which nothing else writes.
        image_size: the side of the stored images, in pixels.
        advance: a function that is called repeatedly with the number of new images.
        keep_truncated: whether to read truncated JPEG files as far as possible.
        stored_size: the largest shorter side, in pixels, of images that keep their aspect; None for squares.

    Returns:
        A list of `Shard`.

    Raises:
        OSError: if a file cannot be written.
        UserError: if the source cannot be read.
    """
    shards = []
    count = len(raw_split.labels)
    if stored_size is None:
        encode = functools.partial(encode_image, image_size=image_size, keep_truncated=keep_truncated)
    else:
        encode = functools.partial(encode_original, stored_size=stored_size, keep_truncated=keep_truncated)
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        images, position = None, 0
        for index, path in enumerate(paths):
            start = index * _IMAGES_PER_SHARD
            stop = min(start + _IMAGES_PER_SHARD, count)
            shard = _written(path)
            if shard is None:
                if images is None or position != start:
                    images = raw_split.read(start)
                shard = _write_shard(path, _encoded(images, start, stop, encode, advance, pool))
                position = stop
            else:
                advance(stop - start)
            shards.append(shard)
    return shards


def _encoded(
    images: Iterator[tuple[str, pathlib.Path | bytes | np.ndarray]],
    start: int,
    stop: int,
    encode: Callable[[pathlib.Path | bytes | np.ndarray], bytes],
    advance: Callable[[int], None],
    pool: concurrent.futures.Executor,
) -> Iterator[bytes | tuple[int, str, str]]:
    """Yields the encoded images from `start` to `stop`, or the `unreadable` entry of an image."""

    def encode_named(
        position: int, name: str, image: pathlib.Path | bytes | np.ndarray
    ) -> bytes | tuple[int, str, str]:
        try:
            return encode(image)
        except UnreadableImageError as error:
            return position, name, str(error)

    for block_start in range(start, stop, _IMAGES_PER_BLOCK):
        expected = min(_IMAGES_PER_BLOCK, stop - block_start)
        try:
            block = list(itertools.islice(images, expected))
        except OSError as error:
            raise UserError(f"The files of the data must be readable. Received: {error}. Check the disk.") from error
        if len(block) < expected:
            raise UserError(
                f"The data must have one image per label. Received: {block_start + len(block)} images "
                f"and at least {stop} labels. Get the files again."
            )
        yield from pool.map(encode_named, range(block_start, block_start + len(block)), *zip(*block, strict=True))
        advance(len(block))


def _write_shard(path: pathlib.Path, encoded: Iterator[bytes | tuple[int, str, str]]) -> Shard:
    lengths, unreadable = [], []
    try:
        with replacing(path) as beside:
            with tf.io.TFRecordWriter(os.fspath(beside)) as writer:
                for image in encoded:
                    if isinstance(image, tuple):
                        unreadable.append(image)
                    else:
                        writer.write(image)
                        lengths.append(len(image))
            size = os.path.getsize(beside)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    # Written after the shard, so that a shard with an index is complete.
    values = {"size": size, "lengths": lengths, "unreadable": unreadable}
    write_text(_index(path), json.dumps(values))
    return Shard(size, np.array(lengths, np.int64), tuple(unreadable))


def _index(path: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(path).with_suffix(".json")


def read_index(path: str | os.PathLike[str]) -> Shard:
    """Reads the index of a shard.

    Raises:
        OSError: if the shard or its index is missing.
        ValueError: if they are damaged.
    """
    try:
        values = json.loads(read_text(_index(path)))
        unreadable = tuple((int(position), str(name), str(reason)) for position, name, reason in values["unreadable"])
        shard = Shard(int(values["size"]), np.array(values["lengths"], np.int64).reshape(-1), unreadable)
    except (TypeError, KeyError, OverflowError, RecursionError, UserError) as error:
        raise ValueError(f"{os.fspath(_index(path))!r} is damaged") from error
    if os.path.getsize(path) != shard.size:
        raise ValueError(f"{os.fspath(path)!r} must have {shard.size:,} bytes, but has {os.path.getsize(path):,}")
    return shard


def _written(path: pathlib.Path) -> Shard | None:
    try:
        shard = read_index(path)
    except (OSError, ValueError):
        return None
    # An unreadable image may have been repaired since.
    return None if shard.unreadable else shard
