"""A training run, from its configuration to a run directory with results."""

import platform

import keras
import tensorflow as tf
from absl import logging

import dsl_tf
from dsl_tf import evaluation, flagfiles, provenance, run_directory
from dsl_tf.data import sources
from dsl_tf.data.balanced import check_balanced, steps_per_epoch
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError
from dsl_tf.evaluation.subjects import run_features
from dsl_tf.training import construction
from dsl_tf.training.checkpoints import Checkpoints
from dsl_tf.training.export import export
from dsl_tf.training.interruption import Interruption
from dsl_tf.training.loop import few_shot_arguments, run_epochs
from dsl_tf.training.step import TrainingStep


def load_splits(configuration):
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


def _check_splits(configuration, splits):
    """Finds before training what would fail after it."""
    if "train" not in splits:
        raise UserError(f"`splits` must hold 'train'. Received: {', '.join(splits) or 'none'}.")
    train = splits["train"]
    check_balanced(train.labels, train.class_names, configuration.ways, configuration.shots)
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
            logging.warning("No val split to choose LaplacianShot's λ on: going on with 0.7.")
    results = {
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


def train(configuration, splits=None, backbone=None):
    """Trains a backbone, or goes on where an interrupted run stopped, and evaluates it on unseen classes.

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
            or another process trains in it.
    """
    directory = run_directory.open_directory(configuration)
    results = run_directory.read_results(directory)
    if results is None:
        with run_directory.unwritable_told(directory), run_directory.locked(directory):
            # Once more, because another process may have written there before the lock was free.
            run_directory.open_directory(configuration)
            results = run_directory.read_results(directory)
            if results is None:
                with Interruption() as interruption:
                    return _train(configuration, splits, backbone, directory, interruption)
    print(f"The run in {str(directory)!r} is complete.")
    return results


def _train(configuration, splits, backbone, directory, interruption):
    """Trains and evaluates in a directory that is this process's alone."""
    source = configuration.dataset if splits is None else "arrays"
    if configuration.deterministic:
        tf.config.experimental.enable_op_determinism()
    splits = load_splits(configuration) if splits is None else splits
    _check_splits(configuration, splits)
    train_split = splits["train"]
    steps = steps_per_epoch(train_split.labels, configuration.ways, configuration.shots)
    parts = construction.build(configuration, train_split.images.shape[1:], train_split.class_count, steps, backbone)
    training_step = TrainingStep(parts, configuration.jit_compile)
    checkpoints = Checkpoints(directory, parts, training_step)
    checkpoints.restore()
    fingerprints = {name: split.fingerprint() for name, split in splits.items()}
    if int(checkpoints.step):
        run_directory.check_data(directory, fingerprints)
    # Not before all was checked: a directory that holds the flags of a failed start would refuse the mended ones.
    run_directory.record_flags(directory, configuration)
    run_directory.record_data(directory, fingerprints)
    if int(checkpoints.step):
        print(f"Going on from step {int(checkpoints.step):,}.")
    flip = source not in sources.UNMIRRORED if configuration.flip is None else configuration.flip
    with interruption.postponed():
        run_epochs(configuration, parts, training_step, splits, directory, checkpoints, flip, interruption)
    checkpoints.restore_best()
    print("Features of the training images, for their mean")
    feature_mean = evaluation.extract_features(parts.backbone, train_split.images).mean(axis=0)
    export(parts, feature_mean, directory)
    results = {
        "accuracies": [],
        **(_test(configuration, parts, splits, feature_mean, directory) if "test" in splits else {}),
        "loss": configuration.loss_name,
        "best": {"step": int(checkpoints.best_step), "validation_accuracy": float(checkpoints.best_score)}
        if int(checkpoints.best_step)
        else None,
        "steps": int(checkpoints.step),
        "source": source,
        "data_fingerprint": fingerprints,
        "splits": {name: {"images": len(split.labels), "classes": split.class_count} for name, split in splits.items()},
        "flags": flagfiles.to_lines(configuration),
        "versions": {
            "dsl_tf": dsl_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        "commit": provenance.commit(),
        "device": provenance.devices(),
    }
    run_directory.write_results(directory, results)
    return results
