"""Reads image files as a prepared data set would hold them."""

import concurrent.futures
import os
from collections.abc import Sequence

import numpy as np

from dsl_tf.data.decoding import UnreadableImageError, read_image
from dsl_tf.data.encoding import encode_original, view
from dsl_tf.progress import progress_bar

# More would gain little on large images, wait for each other on small ones, and hold more images at once.
MOST_THREADS = 16
_IMAGES_PER_TASK = 64


def read_as_stored(
    source: str | os.PathLike[str] | bytes, image_size: int, stored_size: int | None, keep_truncated: bool = False
) -> np.ndarray:
    """Reads an image file with the pixels that it would have in the test split of a prepared data set.

    Args:
        source: the file, or its bytes.
        image_size: the side of the returned image, in pixels.
        stored_size: as in `encode_original`; None for a resize that does not keep the aspect, as `read_image` does.
        keep_truncated: as in `read_image`.

    Returns:
        uint8 `[image_size, image_size, 3]`.

    Raises:
        UnreadableImageError: as in `read_image`.
    """
    if stored_size is None:
        return read_image(source, image_size, keep_truncated)
    return view(encode_original(source, stored_size, keep_truncated), image_size)


def read_images(
    paths: Sequence[str | os.PathLike[str]],
    image_size: int,
    keep_truncated: bool = False,
    stored_size: int | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Reads image files in parallel, with a progress bar.

    Args:
        paths: the n files.
        image_size: the side of the returned images, in pixels.
        keep_truncated: as in `read_image`.
        stored_size: as in `read_as_stored`.

    Returns:
        the images of the m files that could be read, in order, uint8 `[m, image_size, image_size, 3]`, and a
        dict from the position in `paths` of each of the others to the reason.
    """
    images = np.empty((len(paths), image_size, image_size, 3), np.uint8)

    def fill(rows: range) -> dict[int, str]:
        reasons = {}
        for row in rows:
            try:
                images[row] = read_as_stored(paths[row], image_size, stored_size, keep_truncated)
            except UnreadableImageError as error:
                reasons[row] = str(error)
        return reasons

    starts = range(0, len(paths), _IMAGES_PER_TASK)
    tasks = [range(start, min(start + _IMAGES_PER_TASK, len(paths))) for start in starts]
    progress = progress_bar(len(paths), "image")
    reasons = {}
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        for rows, task_reasons in zip(tasks, pool.map(fill, tasks), strict=True):
            reasons.update(task_reasons)
            progress.update(rows.stop)
    return _without(images, reasons), reasons


def _without(images: np.ndarray, rows: dict[int, str]) -> np.ndarray:
    if not rows:
        return images
    kept = [row for row in range(len(images)) if row not in rows]
    # In place, since a second array of all the images might not fit in memory.
    for row, source in enumerate(kept):
        images[row] = images[source]
    return images[: len(kept)]
