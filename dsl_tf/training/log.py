"""The log of a run: a line per epoch on the screen, metrics.jsonl and TensorBoard."""

import contextlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import tensorflow as tf

from dsl_tf.runs import directory as run_directory
from dsl_tf.training.failures import check_finite
from dsl_tf.training.optimizer import current_learning_rate
from dsl_tf.training.run import Run

# Seconds between two reads of the running means, because each read waits for the device.
_LOOK_SECONDS = 0.5
# Seconds between two lines if the output is not a terminal, on which a line can be updated.
_LINE_SECONDS = 55.0


def duration(seconds: float) -> str:
    """Formats a duration, such as `"12 min"`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class TrainingLog:
    """Shows and writes what a run measures, in the first of several workers only.

    Args:
        run: the `Run`.
        kept_step: the last step whose lines in metrics.jsonl are kept; a resumed run writes later ones again.
    """

    def __init__(self, run: Run, kept_step: int) -> None:
        self._run = run
        self._first_step = int(run.checkpoints.step)
        self._started = self._looked = self._printed = time.monotonic()
        self._epoch, self._epoch_started, self._epoch_first_step = 0, self._started, self._first_step
        self._width = 0
        self._writer: tf.summary.SummaryWriter | None = None
        if run.is_chief:
            run_directory.truncate_metrics(run.directory, kept_step)
            self._writer = tf.summary.create_file_writer(str(run.directory / run_directory.TENSORBOARD))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._width:
            print(flush=True)
        if self._writer is not None:
            # A full disk may be the reason why the run ends.
            with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
                self._writer.close()

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Starts the line of an epoch."""
        self._epoch, self._epoch_started, self._epoch_first_step = epoch, time.monotonic(), step

    def look(self, step: int) -> None:
        """Checks for values that are not finite and shows the progress, at most twice a second."""
        now = time.monotonic()
        if self._writer is None or now - self._looked <= _LOOK_SECONDS:
            return
        self._looked = now
        check_finite(self._run, self._epoch, step)
        if sys.stdout.isatty() or now - self._printed >= _LINE_SECONDS:
            done = step - (self._epoch - 1) * self._run.epoch_steps
            self._print(f"step {done}/{self._run.epoch_steps}, " + self._text(self.means(step), step))

    def means(self, step: int) -> dict[str, float]:
        """Returns the checked means since the last reset, with images per second and learning rate."""
        check_finite(self._run, self._epoch, step)
        means = self._run.training_step.means()
        if step > self._epoch_first_step:
            images = (step - self._epoch_first_step) * self._run.batch_size
            means["images_per_second"] = round(images / (time.monotonic() - self._epoch_started), 1)
        means["learning_rate"] = float(current_learning_rate(self._run.parts.optimizer))
        return means

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds values to metrics.jsonl and to TensorBoard."""
        if self._writer is None:
            return
        run_directory.append_metrics(self._run.directory, {"epoch": self._epoch, "step": step, **values})
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def end_epoch(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the line of an epoch."""
        self._print(self._text(values, step), end="\n")

    def _text(self, values: Mapping[str, float], step: int) -> str:
        parts = [f"loss {values['loss']:.4f}"]
        if "accuracy" in values:
            parts.append(f"accuracy {values['accuracy']:.1%}")
        run = self._run
        parts += (
            run.measure.text(run.configuration, values, lambda shots: run.checkpoints.best(shots)[1]) or self._best()
        )
        parts.append(f"learning rate {values['learning_rate']:.3g}")
        if "images_per_second" in values:
            parts.append(f"{values['images_per_second']:,.0f} images/s")
        if self._first_step < step < self._run.last_step:
            seconds = (time.monotonic() - self._started) / (step - self._first_step)
            parts.append(f"{duration(seconds * (self._run.last_step - step))} left")
        return ", ".join(parts)

    def _best(self) -> list[str]:
        """What the last validations found, if there were any."""
        best_step, accuracy = self._run.checkpoints.best()
        return [f"best val {accuracy:.2%} in epoch {best_step // self._run.epoch_steps}"] if best_step else []

    def _print(self, text: str, end: str = "") -> None:
        line = f"Epoch {self._epoch}/{self._run.configuration.epochs}: {text}"
        if sys.stdout.isatty():
            # Spaces erase the rest of a longer previous line.
            print(f"\r{line:<{self._width}}", end=end, flush=True)
            self._width = 0 if end else len(line)
        else:
            print(line, flush=True)
        self._printed = time.monotonic()
