"""The few-shot accuracies of features, with LaplacianShot's λ chosen on validation classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from dsl_tf.evaluation.accuracy import Outcome, choose_lams, evaluate_episodes
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM


def tested(
    features: np.ndarray,
    labels: np.ndarray,
    split: str,
    validation: Callable[[], tuple[np.ndarray, np.ndarray]] | None,
    *,
    episodes: int,
    classifiers: Sequence[str],
    **arguments: Any,
) -> list[Outcome]:
    """Classifies the queries of episodes by every classifier and feature transform.

    Args:
        features: float `[n, d]`.
        labels: integers `[n]`.
        split: the name to record, such as `"test"`.
        validation: returns features and labels of the validation classes, on which λ is chosen if the classifiers
            include LaplacianShot; None if there are no such classes.
        episodes: the number of episodes.
        classifiers: names of few-shot classifiers.
        **arguments: arguments that `evaluate_episodes` and `choose_lams` share.

    Returns:
        An `Outcome` per number of shots, classifier and feature transform.

    Raises:
        UserError: if there are too few classes or images per class.
    """
    lams = None
    if "laplacian_shot" in classifiers:
        if validation is not None:
            lams = choose_lams(*validation(), **arguments)
        else:
            logging.warning("There are no val classes to choose LaplacianShot's λ on: using %s.", DEFAULT_LAM)
    return list(
        evaluate_episodes(features, labels, split, episodes=episodes, classifiers=classifiers, lams=lams, **arguments)
    )
