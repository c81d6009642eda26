"""The two variants of ResNet-12, the usual backbone of the few-shot literature.

`resnet12` follows Lee et al., "Meta-learning with differentiable convex optimization", CVPR 2019 (the paper's [21]),
without DropBlock; `resnet12_basic` follows Laenen and Bertinetto, NeurIPS 2021 (the paper's [20]).
"""

from collections.abc import Sequence

import keras
from keras import layers

from dsl_tf.models.convolution import Convolution2D
from dsl_tf.models.normalization import FusedBatchNormalization

_BLOCKS = 4


def _convolution(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    """Applies a convolution and batch normalisation."""
    x = Convolution2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=f"{name}_convolution",
    )(x)
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_normalization")(x)


def _check(input_shape: tuple[int, int, int], filters: Sequence[int], smallest: int) -> None:
    if len(filters) != _BLOCKS or min(filters) < 1:
        raise ValueError(f"`filters` must be {_BLOCKS} positive widths, one per block. Received: {filters}")
    if len(input_shape) != 3 or min(input_shape[:2]) < smallest:
        raise ValueError(
            f"`input_shape` must be (height, width, channels) of at least {smallest}×{smallest} pixels. "
            f"Received: {input_shape}"
        )


def resnet12(input_shape: tuple[int, int, int], filters: Sequence[int] = (64, 160, 320, 640)) -> keras.Model:
    """Builds ResNet-12: four residual blocks of three 3×3 convolutions, and global average pooling.

    Args:
        input_shape: (height, width, channels), at least 16×16 pixels.
        filters: the width of each block; the last is d, the number of features.

    Returns:
        A `keras.Model` from images `[n, height, width, channels]` to float32 features `[n, d]`. Layers use the
        current dtype policy.

    Raises:
        ValueError: if there are not four widths, or the images are too small.
    """
    _check(input_shape, filters, smallest=2**_BLOCKS)
    x = inputs = keras.Input(input_shape, name="images")
    for block, width in enumerate(filters, start=1):
        name = f"block{block}"
        shortcut = _convolution(x, width, 1, f"{name}_shortcut")
        for index in (1, 2):
            x = _convolution(x, width, 3, f"{name}_{index}")
            x = layers.LeakyReLU(negative_slope=0.1, name=f"{name}_{index}_activation")(x)
        x = _convolution(x, width, 3, f"{name}_3")
        x = layers.Add(name=f"{name}_add")([x, shortcut])
        # The activation is monotone, so pooling first gives the same values at a quarter of the cost.
        x = layers.MaxPooling2D(2, name=f"{name}_pooling")(x)
        x = layers.LeakyReLU(negative_slope=0.1, name=f"{name}_activation")(x)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    return keras.Model(inputs, features, name="resnet12")


def resnet12_basic(input_shape: tuple[int, int, int], filters: Sequence[int] = (64, 160, 320, 640)) -> keras.Model:
    """Builds the ResNet-12 of basic blocks: a 3×3 stem and [1, 1, 2, 1] residual blocks of two 3×3 convolutions.

    Args:
        input_shape: (height, width, channels), at least 8×8 pixels.
        filters: the width of each of the four stages. The stem has the first width; the last is d, the number of
            features.

    Returns:
        A `keras.Model` from images `[n, height, width, channels]` to float32 features `[n, d]`. Layers use the
        current dtype policy.

    Raises:
        ValueError: if there are not four widths, or the images are too small.
    """
    _check(input_shape, filters, smallest=8)
    inputs = keras.Input(input_shape, name="images")
    x = _convolution(inputs, filters[0], 3, "stem")
    x = layers.ReLU(name="stem_activation")(x)
    for stage, (width, blocks) in enumerate(zip(filters, (1, 1, 2, 1), strict=True), start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            strides = 2 if stage > 1 and block == 1 else 1
            shortcut = x
            if strides > 1 or x.shape[-1] != width:
                shortcut = _convolution(x, width, 1, f"{name}_shortcut", strides)
            x = _convolution(x, width, 3, f"{name}_1", strides)
            x = layers.ReLU(name=f"{name}_1_activation")(x)
            x = _convolution(x, width, 3, f"{name}_2")
            x = layers.Add(name=f"{name}_add")([x, shortcut])
            x = layers.ReLU(name=f"{name}_activation")(x)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    return keras.Model(inputs, features, name="resnet12_basic")
