"""Checks of the arguments of losses: labels, features and classifiers."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

# A label that no class has: the losses are NaN for it.
_WRONG = -1


def as_labels(y: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Converts labels to int64 `[n]`.

    Args:
        y: whole numbers from 0, of shape `[n]` or `[n, 1]`, in any numeric dtype.

    Returns:
        int64 `[n]`. In a graph, a fractional or negative label becomes −1, for which every loss is NaN: an exception
        would make the GPU wait for the host.

    Raises:
        ValueError: if the dtype or shape is wrong or, outside of a graph, if a label is fractional or negative.
    """
    expected = "`y_true` must be labels, whole numbers from 0 of shape [n] or [n, 1]."
    try:
        y = tf.convert_to_tensor(y)
    # What TensorFlow raises for objects, ragged lists and mixed types.
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected} Received: {' '.join(str(error).split())[:200]}") from None
    if not (y.dtype.is_integer or y.dtype.is_floating):
        raise ValueError(f"{expected} Received: dtype {y.dtype.name}")
    # Keras would convert labels to its float type, which merges classes above 2**24 (2**8 in bfloat16). TensorFlow's
    # losses do not accept the 8- and 16-bit integers in which many data sets store labels.
    labels = tf.cast(y, tf.int64)
    whole = (labels >= 0) & (tf.cast(labels, y.dtype) == y) if y.dtype.is_floating else labels >= 0
    if tf.executing_eagerly() and not bool(tf.reduce_all(whole)):
        wrong = tf.boolean_mask(y, ~whole).numpy().ravel()[0]
        raise ValueError(f"{expected} Received: {wrong}")
    labels = tf.where(whole, labels, _WRONG)
    # An unknown shape may be [n, 1], which would broadcast against [n].
    if labels.shape.rank is None or (labels.shape.rank == 2 and labels.shape[1] in (None, 1)):
        labels = tf.reshape(labels, [-1])
    if labels.shape.rank != 1:
        raise ValueError(f"{expected} Received: shape {labels.shape}")
    return labels


def check_classes(y: tf.Tensor, classes: int | None) -> None:
    """Raises a ValueError, outside of a graph, if a label is not below C = `classes`; None skips the check."""
    if classes is not None and tf.executing_eagerly() and y.shape[0]:
        largest = int(tf.reduce_max(y))
        if largest >= classes:
            raise ValueError(
                f"`y_true` must be labels from 0 to {classes - 1}, since there are C = {classes} classes. "
                f"Received: {largest}"
            )


def as_predictions(predictions: Any, meaning: str) -> tf.Tensor:
    """Converts the predictions that a loss receives to a float tensor `[n, m]`.

    Args:
        predictions: features or logits.
        meaning: what they are, for the error message, such as `"features [n, d]"`.

    Raises:
        ValueError: if the dtype is not a float or the rank is not 2.
    """
    predictions = tf.convert_to_tensor(predictions)
    if not predictions.dtype.is_floating or predictions.shape.rank not in (2, None):
        raise ValueError(
            f"`y_pred` must be {meaning}, floats. Received: {predictions.dtype.name} of shape {predictions.shape}"
        )
    return predictions


def check_classifier(classifier: Any) -> None:
    """Raises a ValueError if a layer has no kernel; before a layer is built, only its type is checked."""
    if not isinstance(classifier, keras.layers.Layer) or (classifier.built and not hasattr(classifier, "kernel")):
        found = type(classifier).__name__
        raise ValueError(
            "`classifier` must be a layer with a kernel [d, C], such as keras.layers.Dense(classes). "
            f"Received: {found}{', which has none' if isinstance(classifier, keras.layers.Layer) else ''}"
        )


def kernel_of(classifier: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Reads the kernel W `[d, C]` of a classifier for features x `[n, d]`.

    Raises:
        ValueError: if the classifier is not built, or its kernel does not have d rows.
    """
    if not classifier.built:
        raise ValueError(
            f"`classifier` must be built before its loss is computed. Received: {classifier.name!r}, which is not. "
            f"Call classifier.build((None, {x.shape[-1]})), or pass it to dsl_tf.models.EmbeddingModel"
        )
    check_classifier(classifier)
    W = tf.convert_to_tensor(classifier.kernel)
    if W.shape.rank != 2 or x.shape[-1] != W.shape[0]:
        raise ValueError(
            f"`y_pred` must be features [n, d] with d = {W.shape[0]}, the rows of the classifier's kernel. "
            f"Received: shape {x.shape}, kernel {W.shape}"
        )
    return W
