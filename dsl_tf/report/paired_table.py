"""Formats the comparison of runs as one table for the screen."""

import textwrap
from collections.abc import Mapping

import numpy as np

from dsl_tf.evaluation.paired import KINDS, PairedMatrix, corrected_from_first
from dsl_tf.report.text_table import aligned, text_table
from dsl_tf.report.wording import measure_text, signed, with_error

# Characters of a name per line; the numbers beside it take about 45.
_NAME = 54
# Of p-values.
_LEVEL = 0.05


def _half_widths(values: np.ndarray, differences: np.ndarray, corrected: np.ndarray) -> list[str]:
    """Formats half-widths in percentage points, with marks if the interval excludes 0; NaN becomes blanks."""
    marks = [
        "" if not abs(change) > value else "**" if p_value <= _LEVEL else "*"
        for value, change, p_value in zip(values, differences, corrected, strict=True)
    ]
    texts = [f" ± {100 * value:.2f}{mark:2}" for value, mark in zip(values, marks, strict=True)]
    return ["" if np.isnan(value) else text for value, text in zip(values, texts, strict=True)]


def _differences(matrix: PairedMatrix, corrected: Mapping[str, np.ndarray]) -> list[str]:
    """Formats the differences from the first run with their half-widths, padded to the same length."""
    changes = matrix.differences[:, 0]
    parts = [["", *(signed(100 * change) for change in changes[1:])]]
    for kind, p_values in corrected.items():
        half_widths = getattr(matrix, f"{kind}_half_widths")[1:, 0]
        parts.append(["", *_half_widths(half_widths, changes[1:], p_values[1:])])
    first, *others = parts
    padded = aligned([first]) + [[text.ljust(max(map(len, part))) for text in part] for part in others]
    return ["".join(texts).rstrip() for texts in zip(*padded, strict=True)]


def _rows(matrix: PairedMatrix, corrected: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Formats one measure: a row per run, whose name may take several lines."""
    rows = []
    accuracies = zip(matrix.names, 100 * matrix.accuracies, 100 * matrix.half_widths, strict=True)
    for (name, accuracy, half_width), difference in zip(accuracies, _differences(matrix, corrected), strict=True):
        first, *further = textwrap.wrap(name, _NAME) or [""]
        rows.append([f"  {first}", with_error(accuracy, half_width), difference])
        rows += [[f"    {line}", "", ""] for line in further]
    return rows


def _notes(matrix: PairedMatrix, measures: int) -> list[str]:
    """Returns lines that explain the intervals."""
    has_seeds, has_classes = (
        np.isfinite(half_widths[1:, 0]) for half_widths in (matrix.seeds_half_widths, matrix.classes_half_widths)
    )
    notes = ["±  half of a 95% interval, from the differences episode by episode: these networks, other episodes"]
    if has_seeds.any():
        notes += ["   the second one, from the differences between seeds: other trainings, these episodes"]
    if has_classes.any():
        notes += ["   the last one, leaving out one test class at a time: these networks, other classes"]
    if not has_seeds.all():
        notes += ["   if a run has one seed, trainings with other seeds may differ by more than that"]
    notes += ["*  the interval excludes 0"]
    count = measures * (len(matrix.names) - 1)
    if count > 1:
        notes += [
            f"   of {count} differences that are truly 0, {0.05 * count:.1f} would be marked on average",
            f"** the difference is not 0 after Holm's correction for all {count} differences either",
        ]
    return notes


def comparison_table(comparisons: Mapping[tuple[str, str, int], PairedMatrix]) -> str:
    """Formats the accuracies of runs and their differences from the first one, with all measures in one table.

    Args:
        comparisons: a dict from (classifier, feature transform, shots) to the `PairedMatrix` of the runs.

    Returns:
        Lines of text: per measure and run, the accuracy ± its 95% confidence half-width, and the difference from the
        first run ± its half-widths, marked if the interval excludes 0, and doubly if it is not 0 after Holm's
        correction for all differences of the table.
    """
    first = next(iter(comparisons.values()))
    rows: list[list[str]] = []
    corrected = {kind: corrected_from_first(list(comparisons.values()), kind) for kind in KINDS}
    alone = len(comparisons) * (len(first.names) - 1) == 1
    for place, ((classifier, transform, shots), matrix) in enumerate(comparisons.items()):
        # A difference alone has nothing to correct.
        own = {kind: np.ones(2) if alone else p_values[place] for kind, p_values in corrected.items()}
        rows += [[f"{measure_text(classifier, transform)}, {shots}-shot"], *_rows(matrix, own)]
    title = f"Differences from {first.names[0]} on the same {first.episodes:,} episodes, in percentage points"
    table = text_table(["", "accuracy (%)", "difference"], rows)
    return "\n".join([title, "", table, "", *_notes(first, len(comparisons))])
