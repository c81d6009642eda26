"""The named data sets from their files to loaded splits, one case for each kind of source."""

import numpy as np
import pytest
from PIL import Image

from dsl_tf.data import open_splits, recognition
from tests.data.formats import (
    test_cifar_fs,
    test_cub,
    test_meta_inat,
    test_mini_imagenet,
    test_tiered_imagenet,
)
from tests.data.formats.coloured_images import colour_of, encoded, write
from tests.data.formats.tars import tar


def tiered_pngs(folder):
    files = [test_tiered_imagenet.png(index) for index in range(max(test_tiered_imagenet.COUNTS.values()))]
    test_tiered_imagenet.write_pngs(folder, files)
    test_tiered_imagenet.write_labels(folder)


def tiered_blue_first(folder):
    test_tiered_imagenet.write_arrays(folder, np.savez_compressed)
    test_tiered_imagenet.write_labels(folder)


def mini_lists_and_tar_of_tars(folder):
    test_mini_imagenet.write_lists(folder)
    files = test_mini_imagenet.imagenet_files()
    write(folder / "ILSVRC2012_img_train.tar", tar({f"{name}.tar": tar(content) for name, content in files.items()}))


def birds(folder):
    test_cub.write_folders(folder / "CUB_200_2011" / "images")
    grey = folder / "CUB_200_2011" / "images" / test_cub.NAMES[0] / "Bird_0.jpg"
    Image.new("L", (9, 7), 77).save(grey, "PNG")


def cifar_archive(folder):
    test_cifar_fs.write_archive(folder, test_cifar_fs.members())


def inat(folder):
    test_meta_inat.write_boxes(folder, test_meta_inat.CONTENT)
    for index, category in enumerate(test_meta_inat.CATEGORIES):
        write(folder / test_meta_inat.file_name(category, 0), encoded(index, side=5))
    for number in (1, 2):
        write(folder / test_meta_inat.file_name(test_meta_inat.SECOND, number), encoded(5000 + number))


@pytest.mark.parametrize(
    ("dataset", "write_source", "image_size"),
    [
        ("tiered_imagenet", tiered_pngs, 84),
        ("tiered_imagenet", tiered_blue_first, 84),
        ("mini_imagenet", test_mini_imagenet.write_caches, 84),
        ("mini_imagenet", mini_lists_and_tar_of_tars, 84),
        ("cub", birds, 84),
        ("cifar_fs", cifar_archive, 32),
        ("meta_inat", inat, 84),
    ],
)
def test_every_image_arrives_in_its_colours_with_its_class(tmp_path, capsys, dataset, write_source, image_size):
    source = tmp_path / "source"
    source.mkdir()
    write_source(source)
    found = recognition.recognise(dataset, source)
    raw_splits = found.read(source)
    splits = open_splits(dataset, data_dir=source, cache_dir=tmp_path / "cache", allow_partial=True)
    assert found.description in capsys.readouterr().out
    assert list(splits) == list(raw_splits)
    for name, raw in raw_splits.items():
        split = splits[name]()
        assert split.images.shape[1:] == (image_size, image_size, 3)
        np.testing.assert_array_equal(split.labels, raw.labels)
        if raw.class_names is not None:
            assert split.class_names == raw.class_names
        for image, (_, original) in zip(split.images, raw.read(0), strict=True):
            assert (image == image[0, 0]).all()
            is_grey = dataset == "cub" and Image.open(original).mode == "L"
            assert tuple(image[0, 0].tolist()) == ((77, 77, 77) if is_grey else colour_of(original))
