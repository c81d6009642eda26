"""The losses that several devices compute, beside those of one."""

import argparse
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.distribution.images import CLASSES, SIDE, make_split
from benchmarks.distribution.processes import start
from benchmarks.distribution.steps import (
    Batch,
    float32_step,
    float64_step,
    in_another_order,
    in_float64,
    losses_from,
    set_weights,
    small_backbone,
    weights_of,
)
from dsl_tf import distribution
from dsl_tf.data.pipeline import training_batches
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import construction

WAYS, SHOTS = 8, 4
LOSSES = {
    "SCE": {"metric_loss": "none"},
    "NCA": {"classification_loss": "none", "metric_loss": "nca"},
    "Proto": {"classification_loss": "none", "metric_loss": "proto"},
    "sum": {"integration": "sum"},
    "direct sum": {"integration": "direct_sum"},
    "spectral sum": {"integration": "spectral_sum"},
}
PRECISIONS = ("float64", "float32", "mixed_bfloat16", "mixed_float16")
# The number of other row orders of each batch, in which one device is compared with itself.
ORDERS = 4


def numbers(
    strategy: tf.distribute.Strategy, losses: Sequence[str], steps: int, reference: Mapping[str, np.ndarray] | None
) -> dict[str, Any]:
    """Returns the losses of all steps by loss and precision, each training on its own and from the reference's weights.

    Without a reference also what becomes one: the weights at each step, and the losses with the rows in other orders.
    """
    rows = distribution.worker_rows(strategy, WAYS * SHOTS)
    batches = list(training_batches(make_split(SIDE), WAYS, SHOTS, 0, flip=False, rows=rows).take(steps))
    found: dict[str, Any] = {}
    for name, precision in itertools.product(losses, PRECISIONS):
        of_one = _trained(strategy, name, precision, batches, reference)
        found |= {f"{name}/{precision}/{key}": value for key, value in of_one.items()}
    return found


def _parts(strategy: tf.distribute.Strategy, name: str, precision: str, steps: int) -> construction.Parts:
    configuration = TrainingConfiguration(
        ways=WAYS,
        shots=SHOTS,
        learning_rate=0.05,
        epochs=8,
        precision="float32" if precision == "float64" else precision,
        **LOSSES[name],
    )
    parts = construction.build(configuration, (SIDE, SIDE, 3), CLASSES, max(steps // 8, 1), small_backbone(precision))
    if precision == "float64":
        parts = in_float64(parts, configuration)
    return construction.replicate(parts, configuration, strategy)


def _trained(
    strategy: tf.distribute.Strategy,
    name: str,
    precision: str,
    batches: Sequence[Batch],
    reference: Mapping[str, np.ndarray] | None,
) -> dict[str, Any]:
    """The losses of one loss in one precision, by the way in which they were computed."""
    parts = _parts(strategy, name, precision, len(batches))
    step = (float64_step if precision == "float64" else float32_step)(parts, strategy, WAYS * SHOTS)
    layers = [parts.backbone] + ([parts.classifier] if parts.classifier is not None else [])
    optimizer_first = [variable.numpy() for variable in parts.optimizer.variables]
    free, weights = [], []
    for batch in batches:
        weights.append(weights_of(layers))
        free.append(step(*batch))
    found: dict[str, Any] = {"free": np.array(free)}
    if precision == "mixed_float16":
        # Each skipped step halves the scale, and it first grows after 2,000 steps.
        optimizer = parts.optimizer
        scale = float(np.array(optimizer.dynamic_scale))
        found["skipped"] = round(np.log2(optimizer.initial_scale / scale))
    if reference is not None:
        key = f"{name}/{precision}/weights"
        weights = [
            [reference[f"{key}/{number}/{index}"] for index in range(len(values))]
            for number, values in enumerate(weights)
        ]
        return {**found, "same": losses_from(weights, layers, step, batches)}
    for number, values in enumerate(weights):
        found |= {f"weights/{number}/{index}": value for index, value in enumerate(values)}
    for order in range(ORDERS):
        others = list(in_another_order(batches, order))
        found[f"same/{order}"] = losses_from(weights, layers, step, others)
        set_weights(layers, weights[0])
        for variable, value in zip(parts.optimizer.variables, optimizer_first, strict=True):
            variable.assign(value)
        found[f"free/{order}"] = np.array([step(*batch) for batch in others])
    return found


def print_numbers(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    """Prints the largest differences of several devices' losses from those of one."""
    start(arguments, "one", folder / "one.npz")
    found = {"one": np.load(folder / "one.npz")}
    others = arguments.others.split(",")
    for devices in others:
        start(arguments, devices, folder / f"{devices}.npz", folder / "one.npz")
        found[devices] = np.load(folder / f"{devices}.npz")
    one = found["one"]
    print(f"Largest relative difference of the loss from one device's in {arguments.steps} steps")
    columns = [*others, "reordered"]
    width = 11 * len(columns)
    print(f"{'':27}{'same weights':>{width}}{'free':>{width}}{'loss of one':>18}")
    print(f"{'':27}" + "".join(f"{name:>11}" for name in columns) * 2 + f"{'first':>9}{'last':>9}")
    for name, precision in itertools.product(arguments.losses.split(","), PRECISIONS):
        key = f"{name}/{precision}"
        expected = one[f"{key}/free"]
        differences = []
        for kind in ("same", "free"):
            compared = [[found[devices][f"{key}/{kind}"]] for devices in others]
            compared.append([one[f"{key}/{kind}/{order}"] for order in range(ORDERS)])
            differences += [np.abs(np.array(losses) / expected - 1).max() for losses in compared]
        print(
            f"{name:13}{precision:14}"
            + "".join(f"{value:11.1e}" for value in differences)
            + f"{expected[0]:9.3f}{expected[-1]:9.3f}"
        )
    for name in arguments.losses.split(","):
        skipped = ", ".join(f"{devices} {found[devices][f'{name}/mixed_float16/skipped']}" for devices in found)
        print(f"mixed_float16, steps that {name} skipped: {skipped}")
