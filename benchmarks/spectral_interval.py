"""Measures the lag of W's spectrum if the spectral sum decomposes W every k steps (`--spectral_interval`).

Trains a narrow ResNet-12 with the spectral sum, k = 1, and compares the weighting of features at each step with that of
the last multiple of k: the largest change of a feature of norm 1, from 0 to 1.

Run: python benchmarks/spectral_interval.py [--data_dir=DIR] [--epochs=10]
DIR has a folder `train` with a folder of images per class. The default is the built-in glyphs.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from dsl_tf.data.balanced import steps_per_epoch
from dsl_tf.data.pipeline import training_batches
from dsl_tf.losses import spectral_projection
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import load_splits
from dsl_tf.training.construction import build
from dsl_tf.training.step import TrainingStep

INTERVALS = (2, 10, 100)


def trained_kernels(configuration: TrainingConfiguration) -> tuple[list[np.ndarray], int]:
    """Trains; returns W before each step, and the number of steps before the first drop of the learning rate."""
    train = load_splits(configuration)["train"]
    epoch_steps = steps_per_epoch(train.labels, configuration.ways, configuration.shots)
    parts = build(configuration, train.images.shape[1:], train.class_count, epoch_steps)
    step, kernels = TrainingStep(parts), []
    batches = training_batches(train, configuration.ways, configuration.shots, configuration.seed)
    steps = configuration.epochs * epoch_steps
    progress = keras.utils.Progbar(steps, unit_name="step")
    for images, labels in batches.take(steps):
        kernels.append(parts.classifier.kernel.numpy())
        step(images, labels)
        progress.add(1)
    return kernels, round(configuration.schedule_epochs[1][0] * epoch_steps)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    configuration = TrainingConfiguration(
        dataset="folder" if arguments.data_dir else "glyphs",
        data_dir=arguments.data_dir,
        output_dir="unused",
        filters=(16, 32, 64, 48),
        precision="mixed_bfloat16",
        shots=4,
        epochs=arguments.epochs,
        integration="spectral_sum",
        metric_weight=0.1,
    )
    kernels, drop = trained_kernels(configuration)
    identity = np.eye(len(kernels[0]))
    weightings = [spectral_projection(identity, kernel, configuration.power).numpy() for kernel in kernels]
    print(f"{len(kernels)} steps, the learning rate's first drop after {drop}; d, C = {kernels[0].shape}")
    print(f"{'k':>6}{'change, mean':>16}{'largest':>10}{'mean after the drop':>22}{'largest':>10}")
    for interval in INTERVALS:
        changes = [
            np.linalg.norm(weighting - weightings[step - step % interval], 2)
            for step, weighting in enumerate(weightings)
        ]
        # At the drop, the projection may be from before it.
        after = changes[min(drop + interval, len(changes) - 1) :]
        print(f"{interval:6}{np.mean(changes):16.4f}{np.max(changes):10.4f}{np.mean(after):22.4f}{np.max(after):10.4f}")


if __name__ == "__main__":
    main()
