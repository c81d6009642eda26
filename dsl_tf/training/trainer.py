"""A training run, from its configuration to a run directory with results."""

import contextlib
import os
import pathlib
import platform
from typing import Any

import keras
import tensorflow as tf
from absl import logging

import dsl_tf
from dsl_tf import distribution, evaluation
from dsl_tf.data import sources
from dsl_tf.data.balanced import check_balanced, drop_small_classes, steps_per_epoch
from dsl_tf.data.split import SPLITS, Split
from dsl_tf.errors import UserError
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import flagfiles, provenance
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.export import export
from dsl_tf.runs.features import extract_features
from dsl_tf.runs.subjects import run_features
from dsl_tf.training import construction
from dsl_tf.training.checkpoints import Checkpoints
from dsl_tf.training.interruption import Interruption
from dsl_tf.training.loop import few_shot_arguments, run_epochs
from dsl_tf.training.step import TrainingStep


def load_splits(configuration: TrainingConfiguration) -> dict[str, Split]:
    """Loads the splits of a configuration's data set; val and test may be missing, train may not.

    Returns:
        A dict from `"train"`, and `"val"` and `"test"` where they exist, to `Split`.

    Raises:
        UserError: where the data cannot be read.
    """
    loaders = sources.open_splits(**configuration.data_options)
    if "train" not in loaders:
        found = ", ".join(loaders) or "no split"
        raise UserError(f"{configuration.data_dir!r} must have a train split. Received: {found}. Check the path.")
    splits = {}
    for name in SPLITS:
        if name not in loaders:
            logging.warning("%s has no %s split: going on without it.", configuration.dataset, name)
            continue
        splits[name] = split = loaders[name]()
        print(f"{name}: {len(split.labels):,} images of {split.class_count} classes, {split.images.shape[1]} pixels")
    return splits


def _load_splits_in_turn(configuration, strategy):
    """Loads the splits in the chief before the other workers: it may prepare the data that all of them read."""
    if distribution.is_chief(strategy):
        splits = load_splits(configuration)
        distribution.everywhere(strategy, True)
        return splits
    distribution.everywhere(strategy, True)
    return load_splits(configuration)


def _check_splits(configuration, splits, replicas):
    """Finds before training what would fail after it."""
    if "train" not in splits:
        raise UserError(f"`splits` must hold 'train'. Received: {', '.join(splits) or 'none'}.")
    train = splits["train"]
    check_balanced(train.labels, train.class_names, configuration.ways)
    if configuration.ways * configuration.shots < replicas:
        raise UserError(
            f"Batches of --ways={configuration.ways} and --shots={configuration.shots} must have an image for each "
            f"device. Received: {replicas} devices. Use fewer, or a larger batch."
        )
    for name in sorted(set(splits) - {"train"}):
        if splits[name].images.shape[1:] != train.images.shape[1:]:
            raise UserError(
                f"Images of all splits must have the size of train, {train.images.shape[1:3]}. "
                f"Received: {splits[name].images.shape[1:3]} in {name}."
            )
        for shots in configuration.test_shots:
            try:
                evaluation.sample_episodes(
                    splits[name].labels, configuration.test_ways, shots, configuration.test_queries, 1, seed=0
                )
            except UserError as error:
                raise UserError(
                    f"Split {name} is too small for --test_ways={configuration.test_ways}, --test_shots={shots}, "
                    f"--test_queries={configuration.test_queries}. {error}"
                ) from None


def _test(configuration, parts, splits, feature_mean, directory):
    """Returns the few-shot accuracies of the test classes and, with a classifier, the scores of Table 1."""
    split = splits["test"]
    features = run_features(directory, parts.backbone, split)
    arguments = {
        **few_shot_arguments(configuration),
        "feature_transforms": evaluation.FEATURE_TRANSFORMS,
        "mean": feature_mean,
    }
    lams = None
    if "laplacian_shot" in configuration.test_classifiers:
        if "val" in splits:
            val_features = run_features(directory, parts.backbone, splits["val"])
            lams = evaluation.choose_lams(val_features, splits["val"].labels, **arguments)
        else:
            logging.warning("No val split to choose LaplacianShot's λ on: going on with %s.", DEFAULT_LAM)
    results: dict[str, Any] = {
        "accuracies": evaluation.few_shot_accuracies(
            features,
            split.labels,
            "test",
            episodes=configuration.test_episodes,
            classifiers=configuration.test_classifiers,
            lams=lams,
            **arguments,
        )
    }
    if parts.classifier is not None:
        kernel = tf.convert_to_tensor(parts.classifier.kernel)
        scores = evaluation.subspace_scores(features, split.labels, kernel)
        results["discriminant_scores"] = {"split": "test", **scores}
    return results


def train(
    configuration: TrainingConfiguration,
    splits: dict[str, Split] | None = None,
    backbone: keras.Model | None = None,
) -> dict[str, Any]:
    """Trains a backbone, or goes on where an interrupted run stopped, and evaluates it on unseen classes.

    On several devices the batch is divided among them, and the numbers are those of one device but for rounding. Of
    several workers each calls it with the same arguments; the first one writes, the others read `output_dir`.

    Called in the main thread, it answers SIGTERM and SIGUSR1: it ends the step, saves where it stands and raises
    SystemExit with code 128 + the signal's number, 143 for SIGTERM. The same call goes on with that step.

    Args:
        configuration: a `TrainingConfiguration`.
        splits: a dict of `Split`s in place of the configuration's data set: `"train"`, and `"val"` and `"test"`,
            of other classes, where there are any.
        backbone: a `keras.Model` from images `[n, height, width, 3]` with values −1..1 to features `[n, d]`, in place
            of the configuration's.

    Returns:
        What `results.json` in the run directory holds, that is `accuracies`, `discriminant_scores` (Table 1) and all
        that is needed to repeat the run.

    Raises:
        UserError: where the flags do not fit the data, or the output directory is another run's or one on other data,
            or another process trains in it, or another worker died.
    """
    strategy = distribution.open_strategy(configuration.distribution, configuration.virtual_devices)
    if configuration.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError(
            "--jit_compile must be left out on several devices: XLA would compile what they exchange in batch "
            f"normalisation. Received: {strategy.num_replicas_in_sync} devices. Leave it out, or take one device."
        )
    with distribution.lost_workers_told(strategy):
        if distribution.is_chief(strategy):
            return _train_and_write(configuration, splits, backbone, strategy)
        return _train_beside(configuration, splits, backbone, strategy)


def _train_and_write(configuration, splits, backbone, strategy):
    """What the only worker does, or the chief; it tells the others whether there is anything to do."""
    directory = run_directory.open_directory(configuration)
    results = run_directory.read_results(directory)
    if results is None:
        with run_directory.unwritable_told(directory), run_directory.locked(directory):
            # Once more, because another process may have written there before the lock was free.
            run_directory.open_directory(configuration)
            results = run_directory.read_results(directory)
            if results is None:
                with Interruption() as interruption:
                    distribution.everywhere(strategy, True)
                    return _train(configuration, splits, backbone, directory, interruption, strategy)
    distribution.everywhere(strategy, False)
    print(f"The run in {str(directory)!r} is complete.")
    return results


def _train_beside(configuration, splits, backbone, strategy):
    """What the other workers do: all but writing and speaking."""
    directory = pathlib.Path(configuration.output_dir)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), Interruption() as interruption:
        if not distribution.everywhere(strategy, True):
            return run_directory.read_results(directory)
        return _train(configuration, splits, backbone, directory, interruption, strategy)


def _train(configuration, splits, backbone, directory, interruption, strategy):
    """Trains and evaluates in a directory that is this process's, or its chief's, alone."""
    chief = distribution.is_chief(strategy)
    source = configuration.dataset if splits is None else "arrays"
    if configuration.deterministic:
        tf.config.experimental.enable_op_determinism()
    splits = _load_splits_in_turn(configuration, strategy) if splits is None else splits
    if "train" in splits:
        train_split = drop_small_classes(splits["train"], configuration.shots, configuration.small_classes)
        splits = {**splits, "train": train_split}
    _check_splits(configuration, splits, strategy.num_replicas_in_sync)
    train_split = splits["train"]
    steps = steps_per_epoch(train_split.labels, configuration.ways, configuration.shots)
    exported = construction.build(configuration, train_split.images.shape[1:], train_split.class_count, steps, backbone)
    parts = construction.replicate(exported, configuration, strategy)
    training_step = TrainingStep(parts, configuration.jit_compile, strategy)
    checkpoints = Checkpoints(directory, parts, training_step, writes=chief)
    checkpoints.restore()
    _check_restored(strategy, checkpoints, directory)
    fingerprints = {name: split.fingerprint() for name, split in splits.items()}
    if int(checkpoints.step):
        run_directory.check_data(directory, fingerprints)
    # Not before all was checked: a directory that holds the flags of a failed start would refuse the mended ones.
    if chief:
        run_directory.record_flags(directory, configuration)
        run_directory.record_data(directory, fingerprints)
    if distribution.has_other_workers(strategy):
        # All must train on the data of the first one.
        distribution.everywhere(strategy, True)
        run_directory.check_data(directory, fingerprints)
    if int(checkpoints.step):
        print(f"Going on from step {int(checkpoints.step):,}.")
    flip = source not in sources.UNMIRRORED if configuration.flip is None else configuration.flip
    with interruption.postponed():
        run_epochs(configuration, parts, training_step, splits, directory, checkpoints, flip, interruption)
    # Not before the chief has written them.
    distribution.everywhere(strategy, True)
    checkpoints.restore_best()
    construction.copy_weights(parts, exported)
    print("Features of the training images, for their mean")
    with strategy.scope():
        feature_mean = extract_features(parts.backbone, train_split.images).mean(axis=0)
    if chief:
        export(exported, feature_mean, directory)
    distribution.everywhere(strategy, True)
    with strategy.scope():
        tested = _test(configuration, parts, splits, feature_mean, directory) if "test" in splits else {}
    results = {
        "accuracies": [],
        **tested,
        "loss": configuration.loss_name,
        "best": {"step": int(checkpoints.best_step), "validation_accuracy": float(checkpoints.best_score)}
        if int(checkpoints.best_step)
        else None,
        "steps": int(checkpoints.step),
        "source": source,
        "data_fingerprint": fingerprints,
        "splits": {name: {"images": len(split.labels), "classes": split.class_count} for name, split in splits.items()},
        "backbone": {"name": exported.backbone.name, "weights": exported.backbone.count_params()},
        "flags": flagfiles.to_lines(configuration),
        "versions": {
            "dsl_tf": dsl_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        "commit": provenance.commit(),
        "devices": provenance.devices(strategy),
    }
    if chief:
        run_directory.write_results(directory, results)
    # A chief without the others could not tell their end from their death.
    distribution.everywhere(strategy, True)
    return results


def _check_restored(strategy, checkpoints, directory):
    """Finds workers that read another checkpoint than the chief, or none."""
    step = int(checkpoints.step)
    if distribution.has_other_workers(strategy):
        steps = distribution.sum_over_workers(strategy, step * distribution.is_chief(strategy))
        if not distribution.everywhere(strategy, step == steps):
            raise UserError(
                f"--output_dir={str(directory)!r} must be a directory that all workers read. Received: one in which "
                f"they find different checkpoints, here that of step {step:,}, the first worker that of {steps:,}. "
                "Give one that is shared."
            )
