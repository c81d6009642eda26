"""Tests of the last words of a training."""

import shlex

import pytest

from dsl_tf.commands.command_line import parse
from dsl_tf.report import results_summary
from dsl_tf.runs import directory as run_directory
from tests.report.made_runs import EPISODES, accuracy, make_run, run_with_episodes
from tests.report.test_known_classes import measured

ENTRY = {**accuracy(65.156), "feature_transform": "l2", "half_width": 0.00204}


def summary_of(directory):
    return results_summary(run_directory.read_results(directory), directory)


def commands_in(summary):
    """The commands, whose flags exist."""
    found = [shlex.split(line) for line in summary.splitlines() if line.startswith("  python -m dsl_tf")]
    for _, _, _, name, *arguments in found:
        parse(name, arguments)
    return found


def test_the_summary_names_losses_scores_and_directory():
    results = {"loss": "sce", "accuracies": [ENTRY]}
    assert "Discriminant" not in results_summary(results, "runs/x")
    results["discriminant_scores"] = {"split": "test", "classifier_subspace": 0.3125, "complement": 0.25}
    summary = results_summary(results, "runs/x")
    assert all(word in summary for word in ("sce", "65.16 ± 0.20", "0.312", "0.250", "runs/x", "chance: 20.0%"))


def test_a_run_without_test_split_has_no_table():
    summary = results_summary({"loss": "sce", "accuracies": []}, "runs/x")
    assert "accuracy" not in summary and "Nothing was tested" in summary


@pytest.fixture
def runs(tmp_path):
    """A run beside others, of which one is SCE alone on the same data; and that one's and its episodes."""
    directory = tmp_path / "my runs"
    arrays = {
        "a": run_with_episodes(directory / "a", better=0.1),
        "longer": run_with_episodes(directory / "longer", metric_loss="none", epochs=300),
        "alone": run_with_episodes(directory / "alone", metric_loss="none"),
        "other data": run_with_episodes(directory / "other data", metric_loss="none"),
    }
    for name in arrays:
        results = run_directory.read_results(directory / name)
        fingerprints = {"train": "1", "test": "3" if name == "other data" else "2"}
        run_directory.write_results(directory / name, {**results, "data_fingerprint": fingerprints})
    return directory, arrays


def test_accuracies_are_compared_with_sce_alone_beside_it(runs):
    directory, arrays = runs
    summary = summary_of(directory / "a")
    difference = arrays["a"]["cl2"] - arrays["alone"]["cl2"]
    half_width = 1.96 * difference.std(ddof=1) / EPISODES**0.5
    assert f"Against SCE alone ({directory / 'alone'})" in summary
    expected = f"cl2 features: {100 * difference.mean():+.2f} ± {100 * half_width:.2f}"
    assert f"5-way 1-shot, nearest class centroid, {expected}" in summary
    assert "SCE alone" not in summary_of(directory / "alone")


def test_another_setting_of_sce_alone_is_named(runs):
    directory, _ = runs
    (directory / "alone" / "results.json").unlink()
    assert f"({directory / 'longer'}, which also differs in epochs)" in summary_of(directory / "a")


def test_the_next_commands_name_the_run(runs):
    directory, _ = runs
    found = commands_in(summary_of(directory / "a"))
    assert [command[3] for command in found] == ["evaluate", "predict", "report"]
    assert f"--run_dir={directory / 'a'}" in found[0] and f"--model={directory / 'a'}" in found[1]
    assert found[2][4] == f"--runs={directory}"


def test_without_sce_alone_its_command_comes_first(tmp_path):
    directory = make_run(tmp_path / "a", [accuracy(60)], results={"data_fingerprint": {"train": "1"}})
    first = commands_in(summary_of(directory))[0]
    assert first[3:] == [
        "train",
        f"--flagfile={directory}/run.flags",
        "--classification_loss=sce",
        "--metric_loss=none",
        f"--output_dir={directory}_sce_alone",
    ]
    # A backbone or loss of the user's own is not in the flags.
    own = make_run(tmp_path / "b", [accuracy(60)], results={"loss": {"class": "Mine"}})
    assert [command[3] for command in commands_in(summary_of(own))] == ["evaluate", "predict", "report"]


def test_known_classes(tmp_path):
    for name, value, flags in (("a", 70, {}), ("alone", 64, {"metric_loss": "none"})):
        results = {**measured(value), "data_fingerprint": {"train": "1"}}
        make_run(tmp_path / name, results=results, held_out="images", **flags)
    summary = summary_of(tmp_path / "a")
    assert "50 images of 10 classes (chance: 10.0%; always the largest class: 12.0%)" in summary
    assert "nearest class mean, cl2 features: +6.00" in summary
    assert [command[3] for command in commands_in(summary)] == ["predict", "report"]
    # All images of a plain folder are labelled ones.
    own = make_run(tmp_path / "own", results=measured(70), dataset="folder", data_dir=str(tmp_path), held_out="images")
    (own / "image_split.csv").touch()
    assert any(f"--support_dir={tmp_path}" in command for command in commands_in(summary_of(own)))
