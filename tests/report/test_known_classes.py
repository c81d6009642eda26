"""Tests of the report of runs on held-out images of known classes."""

import csv

import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.contents import layouts, reading, title
from dsl_tf.report.csv_files import csv_text
from dsl_tf.report.page import page
from dsl_tf.report.runs import find_runs
from tests.report.made_runs import accuracy, epoch_record, make_run


def measured(value, retrieval=True):
    """What `known_class_measures` returns, with one accuracy in percent."""
    entry = {"split": "test", "classes": 10, "images": 50, "accuracy": value / 100, "interval": [0.5, 0.9]}
    kinds = [("nearest_class_mean", "none"), ("nearest_class_mean", "cl2"), ("classifier", "none")]
    found = {
        "accuracies": [{**entry, "classifier": name, "feature_transform": kind} for name, kind in kinds],
        "largest_class": 0.12,
    }
    return {"known_classes": {**found, **({"retrieval": {"recall_at_1": 0.7, "map_at_r": 0.4}} if retrieval else {})}}


OWN = {"dataset": "folder", "data_dir": "/data/pets"}


def compared(folder):
    return compare(find_runs([str(folder)]))


def test_a_row_per_training_with_every_measure(tmp_path):
    log = [epoch_record(1, val_accuracy_nearest_class_mean=0.6, val_recall_at_1=0.5)]
    for seed, value in ((0, 70), (1, 80)):
        make_run(tmp_path / f"a{seed}", results=measured(value), metrics=log, held_out="images", seed=seed, **OWN)
    make_run(tmp_path / "b", results=measured(60), held_out="images", metric_loss="none", **OWN)
    comparison = compared(tmp_path)
    (layout,) = layouts(comparison)
    assert layout.title == "pets: held-out images of known classes, 50 images of 10 classes"
    assert [name for _, name in layout.columns] == ["training", "raw", "cl2", "W", "recall@1", "MAP@R", "seeds"]
    assert {cells[0]: cells[1:] for _, cells in layout.rows} == {
        "SCE⊕NCA": (*["75.00 ± 7.07"] * 3, "70.00 ± 0.00", "40.00 ± 0.00", "2"),
        "SCE": (*["60.00"] * 3, "70.00", "40.00", "1"),
    }
    assert "12.0%" in layout.notes[1] and "30.0 percentage points" in layout.notes[1]
    assert title(comparison) == "Accuracies on known classes" and "few-shot" not in reading(comparison)
    assert "class mean 60.00; recall@1 50.00" in page(comparison)
    lines = list(csv.DictReader(csv_text(comparison).splitlines()))
    assert len(lines) == 10 and {line["table"] + line["shots"] for line in lines} == {""}
    (line,) = [line for line in lines if (line["name"], line["classifier"]) == ("SCE⊕NCA", "classifier")]
    assert (line["measured"], line["spread"], line["seeds"]) == ("75.0000", "7.0711", "2")


def test_runs_on_unseen_classes_have_their_own_table(tmp_path):
    make_run(tmp_path / "known", results=measured(70, retrieval=False), held_out="images", **OWN)
    make_run(tmp_path / "unseen", [accuracy(60)], **OWN)
    comparison = compared(tmp_path)
    first, second = layouts(comparison)
    assert "nearest class centroid" in first.title and "known classes" in second.title
    assert len(first.rows) == len(second.rows) == 1 and "recall@1" not in [name for _, name in second.columns]
    assert title(comparison) == "Few-shot accuracies"


@pytest.mark.parametrize(
    "damage", [{"accuracies": []}, {"largest_class": "0.1"}, {"retrieval": {"recall_at_1": 2}}, {"accuracies": [{}]}]
)
def test_a_damaged_entry_makes_the_run_unreadable(tmp_path, damage):
    make_run(tmp_path / "a", results={"known_classes": {**measured(70)["known_classes"], **damage}}, **OWN)
    (run,) = find_runs([str(tmp_path)])
    assert run.state == "unreadable" and "known_classes" in run.problem
