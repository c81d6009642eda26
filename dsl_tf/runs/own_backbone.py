"""A user's own backbone, tried on one image before training: whatever the export would refuse is refused at once."""

import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import NoReturn

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dsl_tf.data.preprocessing import normalize
from dsl_tf.errors import UserError
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.export import export_backbone, export_saved_model, load_exported_model

# Relative to the largest feature: half precision rounds, and the exported model has Keras's own batch normalisation.
_TOLERANCE = 0.05


def checked_backbone(backbone: keras.Model, image_shape: tuple[int, int, int]) -> keras.Model:
    """Checks that a backbone takes the images, returns features, and can be exported.

    Args:
        backbone: a `keras.Model` from normalised images `[n, height, width, 3]` to features `[n, d]`, built or not. It
            may take images of any size, be subclassed, and have its one input or output in a list or dict.
        image_shape: (height, width, 3) of the training images.

    Returns:
        The model to train: the one given if it is functional or sequential and its input has the images' shape,
        otherwise a functional model around it.

    Raises:
        UserError: if it cannot be trained or exported.
    """
    if not isinstance(backbone, keras.Model):
        raise UserError(
            f"A backbone must be a keras.Model. Received: {type(backbone).__name__}. Layers are one as "
            "keras.Sequential([keras.Input(shape), *layers])."
        )
    model = _of_images(backbone, image_shape)
    _check_rank(model.outputs[0])
    image = np.random.default_rng(0).integers(0, 256, (1, *image_shape), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        _check_export(model, image, pathlib.Path(folder))
    return model


def _of_images(backbone: keras.Model, image_shape: tuple[int, int, int]) -> keras.Model:
    """Returns a model with one input, of the images' shape, and one output."""
    # Only functional models, and sequential ones once they are built, have tensors as inputs and outputs.
    inputs, outputs = getattr(backbone, "inputs", None), getattr(backbone, "outputs", None)
    if inputs and outputs:
        _check_input(inputs, image_shape)
        of_images = tuple(inputs[0].shape) == (None, *image_shape)
        if of_images and isinstance(backbone, keras.Sequential):
            return backbone
        # The same layers, where the one input or output may stand in a list or dict.
        plain = keras.Model(inputs[0], outputs[0], name=backbone.name)
        if type(backbone) is type(plain) and len(outputs) == 1:
            if of_images:
                return plain
            backbone = plain
    images = keras.Input(image_shape, name="images")
    try:
        features = keras.tree.flatten(backbone(images))
    # The user's own code may raise any kind of error.
    except Exception as error:
        _refuse(f"take images of shape {image_shape}, one tensor [n, height, width, 3]", error, "Change its call.")
    if len(features) != 1 or not isinstance(features[0], keras.KerasTensor):
        shapes = ", ".join(str(getattr(feature, "shape", feature)) for feature in features)
        raise UserError(
            f"A backbone must have one output, features [n, d]. Received: {len(features)} "
            f"output{'s' * (len(features) != 1)}: {shapes}. "
            "Give a model of one, such as keras.Model(backbone.input, output)."
        )
    return keras.Model(images, features[0], name=backbone.name)


def _check_input(inputs: list[keras.KerasTensor], image_shape: tuple[int, int, int]) -> None:
    shapes = [tuple(tensor.shape) for tensor in inputs]
    expected = (None, *image_shape)
    matches = len(shapes[0]) == 4 and all(size in (None, side) for size, side in zip(shapes[0], expected))
    if len(shapes) != 1 or not matches:
        raise UserError(
            f"A backbone must have one input of shape {expected}, as the training images. Received: "
            f"{len(shapes)} input{'s' * (len(shapes) != 1)} of shape {', '.join(map(str, shapes))}. Build it with "
            f"keras.Input({image_shape}), or train on images of its size."
        )


def _check_rank(features: keras.KerasTensor) -> None:
    if len(features.shape) != 2 or features.shape[1] is None:
        raise UserError(
            f"A backbone must return features [n, d]. Received: shape {tuple(features.shape)}. End it with a layer "
            "such as keras.layers.GlobalAveragePooling2D or Flatten."
        )


def _check_export(model: keras.Model, image: np.ndarray, folder: pathlib.Path) -> None:
    """Exports a model as after training, and compares the features of what was exported with its own."""
    try:
        returned = model(normalize(image), training=False)
    # The user's own code may raise any kind of error, here and below.
    except Exception as error:
        _refuse("return the features of an image", error, "Change its call.")
    # Not the symbolic output's dtype: a Lambda layer's may be another.
    if not returned.dtype.is_floating:
        raise UserError(
            f"A backbone must return floating-point features. Received: {returned.dtype.name}. End it without a cast."
        )
    features = tf.cast(returned, tf.float32).numpy()
    try:
        export_saved_model(model, folder / run_directory.SAVED_MODEL)
        served = load_exported_model(folder).signature(images=tf.constant(image))["features"].numpy()
    except Exception as error:
        _refuse("be a model that a SavedModel can hold", error, "Its layers need TensorFlow or keras.ops operations.")
    _check_same(
        features, served, run_directory.SAVED_MODEL, "Its features must depend on the images and weights alone."
    )
    _check_file(model, image, features, folder / run_directory.BACKBONE)


def _check_file(model: keras.Model, image: np.ndarray, features: np.ndarray, file: pathlib.Path) -> None:
    advice = "Every layer and model of your own needs get_config with all arguments of its constructor"
    try:
        export_backbone(model, file)
    except Exception as error:
        _refuse("be a model that Keras can save", error, f"{advice}.")
    if any(_is_anonymous(layer) for layer in _layers(model)):
        logging.warning(
            "The backbone has a Lambda layer of an anonymous function. Training continues, but %s will be readable "
            "only with keras.models.load_model(file, safe_mode=False); %s needs nothing. Use a layer of keras.layers, "
            "or a function with a name that keras.saving.register_keras_serializable registers.",
            run_directory.BACKBONE,
            run_directory.SAVED_MODEL,
        )
        return
    try:
        saved = keras.models.load_model(file, compile=False)(normalize(image), training=False)
    except Exception as error:
        advice += ", and every class and function @keras.saving.register_keras_serializable()"
        _refuse("be a model that Keras can save and load again", error, f"{advice}.")
    _check_same(features, tf.cast(saved, tf.float32).numpy(), run_directory.BACKBONE, f"{advice}.")


def _check_same(features: np.ndarray, exported: np.ndarray, name: str, advice: str) -> None:
    # Weights that are not finite end training by themselves.
    scale = np.abs(features).max(initial=0.0)
    if np.isfinite(scale) and (
        features.shape != exported.shape or not np.abs(features - exported).max(initial=0.0) <= _TOLERANCE * scale
    ):
        raise UserError(
            f"A backbone must return the same features once it is exported. Received: others from its {name}. {advice}"
        )


def _layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model, at any depth."""
    for inner in getattr(layer, "layers", []):
        yield inner
        yield from _layers(inner)


def _is_anonymous(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer holds a Python lambda, which Keras loads only where it may run any code of a file."""
    return isinstance(layer, keras.layers.Lambda) and getattr(layer.function, "__name__", "") == "<lambda>"


def _refuse(requirement: str, error: Exception, advice: str) -> NoReturn:
    # Keras prints parts of its messages in bold.
    reason = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:300] or type(error).__name__
    raise UserError(f"A backbone must {requirement}. Received: one that fails: {reason} {advice}") from None
