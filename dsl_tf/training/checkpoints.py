"""Checkpoints: where a run stands, and the weights that validated best, each with the checksums of its files."""

import hashlib
import json
import pathlib
import re

import tensorflow as tf
from absl import logging

from dsl_tf.errors import UserError
from dsl_tf.files import read_text, remove, replacing
from dsl_tf.runs import directory as run_directory

MANIFEST = "manifest.json"
VARIABLES = "variables"
_KEPT = 3


class Checkpoints:
    """Saves and restores the state of a run in its directory.

    A checkpoint is a folder, `ckpt-STEP`, with TensorFlow's files and a manifest of their sizes and SHA-256. The last
    three are kept, and the best weights that they tell of.

    Args:
        directory: the run directory.
        parts: the `Parts` whose weights and optimizer are saved.
        training_step: the `TrainingStep` whose running means are saved.
        writes: whether this process writes them; of several workers one does, and all read.

    Attributes:
        step: the number of steps done.
        best_score: the best validation score so far, −1 before the first.
        best_step: the step that reached it, 0 before the first.
    """

    def __init__(self, directory, parts, training_step, writes=True):
        self._writes = writes
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_score = tf.Variable(-1.0, dtype=tf.float64, trainable=False)
        self.best_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        weights = {"backbone": parts.backbone}
        if parts.classifier is not None:
            weights["classifier"] = parts.classifier
        known = {id(weight) for weight in parts.backbone.weights}
        # Keras lists the state of the random numbers that Dropout and its like draw, but TensorFlow does not find it.
        random = [variable.value for variable in parts.backbone.variables if id(variable) not in known]
        # What a spectral sum holds between decompositions is that of weights which are gone.
        projection = getattr(parts.loss, "projection", None)
        self._everything = tf.train.Checkpoint(
            **weights,
            **({} if projection is None else {"projection": projection}),
            random=random,
            optimizer=parts.optimizer,
            step=self.step,
            best_score=self.best_score,
            best_step=self.best_step,
            sums=training_step.sums,
            summed_steps=training_step.steps,
        )
        self._weights = tf.train.Checkpoint(**weights)
        self._last = directory / run_directory.CHECKPOINTS
        self._best = directory / run_directory.BEST_CHECKPOINT

    def save(self):
        """Saves where the run stands.

        Raises:
            OSError, tf.errors.OpError: where it cannot be written; the checkpoints before it are kept.
        """
        if not self._writes:
            return
        step = int(self.step)
        _write(self._everything, _folder(self._last, step), {"step": step, "best_step": int(self.best_step)})
        # Later ones are those that could not be restored.
        kept = [number for number in _numbers(self._last) if number <= step][-_KEPT:]
        _keep(self._last, kept)
        # And not this checkpoint's alone: whoever goes back to one before it needs the best of that time.
        _keep(self._best, {_best_step(_folder(self._last, number)) for number in kept})

    def save_best(self, score):
        """Saves the weights as the best so far.

        Raises:
            OSError, tf.errors.OpError: where they cannot be written.
        """
        step = int(self.step)
        if self._writes:
            _write(self._weights, _folder(self._best, step), {"step": step})
        self.best_score.assign(score)
        self.best_step.assign(step)

    def restore(self):
        """Restores the newest checkpoint that is whole; does nothing where none was ever saved.

        Those that are damaged are named in a warning, and so are damaged best weights, which are then forgotten.

        Raises:
            UserError: where there are checkpoints and none is whole, or it is of another architecture.
        """
        last = f"The checkpoints in {str(self._last)!r}"
        numbers = _numbers(self._last)
        for number in reversed(numbers):
            folder = _folder(self._last, number)
            problem = _damage(folder)
            if problem is None:
                _read(self._everything, folder)
                self._forget_damaged_best()
                return
            logging.warning("Checkpoint %r is damaged (%s): using the one before it.", str(folder), problem)
        if numbers:
            raise UserError(
                f"{last} must be whole, one at least. Received: {len(numbers)}, all damaged. Bring them back from a "
                "copy, or remove that folder to start this run anew."
            )
        others = sorted(path.name for path in self._last.glob("[!.]*"))
        if others:
            raise UserError(
                f"{last} must be folders named ckpt-STEP. Received: {others[0]!r}, such as another version of dsl_tf "
                "wrote. Go on with that version, or choose another --output_dir."
            )

    def restore_best(self):
        """Restores the weights that validated best; keeps the present ones where there are none, or damaged ones."""
        self._forget_damaged_best()
        if int(self.best_step):
            _read(self._weights, _folder(self._best, int(self.best_step)))

    def _forget_damaged_best(self):
        if not int(self.best_step):
            return
        folder = _folder(self._best, int(self.best_step))
        problem = _damage(folder)
        if problem is not None:
            logging.warning(
                "Checkpoint %r, the best weights so far, is damaged (%s): they are lost. Those of a later validation, "
                "or the last ones, take their place.",
                str(folder),
                problem,
            )
            self.best_score.assign(-1.0)
            self.best_step.assign(0)


def _folder(parent, number):
    return parent / f"ckpt-{number}"


def _numbers(parent):
    """Returns the steps of the checkpoints in a folder, damaged ones too, in ascending order."""
    matches = [re.fullmatch(r"ckpt-(\d+)", path.name) for path in parent.iterdir()] if parent.is_dir() else []
    return sorted(int(match[1]) for match in matches if match)


def _keep(parent, numbers):
    """Removes the checkpoints of a folder that are not among the numbers; other files in it are the user's own."""
    for number in set(_numbers(parent)) - set(numbers):
        remove(_folder(parent, number))


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(checkpoint, folder, record):
    folder.parent.mkdir(exist_ok=True)
    with replacing(folder) as beside:
        beside.mkdir()
        checkpoint.write(str(beside / VARIABLES))
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(beside.iterdir())
        }
        (beside / MANIFEST).write_text(json.dumps({**record, "files": files}, indent=1) + "\n", encoding="utf-8")


def _damage(folder):
    """Returns what is wrong with the files of a checkpoint, or None."""
    try:
        files = json.loads(read_text(folder / MANIFEST))["files"]
        expected = {name: (properties["bytes"], properties["sha256"]) for name, properties in files.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}" if folder.exists() else "it is not there"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    for name, (size, digest) in expected.items():
        path = folder / pathlib.PurePath(name).name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{name} must have {size:,} bytes and has {found:,}"
            if _sha256(path) != digest:
                return f"{name} does not have its SHA-256"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None if f"{VARIABLES}.index" in expected else f"{MANIFEST} does not list its files"


def _best_step(folder):
    try:
        return json.loads(read_text(folder / MANIFEST))["best_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(checkpoint, folder):
    try:
        checkpoint.read(str(folder / VARIABLES)).assert_consumed()
    except (ValueError, AssertionError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"Checkpoint {str(folder)!r} must hold the weights of the network that the flags describe. It does not "
            f"({reason}). Use the flags that made it, or another --output_dir."
        ) from None
