"""What a test found."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tested:
    """What a test found.

    Args:
        accuracies: few-shot accuracies, dicts as `few_shot_accuracies` returns them.
        further: other entries of `results.json`, by name.
        examples: a function that returns examples, as `dsl_tf.runs.final_test.write_test_examples` takes them.
        episodes: the accuracy of each episode `[E]`, by `dsl_tf.runs.final_test.episodes_key`.
    """

    accuracies: list[dict[str, Any]]
    further: dict[str, Any]
    examples: Callable[[], dict[str, Any]]
    episodes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
