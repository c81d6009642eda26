"""The files that others use, written and read: backbone.keras, the SavedModel, and the training statistics."""

import os
import pathlib
import typing
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from dsl_tf.data.preprocessing import normalize, resize
from dsl_tf.errors import UserError
from dsl_tf.files import check_regular, replacing
from dsl_tf.models.standard_layers import with_standard_layers
from dsl_tf.runs import directory as run_directory

_SIGNATURE = "serving_default"


def export_backbone(backbone: keras.Model, path: pathlib.Path) -> None:
    """Saves a backbone as a `.keras` file that Keras loads without this package.

    Args:
        backbone: a `keras.Model` from normalised images (−1..1) to features.
        path: a `pathlib.Path` ending in `.keras`.
    """
    with replacing(path) as beside:
        with_standard_layers(backbone).save(beside)


def export_saved_model(backbone: keras.Model, path: pathlib.Path) -> None:
    """Saves a SavedModel that maps photographs to features, resizing and normalisation inside.

    Its signature `serving_default` takes `images`, uint8 `[n, height, width, 3]` of any size, and returns
    `features`, float32 `[n, d]`.

    Args:
        backbone: a `keras.Model` from normalised images `[n, height, width, 3]` to features `[n, d]`.
        path: a `pathlib.Path`, the folder to make; one that stands there is replaced.
    """
    size = backbone.input_shape[1:3]

    def serve(images):
        features = backbone(normalize(resize(images, size)), training=False)
        return {"features": tf.cast(features, tf.float32)}

    archive = ExportArchive()
    archive.track(backbone)
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")]
    archive.add_endpoint(_SIGNATURE, serve, input_signature=signature)
    with replacing(path) as beside:
        archive.write_out(str(beside), verbose=False)


def export_statistics(classifier: keras.layers.Layer | None, feature_mean: np.ndarray, path: pathlib.Path) -> None:
    """Saves what evaluation needs of training: the mean feature, and the classifier if there is one.

    Args:
        classifier: a classifier with `kernel` and `bias`, or None.
        feature_mean: the mean of the training features `[d]`.
        path: a `pathlib.Path` ending in `.npz`; its arrays are `feature_mean` and `kernel [d, C]`, `bias [C]`.
    """
    arrays: dict[str, Any] = {"feature_mean": np.asarray(feature_mean, np.float32)}
    if classifier is not None:
        arrays["kernel"] = np.asarray(tf.convert_to_tensor(classifier.kernel))
        arrays["bias"] = np.asarray(tf.convert_to_tensor(classifier.bias))
    with replacing(path) as beside:
        np.savez(beside, **arrays)


def export(parts, feature_mean, directory):
    """Exports backbone, SavedModel and training statistics into a run directory."""
    export_backbone(parts.backbone, directory / run_directory.BACKBONE)
    export_saved_model(parts.backbone, directory / run_directory.SAVED_MODEL)
    export_statistics(parts.classifier, feature_mean, directory / run_directory.STATISTICS)


class ExportedModel(typing.NamedTuple):
    """A SavedModel that `dsl_tf.runs.export` wrote.

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
        UserError: if there is none, it cannot be loaded, or it is not one that dsl_tf exported.
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
        UserError: if there is none, as beside a SavedModel alone.
    """
    file = pathlib.Path(path) / run_directory.STATISTICS
    try:
        check_regular(file)
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
