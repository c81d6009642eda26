"""The commands as users run them: exit codes and what is printed. Processes where a process is the matter."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dsl_tf import commands, quiet_tensorflow
from dsl_tf.commands.actions import COMMANDS
from dsl_tf.commands.command_line import parse
from dsl_tf.commands.overview import SUMMARIES
from dsl_tf.errors import UserError
from tests import programs
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


def run_process(*arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        cwd=PROJECT,
        env={**os.environ, **variables},
    )


def error_line(code, stderr):
    """The one line that an error the user can fix prints."""
    assert code == 2, stderr
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "error: error" not in stderr.lower(), stderr
    return lines[0]


@pytest.fixture
def error_of(capfd):
    """Runs a command in this process and returns its line of error."""

    def run(*arguments):
        code = commands.main(arguments)
        return error_line(code, capfd.readouterr().err)

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The striped classes as folders of PNG files, with some files that do not belong there."""
    folder = tmp_path_factory.mktemp("data")
    write_striped_folders(folder)
    (folder / "train" / "stripes 1.0" / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def finished_run(data_dir, tmp_path_factory):
    """A run of `run_train.py`, whose output can show nothing but ASCII."""
    output_dir = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["--dataset=folder", f"--data_dir={data_dir}", f"--output_dir={output_dir}", "--image_size=16", *TINY]
    process = run_process("run_train.py", *arguments, PYTHONIOENCODING="ascii")
    assert process.returncode == 0, process.stderr
    return output_dir, process


def test_training_on_a_folder_prints_accuracies(finished_run):
    output_dir, process = finished_run
    assert "3-way 1-shot (%)" in process.stdout and " +- " in process.stdout
    assert "Discriminant score" in process.stdout
    assert str(output_dir) in process.stdout
    assert process.stdout.isascii()


def test_standard_error_holds_our_own_lines_alone(finished_run):
    _, process = finished_run
    assert all(line.startswith("warning: ") for line in process.stderr.splitlines()), process.stderr
    assert process.stderr.count("notes.txt") == 1


def test_the_flagfile_of_a_run_repeats_it(finished_run, tmp_path):
    output_dir, _ = finished_run
    again = tmp_path / "again"
    assert commands.main(["train", f"--flagfile={output_dir / 'run.flags'}", f"--output_dir={again}"]) == 0
    runs = [json.loads((path / "results.json").read_text()) for path in (output_dir, again)]
    for first, second in zip(*(results["accuracies"] for results in runs), strict=True):
        assert first["accuracy"] == pytest.approx(second["accuracy"], abs=0.02)


def test_evaluation_prints_its_numbers_and_writes_beside_those_of_the_training(finished_run, capfd):
    output_dir, _ = finished_run
    before = (output_dir / "results.json").read_bytes()
    arguments = [f"--run_dir={output_dir}", "--split=test", "--ways=4", "--shots=1,3", "--queries=2", "--episodes=30"]
    for _ in range(2):
        assert commands.main(["evaluate", *arguments, "--feature_transforms=l2", "--classifiers=laplacian_shot"]) == 0
        assert "4-way 3-shot (%)" in capfd.readouterr().out
    assert (output_dir / "results.json").read_bytes() == before
    (folder,) = (output_dir / "evaluations").iterdir()
    entries = json.loads((folder / "evaluation.json").read_text())["subjects"][0]["accuracies"]
    assert [(entry["split"], entry["ways"], entry["shots"]) for entry in entries] == [("test", 4, 1), ("test", 4, 3)]
    assert all(entry["lam"] in (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5) for entry in entries)


def test_evaluation_repeats_the_accuracies_of_the_training(finished_run, tmp_path):
    output_dir, _ = finished_run
    arguments = [f"--run_dir={output_dir}", "--ways=3", "--shots=1,2", "--queries=5", "--episodes=50", "--json"]
    process = programs.run(["run_eval.py", *arguments, f"--output_dir={tmp_path}"])
    assert process.returncode == 0 and process.stderr.startswith("\nWrote ") and process.stderr.count("\n") == 2
    key = ["split", "feature_transform", "shots", "ways", "episodes"]
    found = json.loads(process.stdout)["subjects"][0]
    measured = {tuple(entry[name] for name in key): entry["accuracy"] for entry in found["accuracies"]}
    assert found["data"] == "the run's own"
    for entry in json.loads((output_dir / "results.json").read_text())["accuracies"]:
        assert measured[tuple(entry[name] for name in key)] == pytest.approx(entry["accuracy"], abs=0.02)


def test_numbers_are_printed_if_they_cannot_be_kept(finished_run, tmp_path, capfd):
    output_dir, _ = finished_run
    (tmp_path / "file").write_text("")
    arguments = [f"--run_dir={output_dir}", "--ways=3", "--shots=1", "--queries=2", "--episodes=20"]
    assert commands.main(["evaluate", *arguments, f"--output_dir={tmp_path}/file/below"]) == 0
    printed = capfd.readouterr()
    assert "3-way 1-shot (%)" in printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("warning: --output_dir=") and "not saved" in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trian", ["'trian'", "Did you mean train?"]),
        ("train --integration=product", ["--integration=product", "direct_sum"]),
        ("train --lerning_rate=1", ["--lerning_rate", "Did you mean --learning_rate?"]),
        ("train --classifier=random_basis", ["--classifier", "is called --head now"]),
        ("train --epochs=many", ["--epochs=many"]),
        ("train --epochs=0", ["--epochs", "at least 1"]),
        ("train --noflip=1", ["--noflip=1"]),
        ("train --data_dir=two\\nlines", ["--data_dir", "one line"]),
        ("train --data_dir=~nosuchuser/data", ["--data_dir=~nosuchuser/data", "no user 'nosuchuser'"]),
        ("train --test_shots=1,1,5", ["--test_shots", "once", "1,1,5"]),
        ("train glyphs", ["'glyphs'"]),
        ("train --flagfile=missing.flags", ["--flagfile=missing.flags", "No such file"]),
        ("train --flagfile", ["--flagfile=", "No such file"]),
        ("train --flagfile={tmp}/pipe", ["pipe", "must be a file", "a named pipe"]),
        ("train --flagfile={tmp}/itself.flags", ["itself.flags", "includes itself"]),
        ("train --flagfile={tmp}/image.flags", ["image.flags", "must be a text file"]),
        ("train --dataset=folder --output_dir={tmp}/run", ["--data_dir"]),
        ("train --dataset=folder --data_dir={tmp}/none --output_dir={tmp}/run", ["none"]),
        ("evaluate", ["--run_dir"]),
        ("evaluate --run_dir={tmp}", ["not a run directory"]),
        ("evaluate --run_dir={tmp} --classifiers=svm", ["--classifiers", "svm", "nearest_centroid"]),
        ("reproduce --seed=1", ["--seed", "Did you mean --seeds?"]),
        ("report", ["--runs"]),
        ("predict", ["--model"]),
    ],
)
def test_an_error_of_the_user_is_one_line_and_exit_code_2(tmp_path, error_of, command, words):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "itself.flags").write_text(f"--seed=1\n--flagfile={tmp_path}/itself.flags\n")
    (tmp_path / "image.flags").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    line = error_of(*(part.format(tmp=tmp_path).replace("\\n", "\n") for part in command.split(" ")))
    assert all(word in line for word in words), line


def test_strict_makes_a_stray_file_an_error(data_dir, tmp_path, error_of):
    arguments = ["--dataset=folder", f"--data_dir={data_dir}", f"--output_dir={tmp_path}/run", "--strict", *TINY]
    assert "notes.txt" in error_of("train", *arguments)


def test_more_ways_than_classes_is_an_error(finished_run, error_of):
    output_dir, _ = finished_run
    assert "at most 6 ways" in error_of("evaluate", f"--run_dir={output_dir}", "--ways=7", "--queries=5")


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
def test_a_damaged_run_is_reported_in_one_line(finished_run, tmp_path, error_of, file, damage, words):
    run_dir = tmp_path / "run"
    shutil.copytree(finished_run[0], run_dir)
    (run_dir / file).unlink()
    if damage is not None:
        (run_dir / file).write_bytes(damage)
    before = contents(run_dir)
    line = error_of("evaluate", f"--run_dir={run_dir}", "--ways=3", "--queries=5", "--shots=1", "--episodes=10")
    assert all(word in line for word in words), line
    assert contents(run_dir) == before


def test_another_runs_directory_is_refused_untouched(finished_run, error_of):
    output_dir, _ = finished_run
    before = contents(output_dir)
    assert "--dataset" in error_of("train", f"--output_dir={output_dir}", *TINY)
    assert contents(output_dir) == before


@contextlib.contextmanager
def started(arguments, log):
    """A training program that has logged three epochs; killed in the end if it still runs."""
    program = programs.start(arguments)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < 3):
            assert program.poll() is None
            time.sleep(0.02)
        yield program
    finally:
        program.kill()
        program.wait()


def long_run(data_dir, folder):
    """A training that does not end before it is interrupted, and the path of its log."""
    flags = ["--dataset=folder", f"--data_dir={data_dir}", f"--output_dir={folder}", "--image_size=16", *TINY]
    return ["-m", "tests.small_network", *flags, "--epochs=40", "--validate_every=40"], folder / "metrics.jsonl"


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_with_the_same_command(data_dir, tmp_path, sent):
    arguments, log = long_run(data_dir, tmp_path / "run")
    with started(arguments, log) as program:
        program.send_signal(sent)
        _, errors = program.communicate()
        if sent == signal.SIGTERM:
            # What schedulers and shells see of a process that SIGTERM ends.
            assert program.returncode == 143
            lines = errors.strip().splitlines()
            assert "Ended by SIGTERM. Run the same command again" in lines[-1] and "Traceback" not in str(lines)
    again = programs.run(arguments)
    assert again.returncode == 0, again.stderr
    assert "Resuming from step" in again.stdout
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 41))
    assert np.isfinite([line["loss"] for line in lines]).all()


def test_a_run_that_is_under_way_is_left_alone(data_dir, tmp_path, error_of):
    arguments, log = long_run(data_dir, tmp_path / "run")
    with started(arguments, log) as program:
        line = error_of("train", *arguments[2:])
        assert f"Process {program.pid} on" in line and "in which no other process trains" in line
        assert program.wait() == 0
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == list(range(1, 41))
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("command", SUMMARIES)
@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_describes_every_flag_and_fits_the_terminal(command, flag, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert commands.main([command, flag]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert max(map(len, printed.out.splitlines())) <= 80
    for configuration in COMMANDS[command].configurations:
        for field in dataclasses.fields(configuration):
            found = re.search(rf"^  --(\[no\])?{field.name}(=|$)", printed.out, flags=re.MULTILINE)
            assert bool(found) == (field.name not in COMMANDS[command].without), field.name
            assert field.metadata["help"][0].isupper() and field.metadata["help"].endswith(".")


def test_the_commands_are_listed_without_waiting_for_tensorflow():
    script = "import sys; from dsl_tf.commands import main; main(['--help']); assert 'tensorflow' not in sys.modules"
    listed = run_process("-c", script)
    assert listed.returncode == 0, listed.stderr
    assert all(f"\n  {name} " in listed.stdout for name in SUMMARIES)
    assert run_process("-m", "dsl_tf").returncode == 2


def test_any_terminal_can_show_any_text():
    script = (
        "import sys; from dsl_tf.commands import console\n"
        "with console.opened(): print('── 49.5 ± 0.3 SCE⊕NCA λ=1 é 中 \\udcff'); print('ü', file=sys.stderr)"
    )
    shown = run_process("-c", script, PYTHONIOENCODING="ascii")
    assert (shown.stdout, shown.stderr) == ("-- 49.5 +- 0.3 SCE(+)NCA lambda=1 e \\u4e2d \\udcff\n", "u\n")
    assert "── 49.5 ± 0.3 SCE⊕NCA λ=1 é 中 \\udcff" in run_process("-c", script, PYTHONIOENCODING="utf-8").stdout


def test_importing_the_parts_prints_nothing():
    process = run_process("-c", "import dsl_tf.losses, dsl_tf.data, dsl_tf.training")
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


def test_what_tensorflow_prints_is_shown_if_its_import_fails(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os; os.write(2, b'I0000 00:00:1.5 1 port.cc:1] a note\\n'); raise ImportError('no such instruction')"
    )
    script = f"import sys; sys.path.insert(0, {os.fspath(tmp_path)!r}); import dsl_tf.losses"
    process = run_process("-c", script)
    assert process.returncode == 1
    assert "a note" in process.stderr and "no such instruction" in process.stderr


def test_only_notes_are_kept_back():
    lines = [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
        b"I0000 00:00:1795593653.695310    9746 port.cc:153] oneDNN custom operations are on.\n",
        b"W0000 00:00:1795593653.695310    9746 gpu_device.cc:2341] Cannot dlopen some GPU libraries.\n",
        b"Traceback (most recent call last):\n",
    ]
    assert list(quiet_tensorflow.without_notes(lines)) == lines[2:]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--epochs=x", "--epochs must be a whole number. Received: --epochs=x."),
        ("--learning_rate=", "--learning_rate must be a number. Received: --learning_rate=."),
        ("--deterministic=2", "--deterministic must be true or false. Received: --deterministic=2."),
        ("--noflip=1", "--noflip=1 does not take an argument"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_in_plain_words(flag, words):
    with pytest.raises(UserError) as error:
        parse("train", [flag])
    assert str(error.value) == f"{words} (dsl_tf train --help lists the flags)"
