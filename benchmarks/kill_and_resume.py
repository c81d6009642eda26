"""Checks that trainings that were killed at random times and resumed end with the same bits as an uninterrupted one.

Runs one training without interruption, and others that get SIGKILL at random times within its duration and are started
again each time. All are --deterministic and save a checkpoint every step, so that some kills hit writes.

Run: python benchmarks/kill_and_resume.py [--runs=20] [--kills=3] [--filters=8,16,32,64] [--classification_loss=bce …]
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDE, CLASSES, IMAGES = 16, 12, 24
# Entries that may differ: time and place.
TIMED = {"images_per_second"}
PLACED = ("--output_dir=",)


def make_splits() -> dict[str, Any]:
    """Returns train, val and test splits of noisy colours."""
    from dsl_tf.data import Split

    def split(seed: int) -> Any:
        generator = np.random.default_rng(seed)
        colours = np.repeat(generator.uniform(60, 200, (CLASSES, 1, 1, 3)), IMAGES, axis=0)
        pixels = np.clip(colours + generator.normal(0, 40, (CLASSES * IMAGES, SIDE, SIDE, 3)), 0, 255)
        names = tuple(f"{seed}.{label}" for label in range(CLASSES))
        return Split(pixels.astype(np.uint8), np.repeat(np.arange(CLASSES), IMAGES), names)

    return {name: split(seed) for seed, name in enumerate(("train", "val", "test"))}


def one_convolution(width: int) -> Any:
    """Returns a network that TensorFlow traces in a moment."""
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Conv2D(width, 5, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def train_run(directory: pathlib.Path, filters: Sequence[int], options: Mapping[str, Any]) -> None:
    """Trains without output. Runs in a separate process."""
    from dsl_tf.runs.configuration import TrainingConfiguration
    from dsl_tf.training import train

    configuration = TrainingConfiguration(
        ways=6,
        shots=3,
        test_ways=4,
        test_episodes=100,
        validation_episodes=20,
        checkpoint_minutes=0,
        log_every=5,
        deterministic=True,
        output_dir=str(directory),
        **({"filters": tuple(filters)} if len(filters) > 1 else {}),
        **options,
    )
    backbone = one_convolution(*filters) if len(filters) == 1 else None
    with open(directory.with_suffix(".log"), "a") as log, contextlib.redirect_stdout(log):
        train(configuration, make_splits(), backbone)


def outcome(directory: pathlib.Path) -> tuple[list, list, dict[str, Any]]:
    """Returns what must have the same bits: weights, statistics, metrics and results."""
    import keras

    with np.load(directory / "training_statistics.npz", allow_pickle=False) as archive:
        arrays = [archive[name] for name in sorted(archive.files)]
    arrays += keras.models.load_model(directory / "backbone.keras").get_weights()
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    results = json.loads((directory / "results.json").read_text())
    # Depends on the sources, which may be edited in the meantime.
    del results["commit"]
    results["flags"] = [line for line in results["flags"] if not line.startswith(PLACED)]
    return (
        [(array.shape, array.dtype.str, array.tobytes()) for array in arrays],
        [{name: value for name, value in line.items() if name not in TIMED} for line in metrics],
        results,
    )


def start(context: Any, directory: pathlib.Path, *arguments: Any) -> Any:
    process = context.Process(target=train_run, args=(directory, *arguments))
    process.start()
    return process


def killed_run(
    context: Any,
    directory: pathlib.Path,
    arguments: tuple[Any, ...],
    kills: int,
    duration: float,
    instants: random.Random,
) -> tuple[int, int]:
    """Kills a run at random times, then lets it end. Returns the number of kills, and of kills during a write."""
    met = writes = 0
    for kill in range(kills):
        process = start(context, directory, *arguments)
        # A resumed run takes less time than the full one, in which most random times would be too late.
        process.join(instants.uniform(0, duration if kill == 0 else 0.7 * duration))
        if process.exitcode is None:
            process.kill()
            met += 1
        elif process.exitcode:
            sys.exit(f"{directory} failed with exit code {process.exitcode}")
        process.join()
        writes += any(directory.rglob(".partial.*"))
    process = start(context, directory, *arguments)
    process.join()
    if process.exitcode:
        sys.exit(f"{directory} failed with exit code {process.exitcode}")
    return met, writes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="kills per run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--filters", default="8,16,32,64", help="of ResNet-12, or of a single convolution")
    parser.add_argument("--classification_loss", default="sce")
    parser.add_argument("--metric_loss", default="nca")
    arguments = parser.parse_args()
    options = {name: getattr(arguments, name) for name in ("epochs", "classification_loss", "metric_loss")}
    training = [int(width) for width in arguments.filters.split(",")], options
    # Processes start with TensorFlow already imported, so that kills fall into the run.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dsl_tf.training"])
    instants = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # The first process waits for the imports.
        warm_up = context.Process(target=int)
        warm_up.start()
        warm_up.join()
        started = time.monotonic()
        process = start(context, folder / "unbroken", *training)
        process.join()
        if process.exitcode:
            sys.exit(f"The uninterrupted run failed with exit code {process.exitcode}")
        duration = time.monotonic() - started
        print(f"uninterrupted: {duration:.1f} s", flush=True)
        expected = outcome(folder / "unbroken")
        identical = met = writes = 0
        for number in range(arguments.runs):
            directory = folder / f"killed{number}"
            of_run = killed_run(context, directory, training, arguments.kills, duration, instants)
            met, writes = met + of_run[0], writes + of_run[1]
            equal = outcome(directory) == expected
            identical += equal
            print(f"run {number}: {of_run[0]} kills, {'identical' if equal else 'DIFFERENT'}", flush=True)
    print(f"{identical} of {arguments.runs} runs ended identical after {met} kills, {writes} of them during a write")
    sys.exit(0 if identical == arguments.runs else 1)


if __name__ == "__main__":
    main()
