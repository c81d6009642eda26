"""The commands, samples, links and figures of the README, the texts beside it and docs/."""

import csv
import os
import pathlib
import re
import runpy
import shlex
import shutil
import sys

import keras
import numpy as np
import pytest

from dsl_tf.commands.command_line import parse
from dsl_tf.training import train
from tests.images import striped_splits, tiny_backbone, tiny_configuration, write_striped_folders

PROJECT = pathlib.Path(__file__).parent.parent
PAGES = [*sorted(PROJECT.glob("*.md")), PROJECT / "benchmarks" / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
SCRIPTS = {"run_train.py": "train", "run_eval.py": "evaluate"}


def name_of(page):
    return str(page.relative_to(PROJECT))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands():
    """The shell commands of all pages that start this project's scripts or modules."""
    # As the shell does: a backslash joins its line and the next.
    shell = [(page, block.replace("\\\n", "")) for page in PAGES for block in blocks(page, "(?:ba)?sh(?:ell)?")]
    found = [(page, line) for page, block in shell for line in re.findall(r"python (?:\S+\.py|-m dsl_tf) .*", block)]
    return [pytest.param(line, id=f"{name_of(page)}: {line[:80]}") for page, line in found]


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory):
    """A folder with what the samples find: runs that are done, EXAMPLES and IMAGES."""
    folder = tmp_path_factory.mktemp("finished")
    write_striped_folders(folder / "DIR")
    (folder / "DIR" / "test").rename(folder / "EXAMPLES")
    (folder / "DIR" / "val").rename(folder / "IMAGES")
    train(tiny_configuration(folder / "runs" / "mine"), striped_splits(), tiny_backbone())
    for name in ("sce", "sum", "direct"):
        shutil.copytree(folder / "runs" / "mine", folder / "runs" / name)
    (folder / "docs").mkdir()
    return folder


def readme_names():
    """What the README's samples leave to the reader; those of docs/ bring all they need."""
    random = np.random.default_rng(0)
    return {
        "labels": np.repeat(np.arange(32), 20),
        "features": random.normal(size=(640, 640)).astype(np.float32),
        "images": random.uniform(-1, 1, (640, 8, 8, 3)).astype(np.float32),
        "backbone": keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(80)]),
    }


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_the_python_samples_of_a_page_run_one_after_the_other(page, finished_runs, tmp_path, monkeypatch):
    shutil.copytree(finished_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names = readme_names() if page.name == "README.md" else {}
    for number, sample in enumerate(blocks(page, "python"), start=1):
        exec(compile(sample, f"{name_of(page)}, sample {number}", "exec"), names)


@pytest.mark.parametrize("command", commands())
def test_the_commands_have_flags_and_scripts_that_exist(command, monkeypatch):
    script, *arguments = shlex.split(re.split(r" >|;", command)[0], comments=True)[1:]
    if script == "-m":
        arguments.pop(0)
        name = arguments.pop(0)
    elif script in SCRIPTS:
        name = SCRIPTS[script]
    else:
        assert (PROJECT / script).is_file()
        return
    # absl reads flagfiles from the current folder; those of a loop have a name at run time only.
    monkeypatch.chdir(PROJECT)
    arguments = [argument for argument in arguments if argument != "--flagfile=$part"]
    parse(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_linked_and_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(r"`((?:benchmarks|docs|dsl_tf|examples|flags|tests)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing + [path for path in named if not (PROJECT / path).exists()]


def test_the_figures_are_those_that_the_script_draws(tmp_path, monkeypatch):
    script = PROJECT / "docs" / "draw_figures.py"
    monkeypatch.setattr(sys, "argv", [os.fspath(script), os.fspath(tmp_path)])
    runpy.run_path(os.fspath(script), run_name="__main__")
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in (PROJECT / "docs" / "figures").iterdir())
    text = "".join((PROJECT / "docs" / page).read_text(encoding="utf-8") for page in ("losses.md", "study.md"))
    assert all(f"(figures/{name})" in text for name in drawn)


def test_the_accuracies_of_the_study_are_those_that_its_figure_shows():
    text = (PROJECT / "docs" / "study.md").read_text(encoding="utf-8").replace("*", "")
    rows = list(csv.DictReader((PROJECT / "docs" / "mini_imagenet.csv").read_text(encoding="utf-8").splitlines()))
    names = {"nearest_centroid": "nearest centroid", "laplacian_shot": "LaplacianShot", "none": "raw"}
    found = {}
    for row in rows:
        name = f"{names[row['classifier']]}, {names.get(row['feature_transform'], row['feature_transform'])}"
        found.setdefault(name, {}).setdefault(row["loss"], {})[row["shots"]] = row["accuracy"]
    for name, losses in found.items():
        cells = " | ".join(f"{of['1']} / {of['5']}" for of in losses.values())
        assert f"| {name} | {cells} |" in text


def test_the_table_of_flags_is_up_to_date():
    script = runpy.run_path(os.fspath(PROJECT / "docs" / "write_flags.py"))
    written = (PROJECT / "docs" / "reference" / "flags.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run: python docs/write_flags.py"
