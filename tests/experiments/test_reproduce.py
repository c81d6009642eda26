"""The experiments of the tables as users run them: processes, files, what is printed."""

import contextlib
import os
import pathlib
import shlex
import signal
import threading

import pytest
from absl import flags

from dsl_tf.errors import UserError
from dsl_tf.experiments import cells
from dsl_tf.experiments.reproduce import CELL_FLAGS, SIGNALS, planned_runs
from dsl_tf.experiments.reproduce import reproduce as run_experiments
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import ReproductionConfiguration, TrainingConfiguration
from tests import programs

PROJECT = pathlib.Path(__file__).parents[2]
TINY = {
    "filters": (4, 4, 8, 16),
    "epochs": 1,
    "test_ways": 3,
    "test_shots": (1, 2),
    "test_queries": 5,
    "test_episodes": 50,
    "validation_episodes": 20,
}
TINY_FLAGS = [
    *(f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in TINY.items()),
    "--batch_shapes=8x3",
]


def reproduce(*arguments):
    return programs.run(["-m", "dsl_tf", "reproduce", *arguments])


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


def printed_commands(capsys, **changes):
    """The commands that are left, as lists of words."""
    capsys.readouterr()
    assert run_experiments(ReproductionConfiguration(**changes, print_commands=True), TINY) == []
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_the_printed_commands_are_the_planned_runs(tmp_path, capsys):
    lines = printed_commands(capsys, table=(3,), runs=str(tmp_path), seeds=(4,))
    assert len(lines) == 7
    for words, cell in zip(lines, cells(3), strict=True):
        assert words[:4] == ["python", "-m", "dsl_tf", "train"]
        assert {"--filters=4,4,8,16", "--seed=4", "--dataset=mini_imagenet"} <= set(words)
        assert f"--output_dir={tmp_path}/mini_imagenet/{cell.slug}/64x8/seed4" in words
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def first(data_dir, tmp_path_factory):
    """Two losses, in a folder where the first run's place is taken."""
    runs = tmp_path_factory.mktemp("runs")
    taken = runs / "folder" / "sce" / "8x3" / "seed0"
    taken.mkdir(parents=True)
    (taken / "letter.txt").write_text("")
    chosen = ["--datasets=folder", f"--data_dir={data_dir}", "--rows=sce,nca", f"--runs={runs}", *TINY_FLAGS]
    chosen += ["--test_classifiers=nearest_centroid"]
    return runs, reproduce("--table=4", *chosen)


def test_a_run_that_fails_does_not_stop_the_others(first):
    runs, ran = first
    assert ran.returncode == 1
    assert ran.stdout.count(": running") == 1
    assert "holds other files, such as 'letter.txt'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("error: 1 runs failed: ")
    assert (runs / "folder" / "nca" / "8x3" / "seed0" / "results.json").exists()
    table = (runs / "report" / "report.md").read_text(encoding="utf-8")
    assert "| NCA |" in table and "missing" not in table


def test_a_training_that_fails_is_reported(data_dir, tmp_path, capfd):
    # The classes have fewer images.
    chosen = ReproductionConfiguration(datasets=("folder",), rows=("sce",), batch_shapes=("8x13",), runs=str(tmp_path))
    failed = run_experiments(chosen, {**TINY, "data_dir": str(data_dir), "small_classes": "error"})
    assert failed == [f"{tmp_path}/folder/sce/8x13/seed0"]
    assert "failed with exit code 2" in capfd.readouterr().err


def test_missing_runs_are_made_and_finished_ones_left_alone(first, data_dir, capsys):
    runs, _ = first
    finished = runs / "folder" / "nca" / "8x3" / "seed0" / "results.json"
    changed = finished.stat().st_mtime_ns
    (runs / "folder" / "sce" / "8x3" / "seed0" / "letter.txt").unlink(missing_ok=True)
    options = {"datasets": ("folder",), "rows": ("sce", "nca"), "batch_shapes": ("8x3",), "runs": str(runs)}
    changes = {**TINY, "data_dir": str(data_dir), "test_classifiers": ("nearest_centroid",)}
    capsys.readouterr()
    assert run_experiments(ReproductionConfiguration(**options), changes) == []
    printed = capsys.readouterr().out
    assert (printed.count(": done before"), printed.count(": running")) == (1, 1)
    assert finished.stat().st_mtime_ns == changed
    assert (runs / "folder" / "sce" / "8x3" / "seed0" / "results.json").exists()
    assert printed_commands(capsys, **options) == []
    # The other table asks for another few-shot classifier: the run is evaluated, on the episodes of its own test.
    (words,) = printed_commands(capsys, table=(5,), **{**options, "rows": ("sce",)})
    assert words[:4] == ["python", "-m", "dsl_tf", "evaluate"]
    expected = {"--classifiers=laplacian_shot", f"--run_dir={runs}/folder/sce/8x3/seed0", "--ways=3", "--shots=1,2"}
    assert set(words[4:]) >= {*expected, "--queries=5", "--episodes=50"}
    five = {**options, "table": (5,), "rows": ("sce",)}
    assert run_experiments(ReproductionConfiguration(**five), TINY) == []
    assert printed_commands(capsys, **five) == []


@contextlib.contextmanager
def sent_to_this_process(number, condition):
    """Sends a signal to this process, which is the experiments' own, once a condition holds."""
    ended = threading.Event()

    def send():
        while not condition() and not ended.wait(0.05):
            pass
        if not ended.is_set():
            os.kill(os.getpid(), number)

    # A shell's background job ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interruption_ends_the_running_training_and_the_same_command_resumes(
    data_dir, tmp_path, sent, raised, capsys
):
    run = tmp_path / "folder" / "sce" / "8x3" / "seed0"
    options = {"datasets": ("folder",), "rows": ("sce",), "batch_shapes": ("8x3",), "runs": str(tmp_path)}
    # The log begins with the first step.
    changes = {**TINY, "epochs": 2000, "log_every": 1, "data_dir": str(data_dir)}
    with sent_to_this_process(sent, (run / run_directory.METRICS).exists), pytest.raises(raised) as error:
        run_experiments(ReproductionConfiguration(**options), changes)
    assert raised is KeyboardInterrupt or error.value.code == 128 + sent
    # The training has ended, and has let go of its directory.
    log = (run / run_directory.METRICS).read_bytes()
    assert not (run / ".lock").exists()
    capsys.readouterr()
    assert run_experiments(ReproductionConfiguration(**options, print_commands=True), changes) == []
    assert str(run) in capsys.readouterr().out
    assert (run / run_directory.METRICS).read_bytes() == log


def test_the_signals_that_end_the_command_are_those_of_schedulers_too():
    assert set(SIGNALS) == {signal.SIGTERM, signal.SIGUSR1}
