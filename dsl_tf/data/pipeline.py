"""The training input: balanced, augmented batches as a `tf.data.Dataset`."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dsl_tf.data.augmentation import Rows, augment
from dsl_tf.data.balanced import BalancedBatches, check_balanced
from dsl_tf.data.crops import crop_numbers, cut_out
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages

# One that is computed on next, and one that is being copied.
_BATCHES_ON_DEVICE = 2


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
    device: str | None = None,
) -> tf.data.Dataset:
    """Builds an endless data set of class-balanced, augmented batches.

    If the images are stored with their aspect, `"resized"` cuts its boxes out of the stored images, as torchvision's
    RandomResizedCrop, and the other crops start from the centre.

    Args:
        split: a `Split`.
        ways: N, classes per batch.
        shots: K, images per class in a batch.
        seed: an integer. Seed and step determine the images of each batch and their augmentation.
        start_step: the first step, for a resumed run.
        crop, flip, color_jitter: as in `augment`.
        rows: (first, one after the last) to return only these rows of each batch; None for all.
        device: the device to which the next batches are copied while it computes, such as `"GPU:0"`. None to leave them
            in the host's memory. Such a data set must not be transformed further.

    Returns:
        A `tf.data.Dataset` of `(images uint8 [n, height, width, 3], labels int64 [n])` with n = N·K, or of the rows.

    Raises:
        UserError: if the split has fewer than N classes, or a class without images.
    """
    check_balanced(split.labels, split.class_names, ways)
    batches = BalancedBatches(split.labels, ways, shots, seed)
    first, last = rows or (0, ways * shots)
    # On the CPU, so that the split does not occupy GPU memory. Only batches are copied there.
    with tf.device("CPU"):
        # GPUs keep tensors of int32 in the host's memory.
        labels = tf.constant(split.labels, tf.int64)
        fetch, crop = _fetching(split.images, crop)

    @tf.autograph.experimental.do_not_convert
    def load(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices, seeds, numbers = indices[first:last], tf.stack([seed, step]), (first, last, ways * shots)
        images = tf.ensure_shape(fetch(indices, seeds, numbers), [last - first, *split.images.shape[1:]])
        return augment(images, seeds, crop, flip, color_jitter, numbers), tf.gather(labels, indices)

    drawn = batches.batches(start_step)
    loaded = drawn.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)
    if device is None:
        return loaded
    return loaded.apply(tf.data.experimental.prefetch_to_device(device, _BATCHES_ON_DEVICE))


def _fetching(
    images: np.ndarray | StoredImages, crop: str
) -> tuple[Callable[[tf.Tensor, tf.Tensor, Rows], tf.Tensor], str]:
    """Returns a function from positions, seed and rows to images, and the crop that is left to do after it."""
    if not isinstance(images, StoredImages):
        pixels = tf.constant(images)
        return lambda indices, seed, rows: tf.gather(pixels, indices), crop
    if images.stored_size is None or crop != "resized":
        read = images.reader()
        return lambda indices, seed, rows: read(indices), crop
    record, size = images.record(), images.shape[1]
    image = tf.TensorSpec(images.shape[1:], tf.uint8)

    def crops(indices: tf.Tensor, seed: tf.Tensor, rows: Rows) -> tf.Tensor:
        def cut(position_and_numbers: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return cut_out(record(position_and_numbers[0]), position_and_numbers[1], size)

        return tf.map_fn(cut, (indices, crop_numbers(seed, rows)), fn_output_signature=image)

    return crops, "none"
