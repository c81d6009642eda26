"""The end of a run: exports and tests its best weights."""

from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf import distribution, evaluation
from dsl_tf.data.split import Split
from dsl_tf.runs.accuracies import tested
from dsl_tf.runs.export import export
from dsl_tf.runs.features import extract_features
from dsl_tf.runs.subjects import run_features
from dsl_tf.training import construction
from dsl_tf.training.averages import take_averages
from dsl_tf.training.run import Run
from dsl_tf.training.validation import few_shot_arguments


def finish(run: Run, exported: construction.Parts) -> dict[str, Any]:
    """Exports the weights with the best mean validation accuracy, and tests each number of shots with its best weights.

    Args:
        run: a `Run` after its last epoch.
        exported: the `Parts` to export.

    Returns:
        A dict of accuracies, the scores of Table 1, the loss and the best steps.
    """
    accuracies: dict[int, list[dict[str, Any]]] = {}
    scores: dict[str, Any] = {}
    run.checkpoints.forget_damaged_best()
    # Replaced by the best ones below if there was a validation.
    take_averages(run.parts, run.strategy)
    chosen = run.checkpoints.best()[0]
    own = {shots: run.checkpoints.best(shots)[0] or chosen for shots in run.configuration.test_shots}
    others = sorted(set(own.values()) - {chosen}) if "test" in run.splits else []
    for step in [chosen, *others]:
        run.checkpoints.restore_best(next((shots for shots, best in own.items() if best == step != chosen), None))
        mean = _feature_mean(run)
        if step == chosen:
            construction.copy_weights(run.parts, exported)
            if run.is_chief:
                train = run.splits["train"]
                export(
                    exported.backbone, exported.classifier, mean, run.directory, train.stored_size, train.class_names
                )
            distribution.barrier(run.strategy)
        if "test" not in run.splits:
            continue
        with run.strategy.scope():
            shots = tuple(number for number, best in own.items() if best == step)
            accuracies.update(_test(run, shots, mean, is_exported=step == chosen))
            if step == chosen:
                scores = _scores(run)
    return {
        "accuracies": [entry for shots in run.configuration.test_shots for entry in accuracies.get(shots, [])],
        **scores,
        "loss": run.configuration.loss_name,
        "best": _best(run),
    }


def _feature_mean(run: Run) -> np.ndarray:
    print("Computing the mean of the training features")
    with run.strategy.scope():
        return extract_features(run.parts.backbone, run.splits["train"].images).mean(axis=0)


def _features(run: Run, split: Split, is_exported: bool) -> np.ndarray:
    if is_exported:
        return run_features(run.directory, run.parts.backbone, split)
    return extract_features(run.parts.backbone, split.images)


def _test(run: Run, shots: tuple[int, ...], mean: np.ndarray, is_exported: bool) -> dict[int, list[dict[str, Any]]]:
    """Returns the test accuracies of the current weights by number of shots."""
    if not shots:
        return {}
    configuration, split = run.configuration, run.splits["test"]

    def validation() -> tuple[np.ndarray, np.ndarray]:
        return _features(run, run.splits["val"], is_exported), run.splits["val"].labels

    outcomes = tested(
        _features(run, split, is_exported),
        split.labels,
        "test",
        validation if "val" in run.splits else None,
        episodes=configuration.test_episodes,
        classifiers=configuration.test_classifiers,
        shots=shots,
        feature_transforms=evaluation.FEATURE_TRANSFORMS,
        mean=mean,
        **few_shot_arguments(configuration),
    )
    return {number: [outcome.entry for outcome in outcomes if outcome.entry["shots"] == number] for number in shots}


def _scores(run: Run) -> dict[str, Any]:
    """Returns the scores of Table 1 of the exported weights on the test classes, if there is a classifier."""
    if run.parts.classifier is None:
        return {}
    split = run.splits["test"]
    kernel = tf.convert_to_tensor(run.parts.classifier.kernel)
    scores = evaluation.subspace_scores(_features(run, split, is_exported=True), split.labels, kernel)
    return {"discriminant_scores": {"split": "test", **scores}}


def _best(run: Run) -> dict[str, Any] | None:
    """Returns the steps with the best validation: the exported one, and the tested one per number of shots."""
    step, accuracy = run.checkpoints.best()
    if not step:
        return None
    by_shots = {shots: run.checkpoints.best(shots) for shots in run.configuration.test_shots}
    return {
        "step": step,
        "validation_accuracy": accuracy,
        "by_shots": {
            str(shots): {"step": best, "validation_accuracy": value} for shots, (best, value) in by_shots.items()
        },
    }
