"""The table of losses by name, and the conversion of names, Keras losses and functions to terms.

Flags, training, report labels and the cells of the paper's tables read this table: a new entry is available everywhere.

    registry.METRIC_LOSSES["mine"] = registry.RegisteredLoss("Mine", my_function)
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from dsl_tf.losses.classification import binary_cross_entropy, softmax_cross_entropy
from dsl_tf.losses.metric import nca, prototypical
from dsl_tf.losses.reduction import Term, TermLoss
from dsl_tf.losses.replicas import all_rows, first_row, replicas

Function = Callable[[tf.Tensor, tf.Tensor], Any]


@dataclasses.dataclass(frozen=True)
class RegisteredLoss:
    """A loss with a name.

    Args:
        symbol: how reports print it, such as `"SCE"`.
        function: a function of labels, int64 `[n]`, and logits `[n, C]` or features `[n, d]`. It returns one value per
            sample `[n]`, a scalar, or a pair of values `[n]` and whether each sample takes part, bool `[n]`.
        handles_replicas: whether the function is right on the rows of one replica of a `tf.distribute` strategy,
            because it needs no others or gathers them itself. Otherwise it gets the rows of all replicas.
    """

    symbol: str
    function: Function
    handles_replicas: bool = False


CLASSIFICATION_LOSSES = {
    "sce": RegisteredLoss("SCE", softmax_cross_entropy, handles_replicas=True),
    "bce": RegisteredLoss("BCE", binary_cross_entropy, handles_replicas=True),
}
METRIC_LOSSES = {
    "nca": RegisteredLoss("NCA", nca, handles_replicas=True),
    "proto": RegisteredLoss("Proto", prototypical, handles_replicas=True),
}


def classification_term(loss: Any) -> Callable[[tf.Tensor, tf.Tensor], Term]:
    """Makes a function from labels `[n]` and logits `[n, C]` to a `Term`.

    Args:
        loss: a name in `CLASSIFICATION_LOSSES`, a `keras.losses.Loss`, or a function as in `RegisteredLoss`.

    Raises:
        ValueError: if it is something else.
    """
    return _on_replicas(*_resolved("classification", loss, CLASSIFICATION_LOSSES))


def metric_term(loss: Any) -> Callable[[tf.Tensor, tf.Tensor], Term]:
    """Makes a function from labels `[n]` and features `[n, d]` to a `Term`.

    Args:
        loss: a name in `METRIC_LOSSES`, a `keras.losses.Loss`, or a function as in `RegisteredLoss`.

    Raises:
        ValueError: if it is something else.
    """
    return _on_replicas(*_resolved("metric", loss, METRIC_LOSSES))


def _on_replicas(function: Function, handles_replicas: bool) -> Callable[[tf.Tensor, tf.Tensor], Term]:
    """Makes a function of a replica's rows that gives its values, or its share of a scalar."""
    if handles_replicas:
        return lambda y, predictions: _term(function(y, predictions))

    def over_all_rows(y: tf.Tensor, predictions: tf.Tensor) -> Term:
        first, rows = first_row(predictions), tf.shape(predictions)[0]
        values, participates = _term(function(all_rows(y, first), all_rows(predictions, first)))
        if values.shape.rank == 0 or replicas() == 1:
            return values, participates
        own = slice(first, first + rows)
        return values[own], None if participates is None else participates[own]

    return over_all_rows


def _resolved(argument: str, loss: Any, table: Mapping[str, RegisteredLoss]) -> tuple[Function, bool]:
    """Returns a function, and whether it is right on the rows of one replica."""
    if isinstance(loss, str) and loss in table:
        return table[loss].function, table[loss].handles_replicas
    if isinstance(loss, TermLoss) and not hasattr(loss, "classifier"):
        return lambda y, predictions: next(iter(loss.terms(y, predictions).values())), True
    if isinstance(loss, keras.losses.Loss) and not isinstance(loss, TermLoss):
        # The values before reduction; Keras's losses compute in their own dtype.
        dtype = "float64" if loss.dtype == "float64" else "float32"
        return lambda y, predictions: _converted(loss.call)(y, tf.cast(predictions, dtype)), False
    if callable(loss) and not isinstance(loss, type | TermLoss):
        return lambda y, predictions: _converted(loss)(y, tf.cast(predictions, tf.float32)), False
    raise ValueError(
        f"`{argument}` must be one of {sorted(table)}, a keras.losses.Loss of one term, or a function of labels and "
        f"{'logits' if argument == 'classification' else 'features'}. Received: {loss!r}"
    )


def _converted(function: Function) -> Function:
    """Lets a function that is not ours branch on tensors in a graph: steps are traced without AutoGraph."""
    return function if tf.executing_eagerly() else tf.function(function)


def _term(result: Any) -> Term:
    """Converts the result of a function to a `Term`."""
    values, participates = result if isinstance(result, tuple) else (result, None)
    values = tf.cast(values, tf.float64)
    if values.shape.rank is not None and values.shape.rank > 1:
        # Keras averages over all elements.
        values = tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return values, participates


def trainable_variables(loss: Any) -> list[keras.Variable]:
    """Returns the weights that a loss itself learns, such as proxies of classes.

    Args:
        loss: a name, a Keras loss or a function. Layers and losses of this package list their weights; the attributes
            of other objects, lists of attributes included, are searched for `keras.Variable`s and layers.
    """
    if hasattr(loss, "trainable_variables"):
        return list(loss.trainable_variables)
    found = []
    for value in _attributes(loss):
        if isinstance(value, keras.Variable) and value.trainable:
            found.append(value)
        elif isinstance(value, keras.layers.Layer):
            found += value.trainable_variables
    return found


def state_variables(loss: Any) -> list[keras.Variable]:
    """Returns the variables that a loss keeps from step to step and does not learn, such as running class centres.

    Args:
        loss: as in `trainable_variables`.
    """
    if hasattr(loss, "state_variables"):
        return list(loss.state_variables)
    found = []
    for value in _attributes(loss):
        if isinstance(value, keras.Variable) and not value.trainable:
            found.append(value)
        elif isinstance(value, keras.layers.Layer):
            found += value.non_trainable_variables
    return found


def _attributes(loss: Any) -> list[Any]:
    return keras.tree.flatten(list(vars(loss).values())) if hasattr(loss, "__dict__") else []


def serialized(loss: Any) -> Any:
    """Returns what a configuration holds of a loss: a name or None as it is, else Keras's description."""
    return loss if loss is None or isinstance(loss, str) else keras.saving.serialize_keras_object(loss)


def deserialized(config: dict[str, Any], *names: str) -> dict[str, Any]:
    """Returns a configuration in which objects stand for the descriptions under these names."""
    parts = {
        name: keras.saving.deserialize_keras_object(config[name]) for name in names if isinstance(config[name], dict)
    }
    return {**config, **parts}
