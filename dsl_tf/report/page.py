"""The report as one HTML page that needs nothing but itself."""

import html
import itertools

from dsl_tf.report.accuracy_panels import loss_panels, power_panels
from dsl_tf.report.drawing import data_uri
from dsl_tf.report.formats import printable
from dsl_tf.report.layout import MISSING, READING, layouts, summary
from dsl_tf.report.training_panels import score_panels, training_panels
from dsl_tf.runs import flagfiles

TITLE = "Few-shot accuracies, measured and published"

# Nothing of another address is loaded and no script runs, whatever the files of the runs hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

# Letters of a text that is not broken into lines.
_SHORT = 16

_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1e; --soft: #57575e; --line: #d5d5da; --back: #ffffff; --band: #f4f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ececf0; --soft: #b4b4bc; --line: #48484e; --back: #18181b; --band: #242428; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0.75rem; max-width: 72rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 0.5rem; }
h3, summary { font-size: 1rem; font-weight: 600; margin: 1.5rem 0 0.25rem; }
.run summary { font-weight: 400; margin: 0; }
p, li, h3 { max-width: 46rem; }
.soft, figcaption { color: var(--soft); font-size: 0.9rem; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
figure { margin: 0; width: 336px; max-width: 100%; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--text); font-weight: 600; }
.box { overflow-x: auto; margin: 0.25rem 0; }
.box:focus-visible { outline: 2px solid currentColor; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; text-align: left; vertical-align: top; overflow-wrap: normal; }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
thead th { border-bottom: 1px solid var(--line); vertical-align: bottom; }
thead th[scope=colgroup] { text-align: center; }
tbody tr { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; }
tbody th[scope=row].short { position: sticky; left: 0; background: var(--back);
  box-shadow: inset 0 -1px var(--line); }
tbody th[scope=rowgroup] { font-weight: 600; background: var(--band); }
.missing { color: var(--soft); font-style: italic; }
details { margin: 0.5rem 0; }
pre { overflow-x: auto; background: var(--band); padding: 0.5rem; font-size: 0.8rem; margin: 0.25rem 0; }
"""


def _escape(text):
    return html.escape(printable(text), quote=True)


def _figure(panel):
    return [
        "<figure>",
        f"<figcaption>{_escape(panel.caption)}</figcaption>",
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{data_uri(panel.dark)}">',
        f'<img src="{data_uri(panel.light)}" width="{panel.width}" height="{panel.height}" '
        f'alt="{_escape(panel.alternative)}"></picture>',
        "</figure>",
    ]


def _panels(panels):
    return ['<div class="panels">', *(line for panel in panels for line in _figure(panel)), "</div>"]


def _header(columns):
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


def _cell(text, group):
    # What is not a number may wrap: directories, reasons.
    kind = "number" if group else "short" if len(text) < _SHORT else ""
    kind = f"{kind} missing".strip() if text == MISSING else kind
    return f'<td class="{kind}">{_escape(text)}</td>' if kind else f"<td>{_escape(text)}</td>"


def _table(layout):
    title = _escape(layout.title)
    # The title is outside of the box: on a phone it would scroll away with the table.
    lines = [f"<h3>{title}</h3>"] if layout.is_measured else []
    lines += [f'<div class="box" role="region" aria-label="{title}" tabindex="0">', f'<table aria-label="{title}">']
    lines += ["<thead>", *_header(layout.columns), "</thead>"]
    for heading, rows in itertools.groupby(layout.rows, key=lambda row: row[0]):
        lines.append("<tbody>")
        if heading:
            lines.append(f'<tr><th scope="rowgroup" colspan="{len(layout.columns)}">{_escape(heading)}</th></tr>')
        for _, (name, *cells) in rows:
            kind = ' class="short"' if len(name) < _SHORT else ""
            lines += ["<tr>", f'<th scope="row"{kind}>{_escape(name)}</th>']
            lines += [_cell(text, group) for text, (group, _) in zip(cells, layout.columns[1:], strict=True)]
            lines.append("</tr>")
        lines.append("</tbody>")
    lines += ["</table>", "</div>"]
    if layout.notes:
        lines += ['<ul class="soft">', *(f"<li>{_escape(note)}</li>" for note in layout.notes), "</ul>"]
    if not layout.is_measured:
        lines = ["<details>", f"<summary>{title}: not measured</summary>", *lines, "</details>"]
    return lines


def _run_details(run):
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


def page(comparison):
    """Returns the report as an HTML page, with its drawings in it.

    Args:
        comparison: a `Comparison`.
    """
    lines = ["<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">']
    lines += [f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">']
    lines += ['<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>{TITLE}</title>"]
    lines += [f"<style>{_STYLE}</style>", "</head>", "<body>", "<main>", f"<h1>{TITLE}</h1>"]
    lines += [f"<p>{_escape(summary(comparison))}</p>"]
    marks = "Dots: measured, with the ± of the tables; hollow diamonds: published."
    accuracies = (
        ("Accuracy by loss", marks, loss_panels(comparison.blocks, "nearest_centroid")),
        ("Accuracy by loss, LaplacianShot", marks, loss_panels(comparison.blocks, "laplacian_shot")),
    )
    for title, text, panels in accuracies:
        if panels:
            lines += [f"<h2>{title}</h2>", f'<p class="soft">{text}</p>', *_panels(panels)]
    lines += ["<h2>Tables</h2>", f'<p class="soft">{_escape(READING)}</p>']
    lines += [line for layout in layouts(comparison) for line in _table(layout)]
    others = (
        (
            "Accuracy against the power p",
            "The spectral sum, eq. (11), for each power measured; dashed lines: losses without it.",
            power_panels(comparison.blocks),
        ),
        (
            "Training curves",
            "Loss terms and validation accuracy over the epochs; a thin line for each seed.",
            training_panels(comparison),
        ),
        (
            "Discriminant scores over training",
            "Of validation features; 0: classes lie on each other, 1: classes are points. A thin line for each seed.",
            score_panels(comparison),
        ),
    )
    for title, text, panels in others:
        if panels:
            lines += [f"<h2>{title}</h2>", f'<p class="soft">{text}</p>', *_panels(panels)]
    lines += ["<h2>Runs</h2>", *(line for run in comparison.runs for line in _run_details(run))]
    return "\n".join([*lines, "</main>", "</body>", "</html>"]) + "\n"
