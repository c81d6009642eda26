"""Validation and test on held-out images of the training classes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf.data.split import Split
from dsl_tf.evaluation.confusion import most_confused
from dsl_tf.evaluation.known_classes import known_class_measures, nearest_class_mean, transformed_class_means
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.features import extract_features
from dsl_tf.runs.final_test import confused_examples, neighbour_examples
from dsl_tf.training.construction import Parts
from dsl_tf.training.fitting import fit_batches
from dsl_tf.training.tested import Tested

_NAMES = {
    "val_accuracy_nearest_class_mean": "nearest class mean",
    "val_accuracy_classifier": "classifier",
    "val_recall_at_1": "recall@1",
    "val_map_at_r": "MAP@R",
}
_CHOOSING = next(iter(_NAMES))
# The feature transform, the pairs of confused classes and the images of each that examples show.
_SHOWN, _PAIRS, _IMAGES = "cl2", 6, 4


class KnownClasses:
    """Classification and retrieval of known classes; a `dsl_tf.training.measure.Measure`."""

    def fit(
        self, configuration: TrainingConfiguration, splits: dict[str, Split], is_own: bool
    ) -> tuple[TrainingConfiguration, dict[str, Split]]:
        """Labels the images of all splits as those of train, and leaves out images of other classes."""
        if "train" not in splits:
            return configuration, splits
        known = {name: split.labelled_as(splits["train"].class_names) for name, split in splits.items()}
        for name in [name for name in known if name != "train"]:
            left_out = len(splits[name].labels) - len(known[name].labels)
            if left_out:
                print(f"{name}: {left_out:,} images of classes without training images are not used.")
            if not len(known[name].labels):
                print(f"{name} is not used: it has no image of a training class.")
                del known[name]
        return (fit_batches(configuration, known["train"]) if is_own else configuration), known

    def check(self, configuration: TrainingConfiguration, splits: dict[str, Split]) -> None:
        """Any number of images can be classified."""

    def shots(self, configuration: TrainingConfiguration) -> tuple[int, ...]:
        """There are none: all measures are of the same weights."""
        return ()

    def validate(
        self, configuration: TrainingConfiguration, parts: Parts, splits: dict[str, Split]
    ) -> dict[str, float]:
        """Returns the accuracies of the nearest class mean and of the classifier, recall@1 and MAP@R."""
        train, val = splits["train"], splits["val"]
        of_train = extract_features(parts.backbone, train.images)
        means = transformed_class_means(of_train, train.labels, train.class_count, ("none",))
        of_val = extract_features(parts.backbone, val.images)
        found = known_class_measures(of_val, val.labels, "val", means, classifier=_classifier(parts))
        values = {f"val_accuracy_{entry['classifier']}": entry["accuracy"] for entry in found["accuracies"]}
        return {**values, **{f"val_{name}": value for name, value in found.get("retrieval", {}).items()}}

    def scores(self, configuration: TrainingConfiguration, values: Mapping[str, float]) -> dict[int, float]:
        """Returns the accuracy of the nearest class mean."""
        return {0: values[_CHOOSING]}

    def text(
        self, configuration: TrainingConfiguration, values: Mapping[str, float], best: Callable[[int | None], float]
    ) -> list[str]:
        """Returns each measure, and the best accuracy of the nearest class mean."""
        return [
            f"val {title} {values[name]:.2%}" + (f" (best {best(None):.2%})" if name == _CHOOSING else "")
            for name, title in _NAMES.items()
            if name in values
        ]

    def summary(self, features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the class means by feature transform."""
        mean = features.mean(axis=0)
        return transformed_class_means(features, labels, int(labels.max()) + 1, FEATURE_TRANSFORMS, mean)

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
        """Returns the measures of held-out images as `known_classes`; few-shot accuracies do not apply."""
        split = splits["test"]
        of_test = features(split)
        found = known_class_measures(of_test, split.labels, "test", summary, mean, _classifier(parts))

        def examples() -> dict[str, Any]:
            changed = transform_features(of_test, _SHOWN, mean)
            answers = nearest_class_mean(changed, summary[_SHOWN])
            counts = np.bincount(split.labels * split.class_count + answers, minlength=split.class_count**2)
            chances = np.bincount(split.labels, minlength=split.class_count)[:, None].repeat(split.class_count, axis=1)
            pairs = most_confused(counts.reshape(split.class_count, -1), chances, _PAIRS)
            images = [
                (
                    np.flatnonzero((split.labels == i) & (answers == j))[:_IMAGES],
                    np.flatnonzero(split.labels == j)[:_IMAGES],
                )
                for i, j, _ in pairs
            ]
            return {
                "feature_transform": _SHOWN,
                "measure": next(entry for entry in found["accuracies"] if entry["feature_transform"] == _SHOWN),
                "neighbours": neighbour_examples(split, changed),
                "confused": confused_examples(split, pairs, images),
            }

        return Tested([], {"known_classes": found}, examples)


def _classifier(parts: Parts) -> tuple[np.ndarray, np.ndarray] | None:
    if parts.classifier is None:
        return None
    kernel, bias = parts.classifier.kernel, parts.classifier.bias
    return np.asarray(tf.convert_to_tensor(kernel)), np.asarray(tf.convert_to_tensor(bias))
