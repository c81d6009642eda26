"""The experiments of the tables as users run them: processes, files, what is printed."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from dsl_tf.errors import UserError
from dsl_tf.experiments import cells
from dsl_tf.experiments.reproduce import CELL_FLAGS, planned_runs
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import ReproductionConfiguration, TrainingConfiguration

PROJECT = pathlib.Path(__file__).parents[2]
TINY = [
    "--filters=4,4,8,16",
    "--epochs=1",
    "--test_ways=3",
    "--test_shots=1,2",
    "--test_queries=5",
    "--test_episodes=50",
    "--validation_episodes=20",
    "--batch_shapes=8x3",
]


def command(*arguments):
    return [sys.executable, "-m", "dsl_tf", "reproduce", *arguments]


def reproduce(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, cwd=PROJECT)


@pytest.mark.parametrize("table", [3, 4, 5, 6])
def test_a_table_is_planned_whole(table):
    runs = planned_runs(ReproductionConfiguration(table=(table,), seeds=(0, 1, 2)), {})
    chosen = cells(table)
    assert len(runs) == 3 * len(chosen)
    assert len({run.output_dir for run in runs}) == len(runs)
    assert {run.seed for run in runs} == {0, 1, 2}
    assert {run.dataset for run in runs} == {cell.dataset for cell in chosen}
    assert set.union(*runs.values()) == {"laplacian_shot" if table == 5 else "nearest_centroid"}


def parse(path):
    """Parses a flagfile as the command does: which runs, and the changes to all of them."""
    values = flags.FlagValues()
    flagfiles.define(TrainingConfiguration, values, module_name="script", without=CELL_FLAGS)
    flagfiles.define(ReproductionConfiguration, values, module_name="script")
    values(["script", f"--flagfile={path}"])
    changes = flagfiles.values(TrainingConfiguration, values)
    return (
        flagfiles.parse(ReproductionConfiguration, values),
        {name: value for name, value in changes.items() if values[name].present},
    )


@pytest.mark.parametrize(
    ("folder", "runs_folder", "count"),
    [("study/[1-8]*.flags", "runs/study/", 85), ("study/mini_imagenet/[1-9]*.flags", "runs/mini_imagenet_study/", 17)],
)
def test_the_parts_of_a_study_share_directories_for_the_same_runs_alone(monkeypatch, folder, runs_folder, count):
    monkeypatch.chdir(PROJECT)
    planned = {}
    for part in sorted(PROJECT.glob(f"flags/{folder}")):
        for run in planned_runs(*parse(part)):
            assert run.output_dir.startswith(runs_folder)
            assert planned.setdefault(run.output_dir, run) == run
    assert len(planned) == count


def test_what_two_tables_share_is_planned_once():
    four, five = ((ReproductionConfiguration(table=(table,)), {}) for table in (4, 5))
    both = planned_runs(ReproductionConfiguration(table=(4, 5)), {})
    assert set(both) == set(planned_runs(*four)) == set(planned_runs(*five))
    assert set(map(frozenset, both.values())) == {frozenset({"nearest_centroid", "laplacian_shot"})}


def test_changes_and_batch_shapes_are_in_every_run():
    chosen = ReproductionConfiguration(
        datasets=("cub", "cifar_fs"), rows=("sce", "bce_sum_nca"), batch_shapes=("16x8", "8×16"), runs="elsewhere"
    )
    runs = list(planned_runs(chosen, {"epochs": 3, "data_dir": "/data/{dataset}"}))
    assert {(run.dataset, run.loss_name, run.ways, run.shots) for run in runs} == {
        (dataset, loss, ways, shots)
        for dataset in ("cub", "cifar_fs")
        for loss in ("sce", "bce_sum_nca")
        for ways, shots in ((16, 8), (8, 16))
    }
    for run in runs:
        assert run.epochs == 3 and run.data_dir == f"/data/{run.dataset}"
        assert run.output_dir == f"elsewhere/{run.dataset}/{run.loss_name}/{run.ways}x{run.shots}/seed0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": ("scee",)}, "--rows must be among bce, .* Received: scee"),
        ({"batch_shapes": ("64*8",)}, r"--batch_shapes .* 64x8. Received: '64\*8'"),
        ({"datasets": ("cubs",)}, "--dataset must be one of .*'cubs'"),
        ({"table": (7,)}, "--table must be at most 6"),
        ({"seeds": (-1,)}, "--seeds must be at least 0"),
    ],
)
def test_a_wrong_choice_is_an_error(changes, words):
    with pytest.raises(UserError, match=words):
        planned_runs(ReproductionConfiguration(**changes), {})


def test_the_printed_commands_are_the_planned_runs(tmp_path):
    printed = reproduce(
        "--table=3", "--print_commands", f"--runs={tmp_path}", "--precision=mixed_bfloat16", "--seeds=4"
    )
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert len(lines) == 7
    for line, cell in zip(lines, cells(3), strict=True):
        words = shlex.split(line)
        assert words[:4] == ["python", "-m", "dsl_tf", "train"]
        assert {"--precision=mixed_bfloat16", "--seed=4", "--dataset=mini_imagenet"} <= set(words)
        assert f"--output_dir={tmp_path}/mini_imagenet/{cell.slug}/64x8/seed4" in words
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def first(data_dir, tmp_path_factory):
    """Two losses by two batch shapes, of which one is too large, in a folder where one run's place is taken."""
    runs = tmp_path_factory.mktemp("runs")
    taken = runs / "folder" / "nca" / "8x3" / "seed0"
    taken.mkdir(parents=True)
    (taken / "letter.txt").write_text("")
    chosen = ["--datasets=folder", f"--data_dir={data_dir}", "--rows=sce,nca", f"--runs={runs}", *TINY]
    chosen += ["--test_classifiers=nearest_centroid"]
    return runs, chosen, reproduce("--table=4", *chosen, "--batch_shapes=16x3,8x3")


def test_a_run_that_fails_does_not_stop_the_others(first):
    runs, _, ran = first
    assert ran.returncode == 1
    assert ran.stdout.count(": running") == 3
    assert ran.stderr.count("failed with exit code 2") == 2
    assert "holds other files, such as 'letter.txt'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("error: 3 runs failed: ")
    assert (runs / "folder" / "sce" / "8x3" / "seed0" / "results.json").exists()


def test_missing_runs_are_made_and_finished_ones_left_alone(first):
    runs, chosen, _ = first
    finished = runs / "folder" / "sce" / "8x3" / "seed0" / "results.json"
    changed = finished.stat().st_mtime_ns
    (runs / "folder" / "nca" / "8x3" / "seed0" / "letter.txt").unlink(missing_ok=True)
    ran = reproduce("--table=4", *chosen)
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout.count(": done before"), ran.stdout.count(": running")) == (1, 1)
    assert finished.stat().st_mtime_ns == changed
    assert (runs / "folder" / "nca" / "8x3" / "seed0" / "results.json").exists()
    table = (runs / "report" / "report.md").read_text(encoding="utf-8")
    assert "Table 4" in table and "missing" in table
    nothing = reproduce("--table=4", *chosen, "--print_commands")
    assert nothing.returncode == 0 and nothing.stdout == ""


def test_a_finished_run_without_the_tables_classifier_is_evaluated_with_it(first):
    runs, chosen, _ = first
    printed = reproduce("--table=5", "--print_commands", *chosen, "--rows=sce").stdout.split()
    assert printed[:4] == ["python", "-m", "dsl_tf", "evaluate"]
    expected = {"--classifiers=laplacian_shot", f"--run_dir={runs}/folder/sce/8x3/seed0", "--ways=3", "--shots=1,2"}
    assert set(printed[4:]) >= expected
    assert reproduce("--table=5", *chosen, "--rows=sce").returncode == 0
    entries = json.loads((runs / "folder" / "sce" / "8x3" / "seed0" / "results.json").read_text())["accuracies"]
    assert {(entry["classifier"], entry["shots"], entry["episodes"]) for entry in entries} == {
        (classifier, shots, 50) for classifier in ("nearest_centroid", "laplacian_shot") for shots in (1, 2)
    }


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_running_training_and_the_same_command_goes_on(data_dir, tmp_path, sent):
    chosen = ["--table=4", "--datasets=folder", f"--data_dir={data_dir}", "--rows=sce", f"--runs={tmp_path}", *TINY]
    chosen += ["--epochs=2000"]
    process = subprocess.Popen(
        command(*chosen),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores SIGINT, and so would what is started by tests that run as one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    run = tmp_path / "folder" / "sce" / "8x3" / "seed0"
    deadline = time.monotonic() + 120
    while not (run / run_directory.METRICS).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # As a terminal does with Ctrl-C: to parent and child.
    else:
        process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138}[sent], errors
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    printed = reproduce(*chosen, "--print_commands")
    assert str(run) in printed.stdout
