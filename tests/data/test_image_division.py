"""Tests of the division of each class's images."""

import csv
import shutil

import pytest
from PIL import Image

from dsl_tf.data import sources
from dsl_tf.data.image_division import divide_images, read_image_division, write_image_division
from dsl_tf.data.labelled_images import LabelledImages
from dsl_tf.errors import UserError


def images_of(counts, folder="/data"):
    files = {name: sorted(f"{folder}/{name}/{number}.png" for number in range(count)) for name, count in counts.items()}
    return LabelledImages(files, {name: f"{folder}/{name}" for name in counts}, [], [])


def sizes(splits):
    return {split: {name: len(files) for name, files in found.files.items()} for split, found in splits.items()}


@pytest.mark.parametrize(
    ("images", "val", "test", "expected"),
    [
        (100, 0.0, None, (60, 20, 20)),
        (10, 0.0, None, (6, 2, 2)),
        (5, 0.0, None, (3, 1, 1)),
        (4, 0.0, None, (2, 1, 1)),
        (3, 0.0, None, (2, 0, 1)),
        (2, 0.0, None, (2, 0, 0)),
        (1, 0.0, None, (1, 0, 0)),
        (20, 0.25, 0.5, (5, 5, 10)),
        (20, 0.0, 0.3, (14, 0, 6)),
        (20, 0.3, None, (10, 6, 4)),
        (20, 0.5, 0.45, (2, 9, 9)),
        (20, 0.1, 0.0, (18, 2, 0)),
    ],
)
def test_two_images_stay_for_training_then_test_then_validation(images, val, test, expected):
    splits, why = divide_images(images_of({"cat": images}), "/data", val, test)
    found = sizes(splits)
    assert tuple(found.get(split, {}).get("cat", 0) for split in ("train", "val", "test")) == expected
    every = sorted(file for split in splits.values() for file in split.files["cat"])
    assert every == images_of({"cat": images}).files["cat"]
    assert why == {
        3: "Classes with too few images: 1 have none in val.",
        2: "Classes with too few images: 1 have none in test, 1 have none in val.",
        1: "Classes with too few images: 1 have none in test, 1 have none in val.",
    }.get(images, "")


def test_the_seed_and_the_names_decide_wherever_the_folder_is():
    counts = {"cat": 30, "dog": 30}
    first = divide_images(images_of(counts), "/data")[0]
    elsewhere = divide_images(images_of(counts, "/mnt/x"), "/mnt/x")[0]
    assert {split: [file.removeprefix("/data") for file in found.files["cat"]] for split, found in first.items()} == {
        split: [file.removeprefix("/mnt/x") for file in found.files["cat"]] for split, found in elsewhere.items()
    }
    assert divide_images(images_of(counts), "/data", seed=1)[0]["test"].files != first["test"].files
    # One image more moves at most the one that it displaces from each split.
    later = divide_images(images_of({**counts, "cat": 31}), "/data")[0]
    for split, found in first.items():
        assert len(set(found.files["cat"]) - set(later[split].files["cat"])) <= 1


def test_a_written_division_is_read_again_and_what_is_new_is_skipped(tmp_path):
    found = images_of({"=cat": 10, "dög": 10, "owl": 1})
    splits, _ = divide_images(found, "/data")
    write_image_division(splits, "/data", tmp_path / "i.csv")
    rows = list(csv.DictReader((tmp_path / "i.csv").read_text().splitlines()))
    assert len(rows) == 21 and set(rows[0]) == {"file", "label", "split"}
    again = read_image_division(tmp_path / "i.csv", found, "/data")
    for split, of_split in splits.items():
        assert {name: files for name, files in again[split].files.items() if files} == {
            name: files for name, files in of_split.files.items() if files
        }
    more = read_image_division(tmp_path / "i.csv", images_of({"=cat": 11, "new": 2}), "/data")
    assert sum(sizes(more)["train"].values()) == 6
    assert [entry.path for entry in more["train"].skipped] == [
        "/data/=cat/10.png",
        "/data/new/0.png",
        "/data/new/1.png",
    ]
    with pytest.raises(UserError, match="must list the images of the data. Received: none of the 3, such as 'x/0.png'"):
        read_image_division(tmp_path / "i.csv", images_of({"x": 3}), "/data")
    (tmp_path / "c.csv").write_text("class,split\ncat,train\n")
    with pytest.raises(UserError, match="header file,split and a split per file"):
        read_image_division(tmp_path / "c.csv", found, "/data")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three classes of six small images, and one of a single image."""
    folder = tmp_path_factory.mktemp("known") / "pets"
    for name, count in {"cat": 6, "dog": 6, "eel": 6, "owl": 1}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (40 * number, 0, len(name))).save(folder / name / f"{number}.png")
    return folder


def counted(data_dir, **options):
    loaders = sources.open_splits("folder", data_dir=data_dir, held_out="images", image_size=8, **options)
    found = {name: load() for name, load in loaders.items()}
    return {name: (len(split.labels), split.class_names) for name, split in found.items()}


def test_a_plain_folder(root, capsys):
    assert counted(root) == {
        "train": (13, ("cat", "dog", "eel", "owl")),
        "val": (3, ("cat", "dog", "eel")),
        "test": (3, ("cat", "dog", "eel")),
    }
    printed = capsys.readouterr().out
    assert (
        "the images of each of its 4 classes are divided by --split_seed=0. Classes with too few images: 1" in printed
    )
    assert "train: 13 images of 4 classes, 1 to 4 per class" in printed


def test_a_list_and_folders_of_splits_with_the_same_classes(root, tmp_path):
    rows = [f"pets/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(root.glob("*/*.png"))]
    (root.parent / "l.csv").write_text("\n".join(["file,label", *rows]))
    assert counted(root.parent / "l.csv")["test"] == (3, ("cat", "dog", "eel"))
    shutil.copytree(root, tmp_path / "train")
    shutil.copytree(root, tmp_path / "test")
    with pytest.raises(UserError, match="If the classes are meant to be the same, set --held_out=images"):
        [load() for load in sources.open_splits("folder", data_dir=tmp_path).values()]
    every = (19, ("cat", "dog", "eel", "owl"))
    assert counted(tmp_path) == {"train": every, "test": every}
    held_out = counted(tmp_path, val_fraction=0.5)
    assert (held_out["train"][0], held_out["val"][0], held_out["test"]) == (10, 9, every)
    shutil.copytree(root, tmp_path / "val")
    with pytest.raises(UserError, match="--val_fraction needs data without a val split"):
        counted(tmp_path, val_fraction=0.5)
    with pytest.raises(UserError, match="--test_fraction is for .* without splits"):
        counted(tmp_path, test_fraction=0.5)


def test_data_sets_whose_classes_are_divided_already():
    with pytest.raises(UserError, match="--held_out=images is for .* --dataset=glyphs"):
        sources.open_splits("glyphs", held_out="images")
