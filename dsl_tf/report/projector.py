"""Writes features for TensorBoard's embedding projector."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector

from dsl_tf.files import write_text
from dsl_tf.report.wording import printable

CONFIGURATION = "projector_config.pbtxt"
FEATURES = "projector_features.tsv"
METADATA = "projector_metadata.tsv"
SPRITE = "projector_sprite.png"

# Pixels; the projector refuses larger sprites.
_LARGEST_SPRITE = 8192
# Images on disk are faster to read in blocks than one by one.
_READ_TOGETHER = 256


def _evenly(labels: np.ndarray, most: int) -> np.ndarray:
    """Returns at most `most` positions in ascending order, spread evenly over the classes."""
    random = np.random.default_rng(0)
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.arange(len(labels)) - np.repeat(starts, counts)
    # If the last round does not reach all classes, they are chosen at random.
    class_order = np.repeat(random.permutation(len(counts)), counts)
    return np.sort(by_class[np.lexsort((class_order, turn))[:most]])


def _sprite(images: Any, positions: np.ndarray, thumbnail: int) -> tuple[Image.Image, int]:
    """Returns the thumbnails as one image, row after row, and their side in pixels.

    The projector needs as many rows as columns, so the last rows may be empty.
    """
    rows = math.ceil(math.sqrt(len(positions)))
    side = min(thumbnail, _LARGEST_SPRITE // rows)
    sprite = Image.new("RGB", (rows * side, rows * side))
    for start in range(0, len(positions), _READ_TOGETHER):
        for place, image in enumerate(images[positions[start : start + _READ_TOGETHER]], start):
            picture = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
            sprite.paste(picture, (place % rows * side, place // rows * side))
    return sprite, side


def write_projector(
    directory: str | os.PathLike[str],
    features: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    images: Any = None,
    thumbnail: int = 32,
    most: int = 5000,
) -> np.ndarray:
    """Writes features, their classes and thumbnails for TensorBoard's embedding projector.

    TensorBoard searches its `--logdir` and the folders with event files below it. In the folder of a run's events, the
    projector shows the features beside the curves of the run.

    Args:
        directory: the folder to write into, created if missing.
        features: float `[n, d]`.
        labels: integers from 0 `[n]`.
        class_names: the name of each class, by label.
        images: uint8 `[n, height, width, 3]`, an array or `StoredImages`; None for points without thumbnails.
        thumbnail: the side of the thumbnails in pixels, reduced if they would exceed the projector's limit of 8192×8192
            pixels. The aspect ratio is not kept.
        most: the largest number of images, chosen at random but evenly over the classes; the same for the same labels.

    Returns:
        The positions of the chosen images, int64, in ascending order, as in the files.

    Raises:
        ValueError: if the shapes do not match, or there is nothing to write.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    sizes = {len(features), len(labels), len(features if images is None else images)}
    if features.ndim != 2 or not features.size or labels.ndim != 1 or len(sizes) > 1 or most < 1:
        raise ValueError(
            "Expected features [n, d], labels [n], images [n, height, width, 3] and at least 1 of them. "
            f"Received: features {features.shape}, labels {labels.shape}, "
            f"images {None if images is None else images.shape}, most {most}"
        )
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    positions = _evenly(labels, most)
    # 9 digits represent float32 exactly. Raw bytes would be smaller, but TensorBoard may mistake them for text.
    rows = ("\t".join(map("{:.9g}".format, row)) for row in features[positions].astype(np.float32).tolist())
    write_text(directory / FEATURES, "".join(f"{row}\n" for row in rows))
    # Two columns, because TensorBoard does not read a header in a file with one column.
    lines = (f"{printable(str(class_names[labels[position]]))}\t{position}\n" for position in positions)
    write_text(directory / METADATA, "class\timage\n" + "".join(lines))
    configuration = projector.ProjectorConfig()
    embedding = configuration.embeddings.add(tensor_name="features", tensor_path=FEATURES, metadata_path=METADATA)
    if images is not None:
        sprite, side = _sprite(images, positions, thumbnail)
        sprite.save(directory / SPRITE)
        embedding.sprite.image_path = SPRITE
        embedding.sprite.single_image_dim.extend((side, side))
    else:
        (directory / SPRITE).unlink(missing_ok=True)
    # Written last, because it refers to the other files.
    write_text(directory / CONFIGURATION, text_format.MessageToString(configuration))
    return positions
