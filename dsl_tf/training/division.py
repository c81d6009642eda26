"""The file of a run that says which classes, or which images, form which split."""

import pathlib
from collections.abc import Mapping

from dsl_tf.data.class_division import CLASS_SPLIT_FILE, write_division
from dsl_tf.data.image_division import IMAGE_SPLIT_FILE, write_image_division
from dsl_tf.data.own_images import find_own_images, has_splits
from dsl_tf.data.sources import division_of
from dsl_tf.runs.configuration import TrainingConfiguration


def record_division(
    configuration: TrainingConfiguration, directory: pathlib.Path, classes: Mapping[str, tuple[str, ...]]
) -> None:
    """Writes how a folder or list without splits was divided, for evaluations of the run, and prints where.

    Args:
        configuration: that of the run, on the user's own images.
        directory: the run directory.
        classes: the names of the classes by split.
    """
    data_dir = str(configuration.data_dir)
    if has_splits(data_dir):
        return
    if configuration.held_out == "images":
        path = directory / IMAGE_SPLIT_FILE
        # No image is read: the division follows the names alone.
        own = find_own_images(data_dir, division_of(**configuration.data_options))
        write_image_division(own.splits, own.folder, path)
    else:
        path = directory / CLASS_SPLIT_FILE
        write_division(classes, path)
    print(f"The {configuration.held_out} of each split are listed in {str(path)!r}.")
