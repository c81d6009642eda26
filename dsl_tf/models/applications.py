"""Networks of `keras.applications` as backbones, each with the preprocessing that its weights were trained with."""

import importlib
import os

import keras

# Constructors are named like classes; the modules are in lower case.
APPLICATIONS = tuple(name for name in dir(keras.applications) if name[0].isupper())


def application(
    name: str, input_shape: tuple[int, int, int], weights: str | os.PathLike[str] | None = None
) -> keras.Model:
    """Builds a network of `keras.applications` without its classifier, with its own preprocessing inside.

    Args:
        name: one of `APPLICATIONS`, such as `"MobileNetV2"`.
        input_shape: (height, width, 3).
        weights: `"imagenet"`, which Keras downloads once; the path of a file of weights without the top; None for
            random weights.

    Returns:
        A `keras.Model` from images `[n, height, width, 3]` with values −1..1 to float32 features `[n, d]`, the mean
        of the last map over its pixels. Its layers follow the dtype policy in force.

    Raises:
        ValueError: if the name is unknown, the network does not take the input shape, or the weights cannot be loaded.
    """
    if name not in APPLICATIONS:
        raise ValueError(f"`name` must be one of {', '.join(APPLICATIONS)}. Received: {name!r}")
    build = getattr(keras.applications, name)
    if weights is not None:
        weights = os.fspath(weights)
        if weights != "imagenet" and not os.path.isfile(weights):
            raise ValueError(f"`weights` must be 'imagenet' or a file. Received: {weights!r}, which is not a file")
    try:
        network = build(include_top=False, weights=None, input_shape=tuple(input_shape))
    except ValueError as error:
        raise ValueError(f"{name} does not take images of shape {input_shape}: {_line(error)}") from None
    if weights is not None:
        # Built a second time: this separates an error in the weights from an error in the shape.
        try:
            network = build(include_top=False, weights=weights, input_shape=tuple(input_shape))
        # For a broken download or a file of other weights, Keras may raise almost any exception.
        except Exception as error:
            raise ValueError(f"`weights`={weights!r} cannot be loaded into {name}: {_line(error)}") from None
    module = importlib.import_module(f"keras.applications.{build.__module__.rpartition('.')[2]}")
    inputs = keras.Input(input_shape, name="images")
    # The preprocessing of each network starts from values 0..255.
    pixels = keras.layers.Rescaling(127.5, offset=127.5, dtype="float32", name="pixels")(inputs)
    features = network(module.preprocess_input(pixels))
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(features)
    return keras.Model(inputs, features, name=name.lower())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
