"""The parts of a training run, shared by the modules that work on it."""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.data.balanced import steps_per_epoch
from dsl_tf.data.split import Split
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.checkpoints import Checkpoints
from dsl_tf.training.construction import Parts
from dsl_tf.training.interruption import Interruption
from dsl_tf.training.measure import Measure
from dsl_tf.training.step import TrainingStep


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run that can start or resume.

    Args:
        configuration: its `TrainingConfiguration`.
        directory: the run directory.
        splits: a dict of `Split`s: `"train"`, and optionally `"val"` and `"test"`.
        flip: whether to mirror images at random.
        parts: the `Parts` to train.
        training_step: their `TrainingStep`.
        checkpoints: their `Checkpoints`, restored.
        interruption: an `Interruption`.
        measure: the `Measure` of validation and test.
        callbacks: Keras callbacks.
    """

    configuration: TrainingConfiguration
    directory: pathlib.Path
    splits: dict[str, Split]
    flip: bool
    parts: Parts
    training_step: TrainingStep
    checkpoints: Checkpoints
    interruption: Interruption
    measure: Measure
    callbacks: Sequence[keras.callbacks.Callback] = ()

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The strategy under which the parts were built."""
        return self.training_step.strategy

    @property
    def is_chief(self) -> bool:
        """Whether this process is the chief, which writes files and prints."""
        return distribution.is_chief(self.strategy)

    @property
    def batch_size(self) -> int:
        """Images per step, in all processes."""
        return self.configuration.ways * self.configuration.shots

    @property
    def epoch_steps(self) -> int:
        """Steps per epoch."""
        configuration = self.configuration
        return steps_per_epoch(self.splits["train"].labels, configuration.ways, configuration.shots)

    @property
    def last_step(self) -> int:
        """Steps of the whole run."""
        return self.configuration.epochs * self.epoch_steps
