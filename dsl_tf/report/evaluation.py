"""The files and the printed tables of an evaluation."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.evaluation.confusion import confusion, confusion_rates, most_confused, wrong_queries
from dsl_tf.evaluation.paired import KINDS, corrected_from_first
from dsl_tf.files import csv_text, replacing, write_text
from dsl_tf.report.confusion_figure import draw_confused_pairs, draw_confusion
from dsl_tf.report.csv_files import safe_cell
from dsl_tf.report.known_classes import known_classes_text
from dsl_tf.report.paired_figure import draw_paired
from dsl_tf.report.paired_table import comparison_table
from dsl_tf.report.projector import write_projector
from dsl_tf.report.spectrum_figure import draw_spectrum
from dsl_tf.report.table import accuracy_table
from dsl_tf.report.wording import measure_text
from dsl_tf.runs.episodes_file import write_episodes
from dsl_tf.runs.evaluate import Evaluation, SubjectResult
from dsl_tf.runs.evaluations import EVALUATION
from dsl_tf.runs.titles import loss_title

_PAIRS, _EXAMPLES = 6, 5
_OTHER_DATA = "Measured on other data than the split of the same name that the run recorded."


def evaluation_report(evaluation: Evaluation) -> dict[str, Any]:
    """Returns all measurements of an evaluation, the content of `evaluation.json`.

    Args:
        evaluation: an `Evaluation`.
    """
    comparisons = []
    corrected = {kind: corrected_from_first(list(evaluation.comparisons.values()), kind) for kind in KINDS}
    for place, ((classifier, transform, shots), matrix) in enumerate(evaluation.comparisons.items()):
        comparisons.append(
            {
                "classifier": classifier,
                "feature_transform": transform,
                "shots": shots,
                "names": list(matrix.names),
                "accuracies": matrix.accuracies.tolist(),
                "differences": matrix.differences.tolist(),
                "episodes_half_widths": matrix.episodes_half_widths.tolist(),
                "seeds_half_widths": _without_nan(matrix.seeds_half_widths),
                "classes_half_widths": _without_nan(matrix.classes_half_widths),
                "p_values": {kind: _without_nan(getattr(matrix, f"{kind}_p_values")) for kind in KINDS},
                "holm_p_values_of_differences_from_first": {
                    kind: _without_nan(p_values[place][None])[0] for kind, p_values in corrected.items()
                },
            }
        )
    return {"subjects": [result.report() for result in evaluation.results], "comparisons": comparisons}


def _without_nan(matrix: np.ndarray) -> list[list[float | None]]:
    """Replaces NaN, which stands for no such interval, by None, because JSON has no NaN."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]


def evaluation_text(evaluation: Evaluation) -> str:
    """Formats an evaluation for the screen: the accuracies, or a comparison of several runs, and the details."""
    parts = []
    several = len(evaluation.results) > 1
    for result in evaluation.results:
        lines = []
        if result.outcomes and not evaluation.comparisons:
            lines = [accuracy_table(result.accuracies), *_classes_text(result.accuracies)]
        lines += _details_text(result.details)
        if result.subject.data == "other data":
            lines.append(_OTHER_DATA)
        if lines:
            parts += [result.subject.name, *lines] if several else lines
    if evaluation.comparisons:
        parts.append(comparison_table(evaluation.comparisons))
    return "\n\n".join(parts)


def _classes_text(accuracies: Sequence[dict[str, Any]]) -> list[str]:
    """Says how much wider the intervals over classes are, if there are any."""
    widths = [100 * entry["classes_half_width"] for entry in accuracies if entry["classes_half_width"] is not None]
    if not widths:
        return []
    low, high = f"{min(widths):.2f}", f"{max(widths):.2f}"
    span = low if low == high else f"{low} to {high}"
    return [f"± is over other episodes of these classes. Over other classes it would be ± {span}."]


def _details_text(details: dict[str, Any]) -> list[str]:
    """Formats the retrieval metrics and subspace accuracies that were measured."""
    parts = [known_classes_text(details["known_classes"])] if "known_classes" in details else []
    if "retrieval" in details:
        names = {"recall_at_": "Recall@", "map_at_r": "MAP@R"}
        values = []
        for name, value in details["retrieval"].items():
            for old, new in names.items():
                name = name.replace(old, new)
            values.append(f"{name} {100 * value:.2f}%")
        parts.append("Retrieval: " + "  ".join(values))
    for name, accuracies in details.get("subspace_accuracies", {}).items():
        parts.append(f"Features in the {name.replace('_', ' ')} alone\n\n{accuracy_table(accuracies)}")
    return parts


def _data_name(evaluation: Evaluation) -> str:
    """Returns the name of the data according to the trainings; empty if it is not known."""
    training = evaluation.results[0].subject.training
    if training is None:
        return ""
    if training.dataset == "folder" and training.data_dir:
        return pathlib.PurePath(training.data_dir).name
    return training.dataset


def _measure_title(evaluation: Evaluation, classifier: str, feature_transform: str, shots: int) -> str:
    """Returns a title, such as "glyphs test, 5-way 1-shot: nearest class centroid, raw features"."""
    entry = next(result for result in evaluation.results if result.outcomes).outcomes[0].entry
    other = any(result.subject.data == "other data" for result in evaluation.results)
    data = f"{'other data than trained on, ' if other else ''}{_data_name(evaluation)} {entry['split']}".strip()
    return f"{data}, {entry['ways']}-way {shots}-shot: {measure_text(classifier, feature_transform)}"


def write_evaluation(evaluation: Evaluation, output_dir: str | os.PathLike[str]) -> pathlib.Path:
    """Writes the folder of an evaluation: numbers, accuracies per episode, and plots.

    Repeating the same evaluation replaces its folder. Other evaluations have other folders.

    Args:
        evaluation: an `Evaluation`.
        output_dir: the parent of the evaluation's folder; created if missing.

    Returns:
        The folder of the evaluation.

    Raises:
        UserError: if the folder cannot be written.
    """
    folder = pathlib.Path(output_dir) / evaluation.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as directory:
            directory.mkdir()
            _write_files(evaluation, directory)
    except OSError as error:
        raise UserError(
            f"--output_dir={str(output_dir)!r} must be a folder that can be written. {error.strerror or error}."
        ) from None
    return folder


def _write_files(evaluation: Evaluation, directory: pathlib.Path) -> None:
    write_text(directory / EVALUATION, json.dumps(evaluation_report(evaluation), indent=1) + "\n")
    arrays: dict[str, Any] = _episodes(evaluation)
    np.savez(directory / "episodes.npz", **arrays)
    for (classifier, transform, shots), matrix in evaluation.comparisons.items():
        title = _measure_title(evaluation, classifier, transform, shots)
        # A colon in the name of a function of the user's own is no part of a file's name everywhere.
        name = f"comparison_{classifier.replace(':', '-')}_{transform}_{shots}_shot.png"
        draw_paired(matrix, directory / name, title)
    several = len(evaluation.results) > 1
    if evaluation.writes_episodes:
        _write_episodes(evaluation, directory)
    for number, result in enumerate(evaluation.results, start=1):
        if result.details and result.outcomes:
            entry = result.outcomes[0].entry
            measure = _measure_title(evaluation, entry["classifier"], entry["feature_transform"], entry["shots"])
            _write_details(result, directory, f"{number}_" if several else "", measure)


def _write_episodes(evaluation: Evaluation, directory: pathlib.Path) -> None:
    """Writes the episodes of each number of shots, of the first subject, and of others whose episodes differ."""
    written: set[str] = set()
    for number, result in enumerate(evaluation.results, start=1):
        for outcome in result.outcomes:
            fingerprint = outcome.entry["episodes_fingerprint"]
            if fingerprint not in written:
                prefix = f"{number}_" if number > 1 else ""
                name = f"{prefix}episodes_{outcome.entry['shots']}_shot.jsonl"
                write_episodes(directory / name, outcome.episodes, result.subject)
                written.add(fingerprint)


def _episodes(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Returns the accuracies per episode `[E]` of each subject, by a descriptive name."""
    arrays = {"names": np.array([result.subject.name for result in evaluation.results])}
    for number, result in enumerate(evaluation.results):
        for outcome in result.outcomes:
            entry = outcome.entry
            name = f"{number}/{entry['classifier']}/{entry['feature_transform']}/{entry['shots']}"
            arrays[name] = outcome.accuracies.astype(np.float32)
    return arrays


def _subject_title(result: SubjectResult) -> str:
    """Names a subject in a figure: the training's loss and seed, or the file's name."""
    training = result.subject.training
    if training is None:
        return pathlib.PurePath(result.subject.name).name
    return f"{loss_title(training)}, seed {training.seed}"


def _write_details(result: SubjectResult, directory: pathlib.Path, prefix: str, measure: str) -> None:
    """Writes the details of a subject, including the confusions of its first measure."""
    subject, outcome = result.subject, result.outcomes[0]
    name = _subject_title(result)
    predictions = outcome.predictions.reshape(len(outcome.predictions), -1)
    counts, chances = confusion(subject.labels, outcome.episodes.support, outcome.episodes.query, predictions)
    rates = confusion_rates(counts, chances)
    write_text(directory / f"{prefix}confusion.csv", _confusion_csv(rates, subject.class_names))
    draw_confusion(rates, subject.class_names, directory / f"{prefix}confusion.png", f"{name}\n{measure}")
    if subject.images is not None:
        pairs = most_confused(counts, chances, top=_PAIRS)
        examples = []
        for true, predicted, _ in pairs:
            wrong, typical = (
                wrong_queries(subject.labels, outcome.episodes.query, predictions, shown, predicted, _EXAMPLES)
                for shown in (true, predicted)
            )
            examples.append((subject.images[wrong], subject.images[typical]))
        path = directory / f"{prefix}confused_pairs.png"
        draw_confused_pairs(pairs, examples, subject.class_names, path, f"{name}\n{measure}")
    if subject.kernel is not None:
        draw_spectrum({name: subject.kernel}, directory / f"{prefix}spectrum.png")
    folder = directory / f"{prefix}projector"
    write_projector(folder, subject.features, subject.labels, subject.class_names, subject.images)


def _confusion_csv(rates: np.ndarray, class_names: Sequence[str]) -> str:
    names = [safe_cell(str(name)) for name in class_names]
    rows = [[name, *("" if np.isnan(rate) else f"{rate:.5f}" for rate in row)] for name, row in zip(names, rates)]
    return csv_text([["class", *names], *rows])
