"""A run's exported files, read back: the SavedModel from photographs to features, and the mean training feature."""

import os
import pathlib
import typing

import numpy as np
import tensorflow as tf

from dsl_tf import run_directory
from dsl_tf.errors import UserError

_SIGNATURE = "serving_default"


class ExportedModel(typing.NamedTuple):
    """A SavedModel that `dsl_tf.training.export` wrote.

    `signature` is its function of uint8 `images` `[n, height, width, 3]`, and `image_size` the longer side of what it
    resizes them to, in pixels.
    """

    signature: typing.Callable
    image_size: int


def load_exported_model(path: str | os.PathLike[str]) -> ExportedModel:
    """Loads the SavedModel of a run directory, or a SavedModel alone; load only what you trust: TensorFlow runs it.

    Args:
        path: the run directory or the SavedModel's folder.

    Returns:
        An `ExportedModel`.

    Raises:
        UserError: where there is none, it cannot be loaded, or it is not one that dsl_tf exported.
    """
    folder = _saved_model_folder(path)
    try:
        signature = tf.saved_model.load(str(folder)).signatures.get(_SIGNATURE)
    # Damaged files make TensorFlow raise nearly any kind of error.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{str(folder)!r} must be a SavedModel. It cannot be loaded: {reason}") from None
    image_size = _image_size(signature) if signature and _maps_images_to_features(signature) else None
    if image_size is None:
        raise UserError(
            f"{str(folder)!r} must be a SavedModel that dsl_tf exported: {_SIGNATURE} from `images`, uint8 "
            f"[n, height, width, 3] of any size, to `features`, float32 [n, d]. Received: {_described(signature)}."
        )
    return ExportedModel(signature, image_size)


def load_feature_mean(path: str | os.PathLike[str]) -> np.ndarray:
    """Loads the mean of the training features from a run directory.

    Args:
        path: the run directory.

    Returns:
        float32 `[d]`.

    Raises:
        UserError: where there is none, as beside a SavedModel alone.
    """
    file = pathlib.Path(path) / run_directory.STATISTICS
    try:
        with np.load(file, allow_pickle=False) as statistics:
            mean = np.asarray(statistics["feature_mean"], np.float32)
        if not np.isfinite(mean).all():
            raise ValueError
        return mean
    # Damaged files make NumPy and zipfile raise nearly any kind of error.
    except Exception:
        raise UserError(
            "Feature transform cl2 needs the mean of the training features, from a run directory. "
            f"Received: {os.fspath(path)!r}, without a readable {run_directory.STATISTICS}. Give the run directory, "
            "or another feature transform."
        ) from None


def _saved_model_folder(path):
    path = pathlib.Path(path)
    for folder in (path / run_directory.SAVED_MODEL, path):
        if (folder / "saved_model.pb").is_file():
            return folder
    if not path.is_dir():
        found = "which is a file" if path.exists() else "which does not exist"
    elif (path / run_directory.FLAGFILE).is_file():
        found = f"a run without {run_directory.SAVED_MODEL}: it has not finished"
    else:
        found = f"without {run_directory.SAVED_MODEL} and saved_model.pb"
    raise UserError(
        f"The model must be a run directory or a SavedModel's folder. Received: {str(path)!r}, {found}. Check the path."
    )


def _maps_images_to_features(signature):
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if set(inputs) != {"images"} or "features" not in outputs:
        return False
    images, features = inputs["images"], outputs["features"]
    return (
        (images.dtype, features.dtype) == (tf.uint8, tf.float32)
        and images.shape.as_list() == [None, None, None, 3]
        and features.shape.rank == 2
    )


def _image_size(signature):
    """Finds the longer side that the images are resized to, or None; it is written nowhere but in the graph itself."""
    graph = signature.graph.as_graph_def()
    for nodes in [graph.node, *(function.node_def for function in graph.library.function)]:
        constants = {node.name: node.attr["value"].tensor for node in nodes if node.op == "Const"}
        for node in nodes:
            # What tf.image.resize is with antialiasing; its second input is the size, as `name:output:0`.
            size = constants.get(node.input[1].split(":")[0]) if node.op == "ScaleAndTranslate" else None
            if size is not None:
                return int(tf.make_ndarray(size).max())
    return None


def _described(signature):
    if signature is None:
        return "no such signature"
    shown = {**signature.structured_input_signature[1], **signature.structured_outputs}
    return ", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in shown.items())
