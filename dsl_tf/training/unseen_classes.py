"""Few-shot validation and test on classes that training does not see."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf import evaluation
from dsl_tf.data.split import Split
from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import Outcome
from dsl_tf.evaluation.confusion import confusion, most_confused, wrong_queries
from dsl_tf.runs.accuracies import tested
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.features import extract_features
from dsl_tf.runs.final_test import confused_examples, episodes_key, neighbour_examples
from dsl_tf.training.construction import Parts
from dsl_tf.training.fitting import fit_to_data
from dsl_tf.training.tested import Tested

# The feature transform, the pairs of confused classes and the images of each that examples show.
_SHOWN, _PAIRS, _IMAGES = "cl2", 6, 4


class UnseenClasses:
    """Few-shot accuracy; a `dsl_tf.training.measure.Measure`."""

    def fit(
        self, configuration: TrainingConfiguration, splits: dict[str, Split], is_own: bool
    ) -> tuple[TrainingConfiguration, dict[str, Split]]:
        """Lowers sizes that the user's own data do not suffice for."""
        return fit_to_data(configuration, splits) if is_own else (configuration, splits)

    def check(self, configuration: TrainingConfiguration, splits: dict[str, Split]) -> None:
        """Checks that each split is large enough for its episodes."""
        for name in sorted(set(splits) - {"train"}):
            for shots in configuration.test_shots:
                try:
                    evaluation.sample_episodes(
                        splits[name].labels, configuration.test_ways, shots, configuration.test_queries, 1, seed=0
                    )
                except UserError as error:
                    raise UserError(
                        f"Split {name} is too small for --test_ways={configuration.test_ways}, --test_shots={shots}, "
                        f"--test_queries={configuration.test_queries}. {error}"
                    ) from None

    def shots(self, configuration: TrainingConfiguration) -> tuple[int, ...]:
        """Returns those of the test."""
        return configuration.test_shots

    def validate(
        self, configuration: TrainingConfiguration, parts: Parts, splits: dict[str, Split]
    ) -> dict[str, float]:
        """Returns few-shot accuracies and the scores of Table 1 on the validation classes."""
        split = splits["val"]
        features = extract_features(parts.backbone, split.images)
        results = evaluation.few_shot_accuracies(
            features,
            split.labels,
            "val",
            episodes=configuration.validation_episodes,
            shots=configuration.test_shots,
            feature_transforms=("none",),
            **_few_shot_arguments(configuration),
        )
        values = {_accuracy_name(result["shots"]): result["accuracy"] for result in results}
        if parts.classifier is not None:
            scores = evaluation.subspace_scores(features, split.labels, tf.convert_to_tensor(parts.classifier.kernel))
            values.update({f"val_discriminant_score_{name}": score for name, score in scores.items()})
        return values

    def scores(self, configuration: TrainingConfiguration, values: Mapping[str, float]) -> dict[int, float]:
        """Returns the accuracy of each number of shots."""
        return {shots: values[_accuracy_name(shots)] for shots in configuration.test_shots}

    def text(
        self, configuration: TrainingConfiguration, values: Mapping[str, float], best: Callable[[int | None], float]
    ) -> list[str]:
        """Returns the accuracy and the best one for each number of shots."""
        return [
            f"val {shots}-shot {values[_accuracy_name(shots)]:.2%} (best {best(shots):.2%})"
            for shots in configuration.test_shots
            if _accuracy_name(shots) in values
        ]

    def summary(self, features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns nothing: the mean suffices."""
        return {}

    def test(
        self,
        configuration: TrainingConfiguration,
        parts: Parts,
        splits: dict[str, Split],
        features: Callable[[Split], np.ndarray],
        mean: np.ndarray,
        summary: Mapping[str, np.ndarray],
        shots: tuple[int, ...],
    ) -> Tested:
        """Returns the few-shot accuracies and, if there is a classifier, the scores of Table 1."""
        split = splits["test"]
        outcomes: list[Outcome] = []

        def validation() -> tuple[np.ndarray, np.ndarray]:
            return features(splits["val"]), splits["val"].labels

        of_test = features(split)
        # The weights with the best mean may be the best for no single number of shots.
        if shots:
            outcomes = tested(
                of_test,
                split.labels,
                "test",
                validation if "val" in splits else None,
                episodes=configuration.test_episodes,
                classifiers=configuration.test_classifiers,
                shots=shots,
                feature_transforms=evaluation.FEATURE_TRANSFORMS,
                mean=mean,
                **_few_shot_arguments(configuration),
            )
        further: dict[str, Any] = {}
        if parts.classifier is not None:
            kernel = tf.convert_to_tensor(parts.classifier.kernel)
            scores = evaluation.subspace_scores(of_test, split.labels, kernel)
            further["discriminant_scores"] = {"split": "test", **scores}
        return Tested(
            [outcome.entry for outcome in outcomes],
            further,
            functools.partial(_examples, split, of_test, mean, outcomes),
            {episodes_key(outcome.entry): outcome.accuracies for outcome in outcomes},
        )


def _examples(split: Split, features: np.ndarray, mean: np.ndarray, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Nearest neighbours, and what the first classifier confuses with the most support images."""
    shown = [outcome for outcome in outcomes if outcome.entry["feature_transform"] == _SHOWN]
    examples: dict[str, Any] = {
        "feature_transform": _SHOWN,
        "measure": {},
        "neighbours": neighbour_examples(split, evaluation.transform_features(features, _SHOWN, mean)),
        "confused": [],
    }
    if shown:
        outcome = max(shown, key=lambda one: one.entry["shots"])
        predictions = outcome.predictions.reshape(len(outcome.predictions), -1)
        pairs = most_confused(
            *confusion(split.labels, outcome.episodes.support, outcome.episodes.query, predictions), top=_PAIRS
        )
        images = [
            (
                wrong_queries(split.labels, outcome.episodes.query, predictions, i, j, _IMAGES),
                wrong_queries(split.labels, outcome.episodes.query, predictions, j, j, _IMAGES),
            )
            for i, j, _ in pairs
        ]
        examples |= {"measure": outcome.entry, "confused": confused_examples(split, pairs, images)}
    return examples


def _accuracy_name(shots: int) -> str:
    """The name under which the validation accuracy of a number of shots is logged."""
    return f"val_accuracy_{shots}_shot"


def _few_shot_arguments(configuration: TrainingConfiguration) -> dict[str, Any]:
    """The arguments of `evaluate_episodes` that validation and test share."""
    return {
        "ways": configuration.test_ways,
        "queries": configuration.test_queries,
        # Independent of the run's seed: all runs classify the same episodes, so that differences can be paired.
        "seed": 0,
    }
