"""Image files of a user, encoded once into a cache folder where their pixels would fill the memory."""

import hashlib
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from dsl_tf.data.cache import check_outside, default_cache_dir, lock, unwritable_told, whole
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.shards import shard_count, shown_preparation, write_shards
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.files import write_text

# Written last: a folder that has it is whole.
_INDEX = "index.json"


def store_images(paths, image_size, data_dir, cache_dir=None):
    """Encodes image files, or finds that this was done before; an interrupted call goes on where it stopped.

    Args:
        paths: the n files.
        image_size: the side of the stored images, in pixels.
        data_dir: the folder that holds the files; nothing is written to it.
        cache_dir: the folder to write to; None for `default_cache_dir()`.

    Returns:
        the `StoredImages` of the m files that could be read, in order, and a dict from the position in `paths` of each
        of the others to the reason.

    Raises:
        UserError: where the cache folder cannot be written, or what was written there is damaged.
    """
    cache = pathlib.Path(cache_dir or default_cache_dir()).expanduser()
    check_outside(cache, data_dir)
    folder = cache / f"folder-{image_size}px-{_key(paths)}"
    shard_paths = [str(folder / f"{index:05}.array_record") for index in range(shard_count(len(paths)))]
    index = folder / _INDEX
    with unwritable_told(cache, f"the images of {str(data_dir)!r}, which would fill the memory"):
        folder.mkdir(parents=True, exist_ok=True)
        if not index.is_file():
            with lock(folder / ".lock"):
                # Asked again, for another process may have written it while the lock was waited for.
                if not index.is_file():
                    write_text(index, json.dumps(_write(paths, shard_paths, image_size)))
    with whole(f"{str(folder)!r} must hold the images of {str(data_dir)!r}"):
        reasons = {int(position): str(reason) for position, reason in json.loads(index.read_text("utf-8")).items()}
        images = StoredImages(shard_paths, image_size)
        if len(images) + len(reasons) != len(paths):
            raise ValueError(f"{len(images)} images for {len(paths) - len(reasons)} files")
    return images, reasons


def _write(paths, shard_paths, image_size):
    """Writes the shards; returns the reasons of the files that were left out, by position."""
    advance = shown_preparation(len(paths), image_size, os.path.dirname(shard_paths[0]))
    labels = np.zeros(len(paths), np.int32)
    split = RawSplit(None, labels, lambda start: ((path, path) for path in paths[start:]))
    shards = write_shards(split, shard_paths, image_size, _serialize, advance)
    return {position: reason for shard in shards for position, _, reason in shard.unreadable}


def _serialize(_position, png):
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
    return tf.train.Example(features=tf.train.Features(feature={"image": image})).SerializeToString()


def _key(paths):
    """Sixteen digits that change with the places, sizes and times of the files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        try:
            status = os.stat(path)
            found = f"{status.st_size} {status.st_mtime_ns}"
        # A link to nothing, for one.
        except OSError:
            found = "none"
        digest.update(os.fsencode(os.path.abspath(path)) + f"\0{found}\0".encode())
    return digest.hexdigest()
