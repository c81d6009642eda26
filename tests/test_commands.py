"""The scripts as users run them: processes, exit codes, what is printed."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate
from tests.images import write_striped_folders

PROJECT = pathlib.Path(__file__).parent.parent
TINY = [
    "--filters=4,4,8,16",
    "--ways=8",
    "--shots=3",
    "--epochs=2",
    "--test_ways=3",
    "--test_shots=1,2",
    "--test_queries=5",
    "--test_episodes=50",
    "--validation_episodes=20",
]


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, PROJECT / script, *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def error_line(process):
    """The one line that a user's mistake prints."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, process.stderr
    return lines[0]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The striped classes as folders of PNG files, with some files that do not belong there."""
    folder = tmp_path_factory.mktemp("data")
    write_striped_folders(folder)
    (folder / "train" / "stripes 1.0" / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def finished_run(data_dir, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("runs") / "run"
    process = run(
        "run_train.py",
        "--dataset=folder",
        f"--data_dir={data_dir}",
        f"--output_dir={output_dir}",
        "--image_size=16",
        *TINY,
    )
    assert process.returncode == 0, process.stderr
    return output_dir, process


def test_training_on_a_folder_prints_accuracies_and_what_it_left_out(finished_run):
    output_dir, process = finished_run
    assert "3-way 1-shot (%)" in process.stdout
    assert "Discriminant score" in process.stdout
    assert str(output_dir) in process.stdout
    assert "notes.txt" in process.stderr
    assert "Traceback" not in process.stderr


def test_the_flagfile_of_a_run_repeats_it(finished_run, tmp_path):
    output_dir, _ = finished_run
    process = run("run_train.py", f"--flagfile={output_dir / 'run.flags'}", f"--output_dir={tmp_path / 'again'}")
    assert process.returncode == 0, process.stderr
    runs = [json.loads((path / "results.json").read_text()) for path in (output_dir, tmp_path / "again")]
    for first, second in zip(*(results["accuracies"] for results in runs), strict=True):
        assert first["accuracy"] == pytest.approx(second["accuracy"], abs=0.02)


def test_evaluation_adds_to_the_results_and_keeps_the_others(finished_run):
    output_dir, _ = finished_run
    before = json.loads((output_dir / "results.json").read_text())
    arguments = (f"--run_dir={output_dir}", "--split=test", "--ways=4", "--shots=1,3", "--queries=2", "--episodes=30")
    for _ in range(2):
        process = run("run_eval.py", *arguments, "--feature_transforms=l2", "--classifiers=laplacian_shot")
        assert process.returncode == 0, process.stderr
        assert "4-way 3-shot (%)" in process.stdout
    after = json.loads((output_dir / "results.json").read_text())
    added = [entry for entry in after["accuracies"] if entry not in before["accuracies"]]
    assert [(entry["split"], entry["ways"], entry["shots"]) for entry in added] == [("test", 4, 1), ("test", 4, 3)]
    assert all(entry["lam"] in (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5) for entry in added)
    assert after["flags"] == before["flags"]
    assert all(entry in after["accuracies"] for entry in before["accuracies"])


def test_evaluation_repeats_the_accuracies_of_the_training(finished_run):
    output_dir, _ = finished_run
    before = json.loads((output_dir / "results.json").read_text())
    process = run("run_eval.py", f"--run_dir={output_dir}", "--ways=3", "--shots=1,2", "--queries=5", "--episodes=50")
    assert process.returncode == 0, process.stderr
    after = json.loads((output_dir / "results.json").read_text())
    key = ["split", "feature_transform", "shots", "ways", "episodes"]
    measured = {tuple(entry[name] for name in key): entry["accuracy"] for entry in after["accuracies"]}
    assert len(after["accuracies"]) == len(before["accuracies"])
    for entry in before["accuracies"]:
        assert measured[tuple(entry[name] for name in key)] == pytest.approx(entry["accuracy"], abs=0.02)


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("run_train.py", ["--integration=product"], ["--integration=product", "direct_sum"]),
        ("run_train.py", ["--lerning_rate=1"], ["lerning_rate"]),
        ("run_train.py", ["--epochs=many"], ["--epochs=many"]),
        ("run_train.py", ["--epochs=0"], ["--epochs", "at least 1"]),
        ("run_train.py", ["--noflip=1"], ["--noflip=1"]),
        ("run_train.py", ["--data_dir=two\nlines"], ["--data_dir", "one line"]),
        ("run_train.py", ["glyphs"], ["'glyphs'"]),
        ("run_train.py", ["--flagfile=missing.flags"], ["missing.flags"]),
        ("run_train.py", ["--dataset=folder", "--output_dir={tmp}/run"], ["--data_dir"]),
        ("run_train.py", ["--dataset=folder", "--data_dir={tmp}/none", "--output_dir={tmp}/run"], ["none"]),
        ("run_eval.py", [], ["--run_dir"]),
        ("run_eval.py", ["--run_dir={tmp}"], ["not a run directory"]),
        ("run_eval.py", ["--run_dir={tmp}", "--classifiers=svm"], ["--classifiers", "svm", "nearest_centroid"]),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path, script, arguments, words):
    line = error_line(run(script, *(argument.format(tmp=tmp_path) for argument in arguments)))
    assert all(word in line for word in words), line


def test_strict_makes_a_stray_file_an_error(data_dir, tmp_path):
    line = error_line(
        run(
            "run_train.py",
            "--dataset=folder",
            f"--data_dir={data_dir}",
            f"--output_dir={tmp_path}/run",
            "--strict",
            *TINY,
        )
    )
    assert "notes.txt" in line


def test_more_ways_than_classes_is_an_error(finished_run):
    output_dir, _ = finished_run
    assert "at most 6 ways" in error_line(run("run_eval.py", f"--run_dir={output_dir}", "--ways=7", "--queries=5"))


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("results.json", None, ["has not finished"]),
        ("results.json", b'{"accuracies": ', ["results.json", "JSON"]),
        ("results.json", b'{"accuracies": [], "source": "arrays"}', ["from Python"]),
        ("backbone.keras", None, ["backbone.keras"]),
        ("backbone.keras", b"half a file", ["backbone.keras"]),
        ("training_statistics.npz", b"half a file", ["training_statistics.npz"]),
    ],
)
def test_a_damaged_run_is_told_in_one_line(finished_run, tmp_path, file, damage, words):
    run_dir = tmp_path / "run"
    shutil.copytree(finished_run[0], run_dir)
    (run_dir / file).unlink()
    if damage is not None:
        (run_dir / file).write_bytes(damage)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as error:
        evaluate(EvaluationConfiguration(run_dir=(str(run_dir),), ways=3, queries=5, shots=(1,), episodes=10))
    assert all(word in str(error.value) for word in words), error.value
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_another_runs_directory_is_refused_untouched(finished_run):
    output_dir, _ = finished_run
    before = {path: path.read_bytes() for path in output_dir.rglob("*") if path.is_file()}
    line = error_line(run("run_train.py", f"--output_dir={output_dir}", *TINY))
    assert "--dataset" in line
    assert {path: path.read_bytes() for path in output_dir.rglob("*") if path.is_file()} == before


@contextlib.contextmanager
def started(arguments, log):
    """A training process that has logged three epochs; killed in the end where it still runs."""
    process = subprocess.Popen(
        [sys.executable, PROJECT / "run_train.py", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < 3):
            assert process.poll() is None
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_with_the_same_command(data_dir, tmp_path, sent):
    arguments = ["--dataset=folder", f"--data_dir={data_dir}", f"--output_dir={tmp_path}/run", "--image_size=16", *TINY]
    arguments += ["--epochs=60", "--validate_every=60"]
    log = tmp_path / "run" / "metrics.jsonl"
    with started(arguments, log) as process:
        os.kill(process.pid, sent)
        if sent == signal.SIGTERM:
            # What schedulers and shells see of a process that SIGTERM ends.
            assert process.wait(60) == 143
            lines = process.stderr.read().strip().splitlines()
            assert "Ended by SIGTERM. The same command goes on" in lines[-1] and "Traceback" not in str(lines)
    resumed = run("run_train.py", *arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "Going on from step" in resumed.stdout
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 61))
    assert np.isfinite([line["loss"] for line in lines]).all()


def test_a_run_that_is_under_way_is_left_alone(data_dir, tmp_path):
    arguments = ["--dataset=folder", f"--data_dir={data_dir}", f"--output_dir={tmp_path}/run", "--image_size=16", *TINY]
    arguments += ["--epochs=60", "--validate_every=60"]
    log = tmp_path / "run" / "metrics.jsonl"
    with started(arguments, log) as process:
        line = error_line(run("run_train.py", *arguments))
        assert f"Process {process.pid} on" in line and "trains in" in line
        assert process.wait(120) == 0
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == list(range(1, 61))
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("script", ["run_train.py", "run_eval.py"])
def test_help_lists_the_flags(script):
    process = run(script, "--help")
    assert "--ways" in process.stdout and "Traceback" not in process.stderr
