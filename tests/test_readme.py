"""What the README and the texts beside it say: commands, samples, links, names."""

import pathlib
import re

import keras
import numpy as np
import pytest

import dsl_tf
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


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_linked_files_exist(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (PROJECT / name).read_text(encoding="utf-8")):
        assert (PROJECT / target).exists(), target


def test_the_map_for_contributors_names_every_module():
    tables = re.findall(r"^\| `.*$", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = {name for line in tables for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == {path.stem for path in (PROJECT / "dsl_tf").iterdir() if not path.name.startswith("_")} - {"py"}


def test_the_citation_names_this_version():
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [dsl_tf.__version__]
