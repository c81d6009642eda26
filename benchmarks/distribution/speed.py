"""Seconds, memory and bytes exchanged of a step."""

import argparse
import itertools
import json
import pathlib
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.distribution.images import CLASSES, make_split
from benchmarks.distribution.processes import DEVICES, start
from dsl_tf import distribution
from dsl_tf.data.pipeline import training_batches
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import construction
from dsl_tf.training.step import TrainingStep

SCALING = {"strong": lambda replicas: 256, "weak": lambda replicas: 64 * replicas}
SCALED_FILTERS, SCALED_SIDE, TIMED_STEPS = (16, 32, 64, 128), 32, 6


def loopback_bytes() -> int:
    """Returns the number of bytes that the loopback device has received."""
    line = next(
        line for line in pathlib.Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")
    )
    return int(line.split(":")[1].split()[0])


def memory(kind: str) -> int:
    """Returns bytes of memory of this process: resident ("VmRSS"), or resident at most ("VmHWM")."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1])


def speed(strategy: tf.distribute.Strategy, size: int) -> dict[str, Any]:
    """Returns seconds, memory and bytes on the loopback device of a step with a batch of `size`."""
    ways, shots = min(size // 4, CLASSES), size // min(size // 4, CLASSES)
    configuration = TrainingConfiguration(ways=ways, shots=shots, filters=SCALED_FILTERS)
    parts = construction.build(configuration, (SCALED_SIDE, SCALED_SIDE, 3), CLASSES, 10)
    step = TrainingStep(construction.replicate(parts, configuration, strategy), strategy=strategy)
    rows = distribution.worker_rows(strategy, size)
    batches = list(training_batches(make_split(SCALED_SIDE), ways, shots, 0, rows=rows).take(2 + TIMED_STEPS))
    seconds = []
    # So that the memory of imports and data does not hide the memory of steps.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    resident = memory("VmRSS")
    for number, (images, labels) in enumerate(batches):
        distribution.barrier(strategy)
        if number == 2:
            before = loopback_bytes()
        started = time.monotonic()
        step(images, labels, size)
        step.means()
        seconds.append(time.monotonic() - started)
    return {
        "seconds": float(np.median(seconds[2:])),
        "memory": memory("VmHWM") - resident,
        "bytes": (loopback_bytes() - before) / TIMED_STEPS,
        "parameter_bytes": sum(4 * int(np.prod(weight.shape)) for weight in parts.trainable_weights),
        "feature_bytes": 8 * size * SCALED_FILTERS[-1],
    }


def print_speed(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    """Prints a row for each kind of devices, with one batch for all and with a batch that grows with them."""
    print(f"{'':19}{'batch':>6}{'s a step':>10}{'images/s':>10}{'MB memory':>11}{'MB a step':>11}{'computed':>10}")
    for kind, (devices, (processes, replicas)) in itertools.product(SCALING, DEVICES.items()):
        batch = SCALING[kind](processes * replicas)
        start(arguments, devices, folder / "speed.json", batch=batch)
        found = json.loads((folder / "speed.json").read_text())
        # A ring: all-reduce of the parameters and of the features' gradient, all-gather of the features.
        computed = (processes - 1) * (2 * found["parameter_bytes"] + 3 * found["feature_bytes"])
        measured = found["bytes"] if processes > 1 else 0
        print(
            f"{kind:8}{devices:11}{batch:6}{found['seconds']:10.3f}{batch / found['seconds']:10.1f}"
            f"{found['memory'] / 1e6:11.0f}{measured / 1e6:11.2f}{computed / 1e6:10.2f}",
            flush=True,
        )
