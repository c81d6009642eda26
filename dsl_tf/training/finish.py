"""The end of a run: exports and tests its best weights."""

import functools
from typing import Any

import numpy as np

from dsl_tf import distribution
from dsl_tf.data.split import Split
from dsl_tf.runs.export import export
from dsl_tf.runs.features import extract_features
from dsl_tf.runs.final_test import write_test_episodes, write_test_examples
from dsl_tf.runs.subjects import run_features
from dsl_tf.training import construction
from dsl_tf.training.averages import take_averages
from dsl_tf.training.run import Run


def finish(run: Run, exported: construction.Parts) -> dict[str, Any]:
    """Exports the weights with the best validation, and tests; each number of shots with weights that suit it best.

    Args:
        run: a `Run` after its last epoch.
        exported: the `Parts` to export.

    Returns:
        A dict of what the run's `Measure` finds (accuracies, and the scores of Table 1 of the exported weights), the
        loss and the best steps.
    """
    accuracies: list[dict[str, Any]] = []
    further: dict[str, Any] = {}
    episodes: dict[str, np.ndarray] = {}
    tested_shots = run.measure.shots(run.configuration)
    run.checkpoints.forget_damaged_best()
    # Replaced by the best ones below if there was a validation.
    take_averages(run.parts, run.strategy)
    chosen = run.checkpoints.best()[0]
    own = {shots: run.checkpoints.best(shots)[0] or chosen for shots in tested_shots}
    others = sorted(set(own.values()) - {chosen}) if "test" in run.splits else []
    for step in [chosen, *others]:
        run.checkpoints.restore_best(next((shots for shots, best in own.items() if best == step != chosen), None))
        mean, summary = _training_features(run)
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
        is_exported = step == chosen
        with run.strategy.scope():
            shots = tuple(number for number, best in own.items() if best == step)
            found = run.measure.test(
                run.configuration,
                run.parts,
                run.splits,
                functools.partial(_features, run, is_exported=is_exported),
                mean,
                summary,
                shots,
            )
        accuracies += found.accuracies
        episodes.update(found.episodes)
        if is_exported:
            further = found.further
            if run.is_chief:
                write_test_examples(run.directory, found.examples())
    if run.is_chief and episodes:
        write_test_episodes(run.directory, episodes)
    return {
        "accuracies": sorted(accuracies, key=lambda entry: tested_shots.index(entry["shots"])),
        **further,
        "loss": run.configuration.loss_name,
        "best": _best(run),
    }


def _training_features(run: Run) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the mean of the training features, and what else the test needs of them."""
    print("Computing the mean of the training features")
    train = run.splits["train"]
    with run.strategy.scope():
        features = extract_features(run.parts.backbone, train.images)
    return features.mean(axis=0), run.measure.summary(features, train.labels)


def _features(run: Run, split: Split, is_exported: bool) -> np.ndarray:
    if is_exported:
        return run_features(run.directory, run.parts.backbone, split)
    return extract_features(run.parts.backbone, split.images)


def _best(run: Run) -> dict[str, Any] | None:
    """Returns the steps with the best validation: the exported one, and the tested one per number of shots."""
    step, accuracy = run.checkpoints.best()
    if not step:
        return None
    by_shots = {shots: run.checkpoints.best(shots) for shots in run.measure.shots(run.configuration)}
    return {
        "step": step,
        "validation_accuracy": accuracy,
        "by_shots": {
            str(shots): {"step": best, "validation_accuracy": value} for shots, (best, value) in by_shots.items()
        },
    }
