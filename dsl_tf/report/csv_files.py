"""Formats the cells of a report as CSV."""

import statistics
from collections.abc import Iterable

from dsl_tf import files
from dsl_tf.report.candidates import Candidate, Measurement, finished_runs
from dsl_tf.report.comparison import Comparison
from dsl_tf.report.known_classes import KnownRow, known_rows
from dsl_tf.report.wording import printable

CSV_COLUMNS = (
    "table",
    "dataset",
    "name",
    "shots",
    "ways",
    "classifier",
    "feature_transform",
    "measured",
    "spread",
    "half_width",
    "seeds",
    "published",
    "difference",
    "batch_shape",
    "differs_from_cell",
    "run_directories",
)


def safe_cell(text: str) -> str:
    """Returns a text for a cell: without line ends and control characters, and no formula of a spreadsheet."""
    return files.guarded(printable(text))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(
    table: str,
    dataset: str,
    name: str,
    measurement: Measurement,
    candidate: Candidate | None,
    differences: Iterable[str],
) -> list[str]:
    shown = candidate if measurement.values else None
    return [
        table,
        safe_cell(dataset),
        safe_cell(name),
        str(measurement.shots),
        str(measurement.ways),
        measurement.classifier,
        measurement.feature_transform,
        _number(measurement.mean),
        _number(measurement.spread),
        _number(measurement.half_width),
        str(len(measurement.values)),
        _number(measurement.published),
        _number(measurement.difference),
        shown.batch_shape if shown else "",
        safe_cell("; ".join(differences)) if shown else "",
        safe_cell(";".join(run.directory for run in shown.runs)) if shown else "",
    ]


def _known_line(dataset: str, row: KnownRow, name: str, transform: str, values: list[float]) -> list[str]:
    measured = {
        "dataset": safe_cell(dataset),
        "name": safe_cell(row.name),
        "classifier": name,
        "feature_transform": transform,
        "measured": _number(statistics.fmean(values)),
        "spread": _number(statistics.stdev(values) if len(values) > 1 else None),
        "seeds": str(len(values)),
        "batch_shape": row.candidate.batch_shape,
        "run_directories": safe_cell(";".join(run.directory for run in row.candidate.runs)),
    }
    return [measured.get(column, "") for column in CSV_COLUMNS]


def csv_text(comparison: Comparison) -> str:
    """Returns the report's cells as CSV: a line per row, number of shots and feature transform.

    Numbers are in percent, empty if missing. Runs without published counterpart have no table number, and measures of
    held-out images of known classes no shots and ways.
    """
    lines = [list(CSV_COLUMNS)]
    for block in comparison.blocks:
        for row in block.rows:
            for measurement in row.measurements:
                cell = row.cell
                lines.append(_line(str(cell.table), cell.dataset, cell.name, measurement, row.picked, row.differences))
    for table in comparison.own_tables:
        for own in table.rows:
            for measurement in own.measurements:
                if measurement.values:
                    lines.append(_line("", table.data_title, own.name, measurement, own.candidate, ()))
    for key, runs in finished_runs(comparison.runs).items():
        for known in known_rows(runs):
            lines += [
                _known_line(comparison.data_titles[key], known, name, transform, values)
                for (name, transform), values in known.values.items()
                if values
            ]
    return files.csv_text(lines)
