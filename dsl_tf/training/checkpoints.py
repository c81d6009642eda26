"""Checkpoints: where a run stands, and the weights that validated best, each with the checksums of its files."""

import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


# tf.train.CheckpointManager lacks checksums, so that a damaged checkpoint would be restored or stop the run, and writes
# in place: after a power cut its record may name files that are not on the disk. Nor does it keep the best weights that
# the last three checkpoints tell of.
class Checkpoints:
    """Saves and restores the state of a run in its directory.

    A checkpoint is a folder, `ckpt-STEP`, with TensorFlow's files and a manifest of their sizes and SHA-256. The last
    three are kept, and the best weights that they tell of: those for each number of shots, and those of the highest
    mean over them.

    Args:
        directory: the run directory.
        parts: the `Parts` whose weights and optimizer are saved.
        training_step: the `TrainingStep` whose running means are saved.
        shots: the numbers of shots that validation measures.
        writes: whether this process writes them; of several workers one does, and all read.

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
        # The last one is of the mean.
        self._shots: tuple[int | None, ...] = (*shots, None)
        self._best_scores = tf.Variable(np.full(len(self._shots), -1.0), trainable=False)
        self._best_steps = tf.Variable(np.zeros(len(self._shots), np.int64), trainable=False)
        weights = {"backbone": parts.backbone}
        if parts.classifier is not None:
            weights["classifier"] = parts.classifier
        known = {id(weight) for weight in parts.backbone.weights}
        # Keras lists the state of the random numbers that Dropout and its like draw, but TensorFlow does not find it.
        random = [variable.value for variable in parts.backbone.variables if id(variable) not in known]
        # What a spectral sum holds between decompositions is that of weights which are gone.
        projection = getattr(parts.loss, "projection", None)
        learned = [variable.value for variable in loss_weights(parts.loss)]
        self._everything = tf.train.Checkpoint(
            **weights,
            **({} if projection is None else {"projection": projection}),
            **({"loss": learned} if learned else {}),
            random=random,
            optimizer=parts.optimizer,
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
        """Returns the step that validated best for a number of shots, and its accuracy; (0, −1) before the first.

        Args:
            shots: the number, or None for the mean over all.
        """
        index = self._shots.index(shots)
        return int(self._best_steps[index]), float(self._best_scores[index])

    def save(self) -> None:
        """Saves where the run stands.

        Raises:
            OSError, tf.errors.OpError: if it cannot be written; the checkpoints before it are kept.
        """
        if not self._writes:
            return
        step = int(self.step)
        record = {"step": step, "best_steps": self._best_steps.numpy().tolist()}
        _write(self._everything, _folder(self._last, step), record)
        # Later ones are those that could not be restored.
        kept = [number for number in _numbers(self._last) if number <= step][-_KEPT:]
        _keep(self._last, kept)
        # And not this checkpoint's alone: whoever goes back to one before it needs the best of that time.
        _keep(self._best, {step for number in kept for step in _best_steps(_folder(self._last, number))})

    def save_best(self, accuracies: Mapping[int, float]) -> None:
        """Saves the weights if they are the best so far, for a number of shots or for the mean.

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
        """Restores the newest checkpoint that is whole; does nothing if none was ever saved.

        Those that are damaged are named in a warning, and so are damaged best weights, which are then forgotten.

        Raises:
            UserError: if there are checkpoints and none is whole, or it is of another architecture or layout.
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
                f"{last} must be whole, one at least. Received: {len(numbers)}, all damaged. Bring them back from a "
                "copy, or remove that folder to start this run anew."
            )
        others = sorted(path.name for path in self._last.glob("[!.]*"))
        if others:
            raise UserError(
                f"{last} must be folders named ckpt-STEP. Received: {others[0]!r}, such as another version of dsl_tf "
                "wrote. Go on with that version, or choose another --output_dir."
            )

    def restore_best(self, shots: int | None = None) -> None:
        """Restores the weights that validated best; keeps the present ones if there are none, or damaged ones.

        Args:
            shots: for which number of shots, or None for the mean over all.
        """
        self.forget_damaged_best()
        step, _ = self.best(shots)
        if step:
            _read(self._weights, _folder(self._best, step))

    def forget_damaged_best(self) -> None:
        """Forgets best weights that are damaged, with a warning: those of a later validation take their place."""
        steps = self._best_steps.numpy()
        for step in sorted(set(steps.tolist()) - {0}):
            folder = _folder(self._best, step)
            problem = _damage(folder)
            if problem is not None:
                logging.warning(
                    "Checkpoint %r, the best weights so far, is damaged (%s): they are lost. Those of a later "
                    "validation, or the last ones, take their place.",
                    str(folder),
                    problem,
                )
                lost = steps == step
                self._best_scores.assign(np.where(lost, -1.0, self._best_scores.numpy()))
                self._best_steps.assign(np.where(lost, 0, self._best_steps.numpy()))


def _folder(parent: pathlib.Path, number: int) -> pathlib.Path:
    return parent / f"ckpt-{number}"


def _numbers(parent: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, damaged ones too, in ascending order."""
    matches = [re.fullmatch(r"ckpt-(\d+)", path.name) for path in parent.iterdir()] if parent.is_dir() else []
    return sorted(int(match[1]) for match in matches if match)


def _keep(parent: pathlib.Path, numbers: Iterable[int]) -> None:
    """Removes the checkpoints of a folder that are not among the numbers; other files in it are the user's own."""
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
            f"Checkpoint {str(folder)!r} must hold the weights of the network that the flags describe. It does not "
            f"({reason}). Use the flags that made it, or another --output_dir."
        ) from None
