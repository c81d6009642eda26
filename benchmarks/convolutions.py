"""Times the 3×3 convolutions of ResNet-12 alone: a lower bound of the time of a training step on this machine.

It times the forward pass, the gradient of the images, and the gradient of the kernel by TensorFlow's operation and by
matrix products (`dsl_tf/models/convolution.py`), and sums the fastest times over the layers. It omits the first layer,
which has three channels, and the 1×1 convolutions.

Run: python benchmarks/convolutions.py [--size=32] [--images=64] [--precision=bfloat16]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from dsl_tf.models.convolution import _kernel_gradient

FILTERS = (64, 160, 320, 640)


def layers(size: int) -> dict[tuple[int, int, int], int]:
    """Returns `{(pixels, channels, filters): number of such layers}`."""
    counts = {}
    for block, width in enumerate(FILTERS):
        pixels = size // 2**block
        if block:
            counts[pixels, FILTERS[block - 1], width] = 1
        counts[pixels, width, width] = 2
    return counts


def operations(x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> dict[str, Callable[[], tf.Tensor]]:
    """Returns `{name: function}`."""
    by_operation = {"input": x, "filter_sizes": kernel.shape, "out_backprop": upstream}
    return {
        "forward": lambda: tf.nn.conv2d(x, kernel, 1, "SAME"),
        "images": lambda: tf.nn.conv2d_transpose(upstream, kernel, tf.shape(x), 1, "SAME"),
        "kernel": lambda: tf.raw_ops.Conv2DBackpropFilter(**by_operation, strides=[1, 1, 1, 1], padding="SAME"),
        "by products": lambda: _kernel_gradient(x, kernel.shape, upstream),
    }


def milliseconds(functions: Mapping[str, Callable[[], tf.Tensor]], rounds: int) -> dict[str, float]:
    """Returns `{name: median time}` of functions that run in turn."""
    taken = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, function in functions.items():
            started = time.perf_counter()
            # Waits for the device.
            function()[..., :1, :1].numpy()
            if number >= 2:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    random, total = np.random.default_rng(0), 0.0
    print(f"{arguments.images} images of {arguments.size}×{arguments.size}, {arguments.precision}; ms (GFLOP/s)")
    for (pixels, channels, filters), count in layers(arguments.size).items():
        shapes = (
            (arguments.images, pixels, pixels, channels),
            (3, 3, channels, filters),
            (arguments.images, pixels, pixels, filters),
        )
        tensors = [tf.cast(random.standard_normal(shape), arguments.precision) for shape in shapes]
        functions = {name: tf.function(function) for name, function in operations(*tensors).items()}
        medians = milliseconds(functions, arguments.rounds)
        work = 2 * arguments.images * pixels**2 * 9 * channels * filters
        cells = "".join(f"{name:>14} {value:5.1f} ({work / value / 1e6:3.0f})" for name, value in medians.items())
        print(f"{count} × {f'{pixels}², {channels} to {filters}':<18}{cells}", flush=True)
        total += count * (medians["forward"] + medians["images"] + min(medians["kernel"], medians["by products"]))
    print(f"the fastest of each, over all layers: {total:.0f} ms")


if __name__ == "__main__":
    main()
