"""Failures of a training step, reported as errors that the user can fix."""

import contextlib
import math
from collections.abc import Iterator, Sequence

import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.training.optimizer import current_learning_rate
from dsl_tf.training.run import Run


def _diverged(names: Sequence[str], epoch: int, step: int, learning_rate: float) -> UserError:
    return UserError(
        f"Training diverged: {', '.join(names)} must be finite. Received: infinity or NaN at epoch {epoch}, step "
        f"{step}, learning rate {learning_rate:.4g}. Checkpoints before it are kept. Lower --learning_rate or lengthen "
        "--warmup_epochs."
    )


def _too_large(run: Run) -> UserError:
    configuration, replicas = run.configuration, run.strategy.num_replicas_in_sync
    return UserError(
        f"A batch must fit into device memory. Received: --ways={configuration.ways} × --shots="
        f"{configuration.shots} images of {'×'.join(map(str, run.splits['train'].images.shape[1:3]))} pixels on "
        f"{replicas} of them. Lower one of these, narrow --filters, or try --precision=mixed_bfloat16 or more devices."
    )


def check_finite(run: Run, epoch: int, step: int) -> None:
    """Raises UserError if any step so far had a loss or gradients that were not finite."""
    broken = run.training_step.broken()
    if broken is not None:
        raise _diverged(broken.terms, epoch, step - broken.steps_ago, broken.learning_rate)


def check_weights(run: Run, epoch: int, step: int) -> None:
    """Raises UserError if a weight is not finite, so that no useless checkpoint is saved."""
    weights = run.parts.trainable_weights
    size = tf.add_n([tf.reduce_sum(tf.abs(tf.cast(weight, tf.float32))) for weight in weights])
    if not math.isfinite(size):
        raise _diverged(["the weights"], epoch, step, float(current_learning_rate(run.parts.optimizer)))


@contextlib.contextmanager
def as_user_errors(run: Run, epoch: int, step: int) -> Iterator[None]:
    """Turns the errors of TensorFlow in the step after `step` into errors that the user can fix."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        # The eigenvalue decomposition raises this after an update has taken weights beyond the range of float32.
        if "ecomposition" not in str(error):
            raise
        check_finite(run, epoch, step)
        rate = float(current_learning_rate(run.parts.optimizer))
        raise _diverged(["the classifier's kernel"], epoch, step + 1, rate) from None
    except tf.errors.ResourceExhaustedError:
        raise _too_large(run) from None
