"""Presets of KerasHub as backbones, each with the preprocessing that its weights were trained with."""

import contextlib
import difflib
import math
import os
from typing import Any

import keras
import numpy as np
from absl import logging


def check_hub_preset(preset: str) -> None:
    """Checks that KerasHub is installed and knows a preset, without loading it.

    Args:
        preset: see `hub_backbone`.

    Raises:
        ValueError: if not.
    """
    hub = _keras_hub(preset)
    preset = os.path.expanduser(preset)
    if "://" in preset:
        return
    if "/" in preset or os.path.isdir(preset):
        if not os.path.isfile(os.path.join(preset, "config.json")):
            raise ValueError(
                f"`preset` must be a folder that KerasHub's save_to_preset wrote. Received: {preset!r}, without "
                "config.json"
            )
        return
    names = list(hub.models.Backbone.presets)
    if preset not in names:
        near = difflib.get_close_matches(preset, names, n=3)
        advice = f"Did you mean {' or '.join(near)}?" if near else "keras_hub.models.Backbone.presets lists them"
        raise ValueError(
            "`preset` must be the name of a KerasHub preset, a folder that save_to_preset wrote, or an address such as "
            f"hf://user/model. Received: {preset!r}. {advice}"
        )


def hub_backbone(preset: str, input_shape: tuple[int, int, int], name: str | None = None) -> keras.Model:
    """Builds the network of a KerasHub preset with its weights and its own preprocessing inside.

    Args:
        preset: what KerasHub's `from_preset` takes: a name such as `"resnet_18_imagenet"`, which is downloaded once, an
            address such as `"hf://user/model"`, or a folder that `save_to_preset` wrote.
        input_shape: (height, width, 3).
        name: the name of the model; by default KerasHub's.

    Returns:
        A `keras.Model` from images `[n, height, width, 3]` with values −1..1 to float32 features `[n, d]`: the mean of
        a map over its pixels, a class token, or the mean of other tokens. Its layers follow the dtype policy in force.

    Raises:
        ValueError: if KerasHub is not installed, the preset cannot be loaded, or its network does not take the images
            or return features of them.
    """
    check_hub_preset(preset)
    preset = os.path.expanduser(preset)
    network = _network(preset, input_shape)
    scale, offset = _preprocessing(preset)
    inputs = keras.Input(input_shape, name="images")
    # KerasHub's preprocessing starts from values 0..255.
    pixels = keras.layers.Rescaling(
        (127.5 * scale).tolist(), (127.5 * scale + offset).tolist(), dtype="float32", name="pixels"
    )(inputs)
    features = _features(_without_hub(network)(pixels), network)
    return keras.Model(inputs, features, name=name or network.name)


def _keras_hub(preset: str) -> Any:
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(
            f"`preset`={preset!r} needs KerasHub, which cannot be imported ({error}). Install it: pip install "
            "'dsl_tf[hub]'"
        ) from None
    return keras_hub


def _network(preset: str, input_shape: tuple[int, int, int]) -> keras.Model:
    """Returns the preset's network, with one input that takes the images and one output."""
    network = _loaded(preset)
    if len(network.inputs) == 1 and not _takes(network, input_shape) and network.inputs[0].shape[-1:] == (3,):
        # A network of convolutions alone takes another size with the same weights.
        with contextlib.suppress(ValueError):
            network = _loaded(preset, image_shape=tuple(input_shape))
    shapes = [tuple(tensor.shape[1:]) for tensor in network.inputs]
    if len(shapes) != 1 or not _takes(network, input_shape):
        raise ValueError(
            f"The network of `preset`={preset!r} must take images of shape {tuple(input_shape)}. Received: "
            f"{type(network).__name__}, which takes {' and '.join(map(str, shapes))}. Train on images of its size, or "
            "choose a preset for images"
        )
    if len(network.outputs) != 1:
        raise ValueError(
            f"The network of `preset`={preset!r} must have one output. Received: {type(network).__name__}, with "
            f"{len(network.outputs)}. Choose the backbone of an image classifier"
        )
    return network


def _without_hub(network: keras.Model) -> keras.Model:
    """Returns a model that Keras loads without KerasHub if all layers are Keras's own; otherwise the network itself."""
    if all(type(layer).__module__.startswith("keras.") for layer in network.layers):
        return keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    # Some of KerasHub's layers cannot be loaded alone, but its networks can.
    return network


def _loaded(preset: str, **changes: Any) -> keras.Model:
    # A network's own code, a broken download or damaged files may raise almost any exception.
    try:
        network = _keras_hub(preset).models.Backbone.from_preset(
            preset, dtype=keras.config.dtype_policy().name, **changes
        )
    except Exception as error:
        raise ValueError(f"`preset`={preset!r} cannot be loaded: {_line(error)}") from None
    if not (getattr(network, "inputs", None) and getattr(network, "outputs", None)):
        raise ValueError(
            f"The network of `preset`={preset!r} must be a functional model. Received: {type(network).__name__}"
        )
    return network


def _takes(network: keras.Model, input_shape: tuple[int, int, int]) -> bool:
    shape = tuple(network.inputs[0].shape)
    return len(shape) == 4 and all(size in (None, side) for size, side in zip(shape[1:], input_shape, strict=True))


def _preprocessing(preset: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns factor and offset, `[3]`, that KerasHub applies to pixels 0..255."""
    try:
        converter = _keras_hub(preset).layers.ImageConverter.from_preset(preset)
    except FileNotFoundError:
        logging.warning(
            "The preset %r says nothing of its preprocessing (it has no image converter): its network gets pixel "
            "values from -1 to 1.",
            preset,
        )
        return np.full(3, 1 / 127.5), np.full(3, -1.0)
    except Exception as error:
        raise ValueError(f"The preprocessing of `preset`={preset!r} cannot be loaded: {_line(error)}") from None
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return np.broadcast_to(scale, 3).astype(np.float64), np.broadcast_to(offset, 3).astype(np.float64)


def _features(outputs: keras.KerasTensor, network: keras.Model) -> keras.KerasTensor:
    rank = len(outputs.shape)
    if rank == 4:
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(outputs)
    if rank == 3:
        tokens = outputs.shape[1]
        if tokens is not None and tokens > _patches(network):
            outputs = keras.layers.Cropping1D((0, tokens - 1), name="class_token")(outputs)
        return keras.layers.GlobalAveragePooling1D(dtype="float32", name="features")(outputs)
    if rank == 2:
        return keras.layers.Activation("linear", dtype="float32", name="features")(outputs)
    raise ValueError(
        f"The network of a preset must return a map, tokens or features. Received: {type(network).__name__}, which "
        f"returns shape {tuple(outputs.shape)}. Choose the backbone of an image classifier"
    )


def _patches(network: keras.Model) -> float:
    """Returns the number of patches of a vision transformer's images; a class token is one token more."""
    size = getattr(network, "patch_size", None)
    if size is None:
        return math.inf
    rows, columns = (size, size) if isinstance(size, int) else size
    height, width = network.inputs[0].shape[1:3]
    return math.inf if None in (height, width) else (height // rows) * (width // columns)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
