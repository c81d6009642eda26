"""The GPU benchmark runs on a CPU too: one part as a command, the others in this process at a small size."""

import json
import subprocess
import sys

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import checks, figures
from benchmarks.gpu.sizes import Size

SMALL = Size(16, 4, 2, (2, 2, 2, 6), steps=1, compared=2, episodes=5, dimensions=4)


def test_the_command_prints_tables_and_writes_them(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--parts=placement", f"--output={tmp_path / 'gpu.json'}"],
        capture_output=True,
        text=True,
    )
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All checks hold." in done.stdout and "| operations placed | " in done.stdout
    assert written["machine"]["TensorFlow"] and "on CPU" in written["parts"]["placement"]["rows"][0][1]


def test_a_part_that_fails_is_named_and_the_others_go_on(monkeypatch):
    monkeypatch.setitem(command.PARTS, "none", ("figures.none", {}))
    # The process of the part does not know it either.
    assert command.part("none")["failed"] == ["none"]


def test_losses_are_those_of_the_cpu(monkeypatch):
    monkeypatch.setattr(checks, "LIMITS", {"mixed_bfloat16": 1e-9})
    result = checks.same_loss(SMALL)
    assert [row[1] for row in result["rows"]] == ["0.0e+00"] and not result["failed"]


@pytest.mark.parametrize("part", [figures.pipeline, figures.episodes])
def test_every_figure_is_a_row_of_its_columns(part):
    result = part(SMALL)
    assert len(result["rows"]) == 2 and all(len(row) == len(result["columns"]) for row in result["rows"])
