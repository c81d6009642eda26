"""Keras callbacks in a training run."""

from collections.abc import Mapping

import keras

from dsl_tf import distribution
from dsl_tf.models import EmbeddingModel
from dsl_tf.training.run import Run


class Callbacks:
    """Calls the Keras callbacks of a run, with a model of its parts that they can stop, save or look into.

    Args:
        run: the `Run`. Without callbacks, nothing here costs time.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._list: keras.callbacks.CallbackList | None = None
        if run.callbacks:
            self._model = _model(run)
            configuration = run.configuration
            self._list = keras.callbacks.CallbackList(
                list(run.callbacks),
                model=self._model,
                epochs=configuration.epochs,
                steps=run.epoch_steps,
                verbose=0,
            )
        # To read the means makes Python wait for the device.
        defaults = keras.callbacks.Callback.on_train_batch_end, keras.callbacks.Callback.on_batch_end
        self._reads_batches = any(
            (type(item).on_train_batch_end, type(item).on_batch_end) != defaults for item in run.callbacks
        )

    @property
    def stopped(self) -> bool:
        """Whether a callback of any worker has set the model's `stop_training`."""
        if self._list is None:
            return False
        stop = bool(self._model.stop_training)
        if not distribution.has_other_workers(self._run.strategy):
            return stop
        return distribution.sum_over_workers(self._run.strategy, int(stop)) > 0

    def begin(self) -> None:
        """Tells that training begins or resumes."""
        if self._list is not None:
            self._model.stop_training = False
            self._list.on_train_begin()

    def begin_epoch(self, epoch: int) -> None:
        """Tells that an epoch begins; Keras counts from 0, a run from 1."""
        if self._list is not None:
            self._list.on_epoch_begin(epoch - 1)

    def begin_batch(self, epoch: int, step: int) -> None:
        """Tells that the step after `step` begins."""
        if self._list is not None:
            self._list.on_train_batch_begin(step - (epoch - 1) * self._run.epoch_steps)

    def end_batch(self, epoch: int, step: int) -> None:
        """Tells that the step after `step` is done, with the means since the last reset."""
        if self._list is not None:
            logs = self._run.training_step.means() if self._reads_batches else {}
            self._list.on_train_batch_end(step - (epoch - 1) * self._run.epoch_steps, logs)

    def end_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Tells that an epoch is done, with the values that metrics.jsonl has."""
        if self._list is not None:
            with self._run.strategy.scope():
                self._list.on_epoch_end(epoch - 1, dict(values))

    def end(self) -> None:
        """Tells that training is done."""
        if self._list is not None:
            with self._run.strategy.scope():
                self._list.on_train_end()


def _model(run: Run) -> keras.Model:
    """Returns a compiled model that shares the weights and the optimizer of a run."""
    parts = run.parts
    with run.strategy.scope():
        if parts.classifier is None:
            model = keras.Sequential([keras.Input(parts.backbone.input_shape[1:]), parts.backbone])
        else:
            model = EmbeddingModel(parts.backbone, parts.classifier)
        model.compile(parts.optimizer, parts.loss, auto_scale_loss=False)
    return model
