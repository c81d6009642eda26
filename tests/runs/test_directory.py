import json
import os
import signal
import time

import pytest

from dsl_tf.errors import UserError
from dsl_tf.runs import directory as run_directory
from tests import programs
from tests.images import tiny_configuration


def test_a_new_and_an_empty_directory_are_opened(tmp_path):
    for path in (tmp_path, tmp_path / "deep" / "new"):
        assert run_directory.open_directory(tiny_configuration(path)) == path
        assert list(path.glob("run.flags")) == []


def test_its_own_run_is_opened_again_and_the_flags_are_read_back(tmp_path):
    configuration = tiny_configuration(tmp_path)
    run_directory.record_flags(run_directory.open_directory(configuration), configuration)
    assert run_directory.open_directory(configuration) == tmp_path
    assert run_directory.read_configuration(tmp_path) == configuration


def test_what_does_not_change_the_mathematics_may_differ(tmp_path):
    run_directory.record_flags(tmp_path, tiny_configuration(tmp_path))
    run_directory.open_directory(tiny_configuration(tmp_path, log_every=3, data_dir="moved", test_episodes=60))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 0.2, "metric_loss": "proto"}, ["--learning_rate", "--metric_loss", "other flags"]),
        ({"resume": False}, ["--noresume"]),
    ],
)
def test_another_run_is_refused_and_nothing_changes(tmp_path, changes, words):
    run_directory.record_flags(tmp_path, tiny_configuration(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError) as error:
        run_directory.open_directory(tiny_configuration(tmp_path, **changes))
    assert all(word in str(error.value) for word in words)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_directory_with_other_files_or_a_file_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        run_directory.open_directory(tiny_configuration(tmp_path))
    with pytest.raises(UserError, match="--output_dir"):
        run_directory.open_directory(tiny_configuration(tmp_path / "thesis.tex"))


@pytest.mark.parametrize(
    "content", [b"--nosuchflag=1", b"--epochs=0", b"\xff\xfe", b"--filters=a,b", b"--noflip=1", b"--data_dir=a\0b"]
)
def test_a_damaged_flagfile_is_an_error_of_one_line(tmp_path, content):
    (tmp_path / "run.flags").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.flags") as error:
        run_directory.read_configuration(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_flagfile_is_no_run(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        run_directory.read_configuration(tmp_path)


HOLD_LOCK = """
import pathlib, sys, time
from dsl_tf.runs import directory as run_directory
with run_directory.locked(sys.argv[1]):
    held = pathlib.Path(sys.argv[2])
    held.touch()
    while held.exists():
        time.sleep(0.01)
"""


@pytest.fixture
def held(tmp_path_factory):
    """A file that another process writes once it has locked the directory; it lets go when the file is gone."""
    return tmp_path_factory.mktemp("held") / "held"


@pytest.fixture
def holder(tmp_path, held):
    """Another process that has locked the directory."""
    process = programs.start(["-c", HOLD_LOCK, tmp_path, held])
    while not held.exists():
        assert process.poll() is None
        time.sleep(0.01)
    yield process
    process.kill()


def test_a_directory_that_a_live_process_trains_in_is_refused(tmp_path, holder, held):
    # An empty one counts as empty all the same: its run has not got to its flagfile yet.
    assert run_directory.open_directory(tiny_configuration(tmp_path)) == tmp_path
    with pytest.raises(UserError, match=rf"Process {holder.pid} on .* does") as error, run_directory.locked(tmp_path):
        pass
    assert "\n" not in str(error.value)
    assert holder.poll() is None
    held.unlink()
    assert holder.wait() == 0
    assert list(tmp_path.iterdir()) == []
    with run_directory.locked(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert list(tmp_path.iterdir()) == [tmp_path / ".lock"]
    assert run_directory.open_directory(tiny_configuration(tmp_path)) == tmp_path
    again = run_directory.locked(tmp_path)
    with run_directory.locked(tmp_path), pytest.raises(UserError, match=f"Process {os.getpid()}"), again:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_a_locked_directory_frees_it(tmp_path):
    with pytest.raises(KeyError), run_directory.locked(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_lock_and_free_a_directory_one_holds_it_at_a_time(tmp_path):
    """Each writes its number, waits a moment and must find it again: a removed lock file must let no second one in."""
    script = """
import sys, time
from dsl_tf.runs import directory as run_directory
from dsl_tf.errors import UserError
held = 0
while held < 200:
    try:
        with run_directory.locked(sys.argv[1]):
            held += 1
            path = sys.argv[1] + "/who"
            open(path, "w").write(sys.argv[2])
            time.sleep(0.0003)
            assert open(path).read() == sys.argv[2]
    except UserError:
        pass
"""
    processes = [programs.start(["-c", script, tmp_path, str(number)]) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]


def test_metrics_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    for step in (5, 10, 15):
        run_directory.append_metrics(tmp_path, {"epoch": step // 5, "step": step, "loss": 1.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    run_directory.truncate_metrics(tmp_path, 10)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5, 10]


def test_results_are_written_whole_and_read_back(tmp_path):
    assert run_directory.read_results(tmp_path) is None
    run_directory.write_results(tmp_path, {"accuracies": [{"accuracy": 0.5}]})
    assert run_directory.read_results(tmp_path) == {"accuracies": [{"accuracy": 0.5}]}
    with pytest.raises(ValueError):
        run_directory.write_results(tmp_path, {"accuracies": [float("nan")]})
    assert run_directory.read_results(tmp_path) == {"accuracies": [{"accuracy": 0.5}]}
    (tmp_path / "results.json").write_text('{"accuracies": [')
    with pytest.raises(UserError, match=r"results\.json"):
        run_directory.read_results(tmp_path)


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000])
def test_damaged_metrics_and_results_do_not_end_a_resumed_run(tmp_path, line):
    whole = b'{"step": 5}\n'
    (tmp_path / "metrics.jsonl").write_bytes(whole + line + b"\n" + whole)
    run_directory.truncate_metrics(tmp_path, 10)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole * 2
    (tmp_path / "results.json").write_bytes(line)
    with pytest.raises(UserError, match="must be the JSON results of a run"):
        run_directory.read_results(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_record_of_the_data_is_an_error_of_one_line(tmp_path, content):
    run_directory.check_data(tmp_path, {"train": "1"})
    run_directory.record_data(tmp_path, {"train": "1"})
    run_directory.check_data(tmp_path, {"train": "1", "test": "2"})
    (tmp_path / "data.json").write_bytes(content)
    with pytest.raises(UserError, match=r"data\.json") as error:
        run_directory.check_data(tmp_path, {"train": "1"})
    assert "\n" not in str(error.value)
