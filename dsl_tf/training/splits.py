"""Loads and checks the splits of a run."""

import tensorflow as tf
from absl import logging

from dsl_tf import distribution
from dsl_tf.data import sources
from dsl_tf.data.balanced import check_balanced
from dsl_tf.data.split import SPLITS, Split
from dsl_tf.errors import UserError
from dsl_tf.runs.configuration import TrainingConfiguration


def load_splits(configuration: TrainingConfiguration) -> dict[str, Split]:
    """Loads the splits of a configuration's data set. Only the train split is required.

    Returns:
        A dict from `"train"` and, if they exist, `"val"` and `"test"` to `Split`.

    Raises:
        UserError: if the data cannot be read.
    """
    loaders = sources.open_splits(**configuration.data_options)
    if "train" not in loaders:
        found = ", ".join(loaders) or "no split"
        raise UserError(f"{configuration.data_dir!r} must have a train split. Received: {found}. Check the path.")
    splits = {}
    for name in SPLITS:
        if name not in loaders:
            logging.warning("%s has no %s split: continuing without it.", configuration.dataset, name)
            continue
        splits[name] = split = loaders[name]()
        print(f"{name}: {len(split.labels):,} images of {split.class_count} classes, {split.images.shape[1]} pixels")
    return splits


def load_splits_in_turn(configuration: TrainingConfiguration, strategy: tf.distribute.Strategy) -> dict[str, Split]:
    """Loads the splits, in the chief first: it may have to prepare the data that all workers read."""
    if distribution.is_chief(strategy):
        splits = load_splits(configuration)
        distribution.barrier(strategy)
        return splits
    distribution.barrier(strategy)
    return load_splits(configuration)


def check_splits(configuration: TrainingConfiguration, splits: dict[str, Split], replicas: int) -> None:
    """Checks the splits before training, so that validation and test do not fail later."""
    if "train" not in splits:
        raise UserError(f"`splits` must hold 'train'. Received: {', '.join(splits) or 'none'}.")
    train = splits["train"]
    check_balanced(train.labels, train.class_names, configuration.ways)
    if configuration.ways * configuration.shots < replicas:
        raise UserError(
            f"Batches of --ways={configuration.ways} and --shots={configuration.shots} must have at least one image "
            f"per device. Received: {replicas} devices. Use fewer, or a larger batch."
        )
    if configuration.early_stopping and "val" not in splits:
        raise UserError(
            "--early_stopping needs a validation. Received: data without a val split. Add one, hold out part of the "
            "training data with --val_fraction, or omit --early_stopping."
        )
    for name in sorted(set(splits) - {"train"}):
        if splits[name].images.shape[1:] != train.images.shape[1:]:
            raise UserError(
                f"Images of all splits must have the size of those in train, {train.images.shape[1:3]}. "
                f"Received: {splits[name].images.shape[1:3]} in {name}."
            )
