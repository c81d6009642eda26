"""Lays out a report as tables of plain text, which Markdown, LaTeX and HTML only escape."""

import dataclasses
from collections.abc import Iterable

from dsl_tf.report.candidates import Measurement
from dsl_tf.report.comparison import Block, Comparison, Row
from dsl_tf.report.differences import difference_notes
from dsl_tf.report.own_data import OwnRow, OwnTable
from dsl_tf.report.scores import SPACES
from dsl_tf.report.wording import CLASSIFIERS, FEATURES, NOTHING, protocol_text, signed, with_error
from dsl_tf.runs.titles import loss_title

# The subspaces of the classification and the metric loss, as Table 3 of the paper names them.
_PROJECTIONS = {
    "SCE": "W, –",
    "NCA": "–, I",
    "SCE⊕NCA (ours)": "W, W⊥",
    "i-1": "W, I",
    "i-2": "W, W",
    "ii-1": "R, R⊥",
    "ii-2": "I_C, I_C⊥",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A table of text.

    Args:
        title: what it shows.
        columns: pairs of the name of the group, `""` for none, and the name of the column.
        rows: pairs of the heading above the row, or None, and the cells.
        notes: sentences below the table.
        is_measured: whether it contains any measured number.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str | None, tuple[str, ...]], ...]
    notes: tuple[str, ...] = ()
    is_measured: bool = True


def _row_name(row: Row) -> str:
    if row.cell.table != 3:
        return row.name
    return row.name.replace(row.cell.name, f"{row.cell.name} [{_PROJECTIONS[row.cell.name]}]", 1)


def _protocols(measurements: Iterable[Measurement]) -> list[tuple[int, int]]:
    return [protocol for measurement in measurements for protocol in measurement.protocols]


def block_layout(block: Block) -> Layout:
    """Lays out one of the paper's tables on one data set: published, measured and difference per number of shots."""
    columns = [("", "loss")]
    for shots in block.shots:
        names = ["published"]
        for transform in block.feature_transforms:
            names += [FEATURES[transform], "difference"]
        columns += [(f"{shots}-shot (%)", name) for name in names]
    columns += [("", "seeds"), ("", "N×K")]
    rows = []
    for row in block.rows:
        cells = [_row_name(row)]
        for shots in block.shots:
            found = [measurement for measurement in row.measurements if measurement.shots == shots]
            cells.append(with_error(found[0].published, None) if found[0].published is not None else NOTHING)
            for measurement in found:
                cells += [with_error(measurement.mean, measurement.error), signed(measurement.difference)]
        shape = row.picked.batch_shape.replace("x", "×") if row.picked else NOTHING
        rows.append((row.heading, (*cells, str(row.seeds) if row.picked else NOTHING, shape)))
    notes = list(block.notes)
    if block.is_measured:
        if all(row.picked is None or not row.mark for row in block.rows):
            notes.append("All flags are those of the paper's cells.")
        notes.append(
            "The paper's text names no feature transform; its reference [20] measures the nearest centroid on cl2."
        )
    if block.table == 3:
        notes.append("In square brackets: the subspaces on which the classification and the metric loss act.")
    measurements = [measurement for row in block.rows for measurement in row.measurements]
    title = (
        f"Table {block.table}, {block.data_title}: {CLASSIFIERS[block.classifier]}, "
        f"{protocol_text([measurement.ways for measurement in measurements], _protocols(measurements))}"
    )
    return Layout(title, tuple(columns), tuple(rows), tuple(notes), block.is_measured)


def _own_cells(table: OwnTable, row: OwnRow, has_validation: bool) -> tuple[str, ...]:
    cells = [row.name]
    cells += [with_error(found.mean, found.error) if found.values else "" for found in row.measurements]
    if has_validation:
        value = row.candidate.validation_accuracy
        cells.append("" if value is None else f"{100 * value:.2f}")
    return (*cells, str(len(row.candidate.runs)), row.candidate.batch_shape.replace("x", "×"))


def own_layout(table: OwnTable) -> Layout:
    """Lays out runs without published counterpart."""
    columns = [("", "training")]
    columns += [(f"{shots}-shot (%)", FEATURES[kind]) for shots, kind in table.columns]
    has_validation = any(row.candidate.validation_accuracy is not None for row in table.rows)
    if has_validation:
        columns.append(("validation", "best (%)"))
    columns += [("", "seeds"), ("", "N×K")]
    rows = tuple((None, _own_cells(table, row, has_validation)) for row in table.rows)
    measurements = [measurement for row in table.rows for measurement in row.measurements]
    if table.classifier is None:
        title = f"{table.data_title}: trainings without test classes"
    else:
        title = (
            f"{table.data_title}: {CLASSIFIERS[table.classifier]}, "
            f"{protocol_text([table.ways], _protocols(measurements))}"
        )
    return Layout(title, tuple(columns), rows, table.notes)


def scores_layout(comparison: Comparison) -> Layout | None:
    """Lays out the discriminant scores of test features as in Table 1, or returns None if no run has any."""
    if not comparison.scores:
        return None
    every = [row for found in comparison.scores.values() for row in found]
    has_published = any(row.published for row in every)
    rows = []
    for key, found in comparison.scores.items():
        for row in found:
            cells = [row.name]
            for space in SPACES:
                cells.append(with_error(row.mean(space), row.spread(space), digits=3))
                if has_published:
                    cells.append(f"{row.published[space]:.2f}" if row.published else NOTHING)
            rows.append((comparison.data_titles[key], (*cells, str(len(row.values[space])))))
    names = [(heading, name) for heading in SPACES.values() for name in ("measured", "published")]
    if not has_published:
        names = [("score", heading) for heading in SPACES.values()]
    columns = (("", "training"), *names, ("", "seeds"))
    title = "Discriminant score of test features, 0 to 1" + (" (Table 1)" if has_published else "")
    notes = difference_notes((row.mark, row.differences) for row in every)
    return Layout(title, columns, tuple(rows), tuple(notes))


def unfinished_layout(comparison: Comparison) -> Layout | None:
    """Lays out the runs without results, or returns None if there are none."""
    rows: list[tuple[str | None, tuple[str, ...]]] = []
    for run in comparison.runs:
        if run.state == "unreadable":
            rows.append((None, (run.directory, run.state, run.problem or "")))
        elif run.state == "unfinished" and run.configuration:
            epoch = int(max((record["epoch"] for record in run.metrics), default=0))
            logged = f"{loss_title(run.configuration)}, epoch {epoch} of {run.configuration.epochs} logged"
            rows.append((None, (run.directory, run.state, logged)))
    columns = (("", "directory"), ("", "state"), ("", "what is known"))
    return Layout("Runs without results", columns, tuple(rows)) if rows else None
