"""Tests of meta-iNat, on an annotation file in the form of iNaturalist-2017's."""

import copy
import json

import numpy as np
import pytest

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats import meta_inat
from tests.data.formats.coloured_images import assert_split, encoded, raised_line, write

(FORMAT,) = meta_inat.FORMATS
PUBLISHED = class_list("meta_inat")
CATEGORIES = [category for categories in PUBLISHED.values() for category in categories]
FIRST, SECOND = CATEGORIES[:2]
UNLISTED = next(category for category in range(5089) if category not in CATEGORIES)


def file_name(category, number):
    return f"train_val_images/Plantae/Species {category}/{number:032x}.jpg"


def content():
    """One image for each category, the second has three; one without a box, one of a category that is not listed."""
    files = [(category, 0) for category in reversed(CATEGORIES)] + [(SECOND, 2), (SECOND, 1), (FIRST, 9), (UNLISTED, 5)]
    images = [
        {"id": 1000 + index, "file_name": file_name(*file), "width": 8, "height": 8, "license": 1, "rights_holder": "ñ"}
        for index, file in enumerate(files)
    ]
    boxes = [
        {"id": index, "image_id": image["id"], "category_id": category, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
        for index, (image, (category, number)) in enumerate(zip(images, files))
        if number != 9
    ]
    # Most images have more boxes than one, all of their category.
    boxes += boxes[:50]
    categories = [
        {"id": category, "name": f"Species {category}", "supercategory": "Plantae"}
        for category in [*CATEGORIES, UNLISTED]
    ]
    return {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": boxes, "categories": categories}


CONTENT = content()


def write_boxes(folder, value):
    return write(folder / "train_2017_bboxes.json", json.dumps(value).encode())


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """The images, in a folder that a test's own may link to."""
    root = tmp_path_factory.mktemp("inat") / "train_val_images"
    for index, category in enumerate(CATEGORIES):
        write(root.parent / file_name(category, 0), encoded(index))
    for number in (1, 2):
        write(root.parent / file_name(SECOND, number), encoded(5000 + number))
    return root


@pytest.fixture
def folder(tmp_path, trees):
    (tmp_path / "train_val_images").symlink_to(trees)
    return tmp_path


def assert_inat(splits):
    assert list(splits) == ["train", "test"]
    for split, raw in splits.items():
        names = tuple(f"Species {category}" for category in PUBLISHED[split])
        labels, indices = [], []
        for label, category in enumerate(PUBLISHED[split]):
            more = [5001, 5002] if category == SECOND else []
            indices += [CATEGORIES.index(category), *more]
            labels += [label] * (1 + len(more))
        assert_split(raw, names, labels, indices)


def test_images_with_boxes(folder):
    write_boxes(folder, CONTENT)
    assert FORMAT.is_in(folder)
    assert_inat(FORMAT.read(folder))


def test_one_level_below(tmp_path, trees):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train_val_images").symlink_to(trees)
    write_boxes(tmp_path / "annotations", CONTENT)
    assert FORMAT.is_in(tmp_path)
    assert_inat(FORMAT.read(tmp_path))


def test_missing_and_ambiguous_parts(tmp_path):
    (tmp_path / "empty").mkdir()
    assert not FORMAT.is_in(tmp_path) and not FORMAT.is_in(tmp_path / "nowhere")
    path = write_boxes(tmp_path / "one", CONTENT)
    assert FORMAT.is_in(tmp_path)
    assert "'train_val_images'. Received: none" in raised_line(FORMAT.read, tmp_path)
    write_boxes(tmp_path / "two", CONTENT)
    assert "Received: " + repr(str(path.parent)) in raised_line(FORMAT.read, tmp_path)
    (tmp_path / "three" / "train_val_images").mkdir(parents=True)
    assert FORMAT.is_in(tmp_path / "three")
    assert "'train_2017_bboxes.json'. Received: none" in raised_line(FORMAT.read, tmp_path / "three")


def test_images_are_not_looked_for_before_they_are_read(folder):
    changed = copy.deepcopy(CONTENT)
    changed["images"][0]["file_name"] = "train_val_images/gone.jpg"
    write_boxes(folder, changed)
    split = FORMAT.read(folder)["test"]
    paths = [path for _, path in split.read(0)]
    assert [path for path in paths if not path.exists()] == [folder / "train_val_images" / "gone.jpg"]


def test_ambiguous_names_get_their_supercategory(folder):
    changed = copy.deepcopy(CONTENT)
    for index, supercategory in ((0, "Aves"), (1, "Plantae")):
        changed["categories"][index] |= {"name": "Morus", "supercategory": supercategory}
    write_boxes(folder, changed)
    names = FORMAT.read(folder)["train"].class_names
    assert names[:3] == ("Aves/Morus", "Plantae/Morus", f"Species {CATEGORIES[2]}")
    changed["categories"][1]["supercategory"] = "Aves"
    write_boxes(folder, changed)
    assert "different names" in raised_line(FORMAT.read, folder)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "train_val_images/../../x.jpg",
        "../train_val_images/x.jpg",
        "train_val_images\\x.jpg",
        "C:/train_val_images/x.jpg",
        "train_val_images/C:x.jpg",
        "train_val_images/\0.jpg",
        "train_val_images//x.jpg",
        "train_val_images/./x.jpg",
        "train_val_images",
        "elsewhere/x.jpg",
        "",
    ],
)
def test_unsafe_file_names(folder, name):
    changed = {**CONTENT, "images": [{**CONTENT["images"][0], "file_name": name}, *CONTENT["images"][1:]]}
    write_boxes(folder, changed)
    assert repr(name) in raised_line(FORMAT.read, folder)


def with_entry(key, **changes):
    return {**CONTENT, key: [*CONTENT[key], {**CONTENT[key][-1], **changes}]}


FIRST_IMAGE = CONTENT["images"][0]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], "list 'categories'"),
        ({**CONTENT, "images": None}, "list 'images'"),
        ({**CONTENT, "annotations": {}}, "list 'annotations'"),
        ({**CONTENT, "images": [1]}, "number 0"),
        (with_entry("images", id="7"), f"number {len(CONTENT['images'])}"),
        (with_entry("images", id=True), "'id' (int)"),
        (with_entry("images", id=7, file_name=None), "'file_name' (str)"),
        (with_entry("annotations", category_id=1.5), "'category_id' (int)"),
        (with_entry("annotations", image_id=[1]), "'image_id' (int)"),
        (with_entry("categories", name=3), "'name' (str)"),
        (with_entry("categories", id=FIRST), f"the category {FIRST} twice"),
        (with_entry("images", file_name="train_val_images/new.jpg"), "twice"),
        (with_entry("images", id=7), "twice"),
        (with_entry("annotations", image_id=7), "no image 7"),
        (
            with_entry("annotations", image_id=FIRST_IMAGE["id"], category_id=FIRST),
            f"two in the image {FIRST_IMAGE['id']}",
        ),
        ({**CONTENT, "categories": CONTENT["categories"][1:]}, f"none of {FIRST}."),
        (
            {**CONTENT, "annotations": [box for box in CONTENT["annotations"] if box["category_id"] != SECOND]},
            f"none of {SECOND}.",
        ),
    ],
)
def test_wrong_annotations(folder, changed, expected):
    path = write_boxes(folder, changed)
    message = raised_line(FORMAT.read, folder)
    assert expected in message and repr(str(path)) in message


def test_no_json(folder):
    write(folder / "train_2017_bboxes.json", b'{"images": [\n}')
    assert "line 2" in raised_line(FORMAT.read, folder)


def test_labels_are_int32(folder):
    write_boxes(folder, CONTENT)
    assert all(raw.labels.dtype == np.int32 for raw in FORMAT.read(folder).values())
