"""Times a training step of ResNet-12 without XLA, with --jit_compile (the network alone) and compiled as a whole.

The three take turns, on the same batch. Beside the times: the processor's seconds, which a busy machine changes less,
the seconds of the first step, which compiles, and the largest relative difference of the loss from that without XLA,
over all these steps.

Run: python benchmarks/xla_step.py [--steps=5] [--rounds=2] [--batch=64] [--precision=float32]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.construction import build
from dsl_tf.training.step import TrainingStep

CLASSES, SIZE, SHOTS = 32, 32, 2
LOSSES = {
    "SCE": {"metric_loss": "none"},
    "direct sum": {"integration": "direct_sum"},
    "spectral sum": {"integration": "spectral_sum", "spectral_interval": 1},
}
KINDS = ("none", "network", "whole step")


def taken(kind: str, batch: int, precision: str, **changes: Any) -> Callable[[], float]:
    """Returns a function that takes one step and returns the mean loss since the start."""
    configuration = TrainingConfiguration(output_dir="unused", precision=precision, learning_rate=0.01, **changes)
    step = TrainingStep(build(configuration, (SIZE, SIZE, 3), CLASSES, 100), jit_compile=kind == "network")
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (batch, SIZE, SIZE, 3), np.uint8))
    labels = tf.constant(np.arange(batch) // SHOTS % CLASSES)

    def take(images: tf.Tensor, labels: tf.Tensor) -> None:
        step(images, labels)

    function = tf.function(take, jit_compile=True, autograph=False) if kind == "whole step" else take

    def take_step() -> float:
        function(images, labels)
        return step.means()["loss"]

    return take_step


def timed(function: Callable[[], float]) -> tuple[float, float, float]:
    """Returns the seconds and the processor's seconds of a call, and what it returns."""
    started, processor = time.perf_counter(), time.process_time()
    value = function()
    return time.perf_counter() - started, time.process_time() - processor, value


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} at the start, {os.cpu_count()} cores")
    print(f"{'loss':14}{'XLA':12}{'s a step':>10}{'processor s':>13}{'first step s':>14}{'difference':>12}")
    for loss, changes in LOSSES.items():
        steps = {kind: taken(kind, arguments.batch, arguments.precision, **changes) for kind in KINDS}
        first = {kind: timed(take) for kind, take in steps.items()}
        measured = {kind: [] for kind in KINDS}
        for _ in range(arguments.rounds):
            for kind in KINDS:
                measured[kind] += [timed(steps[kind]) for _ in range(arguments.steps)]
        for kind in KINDS:
            wall, processor = (statistics.median(values[index] for values in measured[kind]) for index in (0, 1))
            pairs = zip([first[kind], *measured[kind]], [first["none"], *measured["none"]], strict=True)
            difference = max(abs(ours[2] / theirs[2] - 1) for ours, theirs in pairs)
            print(
                f"{loss:14}{kind:12}{wall:10.3f}{processor:13.3f}{first[kind][0]:14.1f}{difference:12.1e}", flush=True
            )
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
