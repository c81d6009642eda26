"""Conversion of a run's network to LiteRT and ONNX, each checked against the run's SavedModel."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dsl_tf.data.image_files import read_images
from dsl_tf.data.listing import walk
from dsl_tf.data.skipped import Skipped, examples
from dsl_tf.errors import UserError, reason_of
from dsl_tf.files import replacing
from dsl_tf.models.standard_layers import in_float32
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration.export import ExportConfiguration
from dsl_tf.runs.converters import CONVERTERS, serving
from dsl_tf.runs.export import ExportedModel, load_backbone, load_exported_model

FILES = {"litert": "features.tflite", "litert_int8": "features_int8.tflite", "onnx": "features.onnx"}
_MOST_IMAGES = 100
# Relative to the largest feature: the difference is wrong, or deserves a warning. Rounding alone reaches the second in
# a network that amplifies it, such as one after a few steps of training.
_WRONG, _NOTABLE = 0.5, 0.05
# Cosine similarities: a conversion below the first is wrong, an int8 one below the second may classify worse.
_UNLIKE, _SIMILAR = 0.9, 0.95


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A file that was written, and how its features compare with the SavedModel's.

    Args:
        path: the file.
        images: the number of images compared.
        difference: the largest absolute difference of a feature.
        scale: the largest absolute feature of the SavedModel.
        similarity: the smallest cosine similarity of an image's features with the SavedModel's.
    """

    path: pathlib.Path
    images: int
    difference: float
    scale: float
    similarity: float


def convert(configuration: ExportConfiguration) -> Iterator[Conversion]:
    """Converts the network of a finished run.

    All formats map `images`, uint8 `[n, height, width, 3]` of the size of the training images, to `features`, float32
    `[n, d]`. Normalisation is inside, resizing is not.

    Args:
        configuration: an `ExportConfiguration`.

    Yields:
        A `Conversion` per format, in the order of `formats`, once it is written.

    Raises:
        UserError: if the run, the images or a package is missing; after the other formats, if one cannot hold the
            network.
    """
    if "onnx" in configuration.formats:
        _check_onnx()
    directory = pathlib.Path(str(configuration.model))
    backbone, exported = _load(directory)
    images = _images(configuration.images_dir, backbone, exported)
    expected = exported.signature(images=tf.constant(images))["features"].numpy()
    served = serving(_exact(backbone))
    written, failures = [], []
    for name in configuration.formats:
        path = pathlib.Path(configuration.output_dir) / FILES[name]
        try:
            content, extract = CONVERTERS[name](served, images)
            conversion = _checked(name, path, extract(images), expected)
        # A converter may raise almost any exception for an operation that it does not know.
        except Exception as error:
            failures.append(f"{name} ({reason_of(error)})")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            beside.write_bytes(content)
        written.append(str(path))
        yield conversion
    if failures:
        done = ", ".join(written) or "nothing"
        raise UserError(
            f"The network {backbone.name} cannot be converted to {'; '.join(failures)}. Written: {done}. TensorFlow "
            f"and TensorFlow Serving run {str(directory / run_directory.SAVED_MODEL)!r}."
        )


def _check_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--formats=onnx needs tf2onnx and onnxruntime. Received: {error}. Install them: pip install "
            "'dsl_tf[onnx]', or choose --formats=litert."
        ) from None


def _load(directory: pathlib.Path) -> tuple[keras.Model, ExportedModel]:
    """Returns backbone.keras and the SavedModel of a run."""
    path = directory / run_directory.BACKBONE
    if not path.exists():
        raise UserError(
            f"--model={str(directory)!r} must be the directory of a finished run. Received: one without "
            f"{run_directory.BACKBONE}. Give the --output_dir of a training."
        )
    try:
        return load_backbone(path), load_exported_model(directory)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{str(path)!r} must be a Keras model file. It cannot be loaded: {error}") from None


def _exact(backbone: keras.Model) -> keras.Model:
    try:
        return in_float32(backbone)
    # A layer of the user's own may raise any kind of error.
    except Exception as error:
        raise UserError(
            f"The network {backbone.name} must be one that Keras can copy, so that it computes in float32. Received: "
            f"one that fails: {reason_of(error)}. Train with --precision=float32."
        ) from None


def _images(images_dir: str | None, backbone: keras.Model, exported: ExportedModel) -> np.ndarray:
    """Returns up to 100 images, uint8 `[n, height, width, 3]`, spread over a folder's; random ones without it."""
    height, width = backbone.input_shape[1:3]
    if images_dir is None:
        return np.random.default_rng(0).integers(0, 256, (_MOST_IMAGES, height, width, 3), np.uint8)
    if height != width:
        raise UserError(
            f"--images_dir must be used with a network of square images. Received: {height}×{width} pixels. Omit it."
        )
    paths = sorted(
        os.path.join(images_dir, *visit.parts, name) for visit in walk(images_dir) for name in visit.listing.images
    )
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(len(paths), _MOST_IMAGES)).astype(int)]
    images, reasons = read_images(chosen, height, stored_size=exported.stored_size)
    if reasons:
        skipped = [Skipped(chosen[position], reason) for position, reason in reasons.items()]
        logging.warning("Among the images of --images_dir: %s. They are skipped.", examples(skipped))
    if not len(images):
        raise UserError(f"--images_dir={images_dir!r} must hold readable images. Received: none of {len(paths)}.")
    return images


def _checked(name: str, path: pathlib.Path, found: np.ndarray, expected: np.ndarray) -> Conversion:
    """Compares features with the SavedModel's."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    difference, scale = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    # Features of 0 are similar to features of 0 alone.
    alike = np.where(lengths > 0, (found * expected).sum(axis=1) / np.where(lengths > 0, lengths, 1), 0)
    similarity = float(np.where((found == expected).all(axis=1), 1, alike).min())
    told = (
        f"its features differ by up to {difference:.2g} from the SavedModel's, which are up to {scale:.2g}, and their "
        f"smallest cosine similarity is {similarity:.2f}"
    )
    exact = name != "litert_int8"
    if not np.isfinite(difference) or (exact and (difference > _WRONG * scale or similarity < _UNLIKE)):
        raise ValueError(told)
    if similarity < _SIMILAR or (exact and difference > _NOTABLE * scale):
        logging.warning(
            "%s: %s. The network amplifies rounding, or --images_dir has too few images like those in use.", name, told
        )
    return Conversion(path, len(found), difference, scale, similarity)
