"""The training input: balanced, augmented batches as a `tf.data.Dataset`."""

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
    """Makes an endless data set of class-balanced, augmented batches.

    Args:
        split: a `Split`.
        ways: N, classes a batch.
        shots: K, images of each class.
        seed: an integer; with the step it decides each batch's images and their changes.
        start_step: the first step, for a resumed run.
        crop, flip, color_jitter: as in `augment`.
        rows: the first row and the one after the last, where only a part of each batch is wanted; None for all.

    Returns:
        A `tf.data.Dataset` of `(images uint8 [n, height, width, 3], labels int32 [n])` with n = N·K, or of the rows.

    Raises:
        UserError: where the split has too few classes or images.
    """
    check_balanced(split.labels, split.class_names, ways, shots)
    batches = BalancedBatches(split.labels, ways, shots, seed)
    fetch, keys, key_type = _stored(split.images) if isinstance(split.images, StoredImages) else _held(split.images)

    first, last = rows or (0, ways * shots)

    def indices_and_images():
        for step, indices in batches.iterate(start_step):
            indices = indices[first:last]
            yield step, keys(indices), split.labels[indices]

    def load(step, keys, labels):
        images = tf.ensure_shape(fetch(keys), [*batch, *split.images.shape[1:]])
        images = augment(images, tf.stack([seed, step]), crop, flip, color_jitter, (first, last, ways * shots))
        return images, labels

    batch = [last - first]
    signature = (tf.TensorSpec([], tf.int64), tf.TensorSpec(batch, key_type), tf.TensorSpec(batch, tf.int32))
    elements = tf.data.Dataset.from_generator(indices_and_images, output_signature=signature)
    return elements.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _held(images):
    """Images in memory: the generator yields their positions."""
    # The whole split in a GPU's memory would leave less for the model; only batches go there.
    with tf.device("CPU"):
        images = tf.constant(images)
    return lambda positions: tf.gather(images, positions), lambda indices: indices, tf.int32


def _stored(images):
    """Images on disk: the generator yields them encoded, for TensorFlow's threads to decode batch beside batch."""

    def decode(encoded):
        image = tf.TensorSpec([None, None, 3], tf.uint8)
        return tf.map_fn(lambda png: tf.io.decode_png(png, channels=3), encoded, fn_output_signature=image)

    return decode, images.encoded, tf.string
