"""Finds and reads run directories for a report. A damaged one does not stop the report."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.files import read_text
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.evaluations import key_of, read_evaluations
from dsl_tf.runs.final_test import read_test_episodes


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory.

    Args:
        directory: its path, starting with the folder as the user gave it.
        configuration: its `TrainingConfiguration`; None if it is unreadable.
        results: the checked content of `results.json`; None if the run is unfinished or unreadable.
        metrics: the lines of `metrics.jsonl`, only finite numbers.
        episodes: the accuracy of each episode of its test `[E]` by `episodes_key`, as far as the run kept them.
        problem: why it is unreadable, in one line; None if it is readable.
    """

    directory: str
    configuration: TrainingConfiguration | None = None
    results: dict[str, Any] | None = None
    metrics: tuple[dict[str, float], ...] = ()
    problem: str | None = None
    episodes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def state(self) -> str:
        """`"finished"`, `"unfinished"` or `"unreadable"`."""
        if self.problem is not None:
            return "unreadable"
        return "unfinished" if self.results is None else "finished"

    @property
    def validation_accuracy(self) -> float | None:
        """The best mean accuracy of the validations, a fraction; None without a validation split."""
        best = (self.results or {}).get("best")
        return best["validation_accuracy"] if best else None

    @property
    def particulars(self) -> tuple[str, ...]:
        """What its flags do not tell: a backbone, a loss or an optimizer of the user's own, and more epochs."""
        results = self.results or {}
        name = (results.get("backbone") or {}).get("name")
        own = self.configuration is not None and name not in (None, self.configuration.backbone_name)
        extensions = [entry["epochs"] for entry in results.get("extensions") or ()]
        given = {kind: results.get(kind) for kind in ("loss", "optimizer")}
        return (
            *((f"backbone {name}",) if own else ()),
            *(f"{kind} {found.get('class')}" for kind, found in given.items() if isinstance(found, dict)),
            *(f"extended from {before} to {after} epochs" for before, after in extensions),
        )


def _is_number(value: Any, low: float = 0, high: float = 1) -> bool:
    # False for NaN. Integers within these limits are not too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_accuracy(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in ("split", "classifier", "feature_transform"))
        and all(
            isinstance(entry.get(name), int) and _is_number(entry[name], 1, 10**9)
            for name in ("ways", "shots", "queries", "episodes")
        )
        and _is_number(entry.get("accuracy"))
        and _is_number(entry.get("half_width"))
    )


def _is_known_classes(value: Any) -> bool:
    """Whether it is what `known_class_measures` returns, as far as a report reads it."""
    if not isinstance(value, dict) or not _is_number(value.get("largest_class")):
        return False
    entries, retrieval = value.get("accuracies"), value.get("retrieval", {})
    return (
        isinstance(entries, list)
        and bool(entries)
        and all(map(_is_known_class_accuracy, entries))
        and isinstance(retrieval, dict)
        and (not retrieval or all(_is_number(retrieval.get(name)) for name in ("recall_at_1", "map_at_r")))
    )


def _is_known_class_accuracy(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in ("split", "classifier", "feature_transform"))
        and all(
            isinstance(entry.get(name), int) and _is_number(entry[name], 1, 10**9) for name in ("classes", "images")
        )
        and _is_number(entry.get("accuracy"))
        and isinstance(entry.get("interval"), list)
        and len(entry["interval"]) == 2
        and all(map(_is_number, entry["interval"]))
    )


def _is_extension(entry: Any) -> bool:
    epochs = entry.get("epochs") if isinstance(entry, dict) else None
    return isinstance(epochs, list) and len(epochs) == 2 and all(_is_number(value, 1, 10**9) for value in epochs)


# The entries of results.json that a report reads: the name, its check, and whether it is optional.
_CHECKS: dict[str, tuple[Callable[[Any], bool], bool]] = {
    "accuracies": (lambda value: isinstance(value, list) and all(map(_is_accuracy, value)), False),
    "best": (lambda value: isinstance(value, dict) and _is_number(value.get("validation_accuracy")), True),
    "discriminant_scores": (
        lambda value: (
            isinstance(value, dict)
            and all(_is_number(value.get(name)) for name in ("classifier_subspace", "complement"))
        ),
        True,
    ),
    "known_classes": (_is_known_classes, True),
    "source": (lambda value: isinstance(value, str), True),
    "backbone": (lambda value: isinstance(value, dict) and isinstance(value.get("name"), str), True),
    "extensions": (lambda value: isinstance(value, list) and all(map(_is_extension, value)), True),
    "versions": (_is_text_map, True),
}


def _read_results(directory: pathlib.Path) -> dict[str, Any] | None:
    results = run_directory.read_results(directory)
    if results is None:
        return None
    for name, (is_right, may_lack) in _CHECKS.items():
        value = results.get(name) if isinstance(results, dict) else None
        if not (value is None and may_lack) and not is_right(value):
            raise UserError(f"{run_directory.RESULTS} must contain a valid {name!r}. Received: none or an invalid one.")
    measured = {key_of(entry) for entry in results["accuracies"]}
    # The results of the training take precedence, because there each number of shots has its own best weights.
    evaluated = [
        entry for entry in read_evaluations(directory) if _is_accuracy(entry) and key_of(entry) not in measured
    ]
    return {**results, "accuracies": [*evaluated, *results["accuracies"]]}


def _read_metrics(directory: pathlib.Path) -> tuple[dict[str, float], ...]:
    """Reads the valid lines; the last one may be truncated."""
    try:
        lines = read_text(directory / run_directory.METRICS, errors="replace").splitlines()
    except (OSError, UserError):
        return ()
    metrics = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and _is_number(record.get("epoch"), 0, 10**9):
            metrics.append({name: value for name, value in record.items() if _is_number(value, -1e30, 1e30)})
    return tuple(metrics)


def read_run(directory: str | os.PathLike[str]) -> Run:
    """Reads a run directory in any state.

    Returns:
        A `Run`, whose `problem` says why it is unreadable.
    """
    path = pathlib.Path(directory)
    try:
        configuration = run_directory.read_configuration(path)
        results = _read_results(path)
        return Run(str(directory), configuration, results, _read_metrics(path), episodes=read_test_episodes(path))
    except (UserError, OSError) as error:
        return Run(str(directory), problem=" ".join(str(error).split()))


def _directories_below(folder: str) -> list[str]:
    """Finds run directories at any depth, sorted by name. Folders that cannot be read are included."""
    unreadable: list[OSError] = []
    found = []
    for directory, folders, files in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        if run_directory.FLAGFILE in files or run_directory.RESULTS in files:
            found.append(directory)
            # Subfolders of a run are not runs.
            folders.clear()
    return sorted([*found, *(error.filename for error in unreadable)])


def find_runs(folders: Iterable[str]) -> tuple[Run, ...]:
    """Reads the runs in folders, each once.

    Args:
        folders: paths of run directories, or of folders that contain run directories at any depth.

    Returns:
        A tuple of `Run`, in the order of the folders, sorted by path within each.

    Raises:
        UserError: if a folder does not exist, or none of them contains a run.
    """
    runs = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"--runs must be directories that exist. Received: {folder!r}. Check the path.")
        for directory in _directories_below(folder):
            runs.setdefault(os.path.realpath(directory), directory)
    if not runs:
        raise UserError(
            f"--runs must contain a run, that is a directory with {run_directory.FLAGFILE}. "
            f"Received: {','.join(folders)}. Give the --output_dir of a training, or a folder above it."
        )
    return tuple(map(read_run, runs.values()))
