"""The division of each class's images into those to train on, to validate on and to test on."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from dsl_tf.data.class_division import read_split_column, split_listed
from dsl_tf.data.division import random_place
from dsl_tf.data.labelled_images import LabelledImages, readable
from dsl_tf.data.skipped import Skipped
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError
from dsl_tf.files import guarded, write_csv

IMAGE_SPLIT_FILE = "image_split.csv"
# Of each class's images, where they suffice.
_FRACTION = 0.2
# Two images of a class remain for training: a metric loss compares them.
_FEWEST = 2


def divide_images(
    found: LabelledImages,
    folder: str | os.PathLike[str],
    val_fraction: float = 0.0,
    test_fraction: float | None = None,
    seed: int = 0,
) -> tuple[dict[str, LabelledImages], str]:
    """Divides the images of each class by a seed, with the same result on every machine.

    The order of the images is that of a hash of the seed and the path within the folder. Therefore an image that is
    added later moves few others. Of a class with few images, two are for training, the next for the test, the next for
    validation.

    Args:
        found: the images.
        folder: the folder that their paths are relative to.
        val_fraction: the fraction of a class's images to validate on. 0 for none if `test_fraction` is given;
            otherwise 0 stands for 0.2.
        test_fraction: the fraction to test on; None for 0.2. Fractions above 0 give at least one image.
        seed: any integer.

    Returns:
        A dict from `"train"`, `"val"` and `"test"`, those with images only, to the images; and a sentence about classes
        that are too small to be measured, empty if there are none.
    """
    if test_fraction is None:
        val_fraction, test_fraction = val_fraction or _FRACTION, _FRACTION
    fractions = {"test": test_fraction, "val": val_fraction}
    divided: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    lacking = dict.fromkeys((split for split, fraction in fractions.items() if fraction), 0)
    for name, files in found.files.items():
        rest = sorted(files, key=lambda file: random_place(relative(file, folder), seed))
        for split in lacking:
            asked = max(round(fractions[split] * len(files)), 1)
            count = max(min(asked, len(rest) - _FEWEST), 0)
            lacking[split] += not count and bool(files)
            divided[split][name], rest = sorted(rest[:count]), rest[count:]
        divided["train"][name] = sorted(rest)
    return _labelled(found, divided), _lacking_text(lacking)


def _lacking_text(lacking: Mapping[str, int]) -> str:
    texts = [f"{count:,} have none in {split}" for split, count in lacking.items() if count]
    return f"Classes with too few images: {', '.join(texts)}." if texts else ""


def _labelled(found: LabelledImages, divided: Mapping[str, Mapping[str, list[str]]]) -> dict[str, LabelledImages]:
    """The images of each split. What was skipped and noted, and classes without an image, belong to the first."""
    splits = {}
    for split, files in divided.items():
        kept = {name: paths for name, paths in files.items() if paths or (not splits and not found.files[name])}
        if any(kept.values()):
            folders = {name: found.folders[name] for name in kept}
            first = not splits
            splits[split] = LabelledImages(kept, folders, found.skipped * first, found.notes * first)
    return splits


def relative(file: str, folder: str | os.PathLike[str]) -> str:
    """Returns the path of a file within a folder, with forward slashes."""
    return os.path.relpath(file, folder).replace(os.sep, "/")


def write_image_division(
    splits: Mapping[str, LabelledImages], folder: str | os.PathLike[str], path: str | os.PathLike[str]
) -> None:
    """Writes a csv file with the header `file,label,split`, whole or not at all.

    Args:
        splits: the images by split.
        folder: the folder that the paths in the file are relative to.
        path: the file, replaced if there is one.

    Raises:
        OSError: if it cannot be written.
    """
    rows = [
        [guarded(readable(relative(file, folder))), guarded(name), split]
        for split, found in splits.items()
        for name, files in found.files.items()
        for file in files
    ]
    write_csv(path, [["file", "label", "split"], *rows])


def read_image_division(
    path: str | os.PathLike[str], found: LabelledImages, folder: str | os.PathLike[str]
) -> dict[str, LabelledImages]:
    """Divides images as a file says.

    Args:
        path: a csv file as `write_image_division` makes it.
        found: the images.
        folder: the folder that their paths are relative to.

    Returns:
        The images by split, those with images only. Images that are not in the file are skipped.

    Raises:
        UserError: if the file cannot be read, or has none of the images.
    """
    split_of = read_split_column(path, "file")
    divided: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    others: list[str] = []
    for name, files in found.files.items():
        chosen = {file: split_listed(readable(relative(file, folder)), split_of) for file in files}
        others += [file for file, split in chosen.items() if split is None]
        for split in SPLITS:
            divided[split][name] = [file for file in files if chosen[file] == split]
    skipped = found.skipped + [Skipped(file, f"not in {os.fspath(path)!r}") for file in others]
    splits = _labelled(dataclasses.replace(found, skipped=sorted(skipped)), divided)
    if not splits:
        raise UserError(
            f"--class_split={os.fspath(path)!r} must list the images of the data. Received: none of the "
            f"{len(others):,}{_such_as(others, folder)}. Check both paths."
        )
    return splits


def _such_as(files: Sequence[str], folder: str | os.PathLike[str]) -> str:
    return f", such as {relative(files[0], folder)!r}" if files else ""
