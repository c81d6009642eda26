"""Evaluation of a finished run."""

import pathlib
import zipfile

import keras
import numpy as np
from absl import logging

from dsl_tf import run_directory
from dsl_tf.data import sources
from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import choose_lams, few_shot_accuracies
from dsl_tf.evaluation.features import extract_features

# What Keras and NumPy raise for a file that is damaged or another's.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


def _load_backbone(directory):
    path = directory / run_directory.BACKBONE
    try:
        return keras.models.load_model(path, compile=False)
    except _UNREADABLE as error:
        raise UserError(f"{str(path)!r} must be a Keras model file. It cannot be loaded: {error}") from None


def _load_feature_mean(directory):
    path = directory / run_directory.STATISTICS
    try:
        with np.load(path, allow_pickle=False) as statistics:
            return statistics["feature_mean"]
    except _UNREADABLE as error:
        raise UserError(f"{str(path)!r} must hold the array feature_mean. It cannot be read: {error}") from None


def evaluate_run(configuration):
    """Measures few-shot accuracies of a finished run, and adds them to its `results.json`.

    Args:
        configuration: an `EvaluationConfiguration`.

    Returns:
        The accuracies, a list of dicts as `few_shot_accuracies` returns them.

    Raises:
        UserError: where the directory is no finished run, or its data cannot be read or is too small.
    """
    directory = pathlib.Path(configuration.run_dir)
    training = run_directory.read_configuration(directory)
    results = run_directory.read_results(directory)
    if results is None:
        raise UserError(
            f"The run in {str(directory)!r} has not finished: it has no {run_directory.RESULTS}. "
            "Repeat its run_train.py command to go on with it."
        )
    if results.get("source") == "arrays":
        raise UserError(
            f"The data of {str(directory)!r} came from Python, not from a data set with a name. Evaluate it from "
            "Python, with dsl_tf.evaluation.few_shot_accuracies."
        )
    backbone = _load_backbone(directory)
    options = {**training.data_options, "image_size": backbone.input_shape[1]}
    if configuration.data_dir:
        options["data_dir"] = configuration.data_dir
    loaders = sources.open_splits(**options)

    def features_and_labels(name):
        if name not in loaders:
            raise UserError(f"--split={name} is none of the data set, which has {', '.join(loaders)}.")
        split = loaders[name]()
        return extract_features(backbone, split.images), split.labels

    arguments = {
        "ways": configuration.ways,
        "shots": configuration.shots,
        "queries": configuration.queries,
        "seed": configuration.seed,
        "feature_transforms": configuration.feature_transforms,
        "mean": _load_feature_mean(directory),
    }
    lams = None
    if "laplacian_shot" in configuration.classifiers:
        if "val" in loaders:
            lams = choose_lams(*features_and_labels("val"), **arguments)
        else:
            logging.warning("No val split to choose LaplacianShot's λ on: going on with 0.7.")
    accuracies = few_shot_accuracies(
        *features_and_labels(configuration.split),
        configuration.split,
        episodes=configuration.episodes,
        classifiers=configuration.classifiers,
        lams=lams,
        **arguments,
    )
    measured = {_key(entry) for entry in accuracies}
    earlier = [entry for entry in results["accuracies"] if _key(entry) not in measured]
    run_directory.write_results(directory, {**results, "accuracies": earlier + accuracies})
    return accuracies


def _key(entry):
    """What was measured, without the outcome."""
    return tuple(
        sorted((name, value) for name, value in entry.items() if name not in ("accuracy", "half_width", "lam"))
    )
