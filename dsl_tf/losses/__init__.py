"""The paper's losses and projections, on plain features, labels and classifier weights."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.losses.classification import BinaryCrossEntropy, SoftmaxCrossEntropy
from dsl_tf.losses.integrated import ClassifierSubspaceLoss, DirectSumLoss, SpectralSumLoss, SumLoss
from dsl_tf.losses.integrations import INTEGRATIONS
from dsl_tf.losses.metric import NCALoss, PrototypicalLoss
from dsl_tf.losses.metric_alone import MetricLoss
from dsl_tf.losses.projections import classifier_projection, complement_projection, spectral_projection
from dsl_tf.losses.registry import CLASSIFICATION_LOSSES, METRIC_LOSSES, RegisteredLoss

__all__ = [
    "CLASSIFICATION_LOSSES",
    "INTEGRATIONS",
    "METRIC_LOSSES",
    "BinaryCrossEntropy",
    "ClassifierSubspaceLoss",
    "DirectSumLoss",
    "MetricLoss",
    "NCALoss",
    "PrototypicalLoss",
    "RegisteredLoss",
    "SoftmaxCrossEntropy",
    "SpectralSumLoss",
    "SumLoss",
    "classifier_projection",
    "complement_projection",
    "spectral_projection",
]
