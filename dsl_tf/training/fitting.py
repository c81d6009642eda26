"""Fits the sizes of batches and episodes to the user's own images, which may be few."""

import dataclasses

import numpy as np

from dsl_tf.data.split import Split
from dsl_tf.runs.configuration import TrainingConfiguration


def fit_to_data(
    configuration: TrainingConfiguration, splits: dict[str, Split]
) -> tuple[TrainingConfiguration, dict[str, Split]]:
    """Lowers the sizes of batches and episodes where there are too few classes or images, and prints what it changes.

    Args:
        configuration: what was asked for.
        splits: the splits that were loaded.

    Returns:
        The configuration to train with, and the splits without those that nothing can be measured on.
    """
    configuration = fit_batches(configuration, splits["train"]) if "train" in splits else configuration
    measured = {name: _counts(split) for name, split in splits.items() if name != "train"}
    for name in [name for name, counts in measured.items() if np.count_nonzero(counts > 1) < 2]:
        print(f"{name} is not used: an episode needs at least 2 classes with at least 2 images each.")
        del measured[name]
    splits = {name: split for name, split in splits.items() if name == "train" or name in measured}
    return (_fit_episodes(configuration, measured) if measured else configuration), splits


def _counts(split: Split) -> np.ndarray:
    """The numbers of images of the classes, largest first."""
    return np.sort(np.bincount(split.labels, minlength=split.class_count))[::-1]


def fit_batches(configuration: TrainingConfiguration, train: Split) -> TrainingConfiguration:
    """Makes a batch of all classes if there are fewer than asked for, and prints what it changes.

    Args:
        configuration: what was asked for.
        train: the training images.

    Returns:
        The configuration to train with.
    """
    classes, ways, shots = train.class_count, configuration.ways, configuration.shots
    if not 1 <= classes < ways:
        return configuration
    # More images per class keep the batch as large as asked for, as far as no image repeats within it.
    fitted = max(shots, min(ways * shots // classes, int(_counts(train).min())))
    print(
        f"There are {classes} training classes, fewer than --ways={ways}: a batch has all of them, with {fitted} "
        f"images each (--shots={shots})."
    )
    return dataclasses.replace(configuration, ways=classes, shots=fitted)


def _fit_episodes(configuration: TrainingConfiguration, measured: dict[str, np.ndarray]) -> TrainingConfiguration:
    fewest = min(np.count_nonzero(counts > 1) for counts in measured.values())
    ways = min(configuration.test_ways, int(fewest))
    # Of the classes of an episode, the smallest; others are not used if they have fewer images.
    images = min(int(counts[ways - 1]) for counts in measured.values())
    shots = tuple(number for number in configuration.test_shots if number < images) or (1,)
    queries = min(configuration.test_queries, images - max(shots))
    changed = {"test_ways": ways, "test_shots": shots, "test_queries": queries}
    for name, value in changed.items():
        if value != (asked := getattr(configuration, name)):
            print(
                f"--{name}={_text(value)} in place of {_text(asked)}: {' and '.join(measured)} must have enough "
                f"classes and images, and {ways} classes with {images} images are there."
            )
    return dataclasses.replace(configuration, **changed)


def _text(value: int | tuple[int, ...]) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
