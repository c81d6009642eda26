"""Images in one folder for each class."""

import os
import pathlib
import re
from collections.abc import Iterator, Mapping

import numpy as np

from dsl_tf.data.data_folder import described, find_split_folders, suggestion
from dsl_tf.data.formats.required import in_words
from dsl_tf.data.image_kinds import EXTENSIONS
from dsl_tf.data.listing import list_folder
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError


def read_class_folders(folders: Mapping[str, Mapping[str, pathlib.Path]]) -> dict[str, RawSplit]:
    """Lists the images of classes, each class in a folder of its own, by the numbers in their names.

    Args:
        folders: a dict from split to a dict from class name, in the order of the labels, to its folder, a
            `pathlib.Path`.

    Returns:
        A dict from split to `RawSplit`, whose images are paths.

    Raises:
        UserError: if a folder cannot be read or holds no image.
    """
    return {split: _raw_split(class_folders) for split, class_folders in folders.items()}


def split_folders(folder: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
    """Finds the class folders in the folders train, val and test, or what else people call these.

    Args:
        folder: the folder that holds the splits, a `pathlib.Path`.

    Returns:
        A dict from split to a dict from class name to its folder, as `read_class_folders` takes it.

    Raises:
        UserError: if a split has no folder or a folder cannot be read.
    """
    found = find_split_folders(folder)
    missing = [split for split in SPLITS if split not in found]
    if missing:
        raise UserError(
            "The folders 'train', 'val' and 'test' must be in one folder. Received: "
            f"{os.fspath(folder)!r} without {in_words(missing)}, but with {described(folder)}. "
            + suggestion(folder, lambda near: len(find_split_folders(near)) == len(SPLITS), advice="Make the folder.")
        )
    return {split: sub_folders(found[split]) for split in SPLITS}


def sub_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Lists the folders in a folder, in order of their names, without hidden and system folders.

    Args:
        folder: the folder, a `pathlib.Path`.

    Returns:
        A dict from name to path.

    Raises:
        UserError: if the folder cannot be read.
    """
    return {name: folder / name for name in list_folder(folder).folders}


def image_names(folder: pathlib.Path) -> list[str]:
    """Lists the names of the image files in a folder by the numbers in them, none hidden.

    Args:
        folder: the folder, a `pathlib.Path`.

    Raises:
        UserError: if the folder cannot be read.
    """
    return sorted(list_folder(folder).images, key=_by_numbers)


def _raw_split(class_folders: Mapping[str, pathlib.Path]) -> RawSplit:
    # Names, and paths only while reading, since a million paths would fill the memory.
    rows, counts, skipped = [], [], []
    for folder in class_folders.values():
        listing = list_folder(folder)
        names = sorted(listing.images, key=_by_numbers)
        skipped += listing.skipped
        if not names:
            raise UserError(
                f"The class folder {os.fspath(folder)!r} must hold images ({', '.join(EXTENSIONS)}). Received: none. "
                "Add its images or download the whole data set again."
            )
        rows += [(folder, name) for name in names]
        counts.append(len(names))

    def read(start: int) -> Iterator[tuple[str, pathlib.Path]]:
        for folder, name in rows[start:]:
            yield os.fspath(folder / name), folder / name

    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return RawSplit(tuple(class_folders), labels, read, tuple(skipped))


def _by_numbers(name: str) -> tuple[list[int | str], str]:
    """Sorts 2 before 10, and names that differ in leading zeros only by themselves."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name
