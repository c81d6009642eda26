"""The files that others use, written and read: backbone.keras, the SavedModel, and the training statistics."""

import importlib.util
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from dsl_tf.data.preprocessing import normalize, resize, resize_and_cut
from dsl_tf.errors import UserError, reason_of
from dsl_tf.files import check_regular, replacing
from dsl_tf.models.standard_layers import with_standard_layers
from dsl_tf.runs import directory as run_directory

_SIGNATURE = "serving_default"
_IMAGE_SIZE = "image_size"
_STORED_SIZE = "stored_size"


def export_backbone(backbone: keras.Model, path: pathlib.Path) -> None:
    """Saves a backbone as a `.keras` file that Keras loads without this package.

    Args:
        backbone: a `keras.Model` from normalised images (−1..1) to features.
        path: a `pathlib.Path` ending in `.keras`.
    """
    with replacing(path) as beside:
        with_standard_layers(backbone).save(beside)


def export_saved_model(backbone: keras.Model, path: pathlib.Path, stored_size: int | None = None) -> None:
    """Saves a SavedModel that maps photographs to features, resizing and normalisation inside.

    Its signature `serving_default` takes `images`, uint8 `[n, height, width, 3]` of any size, and returns
    `features`, float32 `[n, d]`. Its signature `image_size` takes nothing and returns `image_size`, int32
    (height, width) in pixels, to which `serving_default` resizes the images, and `stored_size`, int32, or 0 for None.

    Args:
        backbone: a `keras.Model` from normalised images `[n, height, width, 3]` to features `[n, d]`.
        path: a `pathlib.Path`, the folder to make; one that stands there is replaced.
        stored_size: that of the training images. With it, `serving_default` keeps the aspect and cuts out the centre;
            without, it resizes whole images, not keeping the aspect.

    Raises:
        UserError: if the backbone takes images of any size, so that there is none to resize to.
    """
    size = backbone.input_shape[1:3]
    if None in size:
        raise UserError(
            f"A backbone must take images of a fixed height and width to be exported. Received: {size}. "
            "Call it on a keras.Input of the size, and export keras.Model(inputs, backbone(inputs))."
        )

    bring_to = resize if stored_size is None else resize_and_cut

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        features = backbone(normalize(bring_to(images, size)), training=False)
        return {"features": tf.cast(features, tf.float32)}

    def sizes() -> dict[str, tf.Tensor]:
        return {_IMAGE_SIZE: tf.constant(size, tf.int32), _STORED_SIZE: tf.constant(stored_size or 0, tf.int32)}

    archive = ExportArchive()
    archive.track(backbone)
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")]
    archive.add_endpoint(_SIGNATURE, serve, input_signature=signature)
    archive.add_endpoint(_IMAGE_SIZE, sizes, input_signature=[])
    with replacing(path) as beside:
        archive.write_out(str(beside), verbose=False)


def export_statistics(
    classifier: keras.layers.Layer | None,
    feature_mean: np.ndarray,
    path: pathlib.Path,
    class_names: Sequence[str] = (),
) -> None:
    """Saves what others need of training: the mean feature, and the classifier and its classes if there is one.

    Args:
        classifier: a classifier with `kernel` and `bias`, or None.
        feature_mean: the mean of the training features `[d]`.
        path: a `pathlib.Path` ending in `.npz`; its arrays are `feature_mean` and `kernel [d, C]`, `bias [C]`,
            `class_names [C]`.
        class_names: the names of the classifier's classes; empty if they are unknown.
    """
    arrays: dict[str, Any] = {"feature_mean": np.asarray(feature_mean, np.float32)}
    if classifier is not None:
        arrays["kernel"] = np.asarray(tf.convert_to_tensor(classifier.kernel))
        arrays["bias"] = np.asarray(tf.convert_to_tensor(classifier.bias))
        if class_names:
            arrays["class_names"] = np.array(class_names, np.str_)
    with replacing(path) as beside:
        np.savez(beside, **arrays)


def export(
    backbone: keras.Model,
    classifier: keras.layers.Layer | None,
    feature_mean: np.ndarray,
    directory: pathlib.Path,
    stored_size: int | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Exports backbone, SavedModel and training statistics into a run directory."""
    export_backbone(backbone, directory / run_directory.BACKBONE)
    export_saved_model(backbone, directory / run_directory.SAVED_MODEL, stored_size)
    export_statistics(classifier, feature_mean, directory / run_directory.STATISTICS, class_names)


class ExportedModel(NamedTuple):
    """A SavedModel that `dsl_tf.runs.export` wrote.

    `signature` is its function of uint8 `images` `[n, height, width, 3]`, and `image_size` the longer side of what it
    resizes them to, in pixels. `stored_size` is that of the training images, or None if they were resized to squares.
    """

    signature: Callable[..., dict[str, tf.Tensor]]
    image_size: int
    stored_size: int | None


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
        signatures = tf.saved_model.load(str(folder)).signatures
    # Damaged files make TensorFlow raise nearly any kind of error.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{str(folder)!r} must be a SavedModel. It cannot be loaded: {reason}") from None
    signature = signatures.get(_SIGNATURE)
    if signature is None or not _maps_images_to_features(signature):
        raise UserError(
            f"{str(folder)!r} must be a SavedModel that dsl_tf exported: {_SIGNATURE} from `images`, uint8 "
            f"[n, height, width, 3] of any size, to `features`, float32 [n, d]. Received: {_described(signature)}."
        )
    return ExportedModel(signature, *_sizes(signatures, folder))


def load_backbone(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a Keras model file; nothing is unpickled.

    Args:
        path: a `.keras` file.

    Raises:
        ValueError: if it cannot be loaded, with the reason in one line.
    """
    try:
        check_regular(pathlib.Path(path))
        return keras.models.load_model(path, compile=False)
    # For damaged files, Keras may raise almost any exception, with many lines of text.
    except Exception as error:
        if "keras_hub" in str(error) and importlib.util.find_spec("keras_hub") is None:
            raise ValueError("Its layers are KerasHub's. Install it: pip install 'dsl_tf[hub]'.") from None
        raise ValueError(reason_of(error)) from None


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


def _saved_model_folder(path: str | os.PathLike[str]) -> pathlib.Path:
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


def _maps_images_to_features(signature: Any) -> bool:
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if set(inputs) != {"images"} or "features" not in outputs:
        return False
    images, features = inputs["images"], outputs["features"]
    return (
        (images.dtype, features.dtype) == (tf.uint8, tf.float32)
        and images.shape.as_list() == [None, None, None, 3]
        and features.shape.rank == 2
    )


def _sizes(signatures: Mapping[str, Any], folder: pathlib.Path) -> tuple[int, int | None]:
    """Returns the longer side that the images are resized to, and the `stored_size`, which earlier exports had not."""
    sizes = signatures[_IMAGE_SIZE]() if _IMAGE_SIZE in signatures else {}
    size, stored_size = sizes.get(_IMAGE_SIZE), sizes.get(_STORED_SIZE)
    if size is None or size.dtype != tf.int32 or size.shape != (2,):
        raise UserError(
            f"{str(folder)!r} must be a SavedModel that dsl_tf exported, with the signature `{_IMAGE_SIZE}`, (height, "
            "width). Received: one without it, as earlier versions of dsl_tf wrote it. Export it again from its run's "
            f"{run_directory.BACKBONE}: dsl_tf.runs.export.export_saved_model(keras.models.load_model(file), folder)."
        )
    return int(tf.reduce_max(size)), None if stored_size is None else int(stored_size) or None


def _described(signature: Any) -> str:
    if signature is None:
        return "no such signature"
    shown = {**signature.structured_input_signature[1], **signature.structured_outputs}
    return ", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in shown.items())
