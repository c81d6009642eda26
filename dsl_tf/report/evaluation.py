"""An evaluation's files and what it says on the screen."""

import csv
import io
import json
import pathlib

import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import episode_accuracies
from dsl_tf.evaluation.confusion import confusion, confusion_rates, most_confused, wrong_queries
from dsl_tf.files import write_text
from dsl_tf.report.confusion_figure import draw_confused_pairs, draw_confusion
from dsl_tf.report.paired_figure import draw_paired
from dsl_tf.report.paired_table import paired_table
from dsl_tf.report.projector import write_projector
from dsl_tf.report.spectrum_figure import draw_spectrum
from dsl_tf.report.table import accuracy_table

_PAIRS, _EXAMPLES = 6, 5


def evaluation_report(evaluation):
    """Returns all that an evaluation measured, as `evaluation.json` holds it.

    Args:
        evaluation: an `Evaluation`.
    """
    comparisons = []
    for (classifier, transform, shots), matrix in evaluation.comparisons.items():
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
            }
        )
    return {"subjects": [result.report() for result in evaluation.results], "comparisons": comparisons}


def _without_nan(matrix):
    """Returns rows of numbers with None, which JSON has, in the place of NaN, which stands for a single seed."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]


def evaluation_text(evaluation):
    """Lays out an evaluation's accuracies and comparisons, lines of text."""
    parts = []
    for result in evaluation.results:
        title = [result.subject.name, ""] if len(evaluation.results) > 1 else []
        parts.append("\n".join([*title, accuracy_table(result.accuracies)]))
        if "retrieval" in result.details:
            names = {"recall_at_": "Recall@", "map_at_r": "MAP@R"}
            values = []
            for name, value in result.details["retrieval"].items():
                for old, new in names.items():
                    name = name.replace(old, new)
                values.append(f"{name} {100 * value:.2f}%")
            parts.append("Retrieval: " + "  ".join(values))
        for name, accuracies in result.details.get("subspace_accuracies", {}).items():
            parts.append(f"Features in the {name.replace('_', ' ')} alone\n\n{accuracy_table(accuracies)}")
    for (classifier, transform, shots), matrix in evaluation.comparisons.items():
        parts.append(f"{classifier}, feature transform {transform}, {shots}-shot\n{paired_table(matrix)}")
    return "\n\n".join(parts)


def write_evaluation(evaluation, output_dir):
    """Writes an evaluation's files: numbers, accuracies episode by episode, and plots.

    Args:
        evaluation: an `Evaluation`.
        output_dir: the folder, which is made.

    Returns:
        The names of what was written, a list.

    Raises:
        UserError: where the folder cannot be written.
    """
    directory = pathlib.Path(output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / "evaluation.json", json.dumps(evaluation_report(evaluation), indent=1) + "\n")
        np.savez(directory / "episodes.npz", **_episodes(evaluation))
        written = ["evaluation.json", "episodes.npz"]
        for (classifier, transform, shots), matrix in evaluation.comparisons.items():
            written.append(f"comparison_{classifier}_{transform}_{shots}_shot.png")
            draw_paired(matrix, directory / written[-1])
        several = len(evaluation.results) > 1
        for number, result in enumerate(evaluation.results, start=1):
            if result.details:
                written += _write_details(result, directory, f"{number}_" if several else "")
    except OSError as error:
        raise UserError(
            f"--output_dir={output_dir!r} must be a folder that can be written. {error.strerror}."
        ) from None
    return written


def _episodes(evaluation):
    """Returns the accuracies of each subject episode by episode `[E]`, by a name that says what of."""
    arrays = {"names": np.array([result.subject.name for result in evaluation.results])}
    for number, result in enumerate(evaluation.results):
        for outcome in result.outcomes:
            entry = outcome.entry
            name = f"{number}/{entry['classifier']}/{entry['feature_transform']}/{entry['shots']}"
            arrays[name] = episode_accuracies(outcome.predictions).astype(np.float32)
    return arrays


def _write_details(result, directory, prefix):
    subject, outcome = result.subject, result.outcomes[0]
    predictions = outcome.predictions.reshape(len(outcome.predictions), -1)
    counts, chances = confusion(subject.labels, outcome.support, outcome.query, predictions)
    rates = confusion_rates(counts, chances)
    written = [f"{prefix}confusion.csv", f"{prefix}confusion.png"]
    write_text(directory / written[0], _confusion_csv(rates, subject.class_names))
    draw_confusion(rates, subject.class_names, directory / written[1])
    if subject.images is not None:
        pairs = most_confused(counts, chances, top=_PAIRS)
        examples = []
        for true, predicted, _ in pairs:
            wrong, typical = (
                wrong_queries(subject.labels, outcome.query, predictions, shown, predicted, _EXAMPLES)
                for shown in (true, predicted)
            )
            examples.append((subject.images[wrong], subject.images[typical]))
        written.append(f"{prefix}confused_pairs.png")
        draw_confused_pairs(pairs, examples, subject.class_names, directory / written[-1])
    if subject.kernel is not None:
        written.append(f"{prefix}spectrum.png")
        draw_spectrum({subject.name: subject.kernel}, directory / written[-1])
    written.append(f"{prefix}projector")
    write_projector(directory / written[-1], subject.features, subject.labels, subject.class_names, subject.images)
    return written


def _confusion_csv(rates, class_names):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["class", *class_names])
    for name, row in zip(class_names, rates, strict=True):
        writer.writerow([name, *("" if np.isnan(rate) else f"{rate:.5f}" for rate in row)])
    return file.getvalue()
