"""What validation and test measure: few-shot accuracy on unseen classes, or classification of known ones."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from dsl_tf.data.split import Split
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.construction import Parts
from dsl_tf.training.known_classes import KnownClasses
from dsl_tf.training.tested import Tested
from dsl_tf.training.unseen_classes import UnseenClasses


class Measure(Protocol):
    """What a run asks of its validation and its test."""

    def fit(
        self, configuration: TrainingConfiguration, splits: dict[str, Split], is_own: bool
    ) -> tuple[TrainingConfiguration, dict[str, Split]]:
        """Returns the sizes and the splits to measure with; of the user's own data, sizes follow the data."""

    def check(self, configuration: TrainingConfiguration, splits: dict[str, Split]) -> None:
        """Raises UserError if validation or test would fail later."""

    def shots(self, configuration: TrainingConfiguration) -> tuple[int, ...]:
        """Returns the numbers of shots that each have best weights of their own, beside those best on average."""

    def validate(
        self, configuration: TrainingConfiguration, parts: Parts, splits: dict[str, Split]
    ) -> dict[str, float]:
        """Measures the val split, and returns the values by their names in the log."""

    def scores(self, configuration: TrainingConfiguration, values: Mapping[str, float]) -> dict[int, float]:
        """Returns the validation accuracies that choose the best weights, by shots; their mean chooses too."""

    def text(
        self, configuration: TrainingConfiguration, values: Mapping[str, float], best: Callable[[int | None], float]
    ) -> list[str]:
        """Returns the parts of an epoch's line about the validation; none if there was none."""

    def summary(self, features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what the test needs of the training features beside their mean."""

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
        """Measures the test split with the current weights, for some of the numbers of shots."""


def measure_of(configuration: TrainingConfiguration) -> Measure:
    """Returns the measure that suits what a configuration holds out."""
    return KnownClasses() if configuration.held_out == "images" else UnseenClasses()
