"""`python -m dsl_tf train` with a network in place of ResNet-12 that TensorFlow traces in a moment.

It has ResNet-12's own layers, one of each: tests of devices, workers and signals need no more of them.
"""

import sys

import keras

from dsl_tf.commands import main
from dsl_tf.models.convolution import Convolution2D
from dsl_tf.models.normalization import FusedBatchNormalization
from dsl_tf.training import construction


def small_network(input_shape, filters):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            Convolution2D(filters[-1], 5, strides=2, use_bias=False),
            FusedBatchNormalization(momentum=0.9, epsilon=1e-5),
            keras.layers.LeakyReLU(negative_slope=0.1),
            keras.layers.GlobalAveragePooling2D(dtype="float32"),
        ]
    )


if __name__ == "__main__":
    construction.BACKBONES["resnet12"] = small_network
    sys.exit(main(["train", *sys.argv[1:]]))
