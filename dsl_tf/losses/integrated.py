"""Integrated losses: a classification loss and a metric loss on one batch, equations (6), (7) and (11)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses.classification import binary_cross_entropy, softmax_cross_entropy
from dsl_tf.losses.metric import nca, prototypical
from dsl_tf.losses.projections import classifier_projection, complement_projection, spectral_projection
from dsl_tf.losses.reduction import TermLoss

CLASSIFICATION_LOSSES = {"sce": softmax_cross_entropy, "bce": binary_cross_entropy}
METRIC_LOSSES = {"nca": nca, "proto": prototypical}


def _check_choice(argument, value, choices):
    if value not in choices:
        raise ValueError(f"`{argument}` must be one of {sorted(choices)}. Received: {value!r}")


@keras.saving.register_keras_serializable(package="dsl_tf")
class SumLoss(TermLoss):
    """Plain sum of a classification loss and a metric loss on the same features, equation (6) of the paper.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype; the loss applies the classifier itself. A
    loss that was deserialised has a classifier of its own, of the same shape but with new weights.

    Args:
        classifier: a built layer with a `kernel [d, C]` and a `bias [C]` or None, such as `keras.layers.Dense`.
        classification: `"sce"` (1) or `"bce"` (2).
        metric: `"nca"` (4) or `"proto"` (3), or None for the classification loss alone.
        metric_weight: factor of the metric loss; the paper adds the two as they are.

    Raises:
        ValueError: for an unknown loss name.
    """

    def __init__(
        self,
        classifier: keras.layers.Layer,
        classification: str = "sce",
        metric: str | None = "nca",
        metric_weight: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_choice("classification", classification, CLASSIFICATION_LOSSES)
        if metric is not None:
            _check_choice("metric", metric, METRIC_LOSSES)
        self.classifier = classifier
        self.classification = classification
        self.metric = metric
        self.metric_weight = metric_weight

    def logits(self, x: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Returns the classifier's outputs Wᵀx + b for features `[n, d]`, float64 `[n, C]`."""
        return self._logits(x, self.classifier.kernel)

    def _logits(self, x, kernel):
        # Not `classifier(x)`: under a mixed precision policy that would round the logits.
        logits = tf.matmul(tf.cast(x, tf.float64), tf.cast(kernel, tf.float64))
        bias = self.classifier.bias
        return logits if bias is None else logits + tf.cast(bias, tf.float64)

    def metric_features(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the float64 features `[n, d]` that the metric loss sees: here x itself.

        Args:
            x: float64 features `[n, d]`.
            kernel: W, `[d, C]`.
        """
        return x

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        # Read once: TensorFlow's graph optimiser may move a second reading, one without a gradient, past the
        # optimizer's update of the kernel.
        kernel = tf.convert_to_tensor(self.classifier.kernel)
        # Once for both terms, so that half precision rounds their gradient only after it is summed.
        x = tf.cast(predictions, tf.float64)
        values = CLASSIFICATION_LOSSES[self.classification](y, self._logits(x, kernel))
        terms = {"classification": (values, None)}
        if self.metric is not None:
            values, participates = METRIC_LOSSES[self.metric](y, self.metric_features(x, kernel))
            terms["metric"] = (self.metric_weight * values, participates)
        return terms

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "classification": self.classification,
            "metric": self.metric,
            "metric_weight": self.metric_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SumLoss":
        classifier = keras.saving.deserialize_keras_object(config["classifier"])
        return cls(**{**config, "classifier": classifier})


class _SubspaceLoss(SumLoss):
    """A sum whose metric loss sees features projected with the ridge of equation (8)."""

    def __init__(
        self,
        classifier: keras.layers.Layer,
        classification: str = "sce",
        metric: str | None = "nca",
        epsilon: float = 1e-3,
        gradient_to_kernel: bool = False,
        **kwargs,
    ):
        super().__init__(classifier, classification, metric, **kwargs)
        self.epsilon = epsilon
        self.gradient_to_kernel = gradient_to_kernel

    def _projected(self, projection, x, kernel):
        # A classifier in a fixed subspace (Table 3, ii) has an orthonormal basis of it, which needs no ridge.
        basis = getattr(self.classifier, "basis", None)
        if basis is not None:
            return projection(x, basis, epsilon=0.0)
        return projection(x, kernel, self.epsilon, self.gradient_to_kernel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon, "gradient_to_kernel": self.gradient_to_kernel}


@keras.saving.register_keras_serializable(package="dsl_tf")
class DirectSumLoss(_SubspaceLoss):
    """Direct sum: the metric loss acts in the complement of the classifier's subspace, equations (7) and (8).

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`.
        epsilon: the ridge of equation (8).
        gradient_to_kernel: whether the metric loss's gradient reaches W through the projection.

    Raises:
        ValueError: where d ≤ C: span(W) may then be the whole space, with no complement to train.
    """

    def __init__(self, classifier: keras.layers.Layer, *args, **kwargs):
        super().__init__(classifier, *args, **kwargs)
        if classifier.built:
            self._check_dimensions(classifier.kernel)

    def _check_dimensions(self, W):
        d, classes = W.shape
        if d <= classes:
            raise ValueError(
                f"The direct sum needs more feature dimensions d than classes C. Received: d = {d}, C = {classes}. "
                "Use the spectral sum (SpectralSumLoss, --integration=spectral_sum) or a wider backbone."
            )

    def metric_features(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns x projected onto the complement of span(W), equation (8)."""
        self._check_dimensions(kernel)
        return self._projected(complement_projection, x, kernel)


@keras.saving.register_keras_serializable(package="dsl_tf")
class ClassifierSubspaceLoss(_SubspaceLoss):
    """The opposite of the direct sum, row i-2 of Table 3: both losses act in the classifier's subspace.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`.
        epsilon: the ridge of equation (8).
        gradient_to_kernel: whether the metric loss's gradient reaches W through the projection.
    """

    def metric_features(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns x projected onto span(W)."""
        return self._projected(classifier_projection, x, kernel)


@keras.saving.register_keras_serializable(package="dsl_tf")
class SpectralSumLoss(SumLoss):
    """Spectral sum: the metric loss sees features reweighted by W's singular values, equations (9) to (11).

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`. d and C may stand in any relation.
        power: p of equation (11); 0 is the exact direct sum, and 0.3 did best in Table 6.
        gradient_to_kernel: whether the metric loss's gradient reaches W through the weights.
        interval: steps between decompositions of W. At 1, every call decomposes the present W. Above, it is decomposed
            here and by `refresh()`, which a training loop calls at every step that `interval` divides.

    Attributes:
        projection: above an interval of 1, a float64 variable `[d, d]`, what the last `refresh()` made; else None.

    Raises:
        ValueError: for an interval below 1, or above 1 with a gradient to W or a classifier that is not built.
    """

    def __init__(
        self,
        classifier: keras.layers.Layer,
        classification: str = "sce",
        metric: str | None = "nca",
        power: float = 0.3,
        gradient_to_kernel: bool = False,
        interval: int = 1,
        **kwargs,
    ):
        super().__init__(classifier, classification, metric, **kwargs)
        if interval < 1:
            raise ValueError(f"`interval` must be at least 1. Received: {interval}")
        if interval > 1 and gradient_to_kernel:
            raise ValueError(
                f"`interval` must be 1 with `gradient_to_kernel`, which needs each step's W. Received: {interval}. "
                "Leave one of them (--spectral_interval, --gradient_to_kernel) out."
            )
        self.power = power
        self.gradient_to_kernel = gradient_to_kernel
        self.interval = interval
        self.projection = None
        if interval > 1:
            if not classifier.built:
                raise ValueError(
                    f"`classifier` must be built for an `interval` above 1. Received: {interval}, and one that is not"
                )
            self.projection = tf.Variable(self._projection(), trainable=False)

    def _projection(self):
        kernel = tf.convert_to_tensor(self.classifier.kernel)
        return spectral_projection(tf.eye(kernel.shape[0], dtype=tf.float64), kernel, self.power)

    def refresh(self) -> None:
        """Decomposes the present W for the calls to come; does nothing at an interval of 1.

        Raises:
            tf.errors.InvalidArgumentError: for a W that is not finite.
        """
        if self.projection is not None:
            self.projection.assign(self._projection())

    def metric_features(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns x weighted by 1 − λ̃ᵖ along W's left singular vectors, equation (11)."""
        if self.projection is not None:
            return tf.matmul(x, self.projection)
        return spectral_projection(x, kernel, self.power, self.gradient_to_kernel)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "power": self.power,
            "gradient_to_kernel": self.gradient_to_kernel,
            "interval": self.interval,
        }
