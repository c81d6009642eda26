"""The settings in which runs differ from their cell of the paper's tables."""

import string
from collections.abc import Iterable

from dsl_tf.experiments import BATCH_SHAPES, Cell, configuration
from dsl_tf.report.candidates import Candidate, Measurement
from dsl_tf.runs.titles import settings, value_text


def differences(candidate: Candidate, cell: Cell, measurements: tuple[Measurement, ...]) -> tuple[str, ...]:
    """Lists the settings of runs that differ from the paper's cell.

    Args:
        candidate: the runs.
        cell: their cell of the paper's table.
        measurements: the accuracies that are shown beside the published ones.

    Returns:
        A text per difference, such as `"epochs=10 (cell: 160)"`. The flags are compared with
        `experiments.configuration(cell)`. Flags without effect are omitted, and so is any N×K among which the paper
        may have chosen.
    """
    run = candidate.configuration
    shape = (run.ways, run.shots)
    of_cell = configuration(cell)
    if shape in BATCH_SHAPES.get(cell.dataset, ()):
        of_cell = configuration(cell, ways=run.ways, shots=run.shots)
    expected = settings(of_cell)
    found = [
        f"{name}={value_text(value)} (cell: {value_text(expected.get(name))})"
        for name, value in settings(run).items()
        if name not in expected or value != expected[name]
    ]
    # Not a mathematical flag, but such a run lacks images.
    if any(one.configuration and one.configuration.allow_partial for one in candidate.runs):
        found.append("allow_partial=True (cell: the full data set)")
    found += [f"{text} (not in the cell)" for text in candidate.runs[0].particulars]
    others = {one.feature_transform for one in measurements if one.values} - set(cell.feature_transforms)
    if others:
        found.append(f"feature_transform={','.join(sorted(others))} (cell: {','.join(cell.feature_transforms)})")
    protocols = [protocol for measurement in measurements for protocol in measurement.protocols]
    for name, values, value in (
        ("queries", {queries for queries, _ in protocols}, of_cell.test_queries),
        ("episodes", {episodes for _, episodes in protocols}, of_cell.test_episodes),
    ):
        if values - {value}:
            found.append(f"{name} {'/'.join(f'{number:,}' for number in sorted(values))} (cell: {value:,})")
    return tuple(found)


class Marks:
    """The letters that mark differences in the rows of a report. Equal differences have the same letter."""

    def __init__(self) -> None:
        self._letters: dict[tuple[str, ...], str] = {}

    def of(self, found: tuple[str, ...]) -> str:
        """Returns the letters of differences: a, b, …, z, aa, ab, …; empty if there are none."""
        return self._letters.setdefault(found, _letters(len(self._letters))) if found else ""


def _letters(number: int) -> str:
    letters = string.ascii_lowercase
    first, last = divmod(number, len(letters))
    return (_letters(first - 1) if first else "") + letters[last]


def _order(note: tuple[str, tuple[str, ...]]) -> tuple[int, str]:
    return len(note[0]), note[0]


def difference_notes(marked: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Returns a sentence per mark, given pairs of mark and differences from the paper's cell."""
    notes = {letter: found for letter, found in marked if letter}
    return [
        f"({letter}) differs from the paper's cell: {'; '.join(found)}."
        for letter, found in sorted(notes.items(), key=_order)
    ]
