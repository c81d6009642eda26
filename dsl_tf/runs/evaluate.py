"""Evaluates finished runs, SavedModels or features, alone or side by side."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import Outcome, class_accuracies, few_shot_accuracies
from dsl_tf.evaluation.classifiers import classifier_of
from dsl_tf.evaluation.discriminant import subspace_features, subspace_scores
from dsl_tf.evaluation.known_classes import known_class_measures, transformed_class_means
from dsl_tf.evaluation.paired import PairedMatrix
from dsl_tf.evaluation.retrieval import retrieval_metrics
from dsl_tf.evaluation.spectrum import singular_values
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS
from dsl_tf.runs import subjects
from dsl_tf.runs.accuracies import tested
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.episodes_file import read_episodes
from dsl_tf.runs.evaluations import evaluation_name, known_classes_name
from dsl_tf.runs.features_file import of_features_file
from dsl_tf.runs.groups_file import read_groups
from dsl_tf.runs.side_by_side import compare
from dsl_tf.runs.subjects import Subject


@dataclasses.dataclass(frozen=True)
class SubjectResult:
    """The measurements of a `Subject`.

    Args:
        subject: the `Subject`.
        outcomes: one `Outcome` per number of shots, classifier and feature transform; none if the classes are those of
            the training.
        details: retrieval metrics, subspace accuracies and scores, and singular values, a dict; empty unless asked for.
            If the classes are those of the training, `known_classes` holds what `known_class_measures` returned.
    """

    subject: Subject
    outcomes: tuple[Outcome, ...]
    details: dict

    @property
    def accuracies(self) -> list[dict[str, Any]]:
        """The accuracies, a list of dicts as `few_shot_accuracies` returns them."""
        return [outcome.entry for outcome in self.outcomes]

    def report(self) -> dict[str, Any]:
        """Returns all measurements in a form that JSON can hold."""
        entries = []
        for outcome in self.outcomes:
            by_class = class_accuracies(
                self.subject.labels, outcome.episodes.query, outcome.predictions, outcome.episodes.query_ways
            )
            named = {
                name: float(value)
                for name, value in zip(self.subject.class_names, by_class, strict=False)
                if np.isfinite(value)
            }
            entries.append({**outcome.entry, "class_accuracies": named})
        return {
            "name": self.subject.name,
            "data": self.subject.data,
            "data_fingerprint": self.subject.data_fingerprint,
            "accuracies": entries,
            **self.details,
        }


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Args:
        results: a tuple of `SubjectResult`.
        comparisons: a dict from (classifier, feature transform, shots) to the `PairedMatrix` of the subjects. Runs that
            differ only in the seed are grouped. Empty if there is one subject or the episodes differ.
        writes_episodes: whether the episodes belong to its files.
    """

    results: tuple[SubjectResult, ...]
    comparisons: dict[tuple[str, str, int], PairedMatrix]
    writes_episodes: bool = False

    @property
    def name(self) -> str:
        """What was measured, as the name of a folder."""
        subjects = [(result.subject.name, result.subject.data_fingerprint) for result in self.results]
        entries = [entry for result in self.results for entry in result.accuracies]
        if not entries:
            return known_classes_name(subjects, [result.details["known_classes"] for result in self.results])
        return evaluation_name(subjects, entries, any(result.details for result in self.results))


def evaluate(configuration: EvaluationConfiguration) -> Evaluation:
    """Measures few-shot accuracies of runs, a SavedModel or features, all on the same episodes.

    Nothing is written to a run directory except cached features.

    Args:
        configuration: an `EvaluationConfiguration`.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: if something cannot be read, the split is too small, or another worker died.
    """
    strategy = distribution.open_strategy(configuration.distribution, configuration.virtual_devices)
    with distribution.lost_workers_as_user_error(strategy):
        return _evaluate(configuration, strategy)


def _evaluate(configuration: EvaluationConfiguration, strategy: tf.distribute.Strategy) -> Evaluation:
    for name in configuration.classifiers:
        # A classifier of the user's own may be wrong, which should be known before anything is computed.
        classifier_of(name)
    results = []
    for load in _loaders(configuration, strategy):
        subject = load()
        with strategy.scope():
            result = _evaluate_subject(configuration, subject)
        results.append(result)
    # Workers wait for each other: the end of one would look like a failure to the others.
    distribution.barrier(strategy)
    comparisons = {}
    if len(results) > 1:
        comparisons = compare([result.subject for result in results], [result.outcomes for result in results])
    return Evaluation(tuple(results), comparisons, configuration.write_episodes)


def _loaders(configuration: EvaluationConfiguration, strategy: tf.distribute.Strategy) -> list[Callable[[], Subject]]:
    """Returns a function per subject that loads it."""
    split = configuration.split

    def of_run(directory: str) -> Subject:
        with strategy.scope():
            return subjects.of_run(directory, split, configuration.data_dir)

    loaders: list[Callable[[], Subject]] = [functools.partial(of_run, directory) for directory in configuration.run_dir]
    if configuration.saved_model:
        options = {
            "dataset": configuration.dataset,
            "data_dir": configuration.data_dir,
            "image_size": configuration.image_size,
        }
        loaders.append(functools.partial(subjects.of_saved_model, configuration.saved_model, split, options))
    loaders += [functools.partial(of_features_file, path) for path in configuration.features]
    return loaders


def _evaluate_subject(configuration: EvaluationConfiguration, subject: Subject) -> SubjectResult:
    transforms = configuration.feature_transforms or tuple(
        kind for kind in FEATURE_TRANSFORMS if kind != "cl2" or subject.mean is not None
    )
    if subject.trained is not None:
        return SubjectResult(subject, (), _of_known_classes(subject, configuration, transforms))
    options: dict[str, Any] = {
        "ways": configuration.ways,
        "shots": configuration.shots,
        "queries": configuration.queries,
        "seed": configuration.seed,
        "feature_transforms": transforms,
        "mean": subject.mean,
        "query_concentration": configuration.query_concentration,
        "varied": configuration.varied_episodes,
        "classifiers": configuration.classifiers,
        **_episodes(configuration, subject),
    }
    outcomes = tuple(tested(subject.features, subject.labels, configuration.split, subject.validation, **options))
    for outcome in outcomes:
        for flag in ("episodes_file", "class_groups"):
            if path := getattr(configuration, flag):
                outcome.entry[flag] = path
    details = {}
    if configuration.details:
        details["retrieval"] = retrieval_metrics(subject.features, subject.labels)
        if subject.kernel is not None:
            details.update(_of_subspaces(subject, subject.kernel, configuration.split, options))
    return SubjectResult(subject, outcomes, details)


def _of_known_classes(
    subject: Subject, configuration: EvaluationConfiguration, transforms: Sequence[str]
) -> dict[str, Any]:
    """Measures images of the training's classes by their means and by the training's classifier."""
    assert subject.trained
    features, labels = subject.trained()
    mean = features.mean(axis=0) if subject.mean is None else subject.mean
    means = transformed_class_means(features, labels, len(subject.class_names), tuple(transforms), mean)
    classifier = None if subject.kernel is None or subject.bias is None else (subject.kernel, subject.bias)
    measured = known_class_measures(subject.features, subject.labels, configuration.split, means, mean, classifier)
    return {
        "known_classes": measured,
        **({"retrieval": retrieval_metrics(subject.features, subject.labels)} if configuration.details else {}),
    }


def _episodes(configuration: EvaluationConfiguration, subject: Subject) -> dict[str, Any]:
    """Returns the arguments that say which episodes there are."""
    if configuration.episodes_file:
        episodes = read_episodes(configuration.episodes_file, subject)
        if configuration.details and episodes.query_ways is not None:
            raise UserError("--details needs equal numbers of queries. Received: other episodes in --episodes_file.")
        return {"episodes": episodes}
    if configuration.class_groups:
        groups = read_groups(configuration.class_groups, subject.class_names)[subject.labels]
        return {"episodes": configuration.episodes, "groups": groups}
    return {"episodes": configuration.episodes}


def _of_subspaces(subject: Subject, kernel: np.ndarray, split: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Measures the features within span(W) and within its complement, as in Table 1."""
    # Mean and λ belong to the full features: cl2 and LaplacianShot would need others for each part.
    options = {**options, "classifiers": ("nearest_centroid",), "feature_transforms": ("none",)}
    parts = subspace_features(subject.features, kernel)
    return {
        "discriminant_scores": subspace_scores(subject.features, subject.labels, kernel),
        "subspace_accuracies": {
            name: few_shot_accuracies(part, subject.labels, split, **options) for name, part in parts.items()
        },
        "singular_values": singular_values(kernel).tolist(),
    }
