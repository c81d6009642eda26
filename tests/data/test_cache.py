"""The cache of prepared data in unusual places."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from dsl_tf.data import cache
from dsl_tf.data.prepared import prepare
from dsl_tf.data.stored_folder import store_images
from dsl_tf.errors import UserError


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A user without a home, and a folder of temporary files of its own."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(cache.tempfile, "tempdir", os.fspath(tmp_path))
    return tmp_path / f"dsl_tf-{os.getuid()}"


def test_without_a_home_the_cache_is_among_the_temporary_files(nowhere):
    assert cache.default_cache_dir() == cache.default_cache_dir() == nowhere
    assert nowhere.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_not_used(nowhere, tmp_path):
    (tmp_path / "theirs").mkdir()
    nowhere.symlink_to(tmp_path / "theirs")
    with pytest.raises(UserError, match="--cache_dir"):
        cache.default_cache_dir()


@pytest.mark.parametrize("directory", ["home", "XDG_CACHE_HOME"])
def test_the_usual_places(directory, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    if directory == "home":
        assert cache.default_cache_dir() == tmp_path / ".cache" / "dsl_tf"
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "other"))
        assert cache.default_cache_dir() == tmp_path / "other" / "dsl_tf"


def test_a_full_disk_is_named_with_what_it_needs_room_for(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk]
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("A disk can be mounted by root alone.")
    try:
        images = tmp_path / "images"
        images.mkdir()
        random = np.random.default_rng(0)
        for number in range(20):
            Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(images / f"{number}.bmp")
        with pytest.raises(UserError) as error:
            store_images(sorted(images.iterdir()), 64, images, disk)
        assert f"--cache_dir={os.fspath(disk)!r}" in str(error.value) and "\n" not in str(error.value)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("dataset", ["cifar_fs", "cub", "mini_imagenet", "tfds:stanford_dogs"])
def test_a_data_folder_that_does_not_exist_is_an_error_before_any_download(dataset, tmp_path):
    with pytest.raises(UserError, match=r"--data_dir must be a folder.*does not exist"):
        prepare(dataset, tmp_path / "none", cache_dir=tmp_path / "cache", class_split=tmp_path / "classes.json")
    assert list(tmp_path.iterdir()) == []


def test_a_file_elsewhere_is_not_blamed_on_the_cache(tmp_path):
    with pytest.raises(UserError) as error:
        cache.prepare_once(tmp_path / "cache" / "data", "images", (tmp_path / "data.bin").read_bytes)
    assert "data.bin" in str(error.value) and "--cache_dir" not in str(error.value)
