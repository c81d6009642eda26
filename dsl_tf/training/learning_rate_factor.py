"""Keras optimizers with a learning rate of its own for the backbone."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from dsl_tf.runs.configuration.optimisation import OPTIMIZERS
from dsl_tf.training.optimizer import CoupledDecaySGD


class _FactorOfFirst(keras.optimizers.Optimizer):
    """Multiplies the learning rate η of the first variables, in the update and in Keras's decoupled weight decay.

    A base class before any optimizer of Keras. All else, such as clipping by the norm of the whole gradient, stays that
    of one optimizer, which several ones in a `MultiOptimizer` could not share.

    Args:
        learning_rate_factor: the first variables learn at factor·η.
        first_variables: the number of these variables, in the order in which the optimizer is built.
        *args, **kwargs: arguments of the optimizer.
    """

    def __init__(self, *args: Any, learning_rate_factor: float, first_variables: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.learning_rate_factor = learning_rate_factor
        self.first_variables = first_variables
        self._decay_factor = 1.0

    def _is_first(self, variable: keras.Variable | tf.Variable) -> bool:
        return self._get_variable_index(variable) < self.first_variables

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: Any) -> None:
        factor = self.learning_rate_factor if self._is_first(variable) else 1.0
        super().update_step(gradient, variable, learning_rate * factor)

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        first = [variable for variable in variables if self._is_first(variable)]
        # Keras's decay reads η from the optimizer itself.
        self._decay_factor = self.learning_rate_factor
        super()._apply_weight_decay(first)
        self._decay_factor = 1.0
        super()._apply_weight_decay([variable for variable in variables if not self._is_first(variable)])

    def _get_current_learning_rate(self) -> Any:
        return super()._get_current_learning_rate() * self._decay_factor

    def get_config(self) -> dict[str, Any]:
        own = {"learning_rate_factor": self.learning_rate_factor, "first_variables": self.first_variables}
        return {**super().get_config(), **own}


def _with_factor(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    made = type(f"{kind.__name__}WithFactor", (_FactorOfFirst, kind), {"__module__": __name__})
    return keras.saving.register_keras_serializable(package="dsl_tf")(made)


_KINDS: tuple[type[keras.optimizers.Optimizer], ...] = (CoupledDecaySGD, *OPTIMIZERS.values())
# Made here once, so that Keras can load a model that was saved with one of them.
WITH_FACTOR = {kind: _with_factor(kind) for kind in _KINDS}
