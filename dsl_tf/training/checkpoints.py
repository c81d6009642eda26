"""Checkpoints of a run's state and of its best weights, each with checksums of its files."""

import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dsl_tf.errors import UserError
from dsl_tf.files import read_text, remove, replacing
from dsl_tf.runs import directory as run_directory
from dsl_tf.training.construction import Parts
from dsl_tf.training.given import loss_weights
from dsl_tf.training.step import TrainingStep

MANIFEST = "manifest.json"
VARIABLES = "variables"
_KEPT = 3


# tf.train.CheckpointManager has no checksums, so a damaged checkpoint would be restored or stop the run. It writes in
# place: after a power cut, its record may name files that are not on the disk. And it cannot keep the best weights to
# which the last three checkpoints refer.
class Checkpoints:
    """Saves and restores the state of a run in its directory.

    A checkpoint is a folder, `ckpt-STEP`, with TensorFlow's files and a manifest of their sizes and SHA-256 checksums.
    The last three are kept, with the best weights to which they refer: those with the highest validation accuracy for
    each number of shots, and those with the highest mean over the numbers of shots.

    Args:
        directory: the run directory.
        parts: the `Parts` whose weights and optimizer are saved.
        training_step: the `TrainingStep` whose running means are saved.
        shots: the numbers of shots of the validation.
        writes: whether this process writes checkpoints. Only one of several workers writes; all of them read.

    Attributes:
        step: the number of steps done.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        parts: Parts,
        training_step: TrainingStep,
        shots: Sequence[int],
        writes: bool = True,
    ) -> None:
        self._writes = writes
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        # None, the last entry, stands for the mean.
        self._shots: tuple[int | None, ...] = (*shots, None)
        self._best_scores = tf.Variable(np.full(len(self._shots), -1.0), trainable=False)
        self._best_steps = tf.Variable(np.zeros(len(self._shots), np.int64), trainable=False)
        weights = {"backbone": parts.backbone}
        if parts.classifier is not None:
            weights["classifier"] = parts.classifier
        known = {id(weight) for weight in parts.backbone.weights}
        # The state of random layers such as Dropout: Keras lists it, but tf.train.Checkpoint does not find it.
        random = [variable.value for variable in parts.backbone.variables if id(variable) not in known]
        # A spectral sum keeps the projection of earlier weights, which cannot be computed again.
        projection = getattr(parts.loss, "projection", None)
        learned = [variable.value for variable in loss_weights(parts.loss)]
        kept = [variable.value for variable in getattr(parts.loss, "state_variables", ())]
        hidden = _untracked(parts.optimizer)
        self._everything = tf.train.Checkpoint(
            **weights,
            **({} if projection is None else {"projection": projection}),
            **({"loss": learned} if learned else {}),
            random=random,
            optimizer=parts.optimizer,
            **({"loss_state": kept} if kept else {}),
            **({"hidden": hidden} if hidden else {}),
            step=self.step,
            best_scores=self._best_scores,
            best_steps=self._best_steps,
            sums=training_step.sums,
            summed_steps=training_step.steps,
        )
        self._weights = tf.train.Checkpoint(**weights)
        self._last = directory / run_directory.CHECKPOINTS
        self._best = directory / run_directory.BEST_CHECKPOINT

    def best(self, shots: int | None = None) -> tuple[int, float]:
        """Returns the step with the best validation accuracy, and the accuracy; (0, −1) before the first validation.

        Args:
            shots: the number of shots, or None for the mean over all.
        """
        index = self._shots.index(shots)
        return int(self._best_steps[index]), float(self._best_scores[index])

    def save(self) -> None:
        """Saves the state of the run.

        Raises:
            OSError, tf.errors.OpError: if it cannot be written. Earlier checkpoints are kept.
        """
        if not self._writes:
            return
        step = int(self.step)
        record = {"step": step, "best_steps": self._best_steps.numpy().tolist()}
        _write(self._everything, _folder(self._last, step), record)
        # Checkpoints of later steps are those that could not be restored.
        kept = [number for number in _numbers(self._last) if number <= step][-_KEPT:]
        _keep(self._last, kept)
        # Resuming from an earlier checkpoint needs the best weights at that time.
        _keep(self._best, {step for number in kept for step in _best_steps(_folder(self._last, number))})

    def save_best(self, accuracies: Mapping[int, float]) -> None:
        """Saves the weights if they are the best so far for any number of shots or for the mean.

        Args:
            accuracies: the validation accuracy of each number of shots.

        Raises:
            OSError, tf.errors.OpError: if they cannot be written.
        """
        step = int(self.step)
        scores = np.array([*(accuracies[shots] for shots in self._shots[:-1] if shots is not None), 0.0])
        scores[-1] = sum(accuracies.values()) / len(accuracies)
        better = scores > self._best_scores.numpy()
        if not better.any():
            return
        if self._writes:
            _write(self._weights, _folder(self._best, step), {"step": step})
        self._best_scores.assign(np.where(better, scores, self._best_scores.numpy()))
        self._best_steps.assign(np.where(better, step, self._best_steps.numpy()))

    def restore(self) -> None:
        """Restores the newest intact checkpoint; does nothing if none was ever saved.

        Warns about damaged checkpoints and about damaged best weights, which are then ignored.

        Raises:
            UserError: if all checkpoints are damaged, or the weights or files do not match.
        """
        last = f"The checkpoints in {str(self._last)!r}"
        numbers = _numbers(self._last)
        for number in reversed(numbers):
            folder = _folder(self._last, number)
            problem = _damage(folder)
            if problem is None:
                if "best_steps" not in _manifest(folder):
                    raise UserError(
                        f"{last} must keep the best step for each number of shots. Received: ckpt-{number}, which an "
                        "earlier version of dsl_tf wrote. Resume with that version, or choose another --output_dir."
                    )
                _read(self._everything, folder)
                self.forget_damaged_best()
                return
            logging.warning("Checkpoint %r is damaged (%s): using the one before it.", str(folder), problem)
        if numbers:
            raise UserError(
                f"{last} must include an intact one. Received: {len(numbers)}, all damaged. Restore them from a "
                "copy, or remove that folder to start this run again."
            )
        others = sorted(path.name for path in self._last.glob("[!.]*"))
        if others:
            raise UserError(
                f"{last} must be folders named ckpt-STEP. Received: {others[0]!r}, probably written by another "
                "version of dsl_tf. Resume with that version, or choose another --output_dir."
            )

    def restore_best(self, shots: int | None = None) -> None:
        """Restores the best weights; keeps the current ones if the best ones do not exist or are damaged.

        Args:
            shots: the number of shots for which they are the best, or None for the mean over all.
        """
        self.forget_damaged_best()
        step, _ = self.best(shots)
        if step:
            _read(self._weights, _folder(self._best, step))

    def forget_damaged_best(self) -> None:
        """Ignores damaged best weights from now on, with a warning."""
        steps = self._best_steps.numpy()
        for step in sorted(set(steps.tolist()) - {0}):
            folder = _folder(self._best, step)
            problem = _damage(folder)
            if problem is not None:
                logging.warning(
                    "Checkpoint %r, the best weights so far, is damaged (%s) and lost. The best weights of later "
                    "validations, or the last weights, replace it.",
                    str(folder),
                    problem,
                )
                lost = steps == step
                self._best_scores.assign(np.where(lost, -1.0, self._best_scores.numpy()))
                self._best_steps.assign(np.where(lost, 0, self._best_steps.numpy()))


def _untracked(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Returns the variables that Keras lists and tf.train.Checkpoint does not find: those of a MultiOptimizer."""
    found = {id(item) for item in tf.train.TrackableView(optimizer).descendants()}
    return [variable.value for variable in optimizer.variables if id(variable.value) not in found]


def has_checkpoints(directory: pathlib.Path) -> bool:
    """Returns whether a run directory has checkpoints, damaged ones too."""
    return bool(_numbers(directory / run_directory.CHECKPOINTS))


def _folder(parent: pathlib.Path, number: int) -> pathlib.Path:
    return parent / f"ckpt-{number}"


def _numbers(parent: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, damaged ones too, in ascending order."""
    matches = [re.fullmatch(r"ckpt-(\d+)", path.name) for path in parent.iterdir()] if parent.is_dir() else []
    return sorted(int(match[1]) for match in matches if match)


def _keep(parent: pathlib.Path, numbers: Iterable[int]) -> None:
    """Removes the checkpoints of a folder that are not among the numbers; other files in it are not touched."""
    for number in set(_numbers(parent)) - set(numbers):
        remove(_folder(parent, number))


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(checkpoint: tf.train.Checkpoint, folder: pathlib.Path, record: dict[str, Any]) -> None:
    folder.parent.mkdir(exist_ok=True)
    with replacing(folder) as beside:
        beside.mkdir()
        checkpoint.write(str(beside / VARIABLES))
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(beside.iterdir())
        }
        (beside / MANIFEST).write_text(json.dumps({**record, "files": files}, indent=1) + "\n", encoding="utf-8")


def _damage(folder: pathlib.Path) -> str | None:
    """Returns what is wrong with the files of a checkpoint, or None."""
    try:
        files = _manifest(folder)["files"]
        expected = {name: (properties["bytes"], properties["sha256"]) for name, properties in files.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}" if folder.exists() else "it does not exist"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    for name, (size, digest) in expected.items():
        path = folder / pathlib.PurePath(name).name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{name} must have {size:,} bytes and has {found:,}"
            if _sha256(path) != digest:
                return f"the SHA-256 of {name} does not match"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None if f"{VARIABLES}.index" in expected else f"{MANIFEST} does not list its files"


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads(read_text(folder / MANIFEST))


def _best_steps(folder: pathlib.Path) -> list[int]:
    try:
        return list(_manifest(folder)["best_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _read(checkpoint: tf.train.Checkpoint, folder: pathlib.Path) -> None:
    try:
        checkpoint.read(str(folder / VARIABLES)).assert_consumed()
    except (ValueError, AssertionError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"Checkpoint {str(folder)!r} must hold the weights of the network that the flags describe. Received: other "
            f"weights ({reason}). Use the flags of its run, or another --output_dir."
        ) from None
