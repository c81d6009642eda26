"""Chooses the hyperparameters of few-shot classifiers on validation classes."""

from collections.abc import Mapping, Sequence

import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import classifier_of
from dsl_tf.evaluation.drawing import drawn_episodes, shots_to_draw
from dsl_tf.evaluation.numbers import check_features
from dsl_tf.evaluation.predictions import answers, episode_accuracies
from dsl_tf.evaluation.transforms import transform_features

# From (classifier, feature transform, shots) to the value of each hyperparameter; shots are "varied" if they vary.
Hyperparameters = Mapping[tuple[str, str, int | str], Mapping[str, float]]


def choose_hyperparameters(
    features: np.ndarray,
    labels: np.ndarray,
    ways: int,
    shots: Sequence[int],
    queries: int,
    seed: int,
    classifiers: Sequence[str],
    feature_transforms: Sequence[str],
    mean: np.ndarray | None = None,
    query_concentration: float | None = None,
    varied: bool = False,
    episodes: int = 500,
) -> Hyperparameters:
    """Chooses hyperparameters on validation classes, for each classifier, feature transform and number of shots.

    Args:
        features: float `[n, d]` of the validation classes.
        labels: integers `[n]`.
        ways, shots, queries, seed, classifiers, feature_transforms, mean, query_concentration, varied: as in
            `evaluate_episodes`.
        episodes: episodes of validation classes for each combination of values.

    Returns:
        A dict from `(classifier, feature_transform, shots)` to the values with the highest accuracy, such as
        `{"lam": 0.7}`; of equal ones the smallest. Classifiers without hyperparameters are omitted.

    Raises:
        UserError: if the labels hold too few classes or images, or features are not finite.
    """
    check_features(features, labels, mean)
    tuned = {name: found for name in classifiers if (found := classifier_of(name)).grid}
    chosen: dict[tuple[str, str, int | str], Mapping[str, float]] = {}
    for shot in shots_to_draw(shots, varied) if tuned else ():
        try:
            drawn = drawn_episodes(labels, ways, shot, queries, episodes, seed, query_concentration)
        except UserError as error:
            raise UserError(
                f"The hyperparameters of {', '.join(tuned)} are chosen on the val classes, which are too few or small. "
                f"{error}"
            ) from None
        for kind in feature_transforms:
            transformed = transform_features(features, kind, mean)
            for name, classifier in tuned.items():
                scores = [
                    episode_accuracies(answers(transformed, drawn, classifier, **values), drawn.query_ways).mean()
                    for values in classifier.combinations
                ]
                chosen[name, kind, shot] = classifier.combinations[int(np.argmax(scores))]
    return chosen
