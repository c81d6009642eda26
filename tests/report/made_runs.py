"""Run directories with the numbers that a test chose, without training."""

import zlib

import numpy as np

from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.final_test import write_test_episodes

EPISODES = 60


def accuracy(value, shots=1, **changes):
    """An entry of `accuracies`; the value in percent."""
    return {
        "split": "test",
        "classifier": "nearest_centroid",
        "feature_transform": "none",
        "ways": 5,
        "shots": shots,
        "queries": 15,
        "episodes": 10_000,
        "seed": 0,
        "accuracy": value / 100,
        "half_width": 0.0021,
        **changes,
    }


def make_run(directory, accuracies=(), validation=None, metrics=(), finished=True, results=None, **flags):
    """Writes the small files of a run directory, and returns its path."""
    directory.mkdir(parents=True)
    configuration = TrainingConfiguration(**{"dataset": "mini_imagenet", "output_dir": str(directory), **flags})
    run_directory.record_flags(directory, configuration)
    for record in metrics:
        run_directory.append_metrics(directory, record)
    if finished:
        best = None if validation is None else {"step": 1, "validation_accuracy": validation}
        run_directory.write_results(
            directory,
            {
                "accuracies": list(accuracies),
                "best": best,
                "loss": configuration.loss_name,
                "source": configuration.dataset,
                "versions": {"dsl_tf": "0.1.0", "tensorflow": "2.21.0"},
                **(results or {}),
            },
        )
    return directory


def epoch_record(epoch, **values):
    """A line of metrics.jsonl."""
    return {"epoch": epoch, "step": 10 * epoch, "loss": 3.0, "classification_loss": 2.0, "metric_loss": 1.0, **values}


def run_with_episodes(directory, seed=0, better=0.0, fingerprint="f", transforms=("none", "cl2"), **flags):
    """Makes a run on own data whose episodes are random, and `better` on average; returns them by feature transform."""
    random = np.random.default_rng(zlib.crc32(f"{directory.name} {seed}".encode()))
    arrays, entries = {}, []
    for transform in transforms:
        values = np.clip(0.6 + better + random.normal(0, 0.1, EPISODES), 0, 1).astype(np.float32)
        arrays[transform] = values.astype(np.float64)
        entries.append(
            accuracy(
                100 * float(values.mean()),
                feature_transform=transform,
                episodes=EPISODES,
                episodes_fingerprint=fingerprint,
            )
        )
    make_run(directory, entries, seed=seed, dataset="folder", data_dir="/data/pets", **flags)
    write_test_episodes(directory, {f"nearest_centroid/{kind}/1": values for kind, values in arrays.items()})
    return arrays
