"""`python -m dsl_tf report` as users run it."""

import csv
import os
import subprocess
import sys

import pytest

from dsl_tf.errors import UserError
from dsl_tf.report import write_report
from dsl_tf.runs.configuration import ReportConfiguration
from tests.report.made_runs import accuracy, epoch_record, make_run

FILES = ("report.csv", "report.html", "report.md", "report.tex")


def run(cwd, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "dsl_tf", "report", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for seed in range(2):
        make_run(folder / f"seed{seed}", [accuracy(64 + seed)], 0.6, [epoch_record(1), epoch_record(2)], seed=seed)
    make_run(folder / "unfinished", finished=False)
    make_run(folder / "damaged")
    (folder / "damaged" / "results.json").write_text('{"accuracies": [')
    return folder


def test_it_writes_four_files_says_so_and_writes_the_same_bytes_again(runs, tmp_path):
    # As a reader's own settings of Matplotlib, for the process.
    (tmp_path / "matplotlibrc").write_text("xtick.direction: in\naxes.grid: True\nlines.linewidth: 9\n")
    output = tmp_path / "deep" / "report"
    process = run(tmp_path, f"--runs={runs}", f"--output_dir={output}", PYTHONHASHSEED="1", MPLCONFIGDIR=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "4 runs: 2 finished, 1 unfinished, 1 unreadable." in process.stdout
    assert str(output / "report.html") in process.stdout
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    write_report(ReportConfiguration(runs=(str(runs),), output_dir=str(tmp_path / "again")))
    for name in FILES:
        assert (output / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_tables_are_chosen(runs, tmp_path):
    write_report(ReportConfiguration(runs=(str(runs),), output_dir=str(tmp_path), tables=(6, 3)))
    with (tmp_path / "report.csv").open(newline="") as file:
        assert list(dict.fromkeys(row["table"] for row in csv.DictReader(file))) == ["3", "6"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runs": ("",)}, ["--runs"]),
        ({"runs": ()}, ["--runs", "none"]),
        ({"runs": ("{tmp}/nowhere",)}, ["--runs", "nowhere"]),
        ({"feature_transform": "l3"}, ["--feature_transform", "l3"]),
        ({"runs": ("{tmp}",)}, ["--runs", "run.flags"]),
        ({"tables": (7,)}, ["--tables", "at most 6", "7"]),
        ({"tables": ()}, ["--tables"]),
        ({"output_dir": "{tmp}/file"}, ["--output_dir", "file"]),
    ],
)
def test_a_users_mistake_is_one_line(runs, tmp_path, changes, words):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "file").write_text("in the way")
    values = {"runs": (str(runs),), "output_dir": str(empty / "report"), **changes}
    values["runs"] = tuple(path.format(tmp=empty) for path in values["runs"])
    values["output_dir"] = values["output_dir"].format(tmp=empty)
    with pytest.raises(UserError) as error:
        write_report(ReportConfiguration(**values))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
    assert [path.name for path in empty.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written_is_reported(runs, tmp_path):
    (tmp_path / "report.md").mkdir()
    with pytest.raises(UserError, match="--output_dir"):
        write_report(ReportConfiguration(runs=(str(runs),), output_dir=str(tmp_path)))
