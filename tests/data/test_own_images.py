"""Tests of images that only folders of classes, or a list, say something about."""

import csv
import shutil

import pytest
from PIL import Image

from dsl_tf.data import sources
from dsl_tf.errors import UserError


@pytest.fixture
def root(tmp_path):
    """Twelve classes of two squares of 40 pixels."""
    folder = tmp_path / "pets"
    for number in range(12):
        (folder / f"class {number:02}").mkdir(parents=True)
        for name in "ab":
            Image.new("RGB", (40, 40), (20 * number, 0, 0)).save(folder / f"class {number:02}" / f"{name}.png")
    return folder


def classes(data_dir, **options):
    loaders = sources.open_splits("folder", data_dir=data_dir, **options)
    return {name: load().class_names for name, load in loaders.items()}


def write_list(path, rows, header=("file", "label")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def rows_of(root, below=""):
    return [(f"{below}{path.parent.name}/{path.name}", path.parent.name) for path in sorted(root.glob("*/*.png"))]


def test_class_folders_are_divided_and_the_division_is_printed(root, capsys):
    splits = sources.open_splits("folder", data_dir=root, test_ways=3)
    printed = capsys.readouterr().out
    assert "12 classes are divided by --split_seed=0" in printed
    found = {name: load() for name, load in splits.items()}
    assert {name: split.class_count for name, split in found.items()} == {"train": 6, "val": 3, "test": 3}
    for name, split in found.items():
        assert f"{name}: {split.class_count} classes ({', '.join(map(repr, split.class_names))})" in printed
        assert split.images.shape == (2 * split.class_count, 40, 40, 3)
        for label, image in zip(split.labels, split.images, strict=True):
            assert abs(int(image[0, 0, 0]) - 20 * int(split.class_names[label][-2:])) <= 1
    assert len({name for split in found.values() for name in split.class_names}) == 12
    assert classes(root, test_ways=3) == {name: split.class_names for name, split in found.items()}
    assert classes(root, test_ways=3, split_seed=1) != {name: split.class_names for name, split in found.items()}


def test_the_folder_around_gives_the_same(root):
    (root.parent / "__MACOSX" / "pets").mkdir(parents=True)
    assert classes(root.parent) == classes(root)


def test_what_is_no_class_is_skipped(root, caplog):
    (root / "empty").mkdir()
    (root / "readme.txt").write_text("words")
    assert "empty" not in sum(classes(root).values(), ())
    assert "'empty'" in caplog.text and "readme.txt" in caplog.text
    with pytest.raises(UserError, match="readme.txt"):
        classes(root, strict=True)


def test_a_class_called_as_a_split(root):
    (root / "class 00").rename(root / "train")
    assert "train" in sum(classes(root).values(), ())


@pytest.mark.parametrize(
    ("val", "test", "expected"), [(0.25, 0.25, (6, 3, 3)), (0.0, 0.5, (6, 0, 6)), (0.5, None, (4, 6, 2))]
)
def test_fractions(root, val, test, expected):
    found = classes(root, val_fraction=val, test_fraction=test)
    assert tuple(len(found.get(split, ())) for split in ("train", "val", "test")) == expected


def test_a_file_divides_the_classes(root, tmp_path, caplog):
    write_list(
        tmp_path / "c.csv", [(f"class {n:02}", "test" if n > 7 else "train") for n in range(11)], ("class", "split")
    )
    found = classes(root, class_split=tmp_path / "c.csv")
    assert found == {
        "train": tuple(f"class {n:02}" for n in range(8)),
        "test": tuple(f"class {n:02}" for n in range(8, 11)),
    }
    assert "class 11" in caplog.text and "not in" in caplog.text


@pytest.mark.parametrize("place", ["beside", "given", "inside"])
def test_a_list_gives_what_the_folders_give(root, place, capsys):
    expected = classes(root)
    path = root / "labels.csv" if place == "inside" else root.parent / "labels.csv"
    write_list(path, rows_of(root, "" if place == "inside" else "pets/"))
    assert classes({"beside": root.parent, "given": path, "inside": root}[place]) == expected
    assert "labels.csv' has no splits: its 12 classes" in capsys.readouterr().out


def test_a_list_with_splits(root):
    rows = [(file, label, ("train", "valid", "test")[int(label[-2:]) // 4]) for file, label in rows_of(root)]
    write_list(root / "labels.csv", rows, ("file", "label", "split"))
    found = classes(root)
    assert {split: len(names) for split, names in found.items()} == {"train": 4, "val": 4, "test": 4}
    assert found["val"][0] == "class 04"
    with pytest.raises(UserError, match="--test_fraction is for .* without splits. Received: 0.2"):
        classes(root, test_fraction=0.2)
    # The same classes everywhere, as is usual for other purposes.
    write_list(
        root / "labels.csv",
        [(file, name, "train" if file.endswith("a.png") else "test") for file, name in rows_of(root)],
        ("file", "label", "split"),
    )
    with pytest.raises(UserError, match="no class is left for 'test'.*Remove the column of splits"):
        classes(root)


def test_a_list_per_split(root):
    rows = rows_of(root)
    for name, part in {"train": rows[:8], "val": rows[8:16], "test": rows[16:]}.items():
        write_list(root / f"{name}.csv", part)
    assert {split: len(names) for split, names in classes(root).items()} == {"train": 4, "val": 4, "test": 4}
    write_list(root / "other.csv", rows)
    with pytest.raises(UserError, match="one list of images.*'other.csv', 'test.csv'.*Give the list itself"):
        classes(root)


def test_what_is_missing_in_a_list_is_reported(root, caplog):
    write_list(root / "labels.csv", [*rows_of(root), ("nowhere.png", "class 00")])
    classes(root)
    assert "nowhere.png' (no such file)" in caplog.text


def test_lists_beside_folders_of_splits_are_not_read(root):
    for split, numbers in {"train": range(6), "test": range(6, 12)}.items():
        (root / split).mkdir()
        for number in numbers:
            (root / f"class {number:02}").rename(root / split / f"class {number:02}")
    (root / "labels.csv").write_text("file,label\nnowhere.png,cat\n")
    assert {split: len(names) for split, names in classes(root).items()} == {"train": 6, "test": 6}
    # One of them alone is no data set of its own: its classes differ from the other's.
    with pytest.raises(UserError, match=f"Try --data_dir='{root}'."):
        classes(root / "train")
    shutil.rmtree(root / "test")
    assert len(sum(classes(root / "train").values(), ())) == 6


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pets/class 00", "2 images ('a.png', 'b.png'). Try --data_dir='{root}/pets'."),
        ("pets/class 00/a.png", "which is a file. Try --data_dir='{root}/pets'."),
        ("pest", "which does not exist. Try --data_dir='{root}/pets'."),
        ("nothing", "which does not exist. Check the path."),
        ("pets.zip", "which is an archive. Extract it and give the folder."),
        ("flat", "1 image ('a.png'). Sort the images into one folder per class, or write"),
    ],
)
def test_the_folder_that_would_do_is_suggested(root, path, expected):
    (root.parent / "pets.zip").write_bytes(b"PK")
    (root.parent / "flat" / "images").mkdir(parents=True)
    (root.parent / "flat" / "images" / "a.png").write_bytes(b"")
    if path == "flat":
        path = "flat/images"
        shutil.rmtree(root)
    with pytest.raises(UserError) as caught:
        classes(root.parent / path)
    assert expected.format(root=root.parent) in str(caught.value) and "\n" not in str(caught.value)


def test_splits_with_images_but_no_classes_are_an_error(root):
    for name in ("train", "Test"):
        (root.parent / "flat" / name).mkdir(parents=True)
        shutil.copy(root / "class 00" / "a.png", root.parent / "flat" / name)
    shutil.rmtree(root)
    with pytest.raises(UserError, match="2 folders .'Test', 'train'.. Sort the images into one folder per class"):
        classes(root.parent / "flat")
    write_list(root.parent / "flat" / "l.csv", [("train/a.png", "x"), ("Test/a.png", "y")])
    assert classes(root.parent / "flat") == {"train": ("x", "y")}


def test_data_that_are_not_read_are_pointed_out(root, tmp_path, caplog):
    sources.open_splits("glyphs", data_dir=root, cache_dir=tmp_path / "cache")
    assert "--dataset=folder" in caplog.text


def test_half_a_character_in_a_list_is_escaped(root):
    rows = [("class 00/a.png", r"\ud800"), ("class 01/a.png", "b"), (r"\ud800", "x")]
    entries = ", ".join(f'{{"file": "{file}", "label": "{label}"}}' for file, label in rows)
    (root / "l.json").write_text(f"[{entries}]")
    assert classes(root) == {"train": (r"\ud800", "b")}


def test_one_label_is_not_enough(root):
    write_list(root / "l.csv", [("class 00/a.png", "cat")])
    with pytest.raises(UserError, match="two labels or more. Received: 'cat' alone"):
        classes(root)
