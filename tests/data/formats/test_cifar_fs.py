"""Tests of CIFAR-FS in all its forms, made small but byte for byte like the real ones."""

import io
import os
import pathlib
import tarfile
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats import cifar_fs
from tests.data.formats.coloured_images import assert_split, colour, colour_of, pixels, raised_line, write
from tests.data.formats.python2_pickles import python2_pickle
from tests.data.formats.tfds_folders import FILE_FORMATS

PUBLISHED = class_list("cifar_fs")
NAMES = sorted(name for names in PUBLISHED.values() for name in names)
SPLIT_OF = {name: split for split, names in PUBLISHED.items() for name in names}
# Each class three times, in an order that is not that of the labels.
FINE_LABELS = {"train": [(7 * row) % 100 for row in range(200)], "test": [(99 - 3 * row) % 100 for row in range(100)]}
FIRST = {"train": 0, "test": 200}
(PYTHON, ARCHIVE, PICKLES, LISTS, CLASS_FOLDERS, TFDS) = cifar_fs.FORMATS


def rows(part):
    """Pixels channel by channel, as CIFAR has them."""
    count = len(FINE_LABELS[part])
    images = pixels(range(FIRST[part], FIRST[part] + count), 32)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(count, 3072)


def python_pickles(key=str.encode):
    """The contents of train, test and meta; keys are bytes as Python 2 wrote them, or text."""
    contents = {}
    for part, labels in FINE_LABELS.items():
        contents[part] = python2_pickle(
            {
                key("filenames"): [b"image_s_%06d.png" % row for row in range(len(labels))],
                key("batch_label"): b"training batch 1 of 1",
                key("fine_labels"): labels,
                key("coarse_labels"): [label // 5 for label in labels],
                key("data"): rows(part),
            }
        )
    contents["meta"] = python2_pickle(
        {
            key("fine_label_names"): [name.encode() for name in NAMES],
            key("coarse_label_names"): [b"fish", b"flowers"],
        }
    )
    return contents


PYTHON_PICKLES = python_pickles()


def write_python(folder, contents=PYTHON_PICKLES, leave_out=()):
    for part, content in contents.items():
        if part not in leave_out:
            write(folder / part, content)
    return folder


def assert_all_splits(splits):
    """The oracle: goes through train and test, row by row."""
    assert list(splits) == ["train", "val", "test"]
    everything = [label for labels in FINE_LABELS.values() for label in labels]
    for split, raw in splits.items():
        chosen = [index for index, label in enumerate(everything) if SPLIT_OF[NAMES[label]] == split]
        labels = [PUBLISHED[split].index(NAMES[everything[index]]) for index in chosen]
        assert_split(raw, PUBLISHED[split], labels, chosen)


def only(folder):
    """The one format that is found in a folder."""
    (found,) = [candidate for candidate in cifar_fs.FORMATS if candidate.is_in(folder)]
    return found


# The pickles, and the archive of them.


@pytest.mark.parametrize("inside", ["cifar-100-python", "."])
@pytest.mark.parametrize("key", [str.encode, str])
def test_python_pickles(tmp_path, inside, key):
    write_python(tmp_path / inside, python_pickles(key))
    assert only(tmp_path) is PYTHON
    splits = PYTHON.read(tmp_path)
    assert_all_splits(splits)
    _, image = next(splits["train"].read(0))
    assert image.shape == (32, 32, 3)


def test_planes_become_channels(tmp_path):
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (200, 3072), dtype=np.uint8)
    train = {b"data": data, b"fine_labels": FINE_LABELS["train"]}
    write_python(tmp_path, {**PYTHON_PICKLES, "train": python2_pickle(train)})
    splits = PYTHON.read(tmp_path)
    first = {split: next(raw.read(0))[1] for split, raw in splits.items()}
    for split, image in first.items():
        row = [SPLIT_OF[NAMES[label]] for label in FINE_LABELS["train"]].index(split)
        for y, x, channel in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (31, 31, 2), (5, 17, 1)]:
            assert image[y, x, channel] == data[row, channel * 1024 + y * 32 + x]


@pytest.mark.parametrize("part", ["train", "test", "meta"])
def test_a_missing_pickle(tmp_path, part):
    write_python(tmp_path, leave_out=[part])
    assert only(tmp_path) is PYTHON
    assert f"without {part!r}" in raised_line(PYTHON.read, tmp_path)


@pytest.mark.parametrize(
    ("part", "changes", "expected"),
    [
        ("train", {b"data": np.zeros((200, 3071), np.uint8)}, "uint8 of shape [200, 3071]"),
        ("train", {b"data": np.zeros((200, 3072), np.float32)}, "float32 of shape [200, 3072]"),
        ("train", {b"data": [1, 2]}, "wrong sizes: list"),
        ("test", {b"fine_labels": [0] * 99}, "integers of shape [99]"),
        ("test", {b"fine_labels": [0] * 99 + [100]}, "0 to 100"),
        ("test", {b"fine_labels": [0] * 99 + [-1]}, "-1 to 0"),
        ("test", {b"fine_labels": [b"apple"] * 100}, "of something else"),
        ("meta", {b"fine_label_names": [b"apple", b"apple"]}, "'apple' and 'apple'"),
        ("meta", {b"fine_label_names": [1, 2]}, "None and None"),
        ("meta", {b"fine_label_names": b"apple"}, "none"),
        ("meta", {b"fine_label_names": [b"n%d" % index for index in range(100)]}, "'apple', 'aquarium_fish', 'bear'"),
    ],
)
def test_wrong_pickles(tmp_path, part, changes, expected):
    values = {
        b"data": np.zeros((len(FINE_LABELS.get(part, ())), 3072), np.uint8),
        b"fine_labels": FINE_LABELS.get(part, []),
    }
    write_python(tmp_path, {**PYTHON_PICKLES, part: python2_pickle({**values, **changes})})
    assert expected in raised_line(PYTHON.read, tmp_path)


@pytest.mark.parametrize("key", [b"data", b"fine_labels"])
def test_missing_keys(tmp_path, key):
    values = {b"data": rows("train"), b"fine_labels": FINE_LABELS["train"]}
    del values[key]
    write_python(tmp_path, {**PYTHON_PICKLES, "train": python2_pickle(values)})
    assert f"the key {key.decode()!r}" in raised_line(PYTHON.read, tmp_path)


def test_a_class_without_rows(tmp_path):
    values = {b"data": rows("test"), b"fine_labels": [1] * 100}
    train = {b"data": rows("test"), b"fine_labels": list(range(100))[:98] + [0, 0]}
    write_python(tmp_path, {**PYTHON_PICKLES, "test": python2_pickle(values), "train": python2_pickle(train)})
    message = raised_line(PYTHON.read, tmp_path)
    assert "none of" in message and any(repr(name) in message for name in NAMES[98:])


def test_pickles_that_call_functions_are_refused(tmp_path):
    write_python(tmp_path, {**PYTHON_PICKLES, "meta": b"\x80\x02cos\nsystem\n(U\x04truetR."})
    assert "os.system" in raised_line(PYTHON.read, tmp_path)


def write_archive(folder, entries, mode="w:gz"):
    """Writes a tar of (name, content), where a content that is a string is the target of a link."""
    path = folder / "cifar-100-python.tar.gz"
    with tarfile.open(path, mode) as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            elif content is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def members(leave_out=(), folder="cifar-100-python"):
    parts = {part: content for part, content in PYTHON_PICKLES.items() if part not in leave_out}
    return [(folder, None), *((f"{folder}/{part}", content) for part, content in parts.items())]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_archive(tmp_path, temporary):
    data = tmp_path / "data"
    data.mkdir()
    others = [("cifar-100-python/file.txt~", b"notes"), ("../outside", b"x"), ("/cifar-100-python/train", b"x")]
    write_archive(data, members() + others)
    assert only(data) is ARCHIVE
    splits = ARCHIVE.read(data)
    assert os.listdir(data) == ["cifar-100-python.tar.gz"] and not list(temporary.iterdir())
    assert not (tmp_path / "outside").exists()
    assert_all_splits(splits)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (members(leave_out=["test"]), "none of 'cifar-100-python/test'"),
        (members(folder="./cifar-100-python"), "'cifar-100-python/train', 'cifar-100-python/test'"),
        (members(leave_out=["test"]) + [("cifar-100-python/test", "/etc/passwd")], "a link"),
        (members() + [("cifar-100-python/test", b"again")], "more than one"),
        (members(leave_out=["train"]) + [("cifar-100-python/train", b"words")], "must be a whole pickle"),
    ],
)
def test_wrong_archives(tmp_path, temporary, entries, expected):
    write_archive(tmp_path, entries)
    assert expected in raised_line(ARCHIVE.read, tmp_path)
    assert not list(temporary.iterdir())


def test_damaged_archives(tmp_path, temporary):
    path = write_archive(tmp_path, members())
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    for damaged in (content[: len(content) // 2], bytes(flipped), b"words", b""):
        path.write_bytes(damaged)
        assert "cifar-100-python.tar.gz' must be a whole tar.gz" in raised_line(ARCHIVE.read, tmp_path)
    write_archive(tmp_path, members(), "w:")
    assert "must be a whole tar.gz" in raised_line(ARCHIVE.read, tmp_path)


# Pickles with labels.


def test_labelled_pickles(tmp_path):
    for first, (split, names) in zip((0, 64, 80), PUBLISHED.items()):
        labels = list(range(first, first + len(names)))
        content = {b"data": pixels(labels, 32), b"labels": labels}
        write(tmp_path / f"CIFAR_FS_{split}.pickle", python2_pickle(content))
    assert only(tmp_path) is PICKLES
    for first, (split, raw) in zip((0, 64, 80), PICKLES.read(tmp_path).items()):
        count = len(PUBLISHED[split])
        assert_split(raw, None, range(count), range(first, first + count))
    (tmp_path / "CIFAR_FS_val.pickle").unlink()
    assert only(tmp_path) is PICKLES
    assert "'CIFAR_FS_val.pickle'" in raised_line(PICKLES.read, tmp_path)


# Folders.


def png(index, side=4):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour(index)).save(buffer, "PNG")
    return buffer.getvalue()


def write_lists(root):
    for index, name in enumerate(NAMES):
        for number in range(2):
            write(root / "data" / name / f"{name}_s_{number:06}.png", png(2 * index + number))
    for split, names in PUBLISHED.items():
        text = "\n".join(reversed(names)) + "\n\n"
        write(root / "splits" / "bertinetto" / f"{split}.txt", text.encode())
    return root


def assert_folders(splits):
    assert list(splits) == ["train", "val", "test"]
    for split, raw in splits.items():
        names = PUBLISHED[split]
        indices = [2 * NAMES.index(name) + number for name in names for number in range(2)]
        assert_split(raw, names, np.repeat(range(len(names)), 2), indices)


@pytest.mark.parametrize("inside", ["cifar100", "."])
def test_folders_with_lists(tmp_path, inside):
    root = write_lists(tmp_path / inside)
    assert only(tmp_path) is LISTS
    assert_folders(LISTS.read(tmp_path))
    lists = root / "splits" / "bertinetto"
    val = lists / "val.txt"
    good = val.read_text()
    for text, expected in [
        (good.replace("wolf", "").replace("beaver", ""), "'beaver' missing"),
        (good + "apple\n", "'apple' not among them"),
        (good + "beaver\n", "listed twice"),
        ("beaver\n../secret\n", "'../secret' not among them"),
    ]:
        val.write_text(text)
        message = raised_line(LISTS.read, tmp_path)
        assert expected in message and repr(str(val)) in message
    val.write_bytes(b"\xff")
    assert "UTF-8" in raised_line(LISTS.read, tmp_path)
    val.write_bytes(b"\xef\xbb\xbf" + good.replace("\n", "\r\n").encode())
    assert_folders(LISTS.read(tmp_path))
    (root / "data" / "wolf").rename(root / "data" / "wolves")
    (root / "data" / "apple").rename(root / "data" / "apples")
    assert "none for 'apple' and 'wolf'" in raised_line(LISTS.read, tmp_path)
    val.unlink()
    assert only(tmp_path) is LISTS
    assert "val.txt" in raised_line(LISTS.read, tmp_path)


def test_a_data_folder_of_other_things_is_not_it(tmp_path):
    (tmp_path / "data" / "snacks").mkdir(parents=True)
    (tmp_path / "cifar100").mkdir()
    assert not any(candidate.is_in(tmp_path) for candidate in cifar_fs.FORMATS)


def test_class_folders(tmp_path):
    for index, name in enumerate(NAMES):
        for number in range(2):
            write(tmp_path / SPLIT_OF[name] / name / f"{number}.png", png(2 * index + number))
    write(tmp_path / "train" / ".hidden" / "1.png", b"")
    assert only(tmp_path) is CLASS_FOLDERS
    assert_folders(CLASS_FOLDERS.read(tmp_path))
    (tmp_path / "val" / "beaver").rename(tmp_path / "val" / "apple")
    message = raised_line(CLASS_FOLDERS.read, tmp_path)
    assert "'beaver' missing" in message and "'apple' not among them" in message
    (tmp_path / "val").rename(tmp_path / "held out")
    assert only(tmp_path) is CLASS_FOLDERS
    assert "without 'val'" in raised_line(CLASS_FOLDERS.read, tmp_path)


# TensorFlow Datasets.


@pytest.fixture(params=FILE_FORMATS)
def cifar100(request, tmp_path, monkeypatch):
    """A TFDS folder, prepared by TFDS's own builder of CIFAR-100 from files in the form that it downloads."""
    binary = tmp_path / "extracted" / "cifar-100-binary"
    write(binary / "fine_label_names.txt", "".join(f"{name}\n" for name in NAMES).encode())
    write(binary / "coarse_label_names.txt", "".join(f"group{index}\n" for index in range(20)).encode())
    for part, labels in FINE_LABELS.items():
        content = b"".join(bytes([label // 5, label]) + row.tobytes() for label, row in zip(labels, rows(part)))
        write(binary / f"{part}.bin", content)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda manager, url: binary.parent)
    tfds.disable_progress_bar()
    folder = tmp_path / "tfds"
    tfds.builder("cifar100", data_dir=folder, file_format=request.param).download_and_prepare()
    return folder


def assert_same_images(splits):
    """TFDS shuffles, so that images are known by their colours."""
    everything = [label for labels in FINE_LABELS.values() for label in labels]
    for split, raw in splits.items():
        assert raw.class_names == PUBLISHED[split]
        found = sorted((raw.class_names[label], colour_of(image)) for label, (_, image) in zip(raw.labels, raw.read(0)))
        expected = [(NAMES[label], colour(index)) for index, label in enumerate(everything)]
        assert found == sorted((name, value) for name, value in expected if SPLIT_OF[name] == split)
        assert len(list(raw.read(11))) == len(raw.labels) - 11


def test_tfds_folder(cifar100, monkeypatch):
    assert only(cifar100) is TFDS
    assert_same_images(TFDS.read(cifar100))
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(cifar100))
    assert_same_images(cifar_fs.read_from_tfds())


def test_formats_are_described():
    assert all(candidate.description and candidate.files for candidate in cifar_fs.FORMATS)
    for candidate in cifar_fs.FORMATS:
        assert not candidate.is_in(pathlib.Path("nowhere"))
