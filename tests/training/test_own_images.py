"""Runs on a plain folder of classes, whose division belongs to the run."""

import csv

import pytest
from PIL import Image

from dsl_tf.errors import UserError
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import subjects
from dsl_tf.training import train
from tests.images import striped_split, tiny_configuration


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Twelve classes, and a finished run on them."""
    root = tmp_path_factory.mktemp("own")
    split = striped_split(13, 9, seed=1)
    for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        # The last class comes later.
        path = root / ("images" if label < 12 else "later") / split.class_names[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    configuration = configured(root)
    return root, configuration, train(configuration)


def configured(root, **changes):
    options = {"dataset": "folder", "data_dir": str(root / "images"), "ways": 64, "shots": 2, "epochs": 1}
    return tiny_configuration(root / "run", **{**options, **changes})


def recorded(root):
    rows = list(csv.DictReader((root / "run" / "class_split.csv").read_text().splitlines()))
    return {split: [row["class"] for row in rows if row["split"] == split] for split in ("train", "val", "test")}


def test_the_run_records_its_division_and_the_flags_that_were_given(plain):
    root, _, results = plain
    found = recorded(root)
    assert {split: len(names) for split, names in found.items()} == {"train": 6, "val": 3, "test": 3}
    assert {split: values["classes"] for split, values in results["splits"].items()} == {
        "train": 6,
        "val": 3,
        "test": 3,
    }
    assert run_directory.read_configuration(root / "run").ways == 64
    # What it trained with.
    assert "--ways=6" in results["flags"] and "--shots=9" in results["flags"]


def test_the_same_command_finds_the_finished_run_and_another_division_is_another_run(plain):
    root, configuration, results = plain
    assert train(configuration)["accuracies"] == results["accuracies"]
    with pytest.raises(UserError, match="differs in --split_seed"):
        train(configured(root, split_seed=1))


def test_an_evaluation_tests_the_run_s_own_test_classes_even_if_classes_were_added(plain):
    root, _, _ = plain
    expected = recorded(root)
    before = subjects.of_run(root / "run", "test")
    assert before.data == "the run's own" and list(before.class_names) == expected["test"]
    (later,) = (root / "later").iterdir()
    later.rename(root / "images" / later.name)
    try:
        for split, names in expected.items():
            assert list(subjects.of_run(root / "run", split).class_names) == names
        exported = {"dataset": "folder", "data_dir": str(root / "images")}
        assert (
            list(subjects.of_saved_model(str(root / "run" / "saved_model"), "test", exported).class_names)
            == expected["test"]
        )
    finally:
        (root / "images" / later.name).rename(later)
