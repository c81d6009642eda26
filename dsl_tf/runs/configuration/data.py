"""The configuration of the data of a training run."""

import dataclasses
from typing import Any

from dsl_tf.data.names import DATASETS, TFDS_PREFIX
from dsl_tf.errors import UserError
from dsl_tf.runs.configuration.options import Checked, option

# The fields that `dsl_tf.data.open_splits` takes.
DATA_OPTIONS = (
    "dataset",
    "data_dir",
    "image_size",
    "strict",
    "cache_dir",
    "allow_partial",
    "class_split",
    "val_fraction",
    "keep_truncated",
    "stored_size",
    "test_fraction",
    "split_seed",
    "test_ways",
    "held_out",
)


@dataclasses.dataclass(frozen=True)
class DataConfiguration(Checked):
    """The data of a training run: the data set and its augmentation.

    Raises:
        UserError: if a value is out of its limits.
    """

    dataset: str = option(
        "glyphs",
        f"Data set to train on: {', '.join(DATASETS)}, or {TFDS_PREFIX}NAME of TensorFlow Datasets. glyphs are "
        "rendered characters and need no download; folder reads your own images.",
        "data",
    )
    data_dir: str | None = option(
        None,
        "Folder that holds the data, in any format in which the data set is distributed. A folder of your own images "
        "holds CLASS/IMAGE, or train/CLASS/IMAGE and, if you have them, val and test. A csv or JSON list of your "
        "images, with the columns file, label and optionally split, does too.",
        "data",
        mathematical=False,
        path=True,
    )
    image_size: int | None = option(
        None,
        "Height and width of the images in pixels. By default the data set's own size.",
        "data",
        minimum=8,
        maximum=4096,
    )
    stored_size: int | None = option(
        None,
        "Store images with their aspect, their shorter side at most this many pixels, and cut the random boxes of "
        "--crop=resized out of them. For tests the shorter side is resized to --image_size and the centre cut out. By "
        "default images are resized to squares once and stored so.",
        "data",
        minimum=8,
        maximum=4096,
    )
    held_out: str = option(
        "classes",
        "What validation and test measure on. classes: classes that training does not see, by few-shot episodes. "
        "images: held-out images of the training classes, by classification and retrieval; for your own folder or list "
        "whose classes stay the same in use.",
        "data",
        choices=("classes", "images"),
    )
    val_fraction: float = option(
        0.0,
        "Fraction of the training classes to hold out for validation, or of each class's images with "
        "--held_out=images. Only for data without a val split.",
        "data",
        minimum=0,
        below=1,
    )
    test_fraction: float | None = option(
        None,
        "Fraction of the classes (or of each class's images, with --held_out=images) to hold out for the test, for a "
        "folder or list without splits; --val_fraction is then a fraction of all classes too. By default both are 0.2, "
        "and more or less if there are few.",
        "data",
        minimum=0,
        below=1,
    )
    split_seed: int = option(
        0,
        "Seed that divides the classes, or images, of a folder or list without splits into train, val and test.",
        "data",
        minimum=0,
    )
    class_split: str | None = option(
        None,
        f"File that lists the train, val and test classes of a {TFDS_PREFIX} data set (JSON), or of a folder or list "
        "without splits (JSON, or the class_split.csv or image_split.csv of another run).",
        "data",
        mathematical=False,
        path=True,
    )
    cache_dir: str | None = option(
        None,
        "Folder for prepared data. By default dsl_tf in your cache folder (usually ~/.cache/dsl_tf).",
        "data",
        mathematical=False,
        path=True,
    )
    allow_partial: bool = option(
        False, "Accept a data set with fewer images than published, with a warning.", "data", mathematical=False
    )
    strict: bool = option(False, "Stop at an unreadable image instead of skipping it.", "data", mathematical=False)
    keep_truncated: bool = option(
        False,
        "Read JPEG files that are cut short as far as they go (the rest is grey), instead of skipping them.",
        "data",
    )
    crop: str = option(
        "pad",
        "Crop the training images at random: a shift after padding (pad), a box of random size (resized), or none.",
        "data",
        choices=("pad", "resized", "none"),
    )
    flip: bool | None = option(
        None,
        "Mirror the training images at random. On by default except for glyphs. Turn it off for text, or anything "
        "whose mirror image means something else.",
        "data",
    )
    color_jitter: float = option(
        0.0,
        "Change brightness, contrast and saturation of the training images by up to this fraction.",
        "data",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in DATASETS and not self.dataset.startswith(TFDS_PREFIX):
            raise UserError(
                f"--dataset must be one of {', '.join(DATASETS)}, or {TFDS_PREFIX}NAME. Received: {self.dataset!r}."
            )

        if self.val_fraction + (self.test_fraction or 0) >= 1:
            raise UserError(
                "--val_fraction and --test_fraction must leave something to train on. Received: "
                f"{self.val_fraction} and {self.test_fraction}. Lower one of them."
            )
        if self.stored_size is not None and self.stored_size < (self.image_size or 0):
            raise UserError(
                f"--stored_size must be at least --image_size={self.image_size}. Received: {self.stored_size}. Raise "
                "it, or omit it to store squares."
            )

    @property
    def data_options(self) -> dict[str, Any]:
        """The arguments of `dsl_tf.data.open_splits`, by name."""
        return {name: getattr(self, name) for name in DATA_OPTIONS}
