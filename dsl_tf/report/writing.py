"""Writes the files of a report."""

import pathlib

from dsl_tf.errors import UserError
from dsl_tf.files import write_text
from dsl_tf.report.comparison import compare
from dsl_tf.report.contents import summary
from dsl_tf.report.csv_files import csv_text
from dsl_tf.report.formats import latex, markdown
from dsl_tf.report.page import page
from dsl_tf.report.runs import find_runs
from dsl_tf.runs.configuration import ReportConfiguration

_FORMATS = {"report.md": markdown, "report.csv": csv_text, "report.tex": latex, "report.html": page}


def write_report(configuration: ReportConfiguration) -> str:
    """Writes a report of runs as Markdown, CSV, LaTeX and HTML. The same runs give the same bytes.

    Args:
        configuration: a `ReportConfiguration`.

    Returns:
        Lines of text that say what was run and where the files are.

    Raises:
        UserError: if there are no runs, or the folder cannot be written.
    """
    tables = None if configuration.tables is None else tuple(sorted(set(configuration.tables)))
    comparison = compare(find_runs(configuration.runs or ()), tables, configuration.feature_transform)
    texts = {name: make(comparison) for name, make in _FORMATS.items()}
    directory = pathlib.Path(configuration.output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(directory / name, text)
    except OSError as error:
        raise UserError(
            f"--output_dir={configuration.output_dir!r} must be a folder that can be written. {error.strerror}."
        ) from None
    paths = ", ".join(str(directory / name) for name in texts)
    return f"{summary(comparison)}\nWrote {paths}."
