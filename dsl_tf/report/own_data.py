"""Runs beside which nothing is published: a row for each, seeds averaged, and only the columns that were measured."""

import dataclasses
from collections.abc import Sequence

from dsl_tf.report.candidates import Candidate, Measurement, gather, labels, test_entries
from dsl_tf.report.runs import Run
from dsl_tf.report.wording import CLASSIFIERS, FEATURES


@dataclasses.dataclass(frozen=True)
class OwnRow:
    """Runs that differ in their seeds alone, and what was measured of them.

    Args:
        name: the loss and what sets it apart from the table's other rows.
        candidate: the runs.
        measurements: one for each of the table's columns; without values if it was not measured.
    """

    name: str
    candidate: Candidate
    measurements: tuple[Measurement, ...]


@dataclasses.dataclass(frozen=True)
class OwnTable:
    """A table of runs on one data set by one few-shot classifier, or of runs without a test if that is None.

    Args:
        data_title: the data.
        classifier: the few-shot classifier, or None.
        ways: N of the few-shot task.
        columns: pairs of shots and feature transform.
        rows: the rows.
        notes: sentences for its readers.
    """

    data_title: str
    classifier: str | None
    ways: int
    columns: tuple[tuple[int, str], ...]
    rows: tuple[OwnRow, ...]
    notes: tuple[str, ...] = ()


def _repeats_notes(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    repeats = [run.directory for candidate in candidates for run in candidate.repeats]
    return (f"Not averaged, because another run has the same flags and seed: {', '.join(repeats)}.",) if repeats else ()


def _table(
    data_title: str, classifier: str, ways: int, kinds: Sequence[str], named: Sequence[tuple[str, Candidate]]
) -> OwnTable | None:
    """Lays out the accuracies of a few-shot classifier, or returns None if there are none."""
    entries = [
        entry
        for _, candidate in named
        for run in candidate.runs
        for entry in test_entries(run, classifier)
        if entry["ways"] == ways
    ]
    columns = tuple(
        (shots, kind)
        for shots in sorted({entry["shots"] for entry in entries})
        for kind in kinds
        if any((entry["shots"], entry["feature_transform"]) == (shots, kind) for entry in entries)
    )
    rows = []
    for name, candidate in named:
        measured = tuple(candidate.measure(classifier, kind, ways, shots) for shots, kind in columns)
        if any(measurement.values for measurement in measured):
            rows.append(OwnRow(name, candidate, measured))
    notes = _repeats_notes([row.candidate for row in rows])
    return OwnTable(data_title, classifier, ways, columns, tuple(rows), notes) if rows else None


def own_tables(data_title: str, runs: Sequence[Run], feature_transform: str | None) -> list[OwnTable]:
    """Lays runs on one data set out in a table for each few-shot classifier and number of ways.

    Args:
        data_title: the name of the data.
        runs: finished runs on it.
        feature_transform: the only transform to show; all that were measured if None.

    Returns:
        The tables. Runs without a test accuracy, because they had no test classes, have a table of their own.
    """
    candidates = gather(runs)
    named = list(zip(labels(candidates), candidates, strict=True))
    kinds = [kind for kind in FEATURES if feature_transform in (None, kind)]
    ways = sorted({entry["ways"] for run in runs for name in CLASSIFIERS for entry in test_entries(run, name)})
    found = [_table(data_title, classifier, way, kinds, named) for classifier in CLASSIFIERS for way in ways]
    tables = [table for table in found if table]
    tested = {row.candidate for table in tables for row in table.rows}
    untested = [OwnRow(name, candidate, ()) for name, candidate in named if candidate not in tested]
    if untested:
        notes = _repeats_notes([row.candidate for row in untested])
        tables.append(OwnTable(data_title, None, 0, (), tuple(untested), notes))
    return tables
