"""Computes the features of many images."""

import keras
import numpy as np
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.data.preprocessing import normalize
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.progress import progress_bar


@tf.function(autograph=False)
def _forward(backbone: keras.Model, images: tf.Tensor) -> tf.Tensor:
    return tf.cast(backbone(normalize(images), training=False), tf.float32)


@tf.function(autograph=False)
def _forward_on_replicas(backbone: keras.Model, images: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    strategy = tf.distribute.get_strategy()

    def forward(images: tf.Tensor) -> tf.Tensor:
        rows = distribution.replica_rows(strategy, [images], count)[0]
        return tf.cast(backbone(normalize(rows), training=False), tf.float32)

    return strategy.gather(strategy.run(forward, args=(images,)), axis=0)


def extract_features(backbone: keras.Model, images: np.ndarray | StoredImages, batch_size: int = 256) -> np.ndarray:
    """Computes the features of images with a backbone in inference mode.

    In the scope of the `tf.distribute` strategy under which the backbone was made, the images are divided among its
    devices and workers. All workers must pass the same images, and all receive all features.

    Args:
        backbone: a `keras.Model` from normalised images to features `[n, d]`.
        images: uint8 `[n, height, width, 3]`.
        batch_size: images per forward pass and device.

    Returns:
        float32 `[n, d]`, in the order of the images.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    # Computed before the function is traced, because it is not available within a replica. It is cached.
    distribution.local_replicas(strategy)
    # The batch dimension is None so that the smaller last batch does not trace the network again.
    specification = tf.TensorSpec([None, *images.shape[1:]], tf.uint8)
    if replicas == 1:
        forward = _forward.get_concrete_function(backbone, specification)
    else:
        forward = _forward_on_replicas.get_concrete_function(backbone, specification, tf.TensorSpec([], tf.int32))
    progress = progress_bar(len(images), "image")
    features = np.empty((len(images), backbone.output_shape[-1]), np.float32)
    for start in range(0, len(images), batch_size * replicas):
        stop = min(start + batch_size * replicas, len(images))
        if replicas == 1:
            features[start:stop] = forward(tf.constant(images[start:stop]))
        else:
            first, last = distribution.worker_rows(strategy, stop - start)
            rows = tf.constant(images[start + first : start + last])
            features[start:stop] = forward(rows, tf.constant(stop - start))
        progress.update(stop)
    return features
