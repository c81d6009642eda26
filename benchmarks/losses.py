"""Measures the time that the integrated losses add to a training step of ResNet-12, in turn in one process.

"Held" is the spectral sum that decomposes W every ten steps; its time includes a tenth of a decomposition. Then it
times several ways to compute the spectrum of W.

Run: python benchmarks/losses.py [--rounds=9]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.construction import build
from dsl_tf.training.step import TrainingStep

IMAGES, WAYS, SIZE = 512, 64, 32
INTERVAL = 10
HELD = "spectral_sum, held"
INTEGRATIONS = {64: ("direct_sum", "spectral_sum"), 351: ("direct_sum", "spectral_sum"), 908: ("spectral_sum", HELD)}


def step_with(integration: str, classes: int, precision: str) -> tuple[Callable[[], None], Callable[[], None] | None]:
    """Returns a function that runs a step, and one that decomposes W, or None for losses other than `HELD`."""
    options = {"metric_loss": "none"} if integration == "none" else {"integration": integration}
    if integration == HELD:
        options = {"integration": "spectral_sum", "spectral_interval": INTERVAL}
    configuration = TrainingConfiguration(
        output_dir="unused", precision=precision, ways=WAYS, shots=IMAGES // WAYS, **options
    )
    parts = build(configuration, (SIZE, SIZE, 3), classes, 100)
    step = TrainingStep(parts)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8))
    labels = tf.constant(np.arange(IMAGES, dtype=np.int32) % WAYS)

    def take_step() -> None:
        step(images, labels)
        step.steps.numpy()

    def refresh() -> None:
        parts.loss.refresh()
        parts.loss.projection.numpy()

    return take_step, refresh if integration == HELD else None


def seconds(function: Callable[[], object]) -> float:
    """Returns the duration of a call in seconds."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def decompositions(rounds: int) -> dict[str, float]:
    """Returns `{name: median milliseconds}` of ways to compute the spectrum of a 640×908 kernel."""
    kernel = tf.constant(np.random.default_rng(0).standard_normal((640, 908)))

    def eigenvalues(dtype: tf.DType) -> tf.Tensor:
        W = tf.cast(kernel, dtype)
        return tf.linalg.eigh(tf.matmul(W, W, transpose_b=True))[0]

    ways = {
        "eigenvalues of the Gram matrix, float64": lambda: eigenvalues(tf.float64),
        "eigenvalues of the Gram matrix, float32": lambda: eigenvalues(tf.float32),
        "singular values, float32": lambda: tf.linalg.svd(tf.cast(kernel, tf.float32))[0],
    }
    functions = {name: tf.function(way) for name, way in ways.items()}
    for function in functions.values():
        function()
    taken = {
        name: [seconds(lambda f=function: f().numpy()) for _ in range(rounds)] for name, function in functions.items()
    }
    return {name: 1e3 * statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="mixed_bfloat16")
    arguments = parser.parse_args()
    print(f"{IMAGES} images of {SIZE}×{SIZE}, d = 640, {arguments.precision}; median of {arguments.rounds} rounds")
    print(f"{'loss (SCE, NCA)':24}{'C':>6}{'step s':>10}{'more than the sum: ms':>24}{'':>10}")
    for classes, integrations in INTEGRATIONS.items():
        functions = {name: step_with(name, classes, arguments.precision) for name in ("sum", "none", *integrations)}
        taken = {name: [] for name in functions}
        for take_step, _ in functions.values():
            take_step()
        for _ in range(arguments.rounds):
            for name, (take_step, refresh) in functions.items():
                # One decomposition per INTERVAL steps.
                share = 0 if refresh is None else seconds(refresh) / INTERVAL
                taken[name].append(seconds(take_step) + share)
        for name in functions:
            median = statistics.median(taken[name])
            # Per round, so that times close to each other are compared.
            more = statistics.median(np.subtract(taken[name], taken["sum"]))
            share = more / statistics.median(taken["sum"])
            print(f"{name:24}{classes:6}{median:10.3f}{1e3 * more:24.1f}{100 * share:9.2f}%", flush=True)
    for name, milliseconds in decompositions(arguments.rounds).items():
        print(f"{name:44}{milliseconds:8.1f} ms")


if __name__ == "__main__":
    main()
