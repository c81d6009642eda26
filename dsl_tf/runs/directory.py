"""The files of a run directory: flags, data fingerprints, metrics, results and the lock."""

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
# Their messages are searched for, because TensorFlow and HDF5 report no error numbers.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def mathematical_flags(
    configuration: TrainingConfiguration, without: tuple[str, ...] = ()
) -> tuple[tuple[str, Any], ...]:
    """Returns the flags that affect the trained weights, except those in `without`, as pairs of name and value."""
    return tuple(
        (field.name, getattr(configuration, field.name))
        for field in dataclasses.fields(configuration)
        if field.metadata["mathematical"] and field.name not in without
    )


def _different_flags(configuration: TrainingConfiguration, earlier: TrainingConfiguration) -> list[str]:
    """Returns the names of the mathematical flags in which two runs differ."""
    pairs = zip(mathematical_flags(configuration), mathematical_flags(earlier), strict=True)
    return [flag for (flag, value), (_, before) in pairs if value != before]


def is_longer(configuration: TrainingConfiguration, earlier: TrainingConfiguration) -> bool:
    """Returns whether a run differs from an earlier one only in having more epochs."""
    return _different_flags(configuration, earlier) == ["epochs"] and configuration.epochs > earlier.epochs


def read_configuration(directory: str | os.PathLike[str]) -> TrainingConfiguration:
    """Reads the training configuration of a run directory.

    Raises:
        UserError: if it is not a run directory, or its flagfile cannot be read.
    """
    path = pathlib.Path(directory) / FLAGFILE
    if not path.is_file():
        raise UserError(
            f"{str(directory)!r} is not a run directory: it has no {FLAGFILE}. Give the --output_dir of a training."
        )
    try:
        return flagfiles.read(path, TrainingConfiguration)
    except (flags.Error, OSError, ValueError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{str(path)!r} must be the flagfile of a run. Reading it failed: {message}") from None


def open_directory(configuration: TrainingConfiguration) -> pathlib.Path:
    """Creates the output directory, or checks that it is empty or contains this run.

    Returns:
        The directory, a `pathlib.Path`.

    Raises:
        UserError: if it cannot be created, contains other files or a run with other flags, or contains this run but
            `resume` is off. Nothing in it is changed.
    """
    directory = pathlib.Path(str(configuration.output_dir))
    name = f"--output_dir={configuration.output_dir!r}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in directory.iterdir()} - {_LOCK}
    except OSError as error:
        raise UserError(f"{name} must be a directory that can be created and read. {error.strerror}.") from None
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
            raise UserError(f"{name} already holds a run, and --noresume asks for a new one. Choose another directory.")
    elif entries:
        raise UserError(f"{name} holds other files, such as {min(entries)!r}. Choose a new or an empty directory.")
    return directory


@contextlib.contextmanager
def unwritable_as_user_error(directory: pathlib.Path) -> Iterator[None]:
    """Turns errors of Python, TensorFlow, Keras and HDF5 about a full or read-only disk into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Removes the names of graph nodes that TensorFlow adds.
        text = " ".join(re.sub(r"\{\{.*?\}\}", "", str(error)).split())
        if not any(message.lower() in text.lower() for message in map(os.strerror, _UNWRITABLE)):
            raise
        raise UserError(
            f"--output_dir={str(directory)!r} must be on a writable disk with free space. Received: "
            f"{text[:300]}. Earlier checkpoints are intact: fix this and run the same command again to resume."
        ) from error


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
    """Locks a run directory against training by other processes until the block or the process ends.

    Raises:
        UserError: if another process trains there, or the directory cannot be written.
    """
    path = pathlib.Path(directory) / _LOCK
    name = f"--output_dir={str(directory)!r}"
    try:
        descriptor = _lock(path)
    except BlockingIOError:
        raise UserError(
            f"{name} must be a directory in which no other process trains. {_holder(path)} does. "
            "Wait for it to end, or choose another directory."
        ) from None
    except OSError as error:
        raise UserError(f"{name} must be a directory that can be written. {error.strerror}.") from None
    try:
        yield
    finally:
        # Removed before unlocking: afterwards, it could be the file that another process has just locked.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: pathlib.Path) -> int:
    """Locks a file and returns its descriptor; raises BlockingIOError if another process has locked it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                os.close(descriptor)
                raise
            logging.warning(
                "%r is on a disk that does not support locks: do not start a second training in it.", str(path.parent)
            )
        # The previous owner may have removed the file between the two calls.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                with contextlib.suppress(OSError):  # Only informative, and the disk may be full.
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
    """Writes the flagfile, which marks the directory as belonging to this run.

    Raises:
        UserError: if the directory cannot be written.
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
    """Records the data of a run, a dict from split to fingerprint."""
    write_text(directory / DATA, json.dumps(fingerprints, indent=1) + "\n")


def check_data(directory: pathlib.Path, fingerprints: dict[str, str]) -> None:
    """Checks that a run resumes with the images and labels it started with. Test data may change.

    Args:
        directory: the run directory.
        fingerprints: the current ones, a dict from split to fingerprint.

    Raises:
        UserError: if other fingerprints are recorded, or the record cannot be read. A missing record is no error.
    """
    path = directory / DATA
    try:
        before = json.loads(read_text(path))
        differing = [name for name in ("train", "val") if before.get(name) != fingerprints.get(name)]
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError, RecursionError):
        raise UserError(
            f"{str(path)!r} must be the JSON record of a run's data. It cannot be read. Move it away to resume with "
            "the current data."
        ) from None
    if differing:
        raise UserError(
            f"--output_dir={str(directory)!r} holds a run on other data: the images or labels of "
            f"{' and '.join(differing)} have changed since it started. Restore them, or choose another --output_dir."
        )


def append_metrics(directory: pathlib.Path, record: dict[str, Any]) -> None:
    """Appends one line to the metrics log."""
    with open(directory / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def truncate_metrics(directory: pathlib.Path, step: int) -> None:
    """Removes the lines after a step from the metrics log; a resumed run writes them again."""
    path = directory / METRICS
    if not path.exists():
        return
    kept = []
    for line in read_text(path, errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            # A line that an interruption has truncated.
            continue
    write_text(path, "".join(line + "\n" for line in kept))


def read_results(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads `results.json`, or returns None if the run has none yet.

    Raises:
        UserError: if the file is not the JSON results of a run.
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
    """Writes `results.json`, replacing it as a unit."""
    write_text(pathlib.Path(directory) / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
