"""What the README and the texts beside it say: the two commands, names."""

import pathlib
import re

import dsl_tf
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.flagfiles import read

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


def test_the_map_for_contributors_names_every_part():
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `.*$", text.split("## Find your way around")[1].split("\n## ")[0], flags=re.MULTILINE)
    named = {name for line in rows for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == {path.stem for path in (PROJECT / "dsl_tf").iterdir() if not path.name.startswith("_")} - {"py"}


def test_the_citation_names_this_version():
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [dsl_tf.__version__]
