"""The training input: balanced, augmented batches as a `tf.data.Dataset`."""

import tensorflow as tf

from dsl_tf.data.augmentation import augment
from dsl_tf.data.balanced import BalancedBatches, check_balanced


def training_batches(split, ways, shots, seed, start_step=0, crop="pad", flip=True, color_jitter=0.0):
    """Makes an endless data set of class-balanced, augmented batches.

    Args:
        split: a `Split`, held in memory.
        ways: N, classes a batch.
        shots: K, images of each class.
        seed: an integer; with the step it decides each batch's images and their changes.
        start_step: the first step, for a resumed run.
        crop, flip, color_jitter: as in `augment`.

    Returns:
        A `tf.data.Dataset` of `(images uint8 [N·K, height, width, 3], labels int32 [N·K])`.

    Raises:
        UserError: where the split has too few classes or images.
    """
    check_balanced(split.labels, split.class_names, ways, shots)
    batches = BalancedBatches(split.labels, ways, shots, seed)
    # The whole split in a GPU's memory would leave less for the model; only batches go there.
    with tf.device("CPU"):
        images, labels = tf.constant(split.images), tf.constant(split.labels)

    def load(step, indices):
        changed = augment(tf.gather(images, indices), tf.stack([seed, step]), crop, flip, color_jitter)
        return changed, tf.gather(labels, indices)

    signature = (tf.TensorSpec([], tf.int64), tf.TensorSpec([ways * shots], tf.int32))
    indices = tf.data.Dataset.from_generator(lambda: batches.iterate(start_step), output_signature=signature)
    return indices.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)
