"""The training input: balanced, augmented batches as a `tf.data.Dataset`."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dsl_tf.data.augmentation import augment
from dsl_tf.data.balanced import BalancedBatches, check_balanced
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages


def training_batches(
    split: Split,
    ways: int,
    shots: int,
    seed: int,
    start_step: int = 0,
    crop: str = "pad",
    flip: bool = True,
    color_jitter: float = 0.0,
    rows: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Builds an endless data set of class-balanced, augmented batches.

    Args:
        split: a `Split`.
        ways: N, classes per batch.
        shots: K, images per class in a batch.
        seed: an integer. Seed and step determine the images of each batch and their augmentation.
        start_step: the first step, for a resumed run.
        crop, flip, color_jitter: as in `augment`.
        rows: (first, one after the last) to return only these rows of each batch; None for all.

    Returns:
        A `tf.data.Dataset` of `(images uint8 [n, height, width, 3], labels int32 [n])` with n = N·K, or of the rows.

    Raises:
        UserError: if the split has fewer than N classes, or a class without images.
    """
    check_balanced(split.labels, split.class_names, ways)
    batches = BalancedBatches(split.labels, ways, shots, seed)
    first, last = rows or (0, ways * shots)
    # On the CPU, so that the split does not occupy GPU memory. Only batches are copied there.
    with tf.device("CPU"):
        labels = tf.constant(split.labels)
        fetch = split.images.reader() if isinstance(split.images, StoredImages) else _held(split.images)

    def load(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = indices[first:last]
        images = tf.ensure_shape(fetch(indices), [last - first, *split.images.shape[1:]])
        images = augment(images, tf.stack([seed, step]), crop, flip, color_jitter, (first, last, ways * shots))
        return images, tf.gather(labels, indices)

    drawn = batches.batches(start_step)
    return drawn.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _held(images: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    pixels = tf.constant(images)
    return lambda indices: tf.gather(pixels, indices)
