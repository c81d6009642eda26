import json
import os

import pytest

from dsl_tf.errors import UserError
from dsl_tf.report.runs import find_runs, read_run
from tests.report.made_runs import accuracy, epoch_record, make_run


def test_runs_are_found_at_any_depth_each_once_in_order(tmp_path):
    for name in ("b/seed1", "b/seed0", "a"):
        make_run(tmp_path / name, [accuracy(60)])
    (tmp_path / "b" / "seed0" / "checkpoints").mkdir()
    (tmp_path / "notes").mkdir()
    runs = find_runs([str(tmp_path), str(tmp_path / "b"), str(tmp_path / "a")])
    assert [run.directory for run in runs] == [str(tmp_path / name) for name in ("a", "b/seed0", "b/seed1")]
    assert [run.state for run in runs] == ["finished"] * 3


def test_a_linked_folder_is_not_counted_twice(tmp_path):
    make_run(tmp_path / "run", [accuracy(60)])
    os.symlink(tmp_path / "run", tmp_path / "link")
    os.symlink(tmp_path, tmp_path / "loop")
    assert len(find_runs([str(tmp_path), str(tmp_path / "link")])) == 1


def test_a_run_without_results_is_unfinished_and_keeps_its_log(tmp_path):
    make_run(tmp_path / "run", finished=False, metrics=[epoch_record(1), epoch_record(2)])
    (run,) = find_runs([str(tmp_path)])
    assert run.state == "unfinished"
    assert [record["epoch"] for record in run.metrics] == [1, 2]


def with_results(tmp_path, **results):
    return read_run(make_run(tmp_path / "run", results=results))


@pytest.mark.parametrize(
    "entry",
    [
        {"accuracy": 1.5},
        {"accuracy": "0.5"},
        {"accuracy": True},
        {"accuracy": None},
        {"half_width": -0.1},
        {"shots": "1"},
        {"shots": 1.0},
        {"shots": 0},
        {"ways": 10**400},
        {"split": ["test"]},
        {"classifier": None},
    ],
)
def test_an_accuracy_of_another_form_makes_a_run_unreadable(tmp_path, entry):
    run = with_results(tmp_path, accuracies=[accuracy(60), accuracy(60, **entry)])
    assert run.state == "unreadable"
    assert "accuracies" in run.problem and "\n" not in run.problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracies", {"accuracy": 0.5}),
        ("accuracies", [0.5]),
        ("best", {"validation_accuracy": "high"}),
        ("best", [0.5]),
        ("discriminant_scores", {"classifier_subspace": 0.5}),
        ("versions", {"keras": 3}),
        ("source", 7),
        ("backbone", "mine"),
        ("extensions", [{"step": 1}]),
        ("extensions", [{"epochs": [1, "2"]}]),
    ],
)
def test_results_of_another_form_make_a_run_unreadable(tmp_path, name, value):
    run = with_results(tmp_path, **{name: value})
    assert run.state == "unreadable" and name in run.problem


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"accuracies": [',
        b"[]",
        b"null",
        b'"accuracies"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"accuracies": [{"split": "test", "classifier": "nearest_centroid", "feature_transform": "none", "ways": 5, '
        b'"shots": 1, "queries": 15, "episodes": 10, "accuracy": NaN, "half_width": 0.1}]}',
    ],
)
def test_damaged_results_do_not_end_the_report(tmp_path, content):
    directory = make_run(tmp_path / "run")
    (directory / "results.json").write_bytes(content)
    run = read_run(directory)
    assert run.state == "unreadable" and run.problem


def test_results_without_flags_and_damaged_flags_are_unreadable(tmp_path):
    for name in ("without", "damaged"):
        make_run(tmp_path / name, [accuracy(60)])
    (tmp_path / "without" / "run.flags").unlink()
    (tmp_path / "damaged" / "run.flags").write_text("--nosuchflag=1\n")
    assert [run.state for run in find_runs([str(tmp_path)])] == ["unreadable"] * 2


def test_torn_lines_and_numbers_that_are_none_are_left_out_of_the_log(tmp_path):
    directory = make_run(tmp_path / "run", finished=False)
    lines = [
        json.dumps(epoch_record(1, val_accuracy_1_shot=0.5)),
        '{"epoch": 2, "loss": NaN, "metric_loss": Infinity, "name": "text", "step": 20}',
        '{"epoch": "three", "loss": 1.0}',
        '{"loss": 1.0}',
        "[1]",
        '{"epoch": 4, "st',
    ]
    (directory / "metrics.jsonl").write_text("\n".join(lines))
    first, second = read_run(directory).metrics
    assert first["val_accuracy_1_shot"] == 0.5
    assert second == {"epoch": 2, "step": 20}


def test_a_folder_that_is_none_or_has_no_run_is_a_mistake(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="--runs") as error:
            find_runs([str(folder)])
        assert str(folder) in str(error.value) and "\n" not in str(error.value)
