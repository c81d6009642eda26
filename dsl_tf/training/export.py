"""The files that others use: the backbone for Keras, and a SavedModel for TensorFlow alone."""

import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from dsl_tf import run_directory
from dsl_tf.atomic_files import replacing
from dsl_tf.data.preprocessing import normalize, resize
from dsl_tf.models.standard_layers import with_standard_layers


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
    archive.add_endpoint("serving_default", serve, input_signature=signature)
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
