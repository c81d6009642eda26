"""Data sets by name."""

import pathlib

from dsl_tf.data import folder, glyphs
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError

DATASETS = ("glyphs", "folder")

# Mirrored, a letter is another letter; the mirror image of a photograph is a photograph.
UNMIRRORED = ("glyphs",)


def available_splits(dataset, data_dir=None):
    """Returns which of train, val and test a data set has.

    Args:
        dataset: one of `DATASETS`.
        data_dir: the folder that holds the data; for `glyphs` None.
    """
    if dataset == "glyphs" or data_dir is None:
        return list(SPLITS)
    return [split for split in SPLITS if (pathlib.Path(data_dir) / split).is_dir()]


def load_split(dataset, split, data_dir=None, image_size=None, strict=False):
    """Loads one split of a data set into memory.

    Args:
        dataset: one of `DATASETS`.
        split: `"train"`, `"val"` or `"test"`.
        data_dir: the folder that holds the data; for `glyphs` None.
        image_size: height and width in pixels; None for the data set's own.
        strict: whether an unreadable image is an error rather than left out with a warning.

    Returns:
        A `Split`.

    Raises:
        UserError: for an unknown data set or split, or data that cannot be read.
    """
    if dataset not in DATASETS:
        raise UserError(f"--dataset must be one of {', '.join(DATASETS)}. Received: {dataset!r}.")
    if split not in SPLITS:
        raise UserError(f"--split must be one of {', '.join(SPLITS)}. Received: {split!r}.")
    if dataset == "glyphs":
        if image_size not in (None, glyphs.IMAGE_SIZE):
            raise UserError(
                f"--dataset=glyphs is rendered at --image_size={glyphs.IMAGE_SIZE}. Received: {image_size}. "
                "Leave the flag out."
            )
        return glyphs.load_split(split)
    if data_dir is None:
        raise UserError("--dataset=folder needs --data_dir, a folder with train, val and test. Received none.")
    return folder.load_split(data_dir, split, image_size or folder.natural_image_size(data_dir), strict)
