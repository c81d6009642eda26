"""The tables of a report as Markdown, CSV and LaTeX."""

import csv
import io
import itertools
import re

from dsl_tf.report.layout import READING, layouts, summary

_MARKDOWN = {character: f"\\{character}" for character in "\\`*_[]|~$"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "⊕": r"$\oplus$",
    "⊥": r"$_\perp$",
    "×": r"$\times$",
    "−": "$-$",
    "–": r"\textendash{}",
}

# Two hyphens would become a dash.
_HYPHENS = re.compile("-(?=-)")


def printable(text):
    """Spells out what is no printable character: line ends, control characters, bytes of a name that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def escape_markdown(text):
    """Escapes text for Markdown."""
    return "".join(_MARKDOWN.get(character, character) for character in printable(text))


def escape_latex(text):
    """Escapes text for LaTeX."""
    return _HYPHENS.sub("-{}", "".join(_LATEX.get(character, character) for character in printable(text)))


def _markdown_table(layout):
    header = [f"{group.removesuffix(' (%)')} {name}".strip() for group, name in layout.columns]
    lines = [f"## {escape_markdown(layout.title)}", ""]
    lines += ["| " + " | ".join(map(escape_markdown, header)) + " |"]
    lines += ["|" + "|".join("---:" if group else "---" for group, _ in layout.columns) + "|"]
    for heading, rows in itertools.groupby(layout.rows, key=lambda row: row[0]):
        if heading:
            lines.append(f"| **{escape_markdown(heading)}** |" + " |" * (len(header) - 1))
        lines += ["| " + " | ".join(map(escape_markdown, cells)) + " |" for _, cells in rows]
    for note in layout.notes:
        lines += ["", escape_markdown(note)]
    return lines


def markdown(comparison):
    """Returns the report's tables as Markdown."""
    lines = ["# Few-shot accuracies, measured and published", "", escape_markdown(summary(comparison)), ""]
    lines += [escape_markdown(READING)]
    for layout in layouts(comparison):
        lines += ["", *_markdown_table(layout)]
    return "\n".join(lines) + "\n"


def _latex_table(layout):
    spans, position = [], 1
    for group, columns in itertools.groupby(layout.columns, key=lambda column: column[0]):
        width = len(list(columns))
        spans.append((group, position, position + width - 1))
        position += width
    groups = " & ".join(
        f"\\multicolumn{{{last - first + 1}}}{{c}}{{{escape_latex(group)}}}" for group, first, last in spans
    )
    rules = " ".join(f"\\cmidrule(lr){{{first}-{last}}}" for group, first, last in spans if group)
    lines = [r"\begin{table}", r"\centering", f"\\caption{{{escape_latex(layout.title)}.}}"]
    lines += [f"\\begin{{tabular}}{{{''.join('r' if group else 'l' for group, _ in layout.columns)}}}", r"\toprule"]
    lines += [f"{groups} \\\\", rules] if rules else []
    lines += [" & ".join(escape_latex(name) for _, name in layout.columns) + r" \\"]
    for heading, rows in itertools.groupby(layout.rows, key=lambda row: row[0]):
        lines.append(r"\midrule")
        if heading:
            lines.append(f"\\multicolumn{{{len(layout.columns)}}}{{l}}{{\\textit{{{escape_latex(heading)}}}}} \\\\")
        lines += [" & ".join(map(escape_latex, cells)) + r" \\" for _, cells in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [f"\n{escape_latex(note)}" for note in layout.notes]
    return [*lines, r"\end{table}"]


def latex(comparison):
    """Returns the report's tables as LaTeX, to be `\\input` into a document that loads booktabs."""
    lines = [r"% \usepackage{booktabs}", f"% {printable(summary(comparison))}", f"% {READING}"]
    for layout in layouts(comparison):
        lines += ["", *_latex_table(layout)]
    return "\n".join(lines) + "\n"


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
    "run_directories",
)


def _number(value):
    return "" if value is None else f"{value:.4f}"


def csv_text(comparison):
    """Returns the report's cells as CSV, a line for each cell and shot; numbers in percent, empty where missing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for block in comparison.blocks:
        for row in block.rows:
            for measurement in row.measurements:
                seeds = len(measurement.values)
                shown = row.picked if seeds else None
                writer.writerow(
                    [
                        block.table,
                        printable(block.data_title if row.cell.dataset.startswith("folder:") else row.cell.dataset),
                        row.cell.name,
                        measurement.shots,
                        block.ways,
                        block.classifier,
                        block.feature_transform,
                        _number(measurement.mean),
                        _number(measurement.spread),
                        _number(measurement.half_width),
                        seeds,
                        _number(measurement.published),
                        _number(measurement.difference),
                        shown.batch_shape if shown else "",
                        ";".join(printable(run.directory) for run in shown.runs) if shown else "",
                    ]
                )
    return file.getvalue()
