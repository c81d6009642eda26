import numpy as np
import pytest

from dsl_tf.data import recognition
from dsl_tf.data.class_lists import IMAGE_COUNTS, class_list
from dsl_tf.data.raw import RawSplit
from dsl_tf.errors import UserError

# Table 2 of the paper, written down a second time.
TABLE_2 = {
    "mini_imagenet": ((64, 38400), (16, 9600), (20, 12000)),
    "tiered_imagenet": ((351, 448695), (97, 124261), (160, 206209)),
    "cub": ((100, 5885), (50, 2950), (50, 2953)),
    "cifar_fs": ((64, 38400), (16, 9600), (20, 12000)),
}


def published_splits(dataset):
    """Splits with as many classes and images as Table 2 says, and no images at all."""
    splits = {}
    for name, (classes, images) in zip(("train", "val", "test"), TABLE_2[dataset], strict=True):
        names = tuple(f"{name} {label}" for label in range(classes))
        splits[name] = RawSplit(names, np.arange(images) % classes, read=None)
    return splits


def with_images(split, change):
    classes = len(split.class_names)
    return RawSplit(split.class_names, np.arange(len(split.labels) + change) % classes, read=None)


@pytest.mark.parametrize("dataset", TABLE_2)
def test_the_published_counts_pass(dataset):
    recognition.check_published(dataset, published_splits(dataset), allow_partial=False)
    assert {name: len(classes) for name, classes in class_list(dataset).items()} == {
        name: classes for name, (classes, _) in zip(("train", "val", "test"), TABLE_2[dataset], strict=True)
    }


@pytest.mark.parametrize("dataset", TABLE_2)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_missing_image_is_an_error_unless_partial_data_are_allowed(dataset, split, caplog):
    splits = published_splits(dataset)
    splits[split] = with_images(splits[split], -1)
    expected = IMAGE_COUNTS[dataset][split]
    with pytest.raises(
        UserError, match=rf"{split} split.*{expected:,} images.*Received: {expected - 1:,}.*--allow_partial"
    ):
        recognition.check_published(dataset, splits, allow_partial=False)
    recognition.check_published(dataset, splits, allow_partial=True)
    assert f"{expected - 1:,}" in caplog.text


@pytest.mark.parametrize("dataset", TABLE_2)
@pytest.mark.parametrize("allow_partial", [False, True])
def test_an_image_too_many_is_an_error(dataset, allow_partial):
    splits = published_splits(dataset)
    splits["val"] = with_images(splits["val"], 1)
    with pytest.raises(UserError, match="val split.*Remove"):
        recognition.check_published(dataset, splits, allow_partial)


@pytest.mark.parametrize("dataset", TABLE_2)
@pytest.mark.parametrize("names", [True, False])
def test_another_number_of_classes_is_an_error(dataset, names):
    splits = published_splits(dataset)
    train = splits["train"]
    kept = train.labels < len(train.class_names) - 1
    splits["train"] = RawSplit(train.class_names[:-1] if names else None, train.labels[kept], read=None)
    wanted = TABLE_2[dataset][0][0]
    with pytest.raises(UserError, match=f"train split.*{wanted} classes. Received: {wanted - 1}"):
        recognition.check_published(dataset, splits, allow_partial=True)


@pytest.mark.parametrize("dataset", [*TABLE_2, "meta_inat"])
def test_class_lists_are_disjoint(dataset):
    lists = class_list(dataset)
    classes = [name for split in lists.values() for name in split]
    assert len(set(classes)) == len(classes)
    assert list(lists) == (["train", "test"] if dataset == "meta_inat" else ["train", "val", "test"])


def test_meta_inat_has_the_published_categories():
    lists = class_list("meta_inat")
    assert {name: len(classes) for name, classes in lists.items()} == {"train": 908, "test": 227}
    assert all(0 <= category <= 5088 for classes in lists.values() for category in classes)


def test_cub_is_divided_by_position():
    lists = class_list("cub")
    for position in range(200):
        split = "train" if position % 2 == 0 else "val" if position % 4 == 1 else "test"
        assert position in lists[split]


@pytest.mark.parametrize("dataset", recognition.FORMATS)
def test_a_folder_with_none_of_the_formats_is_an_error_that_names_them(dataset, tmp_path):
    # Two levels down, because the folder above is searched too, and other tests leave data beside this one's.
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    (folder / "holiday.txt").write_text("")
    with pytest.raises(UserError) as error:
        recognition.recognise(dataset, folder)
    assert "\n" not in str(error.value)
    assert "Received: 1 other file ('holiday.txt'). Check the path." in str(error.value)
    for candidate in recognition.FORMATS[dataset]:
        assert candidate.files in str(error.value)


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("mini_imagenet", "mini-imagenet-cache-val.pkl"),
        ("tiered_imagenet", "train_images_png.pkl"),
        ("cub", "images/001.Black_footed_Albatross/1.jpg"),
        ("cifar_fs", "cifar-100-python/meta"),
        ("meta_inat", "train_2017_bboxes.json"),
    ],
)
def test_the_folder_above_or_below_that_would_do_is_named(dataset, file, tmp_path):
    right = tmp_path / "downloads" / "data"
    (right / file).parent.mkdir(parents=True)
    (right / file).touch()
    (right / "notes" / "old").mkdir(parents=True)
    assert recognition.recognise(dataset, right).is_in(right)
    for wrong, received in ((tmp_path, "'downloads'"), (right / "notes", "'old'"), (right / "notes" / "old", "empty")):
        with pytest.raises(UserError) as error:
            recognition.recognise(dataset, wrong)
        # The parent of its folder holds meta-iNat too.
        named = right.parent if dataset == "meta_inat" and wrong == tmp_path else right
        assert str(error.value).endswith(f"Try --data_dir={str(named)!r}.")
        assert received in str(error.value).rpartition("Received: ")[2]


def test_a_folder_that_is_none_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        recognition.recognise("cub", tmp_path / "file")
    with pytest.raises(UserError, match="does not exist"):
        recognition.recognise("cub", tmp_path / "nowhere")
