"""The report as a self-contained HTML page."""

import html
import itertools
from collections.abc import Sequence

from dsl_tf.report.accuracy_panels import loss_panels, power_panels
from dsl_tf.report.comparison import Comparison
from dsl_tf.report.contents import layouts, reading, summary, title
from dsl_tf.report.drawing import Panel, data_uri
from dsl_tf.report.examples_section import examples_section
from dsl_tf.report.layout import Layout
from dsl_tf.report.page_style import STYLE
from dsl_tf.report.runs import Run
from dsl_tf.report.training_panels import score_panels, training_panels
from dsl_tf.report.wording import MISSING, printable
from dsl_tf.runs import flagfiles

# No external content is loaded and no script runs, whatever the files of the runs contain.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

# Texts up to this number of characters are not wrapped.
_SHORT = 16


def _escape(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _figure(panel: Panel) -> list[str]:
    return [
        "<figure>",
        f"<figcaption>{_escape(panel.caption)}</figcaption>",
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{data_uri(panel.dark)}">',
        f'<img src="{data_uri(panel.light)}" width="{panel.width}" height="{panel.height}" '
        f'alt="{_escape(panel.alternative)}"></picture>',
        "</figure>",
    ]


def _panels(panels: Sequence[Panel]) -> list[str]:
    return ['<div class="panels">', *(line for panel in panels for line in _figure(panel)), "</div>"]


def _header(columns: Sequence[tuple[str, str]]) -> list[str]:
    groups = [(group, list(names)) for group, names in itertools.groupby(columns, key=lambda column: column[0])]
    if all(not group for group, _ in groups):
        return ["<tr>", *(f'<th scope="col">{_escape(name)}</th>' for _, name in columns), "</tr>"]
    top, bottom = ["<tr>"], ["<tr>"]
    for group, names in groups:
        if group:
            top.append(f'<th scope="colgroup" colspan="{len(names)}">{_escape(group)}</th>')
            bottom += [f'<th scope="col" class="number">{_escape(name)}</th>' for _, name in names]
        else:
            top += [f'<th scope="col" rowspan="2">{_escape(name)}</th>' for _, name in names]
    return [*top, "</tr>", *bottom, "</tr>"]


def _cell(text: str, group: str) -> str:
    # Long texts may wrap, such as directories and reasons.
    kind = "number" if group else "short" if len(text) < _SHORT else ""
    kind = f"{kind} missing".strip() if text == MISSING else kind
    return f'<td class="{kind}">{_escape(text)}</td>' if kind else f"<td>{_escape(text)}</td>"


def _table(layout: Layout) -> list[str]:
    name = _escape(layout.title)
    # The title is outside of the box, so that it does not scroll with the table on a phone.
    lines = [f"<h3>{name}</h3>"] if layout.is_measured else []
    lines += [f'<div class="box" role="region" aria-label="{name}" tabindex="0">', f'<table aria-label="{name}">']
    lines += ["<thead>", *_header(layout.columns), "</thead>"]
    for heading, rows in itertools.groupby(layout.rows, key=lambda row: row[0]):
        lines.append("<tbody>")
        if heading:
            lines.append(f'<tr><th scope="rowgroup" colspan="{len(layout.columns)}">{_escape(heading)}</th></tr>')
        for _, (first, *cells) in rows:
            kind = ' class="short"' if len(first) < _SHORT else ""
            lines += ["<tr>", f'<th scope="row"{kind}>{_escape(first)}</th>']
            lines += [_cell(text, group) for text, (group, _) in zip(cells, layout.columns[1:], strict=True)]
            lines.append("</tr>")
        lines.append("</tbody>")
    lines += ["</table>", "</div>"]
    if layout.notes:
        lines += ['<ul class="soft">', *(f"<li>{_escape(note)}</li>" for note in layout.notes), "</ul>"]
    if not layout.is_measured:
        lines = ["<details>", f"<summary>{name}: not measured</summary>", *lines, "</details>"]
    return lines


def _run_details(run: Run) -> list[str]:
    versions = (run.results or {}).get("versions") or {}
    lines = ['<details class="run">', f"<summary>{_escape(run.directory)}: {run.state}</summary>"]
    if run.problem:
        lines.append(f"<p>{_escape(run.problem)}</p>")
    if versions:
        lines.append(f"<p>{_escape(', '.join(f'{name} {version}' for name, version in sorted(versions.items())))}</p>")
    if run.configuration:
        flags = "\n".join(_escape(line) for line in flagfiles.to_lines(run.configuration))
        lines.append(f'<pre tabindex="0">{flags}</pre>')
    return [*lines, "</details>"]


def _section(heading: str, text: str, panels: Sequence[Panel]) -> list[str]:
    return [f"<h2>{heading}</h2>", f'<p class="soft">{text}</p>', *_panels(panels)] if panels else []


def page(comparison: Comparison) -> str:
    """Returns the report as an HTML page that contains its drawings."""
    heading = _escape(title(comparison))
    lines = ["<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">']
    lines += [f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">']
    lines += ['<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>{heading}</title>"]
    lines += [f"<style>{STYLE}</style>", "</head>", "<body>", "<main>", f"<h1>{heading}</h1>"]
    lines += [f"<p>{_escape(summary(comparison))}</p>"]
    marks = "Dots: measured, with the ± of the tables."
    if comparison.has_published:
        marks += " Hollow diamonds: published. A letter in brackets: other settings than the paper's, see the tables."
    lines += _section("Accuracy by loss", marks, loss_panels(comparison))
    lines += ["<h2>Tables</h2>", f'<p class="soft">{_escape(reading(comparison))}</p>']
    lines += [line for layout in layouts(comparison) for line in _table(layout)]
    lines += _section(
        "Accuracy against the power p",
        "The spectral sum, eq. (11), for each power measured. Dashed lines: losses without it.",
        power_panels(comparison.blocks),
    )
    lines += _section(
        "Training curves",
        "Loss terms and validation accuracy over the epochs. Thin lines: seeds.",
        training_panels(comparison),
    )
    lines += examples_section(comparison)
    lines += _section(
        "Discriminant scores over training",
        "Measured on validation features. 0: classes coincide. 1: each class is a point. Thin lines: seeds.",
        score_panels(comparison),
    )
    runs = [line for run in comparison.runs for line in _run_details(run)]
    lines += ['<section class="runs">', "<h2>Runs</h2>", *runs, "</section>"]
    return "\n".join([*lines, "</main>", "</body>", "</html>"]) + "\n"
