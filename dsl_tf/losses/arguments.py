"""What losses are called with, checked: labels, features and classifiers."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

# No class has it: losses are NaN for it.
_WRONG = -1


def as_labels(y: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Converts labels to int64 `[n]`.

    Args:
        y: whole numbers from 0, of shape `[n]` or `[n, 1]`, in any numeric dtype.

    Returns:
        int64 `[n]`. In a graph a label that is not whole, or negative, is −1, for which every loss is NaN: only its
        value tells, and a GPU need not wait for the host to look at it.

    Raises:
        ValueError: if the dtype or the shape is another, and outside of a graph if a label is not whole or negative.
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
    # own losses take no smaller integers than 32 bits, in which many data sets keep theirs.
    labels = tf.cast(y, tf.int64)
    whole = (labels >= 0) & (tf.cast(labels, y.dtype) == y) if y.dtype.is_floating else labels >= 0
    if tf.executing_eagerly() and not bool(tf.reduce_all(whole)):
        wrong = tf.boolean_mask(y, ~whole).numpy().ravel()[0]
        raise ValueError(f"{expected} Received: {wrong}")
    labels = tf.where(whole, labels, _WRONG)
    # A shape that is not known yet may be [n, 1] too, and would broadcast where [n] is meant.
    if labels.shape.rank is None or (labels.shape.rank == 2 and labels.shape[1] in (None, 1)):
        labels = tf.reshape(labels, [-1])
    if labels.shape.rank != 1:
        raise ValueError(f"{expected} Received: shape {labels.shape}")
    return labels


def check_classes(y: tf.Tensor, classes: int | None) -> None:
    """Raises a ValueError outside of a graph if a label is no class of C = `classes`; None for any number."""
    if classes is not None and tf.executing_eagerly() and y.shape[0]:
        largest = int(tf.reduce_max(y))
        if largest >= classes:
            raise ValueError(
                f"`y_true` must be labels from 0 to {classes - 1}, since there are C = {classes} classes. "
                f"Received: {largest}"
            )


def as_predictions(predictions: Any, meaning: str) -> tf.Tensor:
    """Converts what a loss is called with to a float tensor `[n, m]`.

    Args:
        predictions: features or logits.
        meaning: what they are, for the message, such as `"features [n, d]"`.

    Raises:
        ValueError: if the dtype or the rank is another.
    """
    predictions = tf.convert_to_tensor(predictions)
    if not predictions.dtype.is_floating or predictions.shape.rank not in (2, None):
        raise ValueError(
            f"`y_pred` must be {meaning}, floats. Received: {predictions.dtype.name} of shape {predictions.shape}"
        )
    return predictions


def check_classifier(classifier: Any) -> None:
    """Raises a ValueError if a layer has no kernel, as far as that can be known before it is built."""
    if not isinstance(classifier, keras.layers.Layer) or (classifier.built and not hasattr(classifier, "kernel")):
        found = type(classifier).__name__
        raise ValueError(
            "`classifier` must be a layer with a kernel [d, C], such as keras.layers.Dense(classes). "
            f"Received: {found}{', which has none' if isinstance(classifier, keras.layers.Layer) else ''}"
        )


def kernel_of(classifier: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Reads the kernel W `[d, C]` of a classifier for features x `[n, d]`.

    Raises:
        ValueError: if the classifier is not built, or for features of another width.
    """
    if not classifier.built:
        raise ValueError(
            f"`classifier` must be built before its loss is computed. Received: {classifier.name!r}, which is not. "
            f"Call classifier.build((None, {x.shape[-1]})), or give it to dsl_tf.models.EmbeddingModel"
        )
    check_classifier(classifier)
    W = tf.convert_to_tensor(classifier.kernel)
    if W.shape.rank != 2 or x.shape[-1] != W.shape[0]:
        raise ValueError(
            f"`y_pred` must be features [n, d] with d = {W.shape[0]}, the rows of the classifier's kernel. "
            f"Received: shape {x.shape}, kernel {W.shape}"
        )
    return W
