"""Few-shot validation on classes that training does not see."""

from typing import Any

import tensorflow as tf

from dsl_tf import distribution, evaluation
from dsl_tf.data.split import Split
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.features import extract_features
from dsl_tf.training.construction import Parts
from dsl_tf.training.run import Run


def few_shot_arguments(configuration: TrainingConfiguration) -> dict[str, Any]:
    """Returns the arguments of `evaluate_episodes` that validation and test share."""
    return {
        "ways": configuration.test_ways,
        "queries": configuration.test_queries,
        # Independent of the run's seed: all runs classify the same episodes, so that differences can be paired.
        "seed": 0,
    }


def validation_due(run: Run, epoch: int) -> bool:
    """Returns whether an epoch ends with a validation. The last one does if there are validation classes."""
    configuration = run.configuration
    every = configuration.validate_every or max(1, configuration.epochs // 10)
    return "val" in run.splits and (epoch % every == 0 or epoch == configuration.epochs)


def ends_early(run: Run, step: int) -> bool:
    """Returns whether --early_stopping ends a run after a step; all workers get the same answer."""
    patience = run.configuration.early_stopping
    if patience is None or step == 0 or step % run.epoch_steps:
        return False
    best = run.checkpoints.best()[0] // run.epoch_steps
    since = sum(validation_due(run, epoch) for epoch in range(best + 1, step // run.epoch_steps + 1))
    if not distribution.has_other_workers(run.strategy):
        return since >= patience
    return distribution.sum_over_workers(run.strategy, int(since >= patience)) > 0


def accuracy_name(shots: int) -> str:
    """Returns the name under which the validation accuracy of a number of shots is logged."""
    return f"val_accuracy_{shots}_shot"


def validate(configuration: TrainingConfiguration, parts: Parts, split: Split) -> dict[str, float]:
    """Returns few-shot accuracies and the scores of Table 1 on the validation classes, by their names in the log."""
    features = extract_features(parts.backbone, split.images)
    results = evaluation.few_shot_accuracies(
        features,
        split.labels,
        "val",
        episodes=configuration.validation_episodes,
        shots=configuration.test_shots,
        feature_transforms=("none",),
        **few_shot_arguments(configuration),
    )
    values = {accuracy_name(result["shots"]): result["accuracy"] for result in results}
    if parts.classifier is not None:
        scores = evaluation.subspace_scores(features, split.labels, tf.convert_to_tensor(parts.classifier.kernel))
        values.update({f"val_discriminant_score_{name}": score for name, score in scores.items()})
    return values
