"""The HTML page as a parser reads it."""

import base64
import html.parser
import re
import xml.etree.ElementTree

import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.page import page
from dsl_tf.report.runs import find_runs
from dsl_tf.runs.final_test import write_test_examples
from tests.report.made_runs import accuracy, epoch_record, make_run

_VOID = {"meta", "img", "source", "br"}


class Tree(html.parser.HTMLParser):
    """Checks that every tag is closed in order, and keeps tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def logged(score=None, first=1):
    scores = (
        {}
        if score is None
        else {
            "val_discriminant_score_classifier_subspace": score,
            "val_discriminant_score_complement": score / 2,
        }
    )
    return [epoch_record(epoch, val_accuracy_1_shot=0.5 + epoch / 100, **scores) for epoch in range(first, first + 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        entries = [accuracy(64 + seed), accuracy(80, shots=5), accuracy(70, classifier="laplacian_shot")]
        scores = {"discriminant_scores": {"split": "test", "classifier_subspace": 0.3, "complement": 0.2}}
        make_run(tmp_path / f"direct{seed}", entries, 0.6, logged(0.4), seed=seed, results=scores)
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;_%'
    make_run(
        tmp_path / evil.replace("/", ""),
        [accuracy(50)],
        dataset="folder",
        data_dir=f"/data/{evil}/{evil.replace('/', '')}",
    )
    make_run(tmp_path / "p", [accuracy(82)], dataset="meta_inat", integration="spectral_sum", power=0.2)
    make_run(
        tmp_path / "sum", [accuracy(82)], dataset="meta_inat", integration="sum", results={"versions": {"k": "<b>"}}
    )
    make_run(tmp_path / "going_on", finished=False, metrics=logged(), metric_loss="none")
    return tmp_path


@pytest.fixture(scope="module")
def text(folder):
    return page(compare(find_runs([str(folder)])))


def test_the_page_is_well_formed_and_says_what_it_is(text):
    tree = Tree(text)
    assert text.startswith("<!DOCTYPE html>")
    assert tree.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in tree.all("meta"))
    assert len(tree.all("title")) == len(tree.all("h1")) == 1
    assert "6 runs: 5 finished, 1 unfinished." in tree.text
    assert "prefers-color-scheme: dark" in text


def test_the_page_needs_nothing_but_itself(text):
    tree = Tree(text)
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"data:[^\"]*", "", text))
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in tree.tags}
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in tree.all("img"))
    assert all(not name.startswith("on") for _, attributes in tree.tags for name in attributes)


def test_what_files_hold_is_escaped(text):
    tree = Tree(text)
    assert "<script" not in text and "onerror=alert(2)>" not in text
    # The parser gives back the name of the folder as text.
    assert '"><script>alert(1)<script><img src=x onerror=alert(2)>&amp;_%' in tree.text
    assert "k <b>" in tree.text


def test_drawings_have_words_two_schemes_and_are_xml(text):
    tree = Tree(text)
    images, sources = tree.all("img"), tree.all("source")
    assert len(images) == len(sources) > 0
    assert all(source["media"] == "(prefers-color-scheme: dark)" for source in sources)
    assert all(image["alt"] and int(image["width"]) == 336 and int(image["height"]) > 50 for image in images)
    for light, dark in zip(images, sources, strict=True):
        drawings = [base64.b64decode(uri.partition(",")[2]) for uri in (light["src"], dark["srcset"])]
        assert drawings[0] != drawings[1]
        for drawing in drawings:
            assert xml.etree.ElementTree.fromstring(drawing).tag.endswith("svg")
    words = " ".join(image["alt"] for image in images)
    assert "SCE⊕NCA (a) 64.50 ± 0.71 (published 65.16)" in words
    assert "SCE⊕NCA p=0.2 (b) 82.00 ± 0.21 (published 83.51); SCE+NCA (b) 82.00 ± 0.21" in words
    assert "classification 2.00; metric 1.00; 1-shot 53.00" in words
    assert "in span(W), at the last epoch: SCE⊕NCA 0.400" in words
    assert "in its complement, at the last epoch: SCE⊕NCA 0.200" in words


def test_tables_have_scopes_names_and_boxes_of_their_own(text):
    tree = Tree(text)
    assert len(tree.all("table")) == text.count('class="box"') > 5
    assert all(table["aria-label"] for table in tree.all("table"))
    assert {header["scope"] for header in tree.all("th")} == {"col", "colgroup", "row", "rowgroup"}
    missing = [cell for cell in tree.all("td") if "missing" in cell.get("class", "")]
    assert len(missing) > 20
    assert 'class="number missing">missing' in text


def test_the_runs_are_listed_with_their_flags(text, folder):
    tree = Tree(text)
    runs = [details for details in tree.all("details") if details.get("class") == "run"]
    assert len(runs) == 6
    assert f"{folder}/going_on: unfinished" in tree.text
    assert "--metric_loss=nca\n" in tree.text and "tensorflow 2.21.0" in tree.text


def test_a_report_without_a_finished_run_is_a_page(tmp_path):
    make_run(tmp_path / "run", finished=False)
    tree = Tree(page(compare(find_runs([str(tmp_path)]))))
    assert "1 run: 1 unfinished." in tree.text


def test_own_data_has_no_columns_of_dashes_and_nothing_missing(tmp_path):
    for name, flags in (("a", {}), ("b", {"epochs": 10}), ("c", {"metric_loss": "none"})):
        entries = [accuracy(60, feature_transform=kind, shots=shots) for kind in ("none", "cl2") for shots in (1, 5)]
        make_run(tmp_path / name, entries, 0.5, logged(), dataset="folder", data_dir="/data/birds", **flags)
    text = page(compare(find_runs([str(tmp_path)])))
    tree = Tree(text)
    assert "published" not in tree.text and "missing" not in re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not re.search(r">[–—-]</t", text)
    # A table, and a panel for each measure and each training's curves.
    assert len(tree.all("table")) == 1
    assert len(tree.all("figure")) == 4 + 3


def test_test_images_are_shown_with_their_neighbours(tmp_path):
    evil = "<b>&'cat'</b>"
    picture = base64.b64encode(b"jpeg").decode()
    query = {"class": evil, "image": picture, "nearest": [{"class": name, "image": picture} for name in (evil, "dog")]}
    pair = {"class": evil, "taken_for": "dog", "rate": 0.205, "wrong": [picture], "others": [picture] * 2}
    measure = {"classifier": "nearest_centroid", "feature_transform": "cl2", "ways": 5, "shots": 5}
    examples = {"feature_transform": "cl2", "measure": measure, "neighbours": [query], "confused": [pair]}
    for name, validation in (("a", 0.5), ("best", 0.7), ("without", 0.9)):
        run = make_run(
            tmp_path / name, [accuracy(60)], validation, dataset="folder", data_dir="/pets", momentum=validation
        )
        if name != "without":
            write_test_examples(run, examples)
    text = page(compare(find_runs([str(tmp_path)])))
    assert f"Nearest neighbours: pets, SCE⊕NCA ({tmp_path / 'best'})" in text and evil not in text
    assert text.count("data:image/jpeg;base64,") == 6 and text.count('class="wrong"') == 1
    assert "1 of 2 of other classes: dog" in text and ": 20.5% taken for dog" in text
    assert "5-way 5-shot, nearest class centroid, cl2 features; shares of the queries" in text


def test_formulas_in_a_log_are_not_drawn(tmp_path):
    make_run(tmp_path / "run", [accuracy(60)], metrics=[epoch_record(1, **{"val_accuracy_$\\frac_shot": 0.5, "$$": 1})])
    words = " ".join(image["alt"] for image in Tree(page(compare(find_runs([str(tmp_path)])))).all("img"))
    assert "metric 1.00" in words and "frac" not in words and "$" not in words


def test_groups_of_other_flags_have_names_of_their_own(tmp_path):
    make_run(tmp_path / "a", [accuracy(60)], metrics=logged(), epochs=10)
    make_run(tmp_path / "b", [accuracy(60)], metrics=logged(), epochs=20, ways=16)
    make_run(tmp_path / "c", [accuracy(60)], metrics=logged(), epsilon=0.5)
    tree = Tree(page(compare(find_runs([str(tmp_path)]))))
    for name in ("SCE⊕NCA, ways=64, epochs=10", "SCE⊕NCA, ways=16, epochs=20", "SCE⊕NCA ε=0.5"):
        assert f"{name} (1 seed), mini-ImageNet" in tree.text
