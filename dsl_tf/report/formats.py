"""Formats the tables of a report as Markdown and LaTeX."""

import itertools
import re

from dsl_tf.report.comparison import Comparison
from dsl_tf.report.contents import layouts, reading, summary, title
from dsl_tf.report.layout import Layout
from dsl_tf.report.wording import printable

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

# LaTeX would turn two hyphens into a dash.
_HYPHENS = re.compile("-(?=-)")


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown."""
    return "".join(_MARKDOWN.get(character, character) for character in printable(text))


def escape_latex(text: str) -> str:
    """Escapes text for LaTeX."""
    return _HYPHENS.sub("-{}", "".join(_LATEX.get(character, character) for character in printable(text)))


def _markdown_table(layout: Layout) -> list[str]:
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


def markdown(comparison: Comparison) -> str:
    """Returns the report's tables as Markdown."""
    lines = [f"# {title(comparison)}", "", escape_markdown(summary(comparison)), ""]
    lines += [escape_markdown(reading(comparison))]
    for layout in layouts(comparison):
        lines += ["", *_markdown_table(layout)]
    return "\n".join(lines) + "\n"


def _latex_table(layout: Layout) -> list[str]:
    spans, position = [], 1
    for group, columns in itertools.groupby(layout.columns, key=lambda column: column[0]):
        width = len(list(columns))
        spans.append((group, position, position + width - 1))
        position += width
    groups = " & ".join(
        f"\\multicolumn{{{last - first + 1}}}{{c}}{{{escape_latex(group)}}}" for group, first, last in spans
    )
    rules = " ".join(f"\\cmidrule(lr){{{first}-{last}}}" for group, first, last in spans if group)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize\setlength{\tabcolsep}{3pt}",
        f"\\caption{{{escape_latex(layout.title)}.}}",
    ]
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


def latex(comparison: Comparison) -> str:
    """Returns the report's tables as LaTeX, for `\\input` in a document that loads booktabs."""
    lines = [r"% \usepackage{booktabs}", f"% {printable(summary(comparison))}", f"% {reading(comparison)}"]
    for layout in layouts(comparison):
        lines += ["", *_latex_table(layout)]
    return "\n".join(lines) + "\n"
