"""Few-shot accuracy: one classifier over thousands of episodes, with its confidence interval."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM, laplacian_shot
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.numbers import check_finite
from dsl_tf.evaluation.predictions import episode_predictions
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features

CLASSIFIERS = {"nearest_centroid": nearest_centroid, "laplacian_shot": laplacian_shot}

# The values of LaplacianShot's λ that its authors choose from.
_LAMS = (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5)


def episode_accuracies(predictions: npt.ArrayLike) -> np.ndarray:
    """Returns each episode's share of queries classified as their own way, float64 `[E]`, from `[E, N, Q]`."""
    predictions = np.asarray(predictions)
    return (predictions == np.arange(predictions.shape[1])[:, None]).mean(axis=(1, 2))


def class_accuracies(labels: npt.ArrayLike, query: npt.ArrayLike, predictions: npt.ArrayLike) -> np.ndarray:
    """Measures the accuracy on each class.

    Args:
        labels: integers `[n]` from 0 to C − 1.
        query: indices into the labels `[E, N, Q]`.
        predictions: way indices `[E, N, Q]`.

    Returns:
        The share of each class's queries classified as their own way, float64 `[C]`; NaN if it has none.
    """
    labels, query, predictions = np.asarray(labels), np.asarray(query), np.asarray(predictions)
    right = predictions == np.arange(predictions.shape[1])[:, None]
    true = labels[query]
    queries = np.bincount(true.ravel(), minlength=labels.max() + 1)
    with np.errstate(invalid="ignore"):
        return np.bincount(true[right], minlength=len(queries)) / queries


def mean_and_half_width(accuracies: npt.ArrayLike) -> tuple[float, float]:
    """Returns the mean over episodes and its 95% confidence half-width, from `[E]` with E ≥ 2."""
    accuracies = np.asarray(accuracies)
    return float(accuracies.mean()), float(1.96 * accuracies.std(ddof=1) / math.sqrt(len(accuracies)))


def choose_lams(
    features: np.ndarray,
    labels: np.ndarray,
    ways: int,
    shots: Sequence[int],
    queries: int,
    seed: int,
    feature_transforms: Sequence[str],
    mean: np.ndarray | None = None,
    episodes: int = 500,
) -> dict[tuple[str, int], float]:
    """Chooses LaplacianShot's λ on validation classes, for each feature transform and number of shots.

    Args:
        features: float `[n, d]` of the validation classes.
        labels: integers `[n]`.
        ways, shots, queries, seed, feature_transforms, mean: as in `evaluate_episodes`.
        episodes: episodes of validation classes for each value of λ.

    Returns:
        A dict from `(feature_transform, shots)` to the λ with the highest accuracy; of equal ones the smallest.

    Raises:
        UserError: if the labels hold too few classes or images, or features are not finite.
    """
    _check_features(features, labels, mean)
    lams = {}
    for shot in shots:
        try:
            support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        except UserError as error:
            raise UserError(
                f"LaplacianShot's λ is chosen on the val classes, which are too few or small. {error}"
            ) from None
        for kind in feature_transforms:
            transformed = transform_features(features, kind, mean)
            scores = [
                episode_accuracies(episode_predictions(transformed, support, query, laplacian_shot, lam=lam)).mean()
                for lam in _LAMS
            ]
            lams[kind, shot] = _LAMS[int(np.argmax(scores))]
    return lams


def _check_features(features: npt.ArrayLike, labels: npt.ArrayLike, mean: npt.ArrayLike | None) -> None:
    shape = np.shape(features)
    if len(shape) != 2 or np.shape(labels) != shape[:1]:
        raise UserError(f"Expected features [n, d] and labels [n]. Received: {shape}, {np.shape(labels)}.")
    check_finite(features=features, **({} if mean is None else {"mean": mean}))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a few-shot classifier answered.

    Args:
        entry: the accuracy and what it is of, a dict as `few_shot_accuracies` returns them.
        support, query: the episodes' indices `[E, N, K]`, `[E, N, Q]`.
        predictions: way indices `[E, N, Q]`.
    """

    entry: dict[str, Any]
    support: np.ndarray
    query: np.ndarray
    predictions: np.ndarray


def evaluate_episodes(
    features: np.ndarray,
    labels: np.ndarray,
    split: str,
    ways: int = 5,
    shots: Sequence[int] = (1, 5),
    queries: int = 15,
    episodes: int = 10_000,
    seed: int = 0,
    classifiers: Sequence[str] = ("nearest_centroid",),
    feature_transforms: Sequence[str] | None = None,
    mean: np.ndarray | None = None,
    lams: dict[tuple[str, int], float] | None = None,
) -> Iterator[Outcome]:
    """Goes through few-shot classifiers and feature transforms, all on the same episodes.

    Args:
        features: float `[n, d]`.
        labels: integers `[n]`.
        split: the name to record, such as `"test"`.
        ways: N, classes per episode.
        shots: the numbers K of support images per class.
        queries: query images per class.
        episodes: E, at least 2.
        seed: makes the episodes.
        classifiers: names in `CLASSIFIERS`.
        feature_transforms: names in `FEATURE_TRANSFORMS`; if None, `"none"` and `"l2"`, and `"cl2"` if there is a mean.
        mean: the mean of the training features `[d]`, for the transform `"cl2"`.
        lams: LaplacianShot's λ by `(feature_transform, shots)`, as `choose_lams` returns them; `DEFAULT_LAM` if None.

    Yields:
        An `Outcome` for each number of shots, classifier and feature transform.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images, or features are not finite.
    """
    unknown = sorted(set(classifiers) - set(CLASSIFIERS))
    if unknown:
        raise UserError(f"`classifiers` must be among {', '.join(CLASSIFIERS)}. Received: {', '.join(unknown)}.")
    if episodes < 2:
        raise UserError(f"A confidence interval needs at least 2 episodes. Received: {episodes}.")
    _check_features(features, labels, mean)
    if feature_transforms is None:
        feature_transforms = FEATURE_TRANSFORMS if mean is not None else ("none", "l2")
    transformed = {kind: transform_features(features, kind, mean) for kind in feature_transforms}
    for shot in shots:
        support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        fingerprint = episodes_fingerprint(labels, support, query)
        for name in classifiers:
            for kind in feature_transforms:
                options = {"lam": (lams or {}).get((kind, shot), DEFAULT_LAM)} if name == "laplacian_shot" else {}
                predictions = episode_predictions(transformed[kind], support, query, CLASSIFIERS[name], **options)
                accuracy, half_width = mean_and_half_width(episode_accuracies(predictions))
                entry = {
                    "split": split,
                    "classifier": name,
                    "feature_transform": kind,
                    "ways": ways,
                    "shots": shot,
                    "queries": queries,
                    "episodes": episodes,
                    "seed": seed,
                    "episodes_fingerprint": fingerprint,
                    **options,
                    "accuracy": accuracy,
                    "half_width": half_width,
                }
                yield Outcome(entry, support, query, predictions)


def few_shot_accuracies(features: np.ndarray, labels: np.ndarray, split: str, **options: Any) -> list[dict[str, Any]]:
    """Measures few-shot accuracies of features, every classifier and transform on the same episodes.

    Args:
        features, labels, split: as in `evaluate_episodes`.
        **options: its other arguments.

    Returns:
        A list of dicts with keys `split, classifier, feature_transform, ways, shots, queries, episodes, seed,
        episodes_fingerprint, accuracy, half_width`, and `lam` for LaplacianShot; accuracies are fractions.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images, or features are not finite.
    """
    return [outcome.entry for outcome in evaluate_episodes(features, labels, split, **options)]
