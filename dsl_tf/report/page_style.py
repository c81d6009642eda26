"""The style sheet of the report page, for screens of any width and for print."""

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1e; --soft: #57575e; --line: #d5d5da; --back: #ffffff; --band: #f4f4f6;
  --wrong: #c24e00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ececf0; --soft: #b4b4bc; --line: #48484e; --back: #18181b; --band: #242428;
    --wrong: #f0a040; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0.75rem; max-width: 84rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 0.5rem; }
h3, summary { font-size: 1rem; font-weight: 600; margin: 1.5rem 0 0.25rem; }
.run summary { font-weight: 400; margin: 0; }
p, li { max-width: 60rem; }
.soft, figcaption { color: var(--soft); font-size: 0.9rem; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
figure { margin: 0; width: 312px; max-width: 100%; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--text); font-weight: 600; }
.strip { display: grid; grid-template-columns: repeat(4, 1fr); gap: 4px; margin: 4px 0; }
.strip.neighbours { grid-template-columns: repeat(6, 1fr); }
.strip img { border: 2px solid transparent; }
.strip .query { border: 2px solid var(--text); border-radius: 6px; }
.strip .wrong { border: 2px dashed var(--wrong); }
figure p { margin: 0 0 0.5rem; }
.box { overflow-x: auto; margin: 0.25rem 0; }
.box:focus-visible { outline: 2px solid currentColor; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; overflow-wrap: normal; }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
thead th { border-bottom: 1px solid var(--line); vertical-align: bottom; }
thead th[scope=colgroup] { text-align: center; }
tbody th, tbody td { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; }
tbody th[scope=row].short { position: sticky; left: 0; background: var(--back); }
tbody th[scope=rowgroup] { font-weight: 600; background: var(--band); }
.missing { color: var(--soft); font-style: italic; }
details { margin: 0.5rem 0; }
pre { white-space: pre-wrap; background: var(--band); padding: 0.5rem; font-size: 0.8rem; margin: 0.25rem 0; }
@media print {
  @page { margin: 12mm; size: A4 landscape; }
  :root { font-size: 11px; }
  body { max-width: none; padding: 0; }
  p, li { max-width: none; }
  h2, h3, p.soft { break-after: avoid; }
  ul.soft { break-before: avoid; }
  figure { width: 31%; }
  figure, tr, .box { break-inside: avoid; }
  .box { overflow: visible; }
  .runs { display: none; }
}
"""
