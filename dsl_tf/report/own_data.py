"""Tables of runs without published counterpart: a row per training, averaged over seeds."""

import dataclasses
from collections.abc import Sequence

from dsl_tf.report.candidates import Candidate, Measurement, gather, labels, test_entries
from dsl_tf.report.runs import Run
from dsl_tf.report.wording import CLASSIFIERS, FEATURES


@dataclasses.dataclass(frozen=True)
class OwnRow:
    """Runs that differ only in their seeds, and their measurements.

    Args:
        name: the loss, and the settings that distinguish it from the other rows.
        candidate: the runs.
        measurements: one per column of the table; without values if it was not measured.
    """

    name: str
    candidate: Candidate
    measurements: tuple[Measurement, ...]


@dataclasses.dataclass(frozen=True)
class OwnTable:
    """A table of runs on one data set with one few-shot classifier.

    Args:
        data_title: the name of the data.
        classifier: the few-shot classifier; None for runs without a test.
        ways: N of the few-shot task.
        columns: pairs of shots and feature transform.
        rows: the rows.
        notes: sentences below the table.
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
    """Arranges runs on one data set in a table per few-shot classifier and number of ways.

    Args:
        data_title: the name of the data.
        runs: finished runs on it.
        feature_transform: the transform to show; None for all that were measured.

    Returns:
        The tables. Runs without test classes have a separate table. Those on known classes have none here.
    """
    candidates = gather([run for run in runs if not (run.results or {}).get("known_classes")])
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
