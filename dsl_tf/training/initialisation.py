"""What a training starts from: the weights of another one, and frozen layers."""

import difflib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.runs.trained_weights import TrainedWeights


def start_from(
    trained: TrainedWeights,
    backbone: keras.Model,
    classifier: keras.layers.Layer | None,
    class_names: Sequence[str],
) -> str:
    """Copies trained weights into a backbone, and those of the classes with the same name into its classifier.

    Args:
        trained: the `TrainedWeights`.
        backbone: a `keras.Model`.
        classifier: the classifier, or None.
        class_names: the names of the classifier's classes.

    Returns:
        A sentence that says what was copied.

    Raises:
        UserError: if the weights are not those of the same network.
    """
    # A SavedModel lists no others.
    weights = [weight for weight in backbone.weights if np.issubdtype(np.dtype(weight.dtype), np.floating)]
    found = [(name, value) for name, value in trained.backbone if np.issubdtype(value.dtype, np.floating)]
    _check_same_shapes(trained.source, backbone.name, weights, found)
    for weight, (_, value) in zip(weights, found, strict=True):
        weight.assign(value)
    return f"Starting from the weights of {trained.source!r}: {_start_classifier(trained, classifier, class_names)}."


def _check_same_shapes(
    source: str, name: str, weights: list[keras.Variable], found: list[tuple[str, np.ndarray]]
) -> None:
    problem = ""
    if len(weights) != len(found):
        problem = f"{len(found)} arrays for {len(weights)} weights"
    for weight, (path, value) in zip(weights, found, strict=False):
        if tuple(weight.shape) != value.shape:
            problem = f"{path} {list(value.shape)} for {weight.path} {list(weight.shape)}"
            break
    if problem:
        raise UserError(
            f"--init_from={source} must hold the weights of the same network, {name}. Received: {problem}. Set "
            "--backbone, --filters and --image_size as in its training."
        )


def _start_classifier(
    trained: TrainedWeights, classifier: keras.layers.Layer | None, class_names: Sequence[str]
) -> str:
    """Copies the columns of W and b of the classes with the same name, and returns in words what was copied."""
    if classifier is None:
        return "the backbone alone, since there is no classifier"
    if trained.kernel is None or trained.bias is None:
        return "the backbone alone, since no classifier with named classes is stored there"
    if not isinstance(classifier, keras.layers.Dense):
        return "the backbone alone, since W is fixed to a subspace"
    columns = {name: column for column, name in enumerate(trained.class_names)}
    shared = [name for name in class_names if name in columns]
    if not shared:
        return "the backbone alone, since no class has the same name"
    kernel, bias = classifier.kernel.numpy(), classifier.bias.numpy()
    if len(trained.kernel) != len(kernel):
        raise UserError(
            f"--init_from={trained.source} must have a classifier of {len(kernel)} features. Received: "
            f"{len(trained.kernel)}. Restore the files of that run."
        )
    for column, name in enumerate(class_names):
        if name in columns:
            kernel[:, column] = trained.kernel[:, columns[name]]
            bias[column] = trained.bias[columns[name]]
    classifier.kernel.assign(kernel)
    classifier.bias.assign(bias)
    return f"the backbone, and W for {len(shared)} of {len(class_names)} classes"


def freeze_until(backbone: keras.Model, name: str) -> None:
    """Freezes the layers of a backbone up to and including one; their batch normalisation keeps its statistics.

    Args:
        backbone: a `keras.Model`, which may contain other models.
        name: the name of a layer at any depth. The layers before it are those above it in
            `summary(expand_nested=True)`.

    Raises:
        UserError: if there is no such layer.
    """
    names = list(_names(backbone))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"The layers are named {names[0]} to {names[-1]}."
        raise UserError(f"--freeze_until must be the name of a layer of {backbone.name}. Received: {name!r}. {advice}")
    _freeze(backbone, name)


def _names(model: keras.Model) -> Iterator[str]:
    for layer in model.layers:
        yield layer.name
        if isinstance(layer, keras.Model):
            yield from _names(layer)


def _freeze(model: keras.Model, name: str) -> bool:
    """Returns whether the last layer to freeze is in the model."""
    for layer in model.layers:
        if layer.name != name and isinstance(layer, keras.Model) and _freeze(layer, name):
            return True
        layer.trainable = False
        if layer.name == name:
            return True
    return False
