"""Integrated losses: a classification loss and a metric loss on one batch, equations (6), (7) and (11)."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses.arguments import check_classes, check_classifier, kernel_of
from dsl_tf.losses.projections import classifier_projection, complement_projection, spectral_projection
from dsl_tf.losses.reduction import Term, TermLoss
from dsl_tf.losses.registry import classification_term, metric_term, trainable_variables


@keras.saving.register_keras_serializable(package="dsl_tf")
class SumLoss(TermLoss):
    """Plain sum of a classification loss and a metric loss on the same features: ℓ_cls(x) + ℓ_metric(x), equation (6).

    Train it with `dsl_tf.models.EmbeddingModel`, whose `fit` trains the classifier too. A plain Keras model compiled
    with this loss leaves the classifier as it is, because the classifier is no part of that model; nothing can tell.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype; the loss applies the classifier itself. A
    loss that was deserialised has a classifier of its own, of the same shape but with new weights.

    Args:
        classifier: a layer with a `kernel [d, C]` and a `bias [C]` or None, such as `keras.layers.Dense`.
        classification: `"sce"` (1), `"bce"` (2) or another name of the registry; a `keras.losses.Loss` of labels and
            logits; or a function of labels `[n]` and logits `[n, C]` to one value per sample `[n]` or a scalar.
        metric: `"nca"` (4), `"proto"` (3) or another name; a `keras.losses.Loss` of labels and features; a function of
            labels `[n]` and features `[n, d]`; or None for the classification loss alone. Losses of Keras and functions
            get float32, and are averaged over all samples as Keras does; those of this package say who takes part.
        metric_weight: factor of the metric loss; the paper adds the two as they are.

    Raises:
        ValueError: if `classification` or `metric` is nothing of these, or `classifier` is no layer with a kernel.
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
        # Once for both terms, so that half precision rounds their gradient only after it is summed.
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

    def get_config(self) -> dict[str, Any]:
        def serialized(loss: Any) -> Any:
            return loss if loss is None or isinstance(loss, str) else keras.saving.serialize_keras_object(loss)

        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "classification": serialized(self.classification),
            "metric": serialized(self.metric),
            "metric_weight": self.metric_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SumLoss":
        parts = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("classifier", "classification", "metric")
            if isinstance(config[name], dict)
        }
        return cls(**{**config, **parts})


@keras.saving.register_keras_serializable(package="dsl_tf")
class DirectSumLoss(SumLoss):
    """Direct sum: ℓ_cls(x) + ℓ_metric(x − W(WᵀW + εI)⁻¹Wᵀx), equations (7) and (8).

    The metric loss acts in the complement of the classifier's subspace. Train it with `dsl_tf.models.EmbeddingModel`: a
    plain Keras model compiled with this loss leaves W as it is.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`.
        epsilon: ε, the ridge of equation (8).
        gradient_to_kernel: whether the metric loss's gradient reaches W through the projection.
        fixed_subspace: whether the classifier's subspace is fixed (Table 3, ii): `classifier.basis`, orthonormal
            `[d, C]`, then stands for W in the projection, without a ridge, as in `FixedSubspaceClassifier`.

    Raises:
        ValueError: as `SumLoss`, and if d ≤ C: span(W) may then be the whole space, with no complement to train.
    """

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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_options(self, "epsilon", "gradient_to_kernel", "fixed_subspace")}


@keras.saving.register_keras_serializable(package="dsl_tf")
class ClassifierSubspaceLoss(SumLoss):
    """The opposite of the direct sum: ℓ_cls(x) + ℓ_metric(W(WᵀW + εI)⁻¹Wᵀx), row i-2 of Table 3.

    Both losses act in the classifier's subspace.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`.
        epsilon, gradient_to_kernel, fixed_subspace: as in `DirectSumLoss`.

    Raises:
        ValueError: as `SumLoss`.
    """

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

    def metric_features(self, x: tf.Tensor, W: tf.Tensor) -> tf.Tensor:
        """Returns W(WᵀW + εI)⁻¹Wᵀx, the subtrahend of equation (8)."""
        if self.fixed_subspace:
            return classifier_projection(x, self.classifier.basis, epsilon=0.0)
        return classifier_projection(x, W, self.epsilon, self.gradient_to_kernel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_options(self, "epsilon", "gradient_to_kernel", "fixed_subspace")}


@keras.saving.register_keras_serializable(package="dsl_tf")
class SpectralSumLoss(SumLoss):
    """Spectral sum: ℓ_cls(x) + ℓ_metric(W̃ diag(1 − λ̃ᵖ) W̃ᵀx), equations (9) to (11).

    The metric loss sees features reweighted by W's singular values. Train it with `dsl_tf.models.EmbeddingModel`: a
    plain Keras model compiled with this loss leaves W as it is, and an `interval` above 1 at its first W.

    Args:
        classifier, classification, metric, metric_weight: as in `SumLoss`. d and C may stand in any relation.
        power: p of equation (11); 0 is the exact direct sum, and 0.3 did best in Table 6.
        gradient_to_kernel: whether the metric loss's gradient reaches W through the weights.
        interval: steps between decompositions of W. At 1, every call decomposes the present W. Above, it is decomposed
            here and by `refresh()`, which a training loop calls at every step that `interval` divides.

    Attributes:
        projection: above an interval of 1, a float64 variable `[d, d]`, what the last `refresh()` made; else None.

    Raises:
        ValueError: as `SumLoss`, and for an interval below 1, or above 1 with a gradient to W or a classifier that is
            not built.
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
                "Leave one of them out"
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
        """Decomposes the present W for the calls to come; does nothing at an interval of 1.

        Raises:
            tf.errors.InvalidArgumentError: for a W that is not finite.
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


@keras.saving.register_keras_serializable(package="dsl_tf")
class MetricLoss(TermLoss):
    """A metric loss alone, without a classifier.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype.

    Args:
        metric: as in `SumLoss`.

    Raises:
        ValueError: if `metric` is no metric loss.
    """

    def __init__(self, metric: Any = "nca", **kwargs: Any):
        super().__init__(**kwargs)
        self._metric_term = metric_term(metric)
        self.metric = metric

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        return {"metric": self._metric_term(y, predictions)}

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The weights that `metric` learns itself."""
        return trainable_variables(self.metric)

    def get_config(self) -> dict[str, Any]:
        metric = self.metric
        return {
            **super().get_config(),
            "metric": metric if isinstance(metric, str) else keras.saving.serialize_keras_object(metric),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MetricLoss":
        metric = config["metric"]
        return cls(
            **{
                **config,
                "metric": keras.saving.deserialize_keras_object(metric) if isinstance(metric, dict) else metric,
            }
        )


@dataclasses.dataclass(frozen=True)
class Integration:
    """A way to join two losses.

    Args:
        symbol: how reports print it between the symbols of the two losses.
        loss: its class.
        options: the options of the class beside those of `SumLoss`, by name.
    """

    symbol: str
    loss: type[SumLoss]
    options: tuple[str, ...] = ()


INTEGRATIONS = {
    "sum": Integration("+", SumLoss),
    "direct_sum": Integration("⊕", DirectSumLoss, ("epsilon", "gradient_to_kernel", "fixed_subspace")),
    "spectral_sum": Integration("⊕", SpectralSumLoss, ("power", "gradient_to_kernel", "interval")),
    "classifier_subspace": Integration(
        "+", ClassifierSubspaceLoss, ("epsilon", "gradient_to_kernel", "fixed_subspace")
    ),
}
