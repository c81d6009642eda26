"""Classification losses on the logits of a linear classifier, equations (1) and (2)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses.arguments import check_classes
from dsl_tf.losses.reduction import Term, TermLoss


def _own_class(y: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a mask of each sample's class, bool `[n, C]`, and `[n]` zeros, with NaN for a label that is no class."""
    # For a label that is no class, TensorFlow's operations raise on CPUs and read 0 on GPUs. NaN works on both:
    # training stops and names the loss, and a GPU need not wait for the host. A gather is avoided too, because its
    # gradient computes shapes on the device that are needed on the host.
    own = tf.one_hot(y, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
    nan = tf.constant(np.nan, logits.dtype)
    return own, tf.where(tf.reduce_any(own, axis=1), tf.zeros_like(nan), nan)


def softmax_cross_entropy(y: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Computes −log(exp(z_y) / Σ_c exp(z_c)) = log Σ_c exp(z_c) − z_y, equation (1).

    With label smoothing α, the mean logit replaces a part of z_y: log Σ_c exp(z_c) − (1 − α)·z_y − α·Σ_c z_c / C.

    Args:
        y: labels, int64 `[n]` from 0 to C − 1.
        logits: z = Wᵀx + b, `[n, C]`, any float dtype.
        label_smoothing: α, 0 to 1.

    Returns:
        float64 `[n]`; NaN for a label that is no class.
    """
    # TensorFlow's operation has no float64 kernel for GPUs. With the largest logit subtracted, exponentials do not
    # overflow and the difference does not cancel.
    z = tf.cast(logits, tf.float64)
    z -= tf.stop_gradient(tf.reduce_max(z, axis=1, keepdims=True))
    own, nan_if_wrong = _own_class(y, z)
    z_y = tf.reduce_sum(tf.where(own, z, 0), axis=1)
    if label_smoothing:
        z_y = (1 - label_smoothing) * z_y + label_smoothing * tf.reduce_mean(z, axis=1)
    return tf.math.log(tf.reduce_sum(tf.exp(z), axis=1)) - z_y + nan_if_wrong


def binary_cross_entropy(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Computes log(1 + exp(−z_y)) + Σ_{c≠y} log(1 + exp(z_c)), equation (2).

    Args:
        y: labels, int64 `[n]` from 0 to C − 1.
        logits: z = Wᵀx + b, `[n, C]`, any float dtype.

    Returns:
        float64 `[n]`, the sum over the classes; NaN for a label that is no class.
    """
    z = tf.cast(logits, tf.float64)
    own, nan_if_wrong = _own_class(y, z)
    values = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(own, z.dtype), logits=z)
    return tf.reduce_sum(values, axis=1) + nan_if_wrong


@keras.saving.register_keras_serializable(package="dsl_tf")
class SoftmaxCrossEntropy(TermLoss):
    """Softmax cross entropy (SCE), −log(exp(z_y) / Σ_c exp(z_c)), equation (1) of the paper.

    Call with integer labels `[n]` and logits `[n, C]` of any float dtype.

    Args:
        label_smoothing: the fraction of each label that is spread evenly over all C classes, as in Keras.

    Raises:
        ValueError: if `label_smoothing` is not from 0 to 1.
    """

    _meaning = "logits [n, C]"

    def __init__(self, *, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"`label_smoothing` must be from 0 to 1. Received: {label_smoothing}")
        self.label_smoothing = label_smoothing

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        check_classes(y, predictions.shape[1])
        return {"classification": (softmax_cross_entropy(y, predictions, self.label_smoothing), None)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="dsl_tf")
class BinaryCrossEntropy(TermLoss):
    """Binary cross entropy (BCE) of each class against the rest, summed over classes, equation (2) of the paper.

    Call with integer labels `[n]` and logits `[n, C]` of any float dtype.
    """

    _meaning = "logits [n, C]"

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        check_classes(y, predictions.shape[1])
        return {"classification": (binary_cross_entropy(y, predictions), None)}
