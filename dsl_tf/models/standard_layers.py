"""Models of Keras's own layers and in float32, from models of this package's faster ones."""

import keras

from dsl_tf.models.convolution import Convolution2D
from dsl_tf.models.normalization import FusedBatchNormalization

_STANDARD = {Convolution2D: keras.layers.Conv2D, FusedBatchNormalization: keras.layers.BatchNormalization}


def with_standard_layers(model: keras.Model) -> keras.Model:
    """Copies a model with Keras's own layers in place of this package's.

    Args:
        model: a functional or sequential `keras.Model`, which may hold others.

    Returns:
        A model with the same layers, names and weights that Keras loads without this package. It shares with the model
        the layers that Keras cannot copy, such as a `Lambda` of an anonymous function.
    """

    def standard(layer: keras.layers.Layer) -> keras.layers.Layer:
        try:
            if isinstance(layer, keras.Model) and any(type(inner) in _STANDARD for inner in layer._flatten_layers()):
                return with_standard_layers(layer)
            return _STANDARD.get(type(layer), type(layer)).from_config(layer.get_config())
        # The layer may be a user's, whose code may raise any kind of error.
        except Exception:
            return layer

    copy = keras.models.clone_model(model, clone_function=standard)
    copy.set_weights(model.get_weights())
    return copy


def in_float32(model: keras.Model) -> keras.Model:
    """Copies a model with layers that compute in float32, if any does not.

    Args:
        model: a functional or sequential `keras.Model`, which may hold others.

    Returns:
        The model itself, or one with the same layers, names and weights.
    """
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers()):
        return model

    def exact(layer: keras.Operation) -> keras.Operation:
        # Networks of other packages build their layers themselves.
        if isinstance(layer, keras.Model) and type(layer).__module__.startswith("keras."):
            return in_float32(layer)
        # Operations between layers, such as those of a preprocessing, compute in the dtype of their inputs.
        if not isinstance(layer, keras.layers.Layer):
            return type(layer).from_config(layer.get_config())
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=exact)
    copy.set_weights(model.get_weights())
    return copy
