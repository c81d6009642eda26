"""Features of many images."""

import numpy as np
import tensorflow as tf

from dsl_tf.data.preprocessing import normalize
from dsl_tf.progress import progress_bar


@tf.function
def _forward(backbone, images):
    return tf.cast(backbone(normalize(images), training=False), tf.float32)


def extract_features(backbone, images, batch_size=256):
    """Computes the features of images with a backbone in inference mode.

    Args:
        backbone: a `keras.Model` from normalised images to features `[n, d]`.
        images: uint8 `[n, height, width, 3]`.
        batch_size: images a forward pass.

    Returns:
        float32 `[n, d]`, in the order of the images.
    """
    # An open batch dimension: the last, smaller batch shall not compile the network a second time.
    forward = _forward.get_concrete_function(backbone, tf.TensorSpec([None, *images.shape[1:]], tf.uint8))
    progress = progress_bar(len(images), "image")
    features = np.empty((len(images), backbone.output_shape[-1]), np.float32)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        features[start : start + len(batch)] = forward(tf.constant(batch))
        progress.update(start + len(batch))
    return features
