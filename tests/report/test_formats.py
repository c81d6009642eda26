"""Markdown, CSV and LaTeX, read back."""

import csv
import io
import re

import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.csv_files import csv_text, safe_cell
from dsl_tf.report.formats import escape_latex, escape_markdown, latex, markdown
from dsl_tf.report.runs import find_runs
from dsl_tf.report.wording import printable
from tests.report.made_runs import accuracy, make_run

EVIL = "/data/<script>alert(1)</script> & 100%_of|$x^2$ {\\a}~#*`"


@pytest.fixture
def comparison(tmp_path):
    for seed, value in enumerate((64.0, 66.0)):
        entries = [accuracy(value), accuracy(80 + seed, shots=5)]
        make_run(tmp_path / f"direct{seed}", entries, 0.6, seed=seed)
    make_run(tmp_path / "sce", [accuracy(64.5), accuracy(79, shots=5)], metric_loss="none")
    make_run(tmp_path / "folder", [accuracy(50)], dataset="folder", data_dir=EVIL.replace("/script", "script"))
    make_run(tmp_path / "odd", [accuracy(51)], integration="spectral_sum", power=0.7)
    make_run(tmp_path / "going_on", finished=False)
    return compare(find_runs([str(tmp_path)]), feature_transform="none")


def test_every_cell_and_shot_is_a_line_of_the_csv(comparison, tmp_path):
    rows = list(csv.DictReader(io.StringIO(csv_text(comparison))))
    assert all(None not in row and None not in row.values() for row in rows)
    assert len([row for row in rows if row["table"] == "4" and row["dataset"] == "mini_imagenet"]) == 24
    found = {(row["table"], row["dataset"], row["name"], row["shots"]): row for row in rows}
    assert len(found) == len(rows)
    both = found["4", "mini_imagenet", "SCE⊕NCA", "1"]
    assert float(both["measured"]) == pytest.approx(65.0, abs=1e-4)
    assert float(both["spread"]) == pytest.approx(2**0.5, abs=1e-4)
    assert (both["half_width"], both["seeds"], both["batch_shape"]) == ("", "2", "64x8")
    assert float(both["published"]) == 65.16
    assert float(both["difference"]) == pytest.approx(-0.16, abs=1e-4)
    assert both["run_directories"].split(";") == [str(tmp_path / "direct0"), str(tmp_path / "direct1")]
    one = found["3", "mini_imagenet", "SCE", "1"]
    assert (one["spread"], one["seeds"], one["classifier"]) == ("", "1", "nearest_centroid")
    assert float(one["half_width"]) == pytest.approx(0.21)
    assert "image_size=default (cell: 84)" in both["differs_from_cell"]
    missing = found["4", "mini_imagenet", "BCE", "5"]
    names = ("measured", "difference", "seeds", "published", "differs_from_cell")
    assert [missing[name] for name in names] == ["", "", "0", "80.2000", ""]
    # What has no place in a table of the paper has no number of one.
    assert float(found["", "mini-ImageNet", "SCE⊕NCA p=0.7", "1"]["measured"]) == pytest.approx(51)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text, tmp_path):
    assert safe_cell(text) == f"'{text}"
    make_run(tmp_path / "run", [accuracy(50)], dataset="folder", data_dir=f"/data/{text}".replace("/C", "C"))
    (row,) = csv.DictReader(io.StringIO(csv_text(compare(find_runs([str(tmp_path)])))))
    assert row["dataset"] == f"'{text}".replace("/C", "C")
    assert safe_cell("a=b") == "a=b" and safe_cell("\t=1") == "\\t=1"


def markdown_tables(text):
    """The cells of each table of a Markdown text, split at bars that are not escaped."""
    for table in re.split(r"\n(?!\|)", text):
        lines = [line for line in table.split("\n") if line.startswith("|")]
        if lines:
            yield [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_has_whole_rows_with_both_numbers_and_the_missing_ones(comparison):
    text = markdown(comparison)
    tables = list(markdown_tables(text))
    assert all(len({len(row) for row in table}) == 1 for table in tables)
    rows = [row for table in tables for row in table]
    assert ["SCE⊕NCA (a)", "65.16", "65.00 ± 1.41", "−0.16", "81.89", "80.50 ± 0.71", "−1.39", "2", "64×8"] in rows
    assert ["BCE", "64.00", "missing", "–", "80.20", "missing", "–", "–", "–"] in rows
    assert ["SCE \\[W, –\\] (a)", "63.85", "64.50 ± 0.21", "+0.65", "1", "64×8"] in rows
    # What is in no table of the paper, and what has not finished.
    assert any(row[:2] == ["SCE⊕NCA p=0.7", "51.00 ± 0.21"] for row in rows)
    assert any("going" in row[0] and row[1] == "unfinished" for row in rows)


def test_settings_that_differ_are_below_each_table_in_markdown_and_latex(comparison):
    for text, tables in ((markdown(comparison), r"\n## Table "), (latex(comparison), r"\\caption\{Table ")):
        parts = re.split(tables, text)[1:]
        assert len(parts) == 2
        for part in parts:
            assert "(a) differs from the paper's cell:" in part
            assert "crop=pad (cell: resized)" in part and "image" in part and "=default (cell: 84)" in part


def test_markdown_escapes_what_the_runs_are_called(comparison):
    text = markdown(comparison)
    assert "<" not in text and "&lt;script&gt;" in text
    assert escape_markdown("a|b_c*d`<e>&amp;\\") == "a\\|b\\_c\\*d\\`&lt;e&gt;&amp;amp;\\\\"


def test_latex_is_balanced_and_escaped(comparison):
    text = latex(comparison)
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    body = "\n".join(lines)
    bare = re.sub(r"\\[\\&%$#_{}]", "", body)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set("%#~<>|±⊕×−–") & set(bare)
    assert re.findall(r"\\begin\{(\w+)", body) == [
        name for _ in range(body.count("\\caption")) for name in ("table", "tabular")
    ]
    assert sorted(re.findall(r"\\begin\{(\w+)", body)) == sorted(re.findall(r"\\end\{(\w+)", body))
    # Each row of a table has as many cells as its tabular has columns.
    for columns, content in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", body, re.DOTALL):
        for row in re.split(r"\\\\", content)[:-1]:
            spans = [int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(columns), row
    assert r"SCE$\oplus$NCA (a) & 65.16 & 65.00 $\pm$ 1.41 & $-$0.16" in body


def test_latex_escapes_each_special_character():
    assert escape_latex("a_b%&#{}$") == r"a\_b\%\&\#\{\}\$"
    assert escape_latex("\\~^<>|") == (
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )
    assert escape_latex("--flag a-b") == "-{}-flag a-b"


def test_line_ends_and_bytes_that_are_no_text_are_spelled_out():
    assert printable("a\nb\x1b\u202e\udcff é⊕") == "a\\nb\\x1b\\u202e\\udcff é⊕"
