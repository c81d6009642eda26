"""Parts of pickled data sets: named values, pixels, labels and names."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsl_tf.data.formats.unpickling import read_pickle
from dsl_tf.errors import UserError


def read_dict(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a pickled dict.

    Args:
        path: the file.

    Returns:
        The dict with its keys as text; other keys than text and bytes are skipped.

    Raises:
        UserError: if the file cannot be read or holds something else.
    """
    values = read_pickle(path)
    if not isinstance(values, dict):
        raise malformed(path, "a dict", type(values).__name__)
    return {text: value for key, value in values.items() if (text := as_text(key)) is not None}


def value_of(values: Mapping[str, Any], key: str, path: str | os.PathLike[str]) -> Any:
    """Returns what a dict has for a key.

    Args:
        values: the dict that `read_dict` returned.
        key: the key, text.
        path: the file, for the message.

    Raises:
        UserError: if it is not there.
    """
    if key not in values:
        raise malformed(path, f"the key {key!r}", f"the keys {', '.join(map(repr, sorted(values)[:5])) or 'none'}")
    return values[key]


def pixels_of(values: Any, side: int, path: str | os.PathLike[str]) -> np.ndarray | list[np.ndarray]:
    """Checks the pixels of images.

    Args:
        values: uint8 `[n, side, side, 3]`, or a list of n arrays `[side, side, 3]`.
        side: the height and width in pixels.
        path: the file, for the message.

    Returns:
        The values as they are, which is an array or a list.

    Raises:
        UserError: if they are anything else.
    """
    wanted = (side, side, 3)
    arrays = values if isinstance(values, list) else [values]
    for array in arrays:
        shape = np.shape(array) if isinstance(array, np.ndarray) else None
        if shape is None or array.dtype != np.uint8 or (shape if arrays is values else shape[1:]) != wanted:
            received = type(array).__name__ if shape is None else f"{array.dtype} of shape {list(shape)}"
            raise malformed(path, f"images that are uint8 of shape [n, {side}, {side}, 3]", f"wrong sizes: {received}")
    return values


def integers_of(values: Any, path: str | os.PathLike[str], count: int | None = None) -> np.ndarray:
    """Checks integers, such as labels.

    Args:
        values: a list of integers, or an array `[n]`.
        path: the file, for the message.
        count: how many there must be; None for any number.

    Returns:
        int64 `[n]`.

    Raises:
        UserError: if they are anything else.
    """
    expected = "a list of integers" if count is None else f"{count} integer labels, one for each image"
    if isinstance(values, list) and all(type(value) is int or isinstance(value, np.integer) for value in values):
        try:
            values = np.array(values, dtype=np.int64)
        except OverflowError:
            raise malformed(path, expected, "integers of more than 64 bits") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iu":
        raise malformed(path, expected, f"{type(values).__name__} of something else")
    if values.shape != (values.size if count is None else count,):
        raise malformed(path, expected, f"integers of shape {list(values.shape)}")
    return values.astype(np.int64)


def compacted(labels: np.ndarray, class_count: int, path: str | os.PathLike[str]) -> tuple[list[int], np.ndarray]:
    """Numbers the labels of a split from 0 in their order.

    Args:
        labels: integers `[n]`.
        class_count: how many classes there must be.
        path: the file, for the message.

    Returns:
        The sorted distinct labels, a list, and the new labels, int32 `[n]`.

    Raises:
        UserError: if the number of classes is another.
    """
    distinct, new_labels = np.unique(labels, return_inverse=True)
    if len(distinct) != class_count:
        raise malformed(path, f"labels of {class_count} classes", f"{len(distinct)} classes")
    return distinct.tolist(), new_labels.astype(np.int32)


def as_text(value: object) -> str | None:
    """Returns text that Python 2 may have written as bytes, or None for anything else.

    Args:
        value: anything.
    """
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


def malformed(path: str | os.PathLike[str], expected: str, received: str) -> UserError:
    """Makes the error about a file that is not what its name says.

    Args:
        path: the file.
        expected: what it must hold.
        received: what it holds.

    Returns:
        A `UserError`.
    """
    return UserError(
        f"{os.fspath(path)!r} must hold {expected}. Received: {received}. Check its source, or download it again."
    )
