"""Pickles of the images of a split and their integer labels, as mini-ImageNet and CIFAR-FS are often published."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dsl_tf.data.formats.pickled import as_text, compacted, integers_of, pixels_of, read_dict, value_of
from dsl_tf.data.raw import RawSplit


def read_labelled_pickles(
    paths: Mapping[str, str | os.PathLike[str]], side: int, classes: Mapping[str, tuple[str, ...]]
) -> dict[str, RawSplit]:
    """Reads pickled dicts with `data` and `labels`, one file for each split.

    Labels are any integers, in a split of their own, and become 0 to the number of classes − 1 in their order.

    Args:
        paths: a dict from split to file. `data` is uint8 `[n, side, side, 3]` or a list of n arrays
            `[side, side, 3]`; `labels` is a list of n integers or an array `[n]`. `label2catname` or `catname2label`
            may name the classes; other keys are ignored.
        side: the height and width of the images, in pixels.
        classes: a dict from split to the published names of its classes.

    Returns:
        A dict from split to `RawSplit`, whose images are pixels. The classes have names if the files name them
        and the names are the published ones.

    Raises:
        UserError: if a file is not as described or has another number of classes.
    """
    return {split: _raw_split(path, side, classes[split]) for split, path in paths.items()}


def _raw_split(path: str | os.PathLike[str], side: int, published: tuple[str, ...]) -> RawSplit:
    values = read_dict(path)
    pixels = pixels_of(value_of(values, "data", path), side, path)
    labels = integers_of(value_of(values, "labels", path), path, len(pixels))
    distinct, labels = compacted(labels, len(published), path)
    name_of = _names(values)
    names = tuple(name for label in distinct if (name := name_of.get(label)) is not None)

    def read(start: int) -> Iterator[tuple[str, np.ndarray]]:
        for row in range(start, len(pixels)):
            yield f"{path}[{row}]", pixels[row]

    return RawSplit(names if sorted(names) == sorted(published) else None, labels, read)


def _names(values: dict[str, Any]) -> dict[Any, str | None]:
    """The names of the classes by label, as far as the file has any."""
    by_label, by_name = values.get("label2catname"), values.get("catname2label")
    if isinstance(by_label, dict):
        return {label: as_text(name) for label, name in by_label.items()}
    if isinstance(by_name, dict):
        return {label: as_text(name) for name, label in by_name.items() if isinstance(label, (int, np.integer))}
    return {}
