"""Few-shot accuracy: one classifier over thousands of episodes, with its confidence interval."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import check_names, classifier_of
from dsl_tf.evaluation.drawing import drawn_episodes, shots_to_draw
from dsl_tf.evaluation.episode_lists import NONE, Episodes, check_listed
from dsl_tf.evaluation.episodes import episodes_fingerprint
from dsl_tf.evaluation.hyperparameters import Hyperparameters
from dsl_tf.evaluation.numbers import check_features
from dsl_tf.evaluation.predictions import answers, episode_accuracies
from dsl_tf.evaluation.student import student_quantile
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features


def class_accuracies(
    labels: npt.ArrayLike, query: npt.ArrayLike, predictions: npt.ArrayLike, truth: npt.ArrayLike | None = None
) -> np.ndarray:
    """Measures the accuracy on each class.

    Args:
        labels: integers `[n]` from 0 to C − 1.
        query: indices into the labels `[E, N, Q]`, or `[E, M]` if ways have unequal numbers of queries.
        predictions: way indices, of the same shape.
        truth: the right ones, −1 where there is no query; if None, queries are grouped by way.

    Returns:
        The share of each class's queries classified as their own way, float64 `[C]`; NaN if it has none.
    """
    labels, query, predictions = np.asarray(labels), np.asarray(query), np.asarray(predictions)
    of_way = np.broadcast_to(np.arange(predictions.shape[1])[:, None] if truth is None else truth, predictions.shape)
    there = of_way != NONE
    true, right = labels[query[there]], (predictions == of_way)[there]
    queries = np.bincount(true, minlength=labels.max() + 1)
    with np.errstate(invalid="ignore"):
        return np.bincount(true[right], minlength=len(queries)) / queries


def mean_and_half_width(accuracies: npt.ArrayLike) -> tuple[float, float]:
    """Returns the mean over episodes and its 95% confidence half-width, from `[E]` with E ≥ 2."""
    accuracies = np.asarray(accuracies)
    return float(accuracies.mean()), float(1.96 * accuracies.std(ddof=1) / math.sqrt(len(accuracies)))


def classes_half_width(accuracies: npt.ArrayLike, classes: npt.ArrayLike) -> float | None:
    """Computes the half-width of the 95% interval over classes: had other classes been drawn to test on.

    Thousands of episodes of the same few classes say little about other classes. With θ_c, the mean over the episodes
    without class c, the standard error over C classes is √((C − 1)/C · Σ_c (θ_c − mean θ)²) (the jackknife, Efron and
    Stein, "The jackknife estimate of variance", Annals of Statistics 9, 1981), times Student's quantile for C − 1
    degrees of freedom. A bootstrap over classes estimates the same, with noise from its own drawing.

    Args:
        accuracies: of the episodes `[E]`, or differences of them.
        classes: the classes of each episode, integers from 0 `[E, N]`, −1 for none.

    Returns:
        The half-width, which includes that over episodes; None if some class is in every episode.
    """
    found = classes_error(accuracies, classes)
    return None if found is None else student_quantile(found[1]) * found[0]


def classes_error(accuracies: npt.ArrayLike, classes: npt.ArrayLike) -> tuple[float, float] | None:
    """Returns the standard error over classes and its degrees of freedom, as `classes_half_width` says, or None."""
    accuracies, classes = np.asarray(accuracies, np.float64), np.asarray(classes)
    there = classes != NONE
    each = np.broadcast_to(accuracies[:, None], classes.shape)[there]
    counts, sums = np.bincount(classes[there]), np.bincount(classes[there], weights=each)
    without = len(accuracies) - counts[counts > 0]
    if not without.all():
        return None
    theta = (accuracies.sum() - sums[counts > 0]) / without
    return math.sqrt(((theta - theta.mean()) ** 2).sum() * (len(theta) - 1) / len(theta)), len(theta) - 1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a few-shot classifier answered.

    Args:
        entry: the accuracy and what it is of, a dict as `few_shot_accuracies` returns them.
        episodes: the `Episodes`.
        predictions: way indices, of the shape of `episodes.query`; −1 where there is no query.
        way_classes: the class of each way, integers from 0 `[E, N]`, −1 for none.
    """

    entry: dict[str, Any]
    episodes: Episodes
    predictions: np.ndarray
    way_classes: np.ndarray

    @property
    def accuracies(self) -> np.ndarray:
        """Each episode's share of queries classified as their own way, float64 `[E]`."""
        return episode_accuracies(self.predictions, self.episodes.query_ways)


def evaluate_episodes(
    features: np.ndarray,
    labels: np.ndarray,
    split: str,
    ways: int = 5,
    shots: Sequence[int] = (1, 5),
    queries: int = 15,
    episodes: int | Episodes = 10_000,
    seed: int = 0,
    classifiers: Sequence[str] = ("nearest_centroid",),
    feature_transforms: Sequence[str] | None = None,
    mean: np.ndarray | None = None,
    query_concentration: float | None = None,
    varied: bool = False,
    groups: npt.ArrayLike | None = None,
    hyperparameters: Hyperparameters | None = None,
) -> Iterator[Outcome]:
    """Goes through few-shot classifiers and feature transforms, all on the same episodes.

    Args:
        features: float `[n, d]`.
        labels: integers `[n]`.
        split: the name to record, such as `"test"`.
        ways: N, classes per episode.
        shots: the numbers K of support images per class.
        queries: query images per class.
        episodes: E, at least 2; or `Episodes` to answer, for which all other arguments about episodes have no effect.
        seed: makes the episodes.
        classifiers: names in `CLASSIFIERS`, or `module:function` of the user's own as `classifier_of` describes it.
        feature_transforms: names in `FEATURE_TRANSFORMS`; if None, `"none"` and `"l2"`, and `"cl2"` if there is a mean.
        mean: the mean of the training features `[d]`, for the transform `"cl2"`.
        query_concentration: if given, ways share ways · queries queries unequally, as `sample_unequal_episodes` draws.
        varied: whether ways, shots and queries vary, as `sample_varied_episodes` draws them.
        groups: the group of each image's class `[n]`; the classes of an episode are of one group.
        hyperparameters: by `(classifier, feature_transform, shots)`, as `choose_hyperparameters` returns them; those
            that are missing have their default values.

    Yields:
        An `Outcome` for each number of shots, classifier and feature transform.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images, or features are not finite.
    """
    check_names(classifiers)
    found = {name: classifier_of(name) for name in classifiers}
    count = len(episodes.support) if isinstance(episodes, Episodes) else episodes
    if count < 2:
        raise UserError(f"A confidence interval needs at least 2 episodes. Received: {count}.")
    check_features(features, labels, mean)
    if feature_transforms is None:
        feature_transforms = FEATURE_TRANSFORMS if mean is not None else ("none", "l2")
    transformed = {kind: transform_features(features, kind, mean) for kind in feature_transforms}
    numbers = np.unique(labels, return_inverse=True)[1]
    chosen = hyperparameters or {}
    asked: Iterable[tuple[int | str, Episodes, dict[str, Any]]]
    if isinstance(episodes, Episodes):
        check_listed(episodes, labels)
        asked = [
            (episodes.typical()[1], episodes, {**episodes.sizes(), "listed": True, "episodes": count, "seed": None})
        ]
    else:
        sampling = {"query_concentration": query_concentration, "groups": groups}
        asked = (
            _sampled(labels, ways, shot, queries, episodes, seed, sampling) for shot in shots_to_draw(shots, varied)
        )
    for shot, drawn, facts in asked:
        facts["episodes_fingerprint"] = episodes_fingerprint(labels, drawn.support, drawn.query)
        way_classes = drawn.way_classes(numbers)
        for name, classifier in found.items():
            for kind in feature_transforms:
                options = {**classifier.defaults, **chosen.get((name, kind, shot), {})}
                predictions = answers(transformed[kind], drawn, classifier, **options)
                accuracies = episode_accuracies(predictions, drawn.query_ways)
                accuracy, half_width = mean_and_half_width(accuracies)
                entry = {
                    "split": split,
                    "classifier": name,
                    "feature_transform": kind,
                    **facts,
                    **options,
                    "accuracy": accuracy,
                    "half_width": half_width,
                    "classes_half_width": classes_half_width(accuracies, way_classes),
                }
                yield Outcome(entry, drawn, predictions, way_classes)


def _sampled(
    labels: np.ndarray,
    ways: int,
    shots: int | str,
    queries: int,
    episodes: int,
    seed: int,
    sampling: Mapping[str, Any],
) -> tuple[int | str, Episodes, dict[str, Any]]:
    """Samples episodes; returns shots, the episodes, and what to record of them."""
    drawn = drawn_episodes(labels, ways, shots, queries, episodes, seed, **sampling)
    concentration, groups = sampling["query_concentration"], sampling["groups"]
    varied = isinstance(shots, str)
    facts = {
        **(drawn.sizes() if varied else {"ways": ways, "shots": shots, "queries": queries}),
        **({"varied": True} if varied else {}),
        **({} if concentration is None else {"query_concentration": concentration}),
        **({} if groups is None else {"within_groups": len(np.unique(groups))}),
        "episodes": episodes,
        "seed": seed,
    }
    return shots, drawn, facts


def few_shot_accuracies(features: np.ndarray, labels: np.ndarray, split: str, **options: Any) -> list[dict[str, Any]]:
    """Measures few-shot accuracies of features, every classifier and transform on the same episodes.

    Args:
        features, labels, split: as in `evaluate_episodes`.
        **options: its other arguments.

    Returns:
        A list of dicts with keys `split, classifier, feature_transform, ways, shots, queries, episodes, seed,
        episodes_fingerprint, accuracy, half_width, classes_half_width`, and the classifier's hyperparameters, such as
        `lam` for LaplacianShot; accuracies are fractions.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images, or features are not finite.
    """
    return [outcome.entry for outcome in evaluate_episodes(features, labels, split, **options)]
