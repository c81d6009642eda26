"""Class names of every kind: labels follow the sorted names, and every image keeps its class."""

import pathlib
import shutil
import tempfile

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dsl_tf.data import folder
from dsl_tf.data.formats.class_folders import read_class_folders, sub_folders
from dsl_tf.data.labelled_images import same_class
from dsl_tf.data.listing import SYSTEM_FOLDERS
from dsl_tf.data.split import SPLITS

SIDE = 4
SETTINGS = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def can_be_a_folder(name):
    """What a file system takes, without the hidden ones and those of systems, which are none of the classes.

    Hypothesis tries the texts of our own sources too, the names of system folders among them.
    """
    return not name.startswith(".") and name.lower() not in SYSTEM_FOLDERS and 0 < len(name.encode()) <= 255


ANY_TEXT = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=60)
ALIKE = st.sampled_from(
    ["a", "A", "a ", " a", "a\n", "á", "10", "9", "09", "-1", "~", "🦉", "🦉🦉", "\u202ea", "a..", "x" * 255]
)
NAMES = st.lists(
    (ANY_TEXT | ALIKE).filter(can_be_a_folder),
    min_size=1,
    max_size=8,
    unique_by=same_class,
)


def colour(number):
    return (number % 7 * 40, number // 7 * 40, 100)


def write_classes(root, names, hidden=False):
    """A folder for each class with two images of the class's own colour, one in each format."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for file in ("1.png", "2.bmp"):
            Image.new("RGB", (SIDE, SIDE), colour(number)).save(root / name / file)
    if hidden:
        shutil.copytree(root / names[0], root / ".ipynb_checkpoints")


def assert_colours(names, images, labels, class_names):
    assert list(class_names) == sorted(names)
    assert np.bincount(labels).tolist() == [2] * len(names)
    for image, label in zip(images, labels, strict=True):
        assert (np.asarray(image) == colour(names.index(class_names[label]))).all()


@SETTINGS
@given(names=NAMES, hidden=st.booleans())
def test_own_images_keep_their_class(names, hidden):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        write_classes(root / "train", names, hidden)
        split = folder.load_split(root, "train", SIDE, strict=True)
        assert_colours(names, split.images, split.labels, split.class_names)


@SETTINGS
@given(names=NAMES, data=st.data())
def test_unreadable_images_and_empty_classes_shift_nothing(names, data):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        write_classes(root / "train", names)
        kept = data.draw(st.sets(st.sampled_from(names), min_size=1))
        for name in names:
            damage = root / "train" / name / "1.png"
            damage.write_bytes(damage.read_bytes()[: data.draw(st.integers(0, 40))])
            if name not in kept:
                (root / "train" / name / "2.bmp").write_bytes(b"no image")
        split = folder.load_split(root, "train", SIDE)
        assert split.class_names == tuple(sorted(kept))
        assert split.labels.tolist() == list(range(len(kept)))
        for image, label in zip(split.images, split.labels, strict=True):
            assert (image == colour(names.index(split.class_names[label]))).all()


@SETTINGS
@given(names=NAMES, data=st.data())
def test_classes_of_an_earlier_split_are_left_out_without_a_shift(names, data):
    shared = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        write_classes(root / "test", names)
        for name in shared:
            shutil.copytree(root / "test" / name, root / data.draw(st.sampled_from(SPLITS[:2])) / name)
        split = folder.load_split(root, "test", SIDE)
        assert split.class_names == tuple(sorted(set(names) - shared))
        for image, label in zip(split.images, split.labels, strict=True):
            assert (image == colour(names.index(split.class_names[label]))).all()


@SETTINGS
@given(names=NAMES)
def test_class_folders_of_data_sets_keep_their_class(names):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        write_classes(root, names)
        raw = read_class_folders({"train": sub_folders(root)})["train"]
        images = [np.asarray(Image.open(path)) for _, path in raw.read(0)]
        assert_colours(names, images, raw.labels, raw.class_names)
