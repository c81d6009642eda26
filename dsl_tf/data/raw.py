"""Data sets as people have them on disk, before they are prepared."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from dsl_tf.data.skipped import Skipped


@dataclasses.dataclass(frozen=True)
class RawSplit:
    """One part (train, val or test) of a data set, in whatever form it is stored.

    Args:
        class_names: the name of each class, by label; None if the format has labels without names.
        labels: integers `[n]` from 0 to the number of classes − 1, one for each image.
        read: `read(start)` goes through the images from a position on: pairs of a name, for messages, and the image:
            a `pathlib.Path` of an image file, the `bytes` of one, or its pixels, uint8 `[height, width, 3]`, RGB.
        skipped: files and folders among the images that are none of them, and the reasons.
    """

    class_names: tuple[str, ...] | None
    labels: np.ndarray
    read: Callable[[int], Iterator[tuple[str, pathlib.Path | bytes | np.ndarray]]]
    skipped: tuple[Skipped, ...] = ()


@dataclasses.dataclass(frozen=True)
class Format:
    """One of the formats in which a data set is published.

    Args:
        description: what it is, in a few words.
        files: the files it consists of, as a user would look for them.
        is_in: whether any of these files is in a folder; looks at names only.
        read: the splits in a folder, a dict from `"train"`, `"val"`, `"test"` to `RawSplit`; raises a `UserError` if
            files are missing or wrong. Images are not touched before `RawSplit.read`.
    """

    description: str
    files: str
    is_in: Callable[[pathlib.Path], bool]
    read: Callable[[pathlib.Path], dict[str, RawSplit]]
