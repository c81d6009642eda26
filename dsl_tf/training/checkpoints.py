"""Checkpoints: where a run stands, and the weights that validated best."""

import tensorflow as tf

from dsl_tf import run_directory
from dsl_tf.errors import UserError

_KEPT = 2


class Checkpoints:
    """Saves and restores the state of a run in its directory.

    Args:
        directory: the run directory.
        parts: the `Parts` whose weights and optimizer are saved.

    Attributes:
        step: the number of steps done.
        best_score: the best validation score so far, −1 before the first.
        best_step: the step that reached it.
    """

    def __init__(self, directory, parts):
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_score = tf.Variable(-1.0, dtype=tf.float64, trainable=False)
        self.best_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        weights = {"backbone": parts.backbone}
        if parts.classifier is not None:
            weights["classifier"] = parts.classifier
        everything = tf.train.Checkpoint(
            **weights,
            optimizer=parts.optimizer,
            step=self.step,
            best_score=self.best_score,
            best_step=self.best_step,
        )
        self._last = tf.train.CheckpointManager(everything, directory / run_directory.CHECKPOINTS, _KEPT)
        self._best = tf.train.CheckpointManager(
            tf.train.Checkpoint(**weights), directory / run_directory.BEST_CHECKPOINT, 1
        )

    def save(self):
        """Saves where the run stands."""
        self._last.save(checkpoint_number=int(self.step))

    def save_best(self, score):
        """Saves the weights as the best so far."""
        self._best.save(checkpoint_number=int(self.step))
        self.best_score.assign(score)
        self.best_step.assign(self.step)

    def restore(self):
        """Restores the newest checkpoint; does nothing where there is none.

        Raises:
            UserError: where it is of another architecture or cannot be read.
        """
        _restore(self._last)

    def restore_best(self):
        """Restores the weights that validated best; keeps the present ones where no best was saved."""
        _restore(self._best)


def _restore(manager):
    path = manager.latest_checkpoint
    if path is None:
        return
    try:
        manager.checkpoint.restore(path).assert_consumed()
    except (ValueError, AssertionError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"Checkpoint {path!r} must hold the weights of the network that the flags describe. It does not, or it is "
            f"damaged ({reason}). Use the flags that made it, or another --output_dir."
        ) from None
