"""Any image classification data set of TensorFlow Datasets (TFDS), divided by class into train, val and test."""

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from dsl_tf.data.formats.class_split import read_class_split
from dsl_tf.data.formats.required import in_words
from dsl_tf.data.formats.tfds_access import open_builder, tfds_errors, values_of
from dsl_tf.data.raw import RawSplit
from dsl_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Pool:
    """All the labelled images of a TFDS data set: its splits one after the other, in the order of its `info.splits`.

    Args:
        name: its name in TFDS.
        class_names: the name of each class, by label.
        labels: int32 `[n]`, −1 for images without a label.
        image_feature: the name of the feature that is the image.
        builder: what TFDS reads it with.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    image_feature: str
    builder: tfds.core.DatasetBuilder


def read_tfds(
    name: str, data_dir: str | os.PathLike[str] | None, class_split_path: str | os.PathLike[str]
) -> dict[str, RawSplit]:
    """Reads a TFDS data set, divided into splits as a file says.

    Args:
        name: its name in TFDS, such as `"stanford_dogs"` or `"name/config:1.0.0"`.
        data_dir: the TFDS folder where it is prepared, or None for TFDS's own, where it is prepared on first use.
        class_split_path: a JSON file as `read_class_split` takes it.

    Returns:
        A dict from split to `RawSplit`.

    Raises:
        UserError: if the file or the data set is missing or wrong, or a class is unknown or there twice.
    """
    # First, since a mistake in it should not wait for a download.
    classes = read_class_split(class_split_path)
    return select(read_pool(name, data_dir), classes)


def is_prepared(folder: pathlib.Path, name: str) -> bool:
    """Returns whether a TFDS folder holds a data set without configurations, going by the names of files.

    Args:
        folder: the folder, a `pathlib.Path`.
        name: the data set's name in TFDS.
    """
    return any(folder.glob(f"{name}/*/dataset_info.json"))


def read_pool(name: str, data_dir: str | os.PathLike[str] | None = None) -> Pool:
    """Finds a TFDS data set on disk, of whichever version, and reads its labels.

    Args:
        name: its name in TFDS, such as `"cifar100"` or `"name/config:1.0.0"`.
        data_dir: the TFDS folder where it is prepared; nothing is written there. None stands for TFDS's own folder,
            where a data set that is missing is downloaded and prepared.

    Returns:
        A `Pool`.

    Raises:
        UserError: if it is not there, cannot be prepared or read, or has no images with one label each.
    """
    builder = open_builder(name, data_dir)
    image_feature = _feature(name, builder, "image", tfds.features.Image)
    label_feature = _feature(name, builder, "label", tfds.features.ClassLabel)
    class_names = tuple(builder.info.features[label_feature].names or ())
    # TFDS keeps such images as four bytes a value, which decode as some other colours.
    if builder.info.features[image_feature].np_dtype == np.float32:
        raise UserError(f"The images of TFDS's {name!r} must be integers. Received: float32. Choose another data set.")
    with tfds_errors(f"The labels of TFDS's {name!r} cannot be read."):
        count = sum(info.num_examples for info in builder.info.splits.values())
        labels = np.fromiter(values_of(builder, label_feature), np.int32, count)
    wrong = labels[(labels < -1) | (labels >= len(class_names))]
    if wrong.size:
        raise UserError(
            f"The labels of TFDS's {name!r} must be of its {len(class_names)} classes. Received: {wrong[0]}. "
            "Prepare it again."
        )
    return Pool(name, class_names, labels, image_feature, builder)


def read_texts(pool: Pool, feature: str) -> list[str]:
    """Reads a text that TFDS keeps with every image, such as its file name.

    Args:
        pool: a `Pool` of n images.
        feature: the name of the feature.

    Returns:
        A list of n strings.

    Raises:
        UserError: if there is no such text, or it cannot be read.
    """
    features = pool.builder.info.features
    if feature not in features or not isinstance(features[feature], tfds.features.Text):
        raise UserError(
            f"TFDS's {pool.name!r} must have the text {feature!r} with every image. Received: "
            f"{in_words(sorted(features))}. Prepare it again with TFDS."
        )
    with tfds_errors(f"The feature {feature!r} of TFDS's {pool.name!r} cannot be read."):
        return [text.decode() for text in values_of(pool.builder, feature)]


def select(pool: Pool, classes: Mapping[str, Sequence[str | int]]) -> dict[str, RawSplit]:
    """Divides a pool of images into splits by class; images of other classes are skipped.

    Args:
        pool: a `Pool`.
        classes: a dict from split to its classes, in the order of the labels: names of classes or their labels.

    Returns:
        A dict from split to `RawSplit`, whose images are the bytes of image files in the order of the pool.

    Raises:
        UserError: if a class is unknown, without images, or there twice.
    """
    used: dict[int, str] = {}
    present = set(pool.labels.tolist())
    splits = {}
    for split, entries in classes.items():
        chosen = [_label(pool, entry, split) for entry in entries]
        for label in chosen:
            if label in used:
                raise UserError(
                    f"A class must be in one split only. Received: {pool.class_names[label]!r} of TFDS's {pool.name!r} "
                    f"in {used[label]!r} and {split!r}. Remove it from one."
                )
            used[label] = split
        empty = [pool.class_names[label] for label in chosen if label not in present]
        if empty:
            raise UserError(
                f"Every class in {split!r} must have images in TFDS's {pool.name!r}. Received: none of "
                f"{in_words(empty)}. Prepare the data set again, or remove these classes."
            )
        splits[split] = _raw_split(pool, chosen)
    return splits


def _raw_split(pool: Pool, chosen: list[int]) -> RawSplit:
    # One more than there are labels, for the images whose label is −1.
    new_labels = np.full(len(pool.class_names) + 1, -1, np.int32)
    new_labels[chosen] = np.arange(len(chosen))
    labels = new_labels[pool.labels]
    positions = np.flatnonzero(labels >= 0)

    def read(start: int) -> Iterator[tuple[str, bytes]]:
        rest = positions[start:]
        with tfds_errors(f"The images of TFDS's {pool.name!r} cannot be read."):
            for position, image in zip(rest, values_of(pool.builder, pool.image_feature, rest), strict=True):
                yield f"image {position} of TFDS's {pool.name!r}", image

    return RawSplit(tuple(pool.class_names[label] for label in chosen), labels[positions], read)


def _label(pool: Pool, entry: str | int, split: str) -> int:
    names = pool.class_names
    if isinstance(entry, int):
        if 0 <= entry < len(names):
            return entry
        hint = f"its labels are from 0 to {len(names) - 1}"
    else:
        if entry in names:
            return names.index(entry)
        near = difflib.get_close_matches(entry, names, n=3)
        hint = f"did you mean {in_words(near)}?" if near else f"its classes are {in_words(names)}"
    raise UserError(
        f"Every class in {split!r} must be one of the {len(names)} of TFDS's {pool.name!r}. Received: {entry!r} "
        f"({hint}). Correct it."
    )


def _feature(name: str, builder: tfds.core.DatasetBuilder, usual: str, kind: type) -> str:
    """The name of the usual feature if it is of a kind, and otherwise of the only one of this kind."""
    features = builder.info.features
    found = sorted(key for key, feature in features.items() if isinstance(feature, kind))
    if usual in found:
        return usual
    if len(found) != 1:
        raise UserError(
            f"TFDS's {name!r} must have one {kind.__name__} with every example, or one named {usual!r}. Received: "
            f"{in_words(found or sorted(features))}. Choose an image classification data set."
        )
    return found[0]
