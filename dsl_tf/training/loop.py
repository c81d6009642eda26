"""The epochs of a run: steps, validations and checkpoints."""

import time
from collections.abc import Iterator
from typing import Any

from dsl_tf import distribution
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.stored_images import reading
from dsl_tf.training.averages import averaged
from dsl_tf.training.callbacks import Callbacks
from dsl_tf.training.failures import as_user_errors, check_finite, check_weights
from dsl_tf.training.log import TrainingLog
from dsl_tf.training.run import Run
from dsl_tf.training.validation import ends_early, validation_due
from dsl_tf.training.workers import Signals


def run_epochs(run: Run) -> None:
    """Trains from the restored step to the last epoch, or until a signal is received.

    The best weights by validation are saved beside the last ones; without a validation split, only the last ones.

    Args:
        run: the `Run`, whose `Interruption` is postponed.

    Raises:
        SystemExit, KeyboardInterrupt: if any worker received a signal, after the state is saved.
    """
    step = int(run.checkpoints.step)
    # The means of the epoch were not reset: the run was interrupted during validation.
    unvalidated = step > 0 and step % run.epoch_steps == 0 and float(run.training_step.steps.numpy()) > 0
    if not unvalidated and (step >= run.last_step or ends_early(run, step)):
        return
    batches = _batches(run, step)
    signals, saving = Signals(run.interruption, run.strategy), _Saving(run)
    kept_step = step - 1 if unvalidated else step
    callbacks = Callbacks(run)
    with TrainingLog(run, kept_step) as log:
        callbacks.begin()
        for epoch in range(kept_step // run.epoch_steps + 1, run.configuration.epochs + 1):
            step = _train_epoch(run, epoch, step, batches, signals, saving, log, callbacks)
            _end_epoch(run, epoch, step, saving, log, callbacks)
            if signals.received(delay=False):
                signals.end()
            if callbacks.stopped:
                print(f"A callback ended the training after epoch {epoch} of {run.configuration.epochs}.")
                break
            if ends_early(run, step):
                print(
                    f"--early_stopping={run.configuration.early_stopping} ended the training after epoch {epoch} of "
                    f"{run.configuration.epochs}. Best mean accuracy: {run.checkpoints.best()[1]:.2%}, at epoch "
                    f"{run.checkpoints.best()[0] // run.epoch_steps}."
                )
                break
        callbacks.end()


def _batches(run: Run, step: int) -> Iterator[Any]:
    configuration = run.configuration
    batches = training_batches(
        run.splits["train"],
        configuration.ways,
        configuration.shots,
        configuration.seed,
        start_step=step,
        crop=configuration.crop,
        flip=run.flip,
        color_jitter=configuration.color_jitter,
        rows=distribution.worker_rows(run.strategy, run.batch_size),
        device=distribution.single_gpu(run.strategy, run.parts.trainable_weights),
    )
    return iter(batches)


class _Saving:
    """Saves checkpoints, and knows when the next one within an epoch is due."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._saved = time.monotonic()

    def save(self, epoch: int) -> None:
        """Saves a checkpoint if all weights are finite."""
        step = int(self._run.checkpoints.step)
        check_finite(self._run, epoch, step)
        check_weights(self._run, epoch, step)
        self._run.checkpoints.save()
        self._saved = time.monotonic()

    def is_due(self) -> bool:
        """Returns whether --checkpoint_minutes have passed since the last checkpoint."""
        return time.monotonic() - self._saved >= self._run.configuration.checkpoint_minutes * 60


def _train_epoch(
    run: Run,
    epoch: int,
    step: int,
    batches: Iterator[Any],
    signals: Signals,
    saving: _Saving,
    log: TrainingLog,
    callbacks: Callbacks,
) -> int:
    """Trains the remaining steps of an epoch, and returns the number of its last step."""
    log_every = run.configuration.log_every or run.epoch_steps
    log.begin_epoch(epoch, step)
    callbacks.begin_epoch(epoch)
    while step < epoch * run.epoch_steps:
        callbacks.begin_batch(epoch, step)
        _take_step(run, epoch, step, batches, signals)
        callbacks.end_batch(epoch, step)
        step += 1
        run.checkpoints.step.assign(step)
        if step == epoch * run.epoch_steps:
            break
        log.look(step)
        if step % log_every == 0:
            log.write(step, log.means(step))
            run.training_step.reset()
        ends = signals.received(delay=True)
        if ends or saving.is_due():
            saving.save(epoch)
        if ends:
            signals.end()
    return step


def _take_step(run: Run, epoch: int, step: int, batches: Iterator[Any], signals: Signals) -> None:
    # Only the spectral sum has it.
    interval = getattr(run.parts.loss, "interval", 1)
    with as_user_errors(run, epoch, step):
        with reading(run.splits["train"].images):
            batch = next(batches)
        if interval > 1 and step % interval == 0:
            run.parts.loss.refresh()
        if signals.shared:
            signals.add(run.training_step(*batch, run.batch_size, signals.own()))
        else:
            run.training_step(*batch)


def _end_epoch(run: Run, epoch: int, step: int, saving: _Saving, log: TrainingLog, callbacks: Callbacks) -> None:
    """Validates if it is due, logs the epoch and saves the state of the run."""
    values = log.means(step)
    if validation_due(run, epoch):
        # Validation may take longer than the time that a scheduler waits between SIGTERM and SIGKILL.
        saving.save(epoch)
        with averaged(run.parts, run.strategy):
            with run.interruption.at_once(), run.strategy.scope():
                values.update(run.measure.validate(run.configuration, run.parts, run.splits))
            run.checkpoints.save_best(run.measure.scores(run.configuration, values))
    run.training_step.reset()
    log.write(step, values)
    # Before the checkpoint, which then holds the learning rate that a callback may set.
    callbacks.end_epoch(epoch, values)
    saving.save(epoch)
    log.end_epoch(step, values)
