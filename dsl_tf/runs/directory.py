"""The files of a run: which flags made it, what it measured, and whose directory it is."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import re
import socket
from collections.abc import Iterator
from typing import Any

from absl import flags, logging

from dsl_tf.errors import UserError
from dsl_tf.files import read_text, write_text
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import TrainingConfiguration

FLAGFILE = "run.flags"
DATA = "data.json"
METRICS = "metrics.jsonl"
RESULTS = "results.json"
BACKBONE = "backbone.keras"
SAVED_MODEL = "saved_model"
STATISTICS = "training_statistics.npz"
CHECKPOINTS = "checkpoints"
BEST_CHECKPOINT = "best_checkpoint"
TENSORBOARD = "tensorboard"
FEATURES = "features"
_LOCK = ".lock"
# Looked for as messages: TensorFlow and HDF5 give no numbers.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def mathematical_flags(
    configuration: TrainingConfiguration, without: tuple[str, ...] = ()
) -> tuple[tuple[str, Any], ...]:
    """Returns the flags that decide what a run computes, pairs of name and value; `without` names some to leave out."""
    return tuple(
        (field.name, getattr(configuration, field.name))
        for field in dataclasses.fields(configuration)
        if field.metadata["mathematical"] and field.name not in without
    )


def _different_flags(configuration: TrainingConfiguration, earlier: TrainingConfiguration) -> list[str]:
    """The names of the flags on which two runs' mathematics differ."""
    pairs = zip(mathematical_flags(configuration), mathematical_flags(earlier), strict=True)
    return [flag for (flag, value), (_, before) in pairs if value != before]


def is_longer(configuration: TrainingConfiguration, earlier: TrainingConfiguration) -> bool:
    """Returns whether a run differs from an earlier one in more epochs alone."""
    return _different_flags(configuration, earlier) == ["epochs"] and configuration.epochs > earlier.epochs


def read_configuration(directory: str | os.PathLike[str]) -> TrainingConfiguration:
    """Reads the training configuration of a run directory.

    Raises:
        UserError: where the directory is none, or its flagfile cannot be read.
    """
    path = pathlib.Path(directory) / FLAGFILE
    if not path.is_file():
        raise UserError(
            f"{str(directory)!r} is not a run directory: it has no {FLAGFILE}. Give one that run_train.py wrote."
        )
    try:
        return flagfiles.read(path, TrainingConfiguration)
    except (flags.Error, OSError, ValueError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{str(path)!r} must be the flagfile of a run. It cannot be read: {message}") from None


def open_directory(configuration: TrainingConfiguration) -> pathlib.Path:
    """Makes the output directory, or finds that it is empty or this run's own.

    Returns:
        The directory, a `pathlib.Path`.

    Raises:
        UserError: where it cannot be made, holds something else, or the run of other flags, or where it holds this
            run but `resume` is off. Nothing in it is touched.
    """
    directory = pathlib.Path(str(configuration.output_dir))
    name = f"--output_dir={configuration.output_dir!r}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in directory.iterdir()} - {_LOCK}
    except OSError as error:
        raise UserError(f"{name} must be a directory that can be made and read. {error.strerror}.") from None
    if FLAGFILE in entries:
        earlier = read_configuration(directory)
        differing = _different_flags(configuration, earlier)
        longer = is_longer(configuration, earlier)
        if differing and not (longer and configuration.extend):
            extend = f" Add --extend to train it for {configuration.epochs} epochs." if longer else ""
            raise UserError(
                f"{name} holds a run with other flags: it differs in {', '.join('--' + flag for flag in differing)}. "
                f"Choose another --output_dir, or repeat the flags in its {FLAGFILE} to resume it.{extend}"
            )
        if not configuration.resume:
            raise UserError(f"{name} holds a run already, and --noresume asks for a new one. Choose another directory.")
    elif entries:
        raise UserError(f"{name} holds other files, such as {min(entries)!r}. Choose a new or an empty directory.")
    return directory


@contextlib.contextmanager
def unwritable_as_user_error(directory: pathlib.Path) -> Iterator[None]:
    """Turns what Python, TensorFlow, Keras and HDF5 raise where a disk is full or read-only into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Without TensorFlow's names of graph nodes.
        text = " ".join(re.sub(r"\{\{.*?\}\}", "", str(error)).split())
        if not any(message.lower() in text.lower() for message in map(os.strerror, _UNWRITABLE)):
            raise
        raise UserError(
            f"--output_dir={str(directory)!r} must be on a disk that can be written, with room. Received: "
            f"{text[:300]}. What was saved before is whole: mend that, and the same command goes on."
        ) from error


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from training in a run directory for as long as the block, or the process, lives.

    Raises:
        UserError: where another process trains there, or the directory cannot be written.
    """
    path = pathlib.Path(directory) / _LOCK
    name = f"--output_dir={str(directory)!r}"
    try:
        descriptor = _lock(path)
    except BlockingIOError:
        raise UserError(
            f"{name} must be a directory that no other process trains in. {_holder(path)} does. "
            "Wait for it, or choose another directory."
        ) from None
    except OSError as error:
        raise UserError(f"{name} must be a directory that can be written. {error.strerror}.") from None
    try:
        yield
    finally:
        # While it is held: removed after, it could be the file that another process has just locked.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: pathlib.Path) -> int:
    """Locks a file and returns its descriptor; raises BlockingIOError where another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                os.close(descriptor)
                raise
            logging.warning("%r is on a disk without locks: start no second training in it.", str(path.parent))
        # The one that held it may have removed the file between the two calls.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                with contextlib.suppress(OSError):  # A note for people, on a disk that may be full.
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"Process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        os.close(descriptor)


def _holder(path: pathlib.Path) -> str:
    try:
        return read_text(path) or "Another one"
    except (OSError, UnicodeDecodeError):
        return "Another one"


def record_flags(directory: pathlib.Path, configuration: TrainingConfiguration) -> None:
    """Writes the flagfile that makes the directory this run's.

    Raises:
        UserError: where the directory cannot be written.
    """
    lines = [
        "# The flags of this run. Repeat it with:",
        f"# python run_train.py --flagfile={FLAGFILE} --output_dir=ANOTHER_DIRECTORY",
        *flagfiles.to_lines(configuration),
    ]
    try:
        write_text(directory / FLAGFILE, "\n".join(lines) + "\n")
    except OSError as error:
        raise UserError(
            f"--output_dir={str(directory)!r} must be a directory that can be written. {error.strerror}."
        ) from None


def record_data(directory: pathlib.Path, fingerprints: dict[str, str]) -> None:
    """Writes which data the run is made of, a dict from split to fingerprint."""
    write_text(directory / DATA, json.dumps(fingerprints, indent=1) + "\n")


def check_data(directory: pathlib.Path, fingerprints: dict[str, str]) -> None:
    """Finds that a run goes on with the images and labels that it began with; test ones may change.

    Args:
        directory: the run directory.
        fingerprints: those of now, a dict from split to fingerprint.

    Raises:
        UserError: where others are recorded, or the record cannot be read; not where there is none.
    """
    path = directory / DATA
    try:
        before = json.loads(read_text(path))
        differing = [name for name in ("train", "val") if before.get(name) != fingerprints.get(name)]
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError, RecursionError):
        raise UserError(
            f"{str(path)!r} must be the JSON record of a run's data. It cannot be read. Move it away to go on with the "
            "data as it is now."
        ) from None
    if differing:
        raise UserError(
            f"--output_dir={str(directory)!r} holds a run on other data: the images or labels of "
            f"{' and '.join(differing)} have changed since it began. Bring them back, or choose another --output_dir."
        )


def append_metrics(directory: pathlib.Path, record: dict[str, Any]) -> None:
    """Adds one line to the metrics log."""
    with open(directory / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def truncate_metrics(directory: pathlib.Path, step: int) -> None:
    """Drops the lines of the metrics log after a step: a resumed run writes them again."""
    path = directory / METRICS
    if not path.exists():
        return
    kept = []
    for line in read_text(path, errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            # The line that the interruption cut off.
            continue
    write_text(path, "".join(line + "\n" for line in kept))


def read_results(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads `results.json`, or returns None where the run has none yet.

    Raises:
        UserError: where the file is not the JSON of a run.
    """
    path = pathlib.Path(directory) / RESULTS
    if not path.exists():
        return None
    try:
        results = json.loads(read_text(path))
        results["accuracies"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{str(path)!r} must be the JSON results of a run. It cannot be read. Move it away.") from None
    return results


def write_results(directory: str | os.PathLike[str], results: dict[str, Any]) -> None:
    """Writes `results.json`, whole or not at all."""
    write_text(pathlib.Path(directory) / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
