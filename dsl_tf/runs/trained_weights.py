"""Trained weights that another training starts from: of a run, a Keras file or a SavedModel."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from dsl_tf.errors import UserError, reason_of
from dsl_tf.files import check_regular
from dsl_tf.models import EmbeddingModel
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.export import load_backbone


@dataclasses.dataclass(frozen=True)
class TrainedWeights:
    """The weights of a trained network.

    Args:
        source: where they were read, as the user gave it.
        backbone: the weights of the backbone in Keras's order, as pairs of name and array.
        kernel: the classifier's W `[d, C]`, or None if it is unknown.
        bias: its b `[C]`, or None.
        class_names: the names of its C classes; empty if they are unknown.
    """

    source: str
    backbone: list[tuple[str, np.ndarray]]
    kernel: np.ndarray | None = None
    bias: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def read_trained_weights(source: str) -> TrainedWeights:
    """Reads the weights of a finished run, a `.keras` file, or the folder of a SavedModel; nothing is unpickled.

    Raises:
        UserError: if it is none of these, or cannot be read.
    """
    path = pathlib.Path(source)
    if (path / run_directory.FLAGFILE).is_file():
        if not (path / run_directory.BACKBONE).exists():
            raise UserError(
                f"--init_from={source} must be a finished run. Received: one without {run_directory.BACKBONE}. Run its "
                "training command again to finish it."
            )
        return TrainedWeights(source, _of_keras_file(source, path / run_directory.BACKBONE), *_classifier(source, path))
    if (path / "saved_model.pb").is_file():
        return TrainedWeights(source, _of_saved_model(source, path))
    if path.suffix == ".keras" and path.is_file():
        return TrainedWeights(source, _of_keras_file(source, path))
    found = "another folder" if path.is_dir() else "another file" if path.exists() else "a path that does not exist"
    raise UserError(
        f"--init_from={source} must be a run directory, a .keras file or a SavedModel's folder (saved_model.pb). "
        f"Received: {found}. Check the path."
    )


def _of_keras_file(source: str, path: pathlib.Path) -> list[tuple[str, np.ndarray]]:
    try:
        model = load_backbone(path)
    except ValueError as error:
        raise UserError(
            f"--init_from={source} must be a model that Keras can load. {path.name} cannot be loaded: {error}"
        ) from None
    if isinstance(model, EmbeddingModel):
        model = model.backbone
    return [(weight.path, weight.numpy()) for weight in model.weights]


def _of_saved_model(source: str, path: pathlib.Path) -> list[tuple[str, np.ndarray]]:
    try:
        variables = tf.saved_model.load(str(path)).variables
        # Without the state of random layers, which is no weight.
        return [(found.name.split(":")[0], found.numpy()) for found in variables if found.dtype.is_floating]
    # Damaged files make TensorFlow raise nearly any kind of error; SavedModels of others list no variables.
    except Exception as error:
        raise UserError(
            f"--init_from={source} must be a SavedModel that Keras or dsl_tf exported. Its weights cannot be read: "
            f"{reason_of(error)}"
        ) from None


def _classifier(source: str, directory: pathlib.Path) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Returns W, b and class names of a run; None and nothing if it has no classifier or does not name its classes."""
    path = directory / run_directory.STATISTICS
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as statistics:
            if not {"kernel", "bias", "class_names"} <= set(statistics):
                return None, None, ()
            kernel, bias = np.asarray(statistics["kernel"], np.float32), np.asarray(statistics["bias"], np.float32)
            names = tuple(statistics["class_names"].tolist())
        if kernel.ndim != 2 or bias.shape != kernel.shape[1:] or len(names) != len(bias):
            raise ValueError(f"kernel {kernel.shape}, bias {bias.shape} and {len(names)} class names do not match")
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ValueError("kernel and bias must be finite")
    # Damaged files make NumPy and zipfile raise nearly any kind of error.
    except Exception as error:
        raise UserError(f"{str(path)!r} of --init_from={source} cannot be read: {reason_of(error)}") from None
    return kernel, bias, names
