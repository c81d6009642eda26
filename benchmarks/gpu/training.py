"""Training steps for the checks and figures."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.gpu.sizes import Size
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.construction import Parts, build
from dsl_tf.training.step import TrainingStep


def configuration(size: Size, **changes: Any) -> TrainingConfiguration:
    """Returns the configuration of a training at a size."""
    options = {"filters": size.filters, "ways": size.ways, "shots": size.shots, "learning_rate": 0.01, **changes}
    return TrainingConfiguration(output_dir="unused", **options)


def parts_of(size: Size, classes: int | None = None, **changes: Any) -> Parts:
    """Builds network, loss and optimizer."""
    return build(configuration(size, **changes), (size.image, size.image, 3), classes or size.ways, 100)


def batches(size: Size, count: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns batches of random images uint8 `[n, h, w, 3]` and labels `[n]`, the same in every process."""
    random = np.random.default_rng(0)
    labels = tf.constant(np.arange(size.batch, dtype=np.int32) % size.ways)
    shape = (size.batch, size.image, size.image, 3)
    return [(tf.constant(random.integers(0, 256, shape, np.uint8)), labels) for _ in range(count)]


def seconds_a_step(parts: Parts, size: Size, jit_compile: bool = False, refresh_every: int = 0) -> float:
    """Returns the mean duration of a step, without the first ones, which trace and choose algorithms."""
    step = TrainingStep(parts, jit_compile)
    ((images, labels),) = batches(size, 1)

    def run(count: int) -> None:
        for number in range(count):
            if refresh_every and number % refresh_every == 0:
                parts.loss.refresh()
            step(images, labels)
        # Waits for the device.
        step.steps.numpy()

    run(3)
    return timed(lambda: run(size.steps)) / size.steps


def timed(function: Callable[[], object]) -> float:
    """Returns the duration of a call in seconds."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
