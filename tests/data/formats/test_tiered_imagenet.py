"""Tests of the formats of tiered-ImageNet, on small files of each with all of the published classes."""

import io
import pickle

import numpy as np
import pytest

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats.tiered_imagenet import FORMATS
from dsl_tf.data.split import SPLITS
from tests.data.formats.coloured_images import assert_split, colour, colour_of, encoded, pixels, raised_line, write
from tests.data.formats.python2_pickles import python2_pickle
from tests.data.formats.tars import tar

CLASSES = class_list("tiered_imagenet")
SIDE = 84
# One more image than classes, so that a list of names is either one a class or one an image.
COUNTS = {split: len(CLASSES[split]) + 1 for split in SPLITS}
PNGS, ARRAYS, CLASS_FOLDERS = FORMATS


def read(folder, expected):
    assert next(each for each in FORMATS if each.is_in(folder)) is expected
    return expected.read(folder)


def error(folder, expected):
    return raised_line(read, folder, expected)


def labels(split):
    """Not in order, and the last class has two images."""
    count = len(CLASSES[split])
    return [*reversed(range(count)), count - 1]


def write_labels(folder, first=0, **more):
    for split in SPLITS:
        specific = np.array(labels(split), np.int32) + first
        content = {b"label_specific": specific, b"label_general": specific // 20}
        names = [name.encode() for name in CLASSES[split]]
        write(folder / f"{split}_labels.pkl", python2_pickle({**content, b"label_specific_str": names, **more}))


def png(index):
    return np.frombuffer(encoded(index, SIDE), np.uint8)


@pytest.fixture(scope="module")
def png_files():
    return [png(index) for index in range(max(COUNTS.values()))]


def write_pngs(folder, files, form=lambda file: file, dump=pickle.dumps):
    for split in SPLITS:
        write(folder / f"{split}_images_png.pkl", dump([form(file) for file in files[: COUNTS[split]]]))


def assert_all_read(splits, names=CLASSES):
    assert list(splits) == list(SPLITS)
    for split, raw_split in splits.items():
        assert_split(raw_split, names and names[split], labels(split), range(COUNTS[split]))


@pytest.mark.parametrize(
    ("form", "dump"),
    [
        (lambda file: file[:, None], python2_pickle),
        (lambda file: file, python2_pickle),
        (lambda file: file[:, None], pickle.dumps),
        (bytes, pickle.dumps),
    ],
)
def test_png_files(tmp_path, png_files, form, dump):
    write_pngs(tmp_path, png_files, form, dump)
    write_labels(tmp_path)
    assert_all_read(read(tmp_path, PNGS))


@pytest.fixture(scope="module")
def pngs(tmp_path_factory, png_files):
    """A folder with the images, to which a test adds labels."""
    folder = tmp_path_factory.mktemp("pngs")
    write_pngs(folder, png_files)
    return folder


@pytest.fixture
def folder(tmp_path, pngs):
    for path in pngs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_labels_with_a_name_an_image(folder):
    write_labels(folder, 351)
    for split in SPLITS:
        names = [CLASSES[split][label] for label in labels(split)]
        value = {"label_specific": labels(split), "label_specific_str": names}
        write(folder / f"{split}_labels.pkl", pickle.dumps(value))
    assert_all_read(read(folder, PNGS))


def test_labels_alone(folder):
    for split in SPLITS:
        write(folder / f"{split}_labels.pkl", pickle.dumps({"labels": np.array(labels(split)) * 2 + 5}, protocol=4))
    assert_all_read(read(folder, PNGS), names=None)


def english(split):
    return [f"kind {label}" for label in range(len(CLASSES[split]))]


@pytest.mark.parametrize("first", [0, 351])
def test_english_names(folder, first):
    for split in SPLITS:
        value = {"label_specific": np.array(labels(split)) + first, "label_specific_str": english(split)}
        write(folder / f"{split}_labels.pkl", pickle.dumps(value))
    assert_all_read(read(folder, PNGS), {split: tuple(english(split)) for split in SPLITS})


def val_labels(**changes):
    return {"label_specific": np.array(labels("val")), "label_specific_str": english("val"), **changes}


@pytest.mark.parametrize(
    "names",
    [
        ["crane", "crane", *english("val")[2:]],
        english("val")[1:],
        [*english("val"), "another"],
        [5, *english("val")[1:]],
        "kind",
        None,
        [],
    ],
)
def test_names_that_do_not_work_out(folder, names):
    write_labels(folder)
    write(folder / "val_labels.pkl", pickle.dumps(val_labels(label_specific_str=names)))
    assert read(folder, PNGS)["val"].class_names is None


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (val_labels(label_specific_str=list(CLASSES["train"][: len(CLASSES["val"])])), "not among them"),
        (val_labels(label_specific=[0] * COUNTS["val"]), "1 classes"),
        (val_labels(label_specific=list(range(COUNTS["val"]))), "98 classes"),
        (val_labels(label_specific=labels("val")[1:]), "[97]"),
        (val_labels(label_specific=np.array(labels("val"), np.float32)), "something else"),
        ({"label_general": labels("val")}, "'label_general'"),
        (labels("val"), "list"),
    ],
)
def test_malformed_labels(folder, value, part):
    write_labels(folder)
    write(folder / "val_labels.pkl", pickle.dumps(value))
    line = error(folder, PNGS)
    assert part in line and "val_labels.pkl" in line


def test_missing_files(folder):
    assert "without 'train_labels.pkl', 'val_labels.pkl' and 'test_labels.pkl'" in error(folder, PNGS)
    write_labels(folder)
    (folder / "val_images_png.pkl").unlink()
    assert "without 'val_images_png.pkl'" in error(folder, PNGS)
    for split in ("train", "test"):
        (folder / f"{split}_images_png.pkl").unlink()
    assert "without 'train_images.npz'" in error(folder, ARRAYS)


@pytest.mark.parametrize(
    ("file", "part"),
    [
        (png(0).astype(np.int32), "int32"),
        (png(0)[None], "[1, "),
        (np.array(5, np.uint8), "[]"),
        ("text", "str"),
        (None, "NoneType"),
        ([1, 2], "list"),
    ],
)
def test_what_is_no_png_file_at_all(folder, png_files, file, part):
    write_labels(folder)
    (folder / "val_images_png.pkl").unlink()
    write(folder / "val_images_png.pkl", pickle.dumps([*png_files[:97], file], protocol=4))
    line = error(folder, PNGS)
    assert part in line and "position 97" in line
    write(folder / "val_images_png.pkl", pickle.dumps({}))
    assert "dict" in error(folder, PNGS)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (encoded(0, 32), "wrong sizes: 32×32"),
        (encoded(0, SIDE, "JPEG"), "not a PNG file"),
        (encoded(0, SIDE)[:20], "not a PNG file"),
        (b"", "not a PNG file"),
    ],
)
def test_wrong_png_files_are_told_when_reached(folder, png_files, content, part):
    write_labels(folder)
    (folder / "val_images_png.pkl").unlink()
    write(folder / "val_images_png.pkl", pickle.dumps([*png_files[:97], content], protocol=4))
    images = read(folder, PNGS)["val"].read(96)
    assert colour_of(next(images)[1]) == colour(96)
    line = raised_line(next, images)
    assert part in line and "val_images_png.pkl[97]" in line


# Arrays.


def write_arrays(folder, save, reverse=True):
    for split in SPLITS:
        buffer = io.BytesIO()
        images = pixels(range(COUNTS[split]), SIDE)
        save(buffer, images=images[..., ::-1].copy() if reverse else images)
        write(folder / f"{split}_images.npz", buffer.getvalue())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_blue_first(tmp_path, save):
    write_arrays(tmp_path, save)
    write_labels(tmp_path)
    splits = read(tmp_path, ARRAYS)
    assert_all_read(splits)
    name, image = next(splits["val"].read(5))
    assert name.endswith("val_images.npz[5]") and image.flags.c_contiguous


def test_arrays_of_other_sizes_and_numbers(tmp_path):
    write_arrays(tmp_path, np.savez)
    write_labels(tmp_path)
    np.savez(tmp_path / "val_images.npz", images=pixels(range(98), 32))
    assert "wrong sizes" in error(tmp_path, ARRAYS)
    np.savez(tmp_path / "val_images.npz", images=pixels(range(97), SIDE))
    line = error(tmp_path, ARRAYS)
    assert "97 integer labels" in line and "[98]" in line
    (tmp_path / "val_images.npz").unlink()
    assert "without 'val_images.npz'" in error(tmp_path, ARRAYS)


# Class folders and ImageNet.


def class_files(split, label):
    """One image a class and two of the last, whose numbers go against the order of the names."""
    name = CLASSES[split][label]
    files = {f"{name}_9.JPEG": encoded(label)}
    if label == len(CLASSES[split]) - 1:
        files = {f"{name}_10.JPEG": encoded(label + 1), **files}
    return files


def assert_classes_read(splits):
    for split, raw_split in splits.items():
        count = len(CLASSES[split])
        assert_split(raw_split, CLASSES[split], [*range(count), count - 1], range(count + 1))


def write_class_folders(folder, by_split):
    for split in SPLITS:
        for label, name in enumerate(CLASSES[split]):
            for file, content in class_files(split, label).items():
                write((folder / split if by_split else folder) / name / file, content)


@pytest.mark.parametrize(("root", "by_split"), [("", True), ("", False), ("train", False)])
def test_class_folders(tmp_path, root, by_split):
    write_class_folders(tmp_path / root, by_split)
    if not by_split:
        write(tmp_path / root / "n99999999" / "n99999999_1.JPEG", b"not chosen")
    assert_classes_read(read(tmp_path, CLASS_FOLDERS))


def test_class_folders_without_a_class(tmp_path):
    write_class_folders(tmp_path, by_split=True)
    name = CLASSES["test"][5]
    (tmp_path / "test" / name).rename(tmp_path / "elsewhere")
    assert f"'{name}' missing" in error(tmp_path, CLASS_FOLDERS)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("root", ["", "train"])
def test_tars(tmp_path, nested, root):
    tars = {
        f"{name}.tar": tar(class_files(split, label)) for split in SPLITS for label, name in enumerate(CLASSES[split])
    }
    if nested:
        write(tmp_path / "ILSVRC2012_img_train.tar", tar({**tars, "n99999999.tar": b"not chosen"}))
    else:
        for name, content in tars.items():
            write(tmp_path / root / name, content)
    assert_classes_read(read(tmp_path, CLASS_FOLDERS))


def test_nothing_is_found_in_odd_folders(tmp_path):
    (tmp_path / "n00000000").symlink_to(tmp_path / "n00000000")
    (tmp_path / "train_labels.pkl").mkdir()
    write(tmp_path / "train", b"")
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "train"):
        assert not any(each.is_in(folder) for each in FORMATS)
