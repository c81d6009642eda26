"""Assigns runs to the cells of the paper's tables, and all other runs to separate tables."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

from dsl_tf.experiments import Cell, cells, published
from dsl_tf.experiments.cells import DATA_TITLES
from dsl_tf.report.candidates import (
    Candidate,
    Measurement,
    data_key,
    finished_runs,
    gather,
    pick,
    test_entries,
    variants,
)
from dsl_tf.report.differences import Marks, difference_notes, differences
from dsl_tf.report.own_data import OwnTable, own_tables
from dsl_tf.report.runs import Run
from dsl_tf.report.scores import ScoreRow, score_rows
from dsl_tf.report.wording import printable
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.titles import loss_key

TABLES = (3, 4, 5, 6)
_WAYS = 5
_TITLES = {**DATA_TITLES, "arrays": "arrays from Python"}
_HEADINGS = {
    "sum": "Sum loss (6)",
    "direct_sum": "Direct-sum loss (7)",
    "spectral_sum": "Spectral-sum loss (11)",
}
_PAPER_DATA = {table: tuple(dict.fromkeys(cell.dataset for cell in cells(table))) for table in TABLES}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of one of the paper's tables.

    Args:
        cell: the paper's cell.
        heading: the heading above it in the paper's table.
        measurements: one per number of shots and feature transform.
        picked: the runs that were measured, or None.
        candidates: the runs from which they were picked, which differ only in N×K.
        differences: the settings that differ from those of the cell, as texts.
        mark: the letter of the note with these differences; empty if there are none.
    """

    cell: Cell
    heading: str
    measurements: tuple[Measurement, ...]
    picked: Candidate | None
    candidates: tuple[Candidate, ...] = ()
    differences: tuple[str, ...] = ()
    mark: str = ""

    @property
    def seeds(self) -> int:
        """The number of seeds, 0 if nothing was measured."""
        return len(self.picked.runs) if self.picked else 0

    @property
    def name(self) -> str:
        """The name of the row in the paper, with the mark of its differences."""
        return f"{self.cell.name} ({self.mark})" if self.mark else self.cell.name


@dataclasses.dataclass(frozen=True)
class Block:
    """One of the paper's tables on one data set, with notes."""

    table: int
    data_title: str
    shots: tuple[int, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    feature_transforms: tuple[str, ...]

    @property
    def classifier(self) -> str:
        """The few-shot classifier of the table."""
        return self.rows[0].cell.classifier

    @property
    def is_measured(self) -> bool:
        """Whether any of its cells was measured."""
        return any(row.picked for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The content of a report: the runs, the paper's tables, and tables of runs that do not belong to them."""

    runs: tuple[Run, ...]
    blocks: tuple[Block, ...]
    own_tables: tuple[OwnTable, ...]
    scores: dict[str, tuple[ScoreRow, ...]]
    data_titles: dict[str, str]

    @property
    def has_published(self) -> bool:
        """Whether published numbers are shown beside measured ones."""
        return bool(self.blocks)


def _data_titles(keys: Iterable[str]) -> dict[str, str]:
    """Names the data sets; folders by their last part, or by their full path if two have the same last part."""
    paths = {key: key.removeprefix("folder:") for key in keys}
    names = {
        key: _TITLES.get(key, (pathlib.PurePath(path).name or path) if path != key else key)
        for key, path in paths.items()
    }
    counts = collections.Counter(names.values())
    return {key: printable(name if counts[name] == 1 else paths[key]) for key, name in names.items()}


def _heading(cell: Cell) -> str:
    """Returns the heading above a row of a table."""
    alone = "none" in (cell.flags["classification_loss"], cell.flags["metric_loss"])
    if cell.table == 3:
        ablations = {"i": "i) Subspace separation", "ii": "ii) Classifier subspace"}
        return ablations.get(cell.name.partition("-")[0], "Individual losses" if alone else "Direct-sum loss (7)")
    if alone:
        return "Classification loss" if cell.flags["metric_loss"] == "none" else "Metric loss"
    return _HEADINGS[cell.flags["integration"]]


def _pick_note(row: Row) -> str | None:
    """Returns a sentence that says which of several batch shapes a row shows, and why."""
    if len(row.candidates) < 2 or row.picked is None:
        return None

    def name(candidate: Candidate) -> str:
        value = candidate.validation_accuracy
        accuracy = "no validation accuracy" if value is None else f"{100 * value:.2f}%"
        return f"{candidate.batch_shape.replace('x', '×')} ({accuracy}, seeds: {len(candidate.runs)})"

    others = ", ".join(name(candidate) for candidate in row.candidates if candidate is not row.picked)
    if row.picked.validation_accuracy is None:
        return f"{row.name}: {name(row.picked)} is the first N×K found, not picked by validation. Others: {others}."
    return f"{row.name}: {name(row.picked)} is the N×K with the best mean validation accuracy. Others: {others}."


def _notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns notes on the marks, the choices of N×K and the skipped runs."""
    notes = difference_notes((row.mark, row.differences) for row in rows)
    notes += [note for note in map(_pick_note, rows) if note]
    repeats = [run.directory for row in rows for candidate in row.candidates for run in candidate.repeats]
    if repeats:
        notes.append(f"Not averaged, because another run has the same flags and seed: {', '.join(repeats)}.")
    return tuple(notes)


def _rows(cell: Cell, runs: Sequence[Run], measures: list[tuple[str, int]], marks: Marks) -> list[Row]:
    """Returns the rows of a cell: one per group of runs with the same settings, or an empty one without runs."""
    expected = published(cell.table, cell.dataset, cell.name) or {}
    key = loss_key(TrainingConfiguration(**cell.flags))
    matching = [run for run in runs if run.configuration and loss_key(run.configuration) == key]
    rows = []
    for candidates in variants(gather(matching)):
        picked = pick(candidates)
        measured = tuple(
            picked.measure(cell.classifier, transform, _WAYS, shots, expected.get(shots))
            for transform, shots in measures
        )
        found = differences(picked, cell, measured)
        rows.append(Row(cell, _heading(cell), measured, picked, candidates, found, marks.of(found)))
    if not rows:
        missing = tuple(
            Measurement(cell.classifier, transform, _WAYS, shots, (), None, expected.get(shots))
            for transform, shots in measures
        )
        rows = [Row(cell, _heading(cell), missing, None)]
    return rows


def _block(
    table: int, key: str, titles: dict[str, str], runs: Sequence[Run], transform: str | None, marks: Marks
) -> Block:
    """Builds one of the paper's tables on one data set."""
    table_cells = cells(table, datasets=(key,))
    transforms = table_cells[0].feature_transforms if transform is None else (transform,)
    shots = (1,) if table == 3 else (1, 5)
    measures = [(transform, shot) for shot in shots for transform in transforms]
    able = [
        run
        for run in runs
        if any(
            entry["ways"] == _WAYS and (entry["feature_transform"], entry["shots"]) in measures
            for entry in test_entries(run, table_cells[0].classifier)
        )
    ]
    rows = tuple(row for cell in table_cells for row in _rows(cell, able, measures, marks))
    return Block(table, titles[key], shots, rows, _notes(rows), transforms)


def compare(
    runs: Sequence[Run], tables: Sequence[int] | None = None, feature_transform: str | None = None
) -> Comparison:
    """Assigns finished runs to the cells of the paper's tables, and all other runs to separate tables.

    Args:
        runs: the runs.
        tables: numbers of the paper's tables to show with all rows; those with a run if None.
        feature_transform: `"none"`, `"l2"` or `"cl2"`; those of the table's few-shot classifier if None.

    Returns:
        A `Comparison`.
    """
    finished = finished_runs(runs)
    keys = [key for papers in _PAPER_DATA.values() for key in papers]
    keys += [data_key(run) for run in runs if run.configuration]
    titles = _data_titles(dict.fromkeys(keys))
    marks = Marks()
    filled = [
        _block(table, key, titles, finished.get(key, ()), feature_transform, marks)
        for table in (TABLES if tables is None else tables)
        for key in _PAPER_DATA[table]
    ]
    # Tables without a run are dropped, unless they were requested together with tables that have one.
    is_whole = tables is not None and any(block.is_measured for block in filled)
    blocks = [block for block in filled if block.is_measured or is_whole]
    blocks.sort(key=lambda block: (block.table, not block.is_measured))
    used = {
        run.directory
        for block in blocks
        for row in block.rows
        for candidate in row.candidates
        for run in (*candidate.runs, *candidate.repeats)
    }
    own = [
        table
        for key, found_runs in finished.items()
        for table in own_tables(
            titles[key], [run for run in found_runs if run.directory not in used], feature_transform
        )
    ]
    return Comparison(tuple(runs), tuple(blocks), tuple(own), score_rows(runs, marks), titles)
