"""Features for TensorBoard's embedding projector."""

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
# Images that stay on disk are faster to read by the hundreds than one by one.
_READ_TOGETHER = 256


def _evenly(labels: np.ndarray, most: int) -> np.ndarray:
    """Returns at most `most` positions, as many of each class as of any other that has as many; ascending."""
    random = np.random.default_rng(0)
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.arange(len(labels)) - np.repeat(starts, counts)
    # Where the last turn does not reach all classes, chance decides which.
    class_order = np.repeat(random.permutation(len(counts)), counts)
    return np.sort(by_class[np.lexsort((class_order, turn))[:most]])


def _sprite(images: Any, positions: np.ndarray, thumbnail: int) -> tuple[Image.Image, int]:
    """Returns the thumbnails as one image, row after row, and their side in pixels.

    As many rows as columns, the last ones may be empty: the projector finds the row by the number of rows.
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

    TensorBoard looks into its `--logdir` itself, and below it into the folders with event files: in the folder of a
    run's events the projector shows the features beside the run's curves.

    Args:
        directory: the folder to write into, created if missing.
        features: float `[n, d]`.
        labels: integers from 0 `[n]`.
        class_names: the name of each class, by label.
        images: uint8 `[n, height, width, 3]`, an array or what reads like one; None for points without thumbnails.
        thumbnail: the side of the thumbnails in pixels; smaller if they would not fit into the 8192×8192 pixels
            that the projector reads. The aspect is not kept.
        most: how many images at most, the same ones for the same labels: chosen at random, evenly over the classes.

    Returns:
        The positions of the chosen images, int64, ascending, as in the files.

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
    # 9 digits tell all float32 apart. Raw bytes would be smaller, but TensorBoard guesses whether they are text.
    rows = ("\t".join(map("{:.9g}".format, row)) for row in features[positions].astype(np.float32).tolist())
    write_text(directory / FEATURES, "".join(f"{row}\n" for row in rows))
    # Two columns, as TensorBoard takes the first line of a single one for no heading.
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
    # Last: it names the others.
    write_text(directory / CONFIGURATION, text_format.MessageToString(configuration))
    return positions
