"""Encodes a user's image files into the cache, if their pixels would not fit into memory or to keep their aspect."""

import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dsl_tf.data.cache import check_outside, default_cache_dir, prepare_once, reading_cache
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.shards import read_index, shard_paths, shown_preparation, write_shards
from dsl_tf.data.stored_images import StoredImages


def store_images(
    paths: Sequence[str | os.PathLike[str]],
    image_size: int,
    data_dir: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None = None,
    keep_truncated: bool = False,
    stored_size: int | None = None,
) -> tuple[StoredImages, dict[int, str]]:
    """Encodes image files into the cache if necessary; resumes an interrupted call.

    Args:
        paths: the n files.
        image_size: the side of the returned images, in pixels.
        data_dir: the folder that holds the files; nothing is written to it.
        cache_dir: the cache folder; None for `default_cache_dir()`.
        keep_truncated: whether to read truncated JPEG files as far as possible.
        stored_size: the largest shorter side, in pixels, of stored images that keep their aspect; None for squares.

    Returns:
        The `StoredImages` of the m readable files, in order, and a dict from the positions of the others in `paths` to
        the reasons.

    Raises:
        UserError: if the cache folder cannot be written, or its files are damaged.
    """
    cache = pathlib.Path(cache_dir or default_cache_dir()).expanduser()
    check_outside(cache, data_dir)
    pixels = f"{image_size}px" if stored_size is None else f"originals-{stored_size}px"
    folder = cache / f"folder-{pixels}-{_key(paths)}{'-truncated' if keep_truncated else ''}"
    files = shard_paths(folder, "images", len(paths))

    def write() -> dict[str, int]:
        split = RawSplit(None, np.zeros(len(paths), np.int32), lambda start: map(_named, paths[start:]))
        advance = shown_preparation(len(paths), image_size, folder, stored_size)
        write_shards(split, files, image_size, advance, keep_truncated, stored_size)
        return {"files": len(paths)}

    why = "which would not fit into memory" if stored_size is None else f"up to {stored_size} pixels"
    prepare_once(folder, f"the images of {str(data_dir)!r}, {why}", write)
    with reading_cache(f"{str(folder)!r} must hold the images of {str(data_dir)!r}"):
        reasons = {position: reason for file in files for position, _, reason in read_index(file).unreadable}
        images = StoredImages(files, image_size, stored_size=stored_size)
        if len(images) + len(reasons) != len(paths):
            raise ValueError(f"{len(images)} images for {len(paths) - len(reasons)} files")
    return images, reasons


def _named(path: str | os.PathLike[str]) -> tuple[str, pathlib.Path]:
    return os.fspath(path), pathlib.Path(path)


def _key(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Returns sixteen digits that change with the paths, sizes and times of the files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        try:
            status = os.stat(path)
            found = f"{status.st_size} {status.st_mtime_ns}"
        # For example, a broken link.
        except OSError:
            found = "none"
        digest.update(os.fsencode(os.path.abspath(path)) + f"\0{found}\0".encode())
    return digest.hexdigest()
