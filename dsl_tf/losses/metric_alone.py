"""A metric loss without a classifier."""

from typing import Any

import keras
import tensorflow as tf

from dsl_tf.losses.reduction import Term, TermLoss
from dsl_tf.losses.registry import deserialized, metric_term, serialized, state_variables, trainable_variables


@keras.saving.register_keras_serializable(package="dsl_tf")
class MetricLoss(TermLoss):
    """A metric loss alone, without a classifier.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype.

    Args:
        metric: as in `SumLoss`.

    Raises:
        ValueError: if `metric` is not a metric loss.
    """

    def __init__(self, metric: Any = "nca", **kwargs: Any):
        super().__init__(**kwargs)
        self._metric_term = metric_term(metric)
        self.metric = metric

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        return {"metric": self._metric_term(y, predictions)}

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The weights that `metric` itself learns."""
        return trainable_variables(self.metric)

    @property
    def state_variables(self) -> list[keras.Variable]:
        """The variables that `metric` keeps from step to step and does not learn."""
        return state_variables(self.metric)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metric": serialized(self.metric)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MetricLoss":
        return cls(**deserialized(config, "metric"))
