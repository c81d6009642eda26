"""Which format of a data set is in a folder, and whether it holds the published classes and images."""

import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from absl import logging

from dsl_tf.data.class_lists import IMAGE_COUNTS, class_list
from dsl_tf.data.data_folder import check_data_dir, no_data_error
from dsl_tf.data.formats import cifar_fs, cub, meta_inat, mini_imagenet, tiered_imagenet
from dsl_tf.data.raw import Format, RawSplit
from dsl_tf.errors import UserError

FORMATS: dict[str, tuple[Format, ...]] = {
    "mini_imagenet": mini_imagenet.FORMATS,
    "tiered_imagenet": tiered_imagenet.FORMATS,
    "cub": cub.FORMATS,
    "cifar_fs": cifar_fs.FORMATS,
    "meta_inat": meta_inat.FORMATS,
}


def recognise(dataset: str, folder: str | os.PathLike[str]) -> Format:
    """Finds the format of a data set that is in a folder.

    Args:
        dataset: a key of `FORMATS`.
        folder: the folder.

    Returns:
        A `Format`.

    Raises:
        UserError: if there is no such folder or it holds none of the formats.
    """
    folder = pathlib.Path(folder)
    check_data_dir(folder, dataset, fits(dataset))
    for candidate in FORMATS[dataset]:
        if candidate.is_in(folder):
            return candidate
    wanted = "; or ".join(candidate.files for candidate in FORMATS[dataset])
    raise no_data_error(folder, f"{dataset} in one of its formats: {wanted}", fits(dataset))


def fits(dataset: str) -> Callable[[pathlib.Path], bool]:
    """Returns a function from a folder to whether it holds one of the formats of a data set."""
    return lambda folder: any(candidate.is_in(folder) for candidate in FORMATS.get(dataset, ()))


def check_published(dataset: str, splits: Mapping[str, RawSplit], allow_partial: bool) -> None:
    """Compares classes and image counts with the published ones.

    Args:
        dataset: a key of `FORMATS`.
        splits: a dict from split to `RawSplit`.
        allow_partial: whether missing images are a warning rather than an error.

    Raises:
        UserError: if classes are missing or others are there, images are missing, or there are too many.
    """
    published = class_list(dataset)
    for name, split in splits.items():
        classes = int(split.labels.max()) + 1 if split.class_names is None else len(split.class_names)
        if classes != len(published[name]):
            raise UserError(
                f"The {name} split of {dataset} must have {len(published[name])} classes. Received: {classes}. "
                "Check that the files are of this data set and this split."
            )
        expected = IMAGE_COUNTS.get(dataset, {}).get(name)
        found = len(split.labels)
        if expected is None or found == expected:
            continue
        message = f"The {name} split of {dataset} must have {expected:,} images (Table 2). Received: {found:,}"
        counts = np.bincount(split.labels, minlength=classes)
        fewest = int(counts.argmin())
        class_name = fewest if split.class_names is None else split.class_names[fewest]
        message += f", with from {counts[fewest]} (class {class_name!r}) to {counts.max()} per class."
        if found > expected:
            raise UserError(f"{message} Remove what is not part of the data set.")
        if not allow_partial:
            raise UserError(f"{message} Complete the data, or pass --allow_partial to use what is there.")
        logging.warning("%s These are used.", message)
