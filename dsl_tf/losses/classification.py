"""Classification losses on the logits of a linear classifier, equations (1) and (2)."""

import keras
import tensorflow as tf

from dsl_tf.losses.reduction import TermLoss


def softmax_cross_entropy(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Equation (1): −log softmax(logits)_y, float64 `[n]`, from labels `[n]` and logits `[n, C]`."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=tf.cast(logits, tf.float64))


def binary_cross_entropy(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Equation (2): C binary cross entropies, summed over the classes, float64 `[n]`."""
    logits = tf.cast(logits, tf.float64)
    targets = tf.one_hot(y, tf.shape(logits)[1], dtype=logits.dtype)
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), axis=1)


@keras.saving.register_keras_serializable(package="dsl_tf")
class SoftmaxCrossEntropy(TermLoss):
    """Softmax cross entropy (SCE), equation (1) of the paper.

    Call with integer labels `[n]` and logits `[n, C]` of any float dtype.
    """

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        return {"classification": (softmax_cross_entropy(y, predictions), None)}


@keras.saving.register_keras_serializable(package="dsl_tf")
class BinaryCrossEntropy(TermLoss):
    """Binary cross entropy (BCE) of one class against the rest, summed over classes, equation (2) of the paper.

    Call with integer labels `[n]` and logits `[n, C]` of any float dtype.
    """

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        return {"classification": (binary_cross_entropy(y, predictions), None)}
