"""Models of Keras's own layers, from models of this package's faster ones."""

import keras

from dsl_tf.models.convolution import Convolution2D
from dsl_tf.models.normalization import FusedBatchNormalization

_STANDARD = {Convolution2D: keras.layers.Conv2D, FusedBatchNormalization: keras.layers.BatchNormalization}


def with_standard_layers(model: keras.Model) -> keras.Model:
    """Copies a model with Keras's own layers in place of this package's.

    Args:
        model: a functional or sequential `keras.Model`, which may hold others.

    Returns:
        A model with the same layers, names and weights that Keras loads without this package.
    """

    def standard(layer):
        if isinstance(layer, keras.Model):
            return with_standard_layers(layer)
        return _STANDARD.get(type(layer), type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=standard)
    copy.set_weights(model.get_weights())
    return copy
