"""Folders whose pixels would fill the memory: read from a cache, they are what they are in memory."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from dsl_tf.data import shards, sources, stored_images
from dsl_tf.data.image_files import read_as_stored
from dsl_tf.errors import UserError
from tests.images import noise_image, photograph

SIZE = 12


@pytest.fixture
def data_dir(tmp_path):
    """Three classes of photographs, one of them with a broken file and one with nothing else."""
    folder = tmp_path / "data" / "train"
    for name, count in (("blue", 5), ("green", 4), ("torn", 0), ("white", 3)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(noise_image(name, number))
            if number == 1:
                image.putalpha(100)
            image.save(folder / name / f"{number}.png")
    for name, number in (("green", 2), ("torn", 0), ("torn", 1), ("torn", 2), ("torn", 3)):
        (folder / name / f"{number}.png").write_bytes(b"torn")
    return folder.parent


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Every folder is too large for the memory, and goes into shards of three images."""
    monkeypatch.setattr(stored_images, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 3)


def load(data_dir, cache, **options):
    return sources.open_splits("folder", data_dir=data_dir, image_size=SIZE, cache_dir=cache, **options)["train"]()


def cached(cache):
    (folder,) = pathlib.Path(cache).glob("folder-12px-*")
    return folder


def times(folder):
    return {path: path.stat().st_mtime_ns for path in pathlib.Path(folder).rglob("*")}


def test_a_split_from_disk_is_the_one_in_memory(data_dir, tmp_path, monkeypatch, caplog):
    before = times(data_dir)
    stored = load(data_dir, tmp_path / "a new" / "cache")
    told = caplog.messages
    assert isinstance(stored.images, stored_images.StoredImages)
    caplog.clear()
    monkeypatch.setattr(stored_images, "_IN_MEMORY_BYTES", 2**30)
    held = load(data_dir, tmp_path / "unused")
    np.testing.assert_array_equal(stored.images[:], held.images)
    np.testing.assert_array_equal(stored.labels, held.labels)
    assert stored.class_names == held.class_names == ("blue", "green", "white")
    assert told == caplog.messages and "5 other files or folders" in told[0]
    assert not (tmp_path / "unused").exists()
    assert times(data_dir) == before


def test_when_strict_what_cannot_be_read_is_an_error(data_dir, tmp_path):
    with pytest.raises(UserError, match=r"readable images only\. Received: 5"):
        load(data_dir, tmp_path / "cache", strict=True)


def test_images_are_encoded_once_and_those_that_change_anew(data_dir, tmp_path, capsys):
    first = load(data_dir, tmp_path / "cache")
    assert "Preparing 16 images of 12×12 pixels" in capsys.readouterr().out
    written = times(tmp_path / "cache")
    np.testing.assert_array_equal(load(data_dir, tmp_path / "cache").images[:], first.images[:])
    assert "Preparing" not in capsys.readouterr().out
    assert times(tmp_path / "cache") == written
    path = data_dir / "train" / "white" / "0.png"
    Image.new("RGB", (20, 20), (1, 2, 3)).save(path)
    changed = load(data_dir, tmp_path / "cache").images[:]
    assert (changed[-3] == (1, 2, 3)).all()
    np.testing.assert_array_equal(np.delete(changed, -3, axis=0), np.delete(first.images[:], -3, axis=0))
    # Of the same size, but of another time.
    os.utime(path, ns=(0, 0))
    assert len(list((tmp_path / "cache").glob("folder-12px-*"))) == 2
    load(data_dir, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("folder-12px-*"))) == 3


def test_an_interrupted_writing_goes_on_where_it_stopped(data_dir, tmp_path, monkeypatch):
    encode, encoded = shards.encode_image, []

    def failing(path, **options):
        if len(encoded) >= 8:
            raise RuntimeError("the power went off")
        encoded.append(path)
        return encode(path, **options)

    monkeypatch.setattr(shards, "encode_image", failing)
    with pytest.raises(RuntimeError):
        load(data_dir, tmp_path / "cache")
    encoded.clear()
    monkeypatch.setattr(shards, "encode_image", lambda path, **options: encoded.append(path) or encode(path, **options))
    interrupted = load(data_dir, tmp_path / "cache")
    # Two shards of three were whole.
    assert len(encoded) == 10
    np.testing.assert_array_equal(interrupted.images[:], load(data_dir, tmp_path / "whole").images[:])


@pytest.mark.parametrize(
    "name", ["images-00000.tfrecord", "images-00002.tfrecord", "images-00001.json", "prepared.json"]
)
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b"{}"),
        lambda path: path.unlink(),
    ],
)
def test_damage_is_told_in_one_line_and_mended_by_deleting(data_dir, tmp_path, name, damage):
    whole = load(data_dir, tmp_path / "cache").images[:]
    damage(cached(tmp_path / "cache") / name)
    try:
        images = load(data_dir, tmp_path / "cache").images[:]
    except UserError as error:
        assert "\n" not in str(error) and str(cached(tmp_path / "cache")) in str(error) and "Delete" in str(error)
        shutil.rmtree(cached(tmp_path / "cache"))
        images = load(data_dir, tmp_path / "cache").images[:]
    else:
        # Without it, or with other content, the shards count.
        assert name == "prepared.json"
    np.testing.assert_array_equal(images, whole)


def test_a_folder_without_a_readable_image_is_an_error(data_dir, tmp_path):
    for name in ("blue", "green", "white"):
        shutil.rmtree(data_dir / "train" / name)
    with pytest.raises(UserError, match="must hold readable images"):
        load(data_dir, tmp_path / "cache")


def test_a_cache_that_cannot_be_is_told_in_one_line(data_dir, tmp_path):
    with pytest.raises(UserError, match="--cache_dir must not lie in --data_dir"):
        load(data_dir, data_dir / "train" / "cache")
    assert sorted(path.name for path in (data_dir / "train").iterdir()) == ["blue", "green", "torn", "white"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="--cache_dir=.*must be a folder that can be written") as error:
        load(data_dir, tmp_path / "file")
    assert "\n" not in str(error.value)


@pytest.fixture
def photographs(tmp_path):
    """Oblong photographs, one of them torn, as JPEG files of two splits."""
    for split, names in {"train": ("ant", "bee"), "test": ("cow",)}.items():
        for label, name in enumerate(names):
            folder = tmp_path / "photographs" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                photograph(30 + 10 * number, 50, label).save(folder / f"{number}.jpg")
    (folder / "3.jpg").write_bytes(b"torn")
    return tmp_path / "photographs"


def test_originals_are_kept_and_read_by_the_shorter_side(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stored_images, "_IN_MEMORY_BYTES", 2**30)
    options = {"data_dir": photographs, "cache_dir": tmp_path / "cache", "stored_size": 40}
    splits = {name: load() for name, load in sources.open_splits("folder", image_size=SIZE, **options).items()}
    assert "Preparing 8 images of up to 40 pixels (shorter side)" in capsys.readouterr().out
    assert isinstance(splits["train"].images, stored_images.StoredImages) and splits["train"].stored_size == 40
    assert isinstance(splits["test"].images, np.ndarray) and len(splits["test"].images) == 3
    for name, split in splits.items():
        paths = sorted(path for path in (photographs / name).rglob("*.jpg") if path.read_bytes() != b"torn")
        expected = [read_as_stored(path, SIZE, 40) for path in paths]
        np.testing.assert_array_equal(split.images[:], expected)
    # Any image size reads the same files.
    written = times(tmp_path / "cache")
    larger = sources.open_splits("folder", image_size=20, **options)["train"]().images
    assert larger.shape == (8, 20, 20, 3) and larger[:].shape == larger.shape
    assert times(tmp_path / "cache") == written
    sources.open_splits("folder", image_size=SIZE, **{**options, "stored_size": 41})["train"]()
    assert len(list((tmp_path / "cache").glob("folder-originals-4?px-*"))) == 3
