"""The few-shot accuracies of features, with the classifiers' hyperparameters chosen on validation classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from dsl_tf.evaluation.accuracy import Outcome, evaluate_episodes
from dsl_tf.evaluation.classifiers import classifier_of
from dsl_tf.evaluation.episode_lists import Episodes
from dsl_tf.evaluation.hyperparameters import choose_hyperparameters


def tested(
    features: np.ndarray,
    labels: np.ndarray,
    split: str,
    validation: Callable[[], tuple[np.ndarray, np.ndarray]] | None,
    *,
    episodes: int | Episodes,
    classifiers: Sequence[str],
    groups: np.ndarray | None = None,
    **arguments: Any,
) -> list[Outcome]:
    """Classifies the queries of episodes by every classifier and feature transform.

    Args:
        features: float `[n, d]`.
        labels: integers `[n]`.
        split: the name to record, such as `"test"`.
        validation: returns features and labels of the validation classes, on which the classifiers' hyperparameters
            are chosen if they have any; None if there are no such classes.
        episodes: the number of episodes, or the `Episodes` to answer. Hyperparameters are then chosen on episodes of
            their typical sizes.
        classifiers: names of few-shot classifiers.
        groups: as in `evaluate_episodes`. Hyperparameters are chosen on classes of all groups, as those of validation
            are often too few for groups.
        **arguments: arguments that `evaluate_episodes` and `choose_hyperparameters` share.

    Returns:
        An `Outcome` per number of shots, classifier and feature transform.

    Raises:
        UserError: if there are too few classes or images per class.
    """
    arguments["classifiers"] = classifiers
    hyperparameters = None
    typical: dict[str, Any] = {}
    if isinstance(episodes, Episodes):
        ways, shots, queries = episodes.typical()
        typical = {"ways": ways, "shots": (shots,), "queries": queries}
    tuned = {name: found.defaults for name in classifiers if (found := classifier_of(name)).grid}
    if tuned and validation is not None:
        hyperparameters = choose_hyperparameters(*validation(), **{**arguments, **typical})
    elif tuned:
        used = [f"{name}: {key}={value}" for name, values in tuned.items() for key, value in values.items()]
        logging.warning("There are no val classes to choose hyperparameters on. Using %s.", ", ".join(used))
    return list(
        evaluate_episodes(
            features,
            labels,
            split,
            episodes=episodes,
            groups=groups,
            hyperparameters=hyperparameters,
            **arguments,
        )
    )
