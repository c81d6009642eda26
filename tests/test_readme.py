"""The README's commands and samples."""

import pathlib
import re

import keras
import numpy as np

from dsl_tf.configuration import TrainingConfiguration
from dsl_tf.flagfiles import read

PROJECT = pathlib.Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_first_two_bash_blocks_are_the_two_commands_in_one_line_each():
    main_job, tests = blocks("bash")[:2]
    assert main_job.count("\n") == tests.count("\n") == 1
    assert "pip install" in main_job and "run_train.py" in main_job
    assert "pip install" in tests and "pytest" in tests
    configuration = read(PROJECT / re.search(r"--flagfile=(\S+)", main_job)[1], TrainingConfiguration)
    assert configuration.dataset == "glyphs"


def test_the_python_samples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    backbone = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(40)])
    names = {
        "labels": np.repeat(np.arange(32), 20),
        "features": random.normal(size=(640, 640)).astype(np.float32),
        "images": random.integers(0, 256, (640, 8, 8, 3), np.uint8),
        "class_names": tuple(map(str, range(32))),
        "backbone": backbone,
    }
    samples = blocks("python")
    for sample in samples:
        exec(compile(sample, "README.md", "exec"), names)
    assert np.isfinite(float(names["value"]))
    assert (tmp_path / "runs" / "mine" / "results.json").exists()
    assert len(samples) == 3


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (PROJECT / target).exists(), target
