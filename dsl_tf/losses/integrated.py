"""Integrated losses: a classification loss and a metric loss on one batch, equations (6), (7) and (11)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses.arguments import check_classes, check_classifier, kernel_of
from dsl_tf.losses.projections import classifier_projection, complement_projection, spectral_projection
from dsl_tf.losses.reduction import Term, TermLoss
from dsl_tf.losses.registry import (
    classification_term,
    deserialized,
    metric_term,
    serialized,
    state_variables,
    trainable_variables,
)


@keras.saving.register_keras_serializable(package="dsl_tf")
class SumLoss(TermLoss):
    """Plain sum of a classification loss and a metric loss on the same features: ℓ_cls(x) + ℓ_metric(x), equation (6).

    Train it with `dsl_tf.models.EmbeddingModel`, whose `fit` trains the classifier too. A plain Keras model compiled
    with this loss does not train the classifier, because the classifier is not part of that model. There is no warning.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype; the loss applies the classifier itself. A
    deserialised loss has a new classifier of the same shape with new weights.

    Args:
        classifier: a layer with a `kernel [d, C]` and a `bias [C]` or None, such as `keras.layers.Dense`.
        classification: `"sce"` (1), `"bce"` (2) or another name of the registry; a `keras.losses.Loss` of labels and
            logits; or a function of labels `[n]` and logits `[n, C]` to one value per sample `[n]` or a scalar.
        metric: `"nca"` (4), `"proto"` (3) or another name; a `keras.losses.Loss` of labels and features; a function of
            labels `[n]` and features `[n, d]`; or None for the classification loss alone. Keras losses and functions
            receive float32 and are averaged over all samples, as in Keras; the losses of this package are averaged
            over the samples that have a same-class partner.
        metric_weight: factor of the metric loss; 1 in the paper.

    Raises:
        ValueError: if `classification` or `metric` is none of these, or `classifier` is not a layer with a kernel.
    """

    def __init__(
        self,
        classifier: keras.layers.Layer,
        *,
        classification: Any = "sce",
        metric: Any = "nca",
        metric_weight: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_classifier(classifier)
        self._classification_term = classification_term(classification)
        self._metric_term = None if metric is None else metric_term(metric)
        self.classifier = classifier
        self.classification = classification
        self.metric = metric
        self.metric_weight = metric_weight

    def logits(self, x: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Returns the classifier's outputs Wᵀx + b for features `[n, d]`, float64 `[n, C]`."""
        return self._logits(x, self.classifier.kernel)

    def _logits(self, x: np.ndarray | tf.Tensor, W: tf.Tensor) -> tf.Tensor:
        # Not `classifier(x)`: under a mixed precision policy that would round the logits.
        logits = tf.matmul(tf.cast(x, tf.float64), tf.cast(W, tf.float64))
        bias = self.classifier.bias
        return logits if bias is None else logits + tf.cast(bias, tf.float64)

    def metric_features(self, x: tf.Tensor, W: tf.Tensor) -> tf.Tensor:
        """Returns the float64 features `[n, d]` that the metric loss sees: here x itself.

        Args:
            x: float64 features `[n, d]`.
            W: the classifier's kernel, `[d, C]`.
        """
        return x

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        # Read once: TensorFlow's graph optimiser may move a second reading, one without a gradient, past the
        # optimizer's update of the kernel.
        W = kernel_of(self.classifier, predictions)
        check_classes(y, W.shape[1])
        # One cast for both terms: half precision then rounds the sum of their gradients, not each of them.
        x = tf.cast(predictions, tf.float64)
        terms = {"classification": self._classification_term(y, self._logits(x, W))}
        if self._metric_term is not None:
            values, participates = self._metric_term(y, self.metric_features(x, W))
            terms["metric"] = (self.metric_weight * values, participates)
        return terms

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The weights that `classification` and `metric` learn themselves, such as proxies of classes."""
        return [*trainable_variables(self.classification), *trainable_variables(self.metric)]

    @property
    def state_variables(self) -> list[keras.Variable]:
        """The variables that `classification` and `metric` keep from step to step and do not learn."""
        return [*state_variables(self.classification), *state_variables(self.metric)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "classification": serialized(self.classification),
            "metric": serialized(self.metric),
            "metric_weight": self.metric_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SumLoss":
        return cls(**deserialized(config, "classifier", "classification", "metric"))


class _ProjectingLoss(SumLoss):
    """The options that `DirectSumLoss` and `ClassifierSubspaceLoss` share."""

    def __init__(
        self,
        classifier: keras.layers.Layer,
        *,
        classification: Any = "sce",
        metric: Any = "nca",
        metric_weight: float = 1.0,
        epsilon: float = 1e-3,
        gradient_to_kernel: bool = False,
        fixed_subspace: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            classifier, classification=classification, metric=metric, metric_weight=metric_weight, **kwargs
        )
        self.epsilon = epsilon
        self.gradient_to_kernel = gradient_to_kernel
        self.fixed_subspace = fixed_subspace
        if classifier.built:
            self._check_dimensions(classifier.kernel)

    def _check_dimensions(self, W: tf.Tensor) -> None:
        """Raises a ValueError if the loss has no meaning for a kernel `[d, C]` of this shape."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_options(self, "epsilon", "gradient_to_kernel", "fixed_subspace")}


@keras.saving.register_keras_serializable(package="dsl_tf")
class DirectSumLoss(_ProjectingLoss):
    """Direct sum: ℓ_cls(x) + ℓ_metric(x − W(WᵀW + εI)⁻¹Wᵀx), equations (7) and (8).

    The metric loss acts in the complement of the classifier's subspace. Train it with `dsl_tf.models.EmbeddingModel`: a
    plain Keras model compiled with this loss does not train W.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`.
        epsilon: ε, the ridge of equation (8).
        gradient_to_kernel: whether the metric loss's gradient reaches W through the projection.
        fixed_subspace: whether the classifier's subspace is fixed (Table 3, ii): `classifier.basis`, orthonormal
            `[d, C]`, then replaces W in the projection, without a ridge; `FixedSubspaceClassifier` has it.

    Raises:
        ValueError: as `SumLoss`, and if d ≤ C: span(W) may then be all of the space and leave no complement.
    """

    def _check_dimensions(self, W: tf.Tensor) -> None:
        d, classes = W.shape
        if d <= classes:
            raise ValueError(
                f"The direct sum needs more feature dimensions d than classes C. Received: d = {d}, C = {classes}. "
                "Use the spectral sum, SpectralSumLoss, or a wider backbone"
            )

    def metric_features(self, x: tf.Tensor, W: tf.Tensor) -> tf.Tensor:
        """Returns x − W(WᵀW + εI)⁻¹Wᵀx, equation (8)."""
        self._check_dimensions(W)
        if self.fixed_subspace:
            return complement_projection(x, self.classifier.basis, epsilon=0.0)
        return complement_projection(x, W, self.epsilon, self.gradient_to_kernel)


@keras.saving.register_keras_serializable(package="dsl_tf")
class ClassifierSubspaceLoss(_ProjectingLoss):
    """The opposite of the direct sum: ℓ_cls(x) + ℓ_metric(W(WᵀW + εI)⁻¹Wᵀx), row i-2 of Table 3.

    Both losses act in the classifier's subspace.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`.
        epsilon, gradient_to_kernel, fixed_subspace: as in `DirectSumLoss`.

    Raises:
        ValueError: as `SumLoss`.
    """

    def metric_features(self, x: tf.Tensor, W: tf.Tensor) -> tf.Tensor:
        """Returns W(WᵀW + εI)⁻¹Wᵀx, the part that equation (8) removes."""
        if self.fixed_subspace:
            return classifier_projection(x, self.classifier.basis, epsilon=0.0)
        return classifier_projection(x, W, self.epsilon, self.gradient_to_kernel)


@keras.saving.register_keras_serializable(package="dsl_tf")
class SpectralSumLoss(SumLoss):
    """Spectral sum: ℓ_cls(x) + ℓ_metric(W̃ diag(1 − λ̃ᵖ) W̃ᵀx), equations (9) to (11).

    The metric loss sees features reweighted by W's singular values. Train it with `dsl_tf.models.EmbeddingModel`: a
    plain Keras model compiled with this loss does not train W, and never refreshes an `interval` above 1.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`. Any d and C are allowed.
        power: p of equation (11); 0 is the exact direct sum; 0.3 is best in Table 6.
        gradient_to_kernel: whether the metric loss's gradient reaches W through the weights.
        interval: steps between decompositions of W. At 1, every call decomposes the current W. Above 1, the constructor
            and `refresh()` decompose it; a training loop calls `refresh()` every `interval` steps.

    Attributes:
        projection: the matrix of the last `refresh()`, a float64 variable `[d, d]`; None for an interval of 1.

    Raises:
        ValueError: as `SumLoss`; if the interval is below 1; or if it is above 1 and `gradient_to_kernel` is set or
            the classifier is not built.
    """

    def __init__(
        self,
        classifier: keras.layers.Layer,
        *,
        classification: Any = "sce",
        metric: Any = "nca",
        metric_weight: float = 1.0,
        power: float = 0.3,
        gradient_to_kernel: bool = False,
        interval: int = 1,
        **kwargs: Any,
    ):
        super().__init__(
            classifier, classification=classification, metric=metric, metric_weight=metric_weight, **kwargs
        )
        if interval < 1:
            raise ValueError(f"`interval` must be at least 1. Received: {interval}")
        if interval > 1 and gradient_to_kernel:
            raise ValueError(
                f"`interval` must be 1 with `gradient_to_kernel`, which needs each step's W. Received: {interval}. "
                "Omit one of them"
            )
        if interval > 1 and not classifier.built:
            raise ValueError(
                f"`classifier` must be built for an `interval` above 1. Received: {interval}, and one that is not"
            )
        self.power = power
        self.gradient_to_kernel = gradient_to_kernel
        self.interval = interval
        self.projection = tf.Variable(self._projection(), trainable=False) if interval > 1 else None

    def _projection(self) -> tf.Tensor:
        W = tf.convert_to_tensor(self.classifier.kernel)
        return spectral_projection(np.eye(W.shape[0]), W, self.power)

    def refresh(self) -> None:
        """Decomposes the current W for the following calls; does nothing for an interval of 1.

        Raises:
            tf.errors.InvalidArgumentError: if W is not finite.
        """
        if self.projection is not None:
            self.projection.assign(self._projection())

    def metric_features(self, x: tf.Tensor, W: tf.Tensor) -> tf.Tensor:
        """Returns W̃ diag(1 − λ̃ᵖ) W̃ᵀx, equation (11)."""
        if self.projection is not None:
            return tf.matmul(x, self.projection)
        return spectral_projection(x, W, self.power, self.gradient_to_kernel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_options(self, "power", "gradient_to_kernel", "interval")}


def _options(loss: SumLoss, *names: str) -> dict[str, Any]:
    return {name: getattr(loss, name) for name in names}
