"""Extension of a run to more epochs."""

import json
import os
import pathlib
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.files import read_text, write_text
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration

EXTENSIONS = "extensions.json"


def is_extension(directory: pathlib.Path, configuration: TrainingConfiguration) -> bool:
    """Returns whether a configuration extends the run in a directory: more epochs, and no other change.

    Raises:
        UserError: if the run's flagfile cannot be read.
    """
    if not configuration.extend or not (directory / run_directory.FLAGFILE).exists():
        return False
    return run_directory.is_longer(configuration, run_directory.read_configuration(directory))


def begin_extension(directory: pathlib.Path, configuration: TrainingConfiguration, step: int) -> None:
    """Renames the results of the shorter run, and records and prints how the schedule changes.

    Args:
        directory: the run directory.
        configuration: the configuration of the longer run.
        step: the step from which it resumes.

    Raises:
        UserError: if there is no checkpoint to start from.
    """
    before = run_directory.read_configuration(directory)
    if not step:
        raise UserError(
            f"--extend needs a checkpoint in {str(directory / run_directory.CHECKPOINTS)!r} to start from. Received: "
            "none. Choose another --output_dir to train from the beginning."
        )
    results = directory / run_directory.RESULTS
    if results.exists():
        os.replace(results, results.with_name(f"results_of_{before.epochs}_epochs.json"))
    entry = {
        "step": step,
        "epochs": [before.epochs, configuration.epochs],
        "warmup_epochs": [before.schedule_epochs[0], configuration.schedule_epochs[0]],
        "decay_epochs": [before.schedule_epochs[1], configuration.schedule_epochs[1]],
    }
    earlier = [found for found in read_extensions(directory) if found["step"] != step]
    write_text(directory / EXTENSIONS, json.dumps([*earlier, entry], indent=1) + "\n")
    print(
        f"Extending the run from {before.epochs} to {configuration.epochs} epochs, from step {step:,}. Learning rate: "
        f"{_schedule(configuration)} (before: {_schedule(before)})."
    )


def read_extensions(directory: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the extensions of a run, a list of dicts: the step, and epochs and schedules before and after.

    Raises:
        UserError: if the record cannot be read.
    """
    path = directory / EXTENSIONS
    try:
        return [{**entry, "step": int(entry["step"])} for entry in json.loads(read_text(path))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{str(path)!r} must be the JSON record of a run's extensions. It cannot be read. Move it away."
        ) from None


def _schedule(configuration: TrainingConfiguration) -> str:
    warmup, drops = configuration.schedule_epochs
    after = configuration.schedule
    if after == "step":
        after = f"drops at {', '.join(f'{epoch:g}' for epoch in drops) or 'none'}"
    return f"warm-up {warmup:g} epochs, {after}"
